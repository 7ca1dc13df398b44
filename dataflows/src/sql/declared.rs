//! Aggregates whose names and types DataFusion is told, so that its planner knows them; their state is kept by `state`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{Result, not_impl_err};
use datafusion_expr::function::AccumulatorArgs;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, TypeSignature, Volatility};

/// An aggregate by its name, the types that it takes, and the type that it gives.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Declared {
    name: &'static str,
    signature: Signature,
    returns: DataType,
}

/// Returns the aggregates that DataFusion lacks, or has with other types.
pub(super) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let exact = |types: &[DataType]| TypeSignature::Exact(types.to_vec());
    let one_of = |all: Vec<TypeSignature>| TypeSignature::OneOf(all);
    let (list, delimited) =
        (vec![TypeSignature::Any(1), TypeSignature::Any(2)], [exact(&[Utf8, Utf8]), exact(&[Utf8, Utf8, Int64])]);
    [
        ("approx_count_distinct", TypeSignature::Any(1), Int64),
        ("approx_median", exact(&[Float64]), Float64),
        ("approx_percentile_cont", exact(&[Float64, Float64]), Float64),
        ("array_agg", one_of(list), Utf8),
        ("count_if", exact(&[Boolean]), Int64),
        ("funnel", TypeSignature::VariadicAny, Int64),
        ("string_agg", one_of(delimited.into()), Utf8),
    ]
    .into_iter()
    .map(|(name, types, returns)| {
        let signature = Signature::new(types, Volatility::Immutable);
        Arc::new(AggregateUDF::from(Declared { name, signature, returns }))
    })
    .collect()
}

impl AggregateUDFImpl for Declared {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        not_impl_err!("{}() is kept by Freshet's own state", self.name)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.name == "array_agg"
    }

    fn supports_within_group_clause(&self) -> bool {
        self.name == "approx_percentile_cont"
    }
}
