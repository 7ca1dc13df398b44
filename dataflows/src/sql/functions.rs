//! The functions that a view may call: DataFusion's immutable ones, the aggregates of [`Function`](crate::plan::Function), and
//! `processing_time()`.
//!
//! A function that reads the clock or rolls dice is refused: replaying an epoch must give the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion_functions_aggregate as aggregate;

use super::error::{Planned, Refusal};

/// Name of the function that returns the time at which the event's epoch was cut.
pub(super) const PROCESSING_TIME: &str = "processing_time";

/// Functions of other databases and of DataFusion's optional parts that read the clock or roll dice, besides those that DataFusion marks.
const IMPURE: [&str; 11] = [
    "clock_timestamp",
    "gen_random_uuid",
    "getdate",
    "localtime",
    "localtimestamp",
    "nextval",
    "rand",
    "statement_timestamp",
    "sysdate",
    "transaction_timestamp",
    "unix_timestamp",
];

/// What a view may call, by lower-case name.
pub(super) struct Functions {
    pub(super) scalars: BTreeMap<String, Arc<ScalarUDF>>,
    pub(super) aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    impure: BTreeSet<String>,
    other_aggregates: BTreeSet<String>,
}

impl Functions {
    pub(super) fn new() -> Functions {
        let names = |udf: &ScalarUDF| std::iter::once(udf.name().to_owned()).chain(udf.aliases().to_vec()).collect::<Vec<_>>();
        let mut scalars = BTreeMap::new();
        let mut impure: BTreeSet<String> = IMPURE.map(str::to_owned).into();
        for udf in datafusion_functions::all_default_functions() {
            if udf.signature().volatility == Volatility::Immutable {
                scalars.extend(names(&udf).into_iter().map(|name| (name, Arc::clone(&udf))));
            } else {
                impure.extend(names(&udf));
            }
        }
        scalars.insert(PROCESSING_TIME.to_owned(), Arc::new(ScalarUDF::from(ProcessingTime::new())));
        let aggregates = [
            aggregate::count::count_udaf(),
            aggregate::sum::sum_udaf(),
            aggregate::average::avg_udaf(),
            aggregate::min_max::min_udaf(),
            aggregate::min_max::max_udaf(),
        ];
        let aggregates = aggregates.map(|udaf| (udaf.name().to_owned(), udaf)).into_iter().collect();
        let all = aggregate::all_default_aggregate_functions();
        let mut other_aggregates: BTreeSet<String> =
            all.iter().flat_map(|udaf| std::iter::once(udaf.name().to_owned()).chain(udaf.aliases().to_vec())).collect();
        other_aggregates.extend(["approx_count_distinct", "any", "every", "group_concat", "json_agg", "mode"].map(str::to_owned));
        Functions { scalars, aggregates, impure, other_aggregates }
    }

    /// Accepts the name of a function that a view may call.
    ///
    /// # Errors
    /// Refuses any other, with what to write instead.
    pub(super) fn check(&self, name: &str) -> Planned<()> {
        if self.scalars.contains_key(name) || self.aggregates.contains_key(name) {
            return Ok(());
        }
        if self.impure.contains(name) {
            let problem = format!("{name}() gives another value at each call, so a replay would give other rows");
            return Err(Refusal::new(problem, "use processing_time(), which is kept in the epoch log"));
        }
        if name.starts_with("approx_") && name.contains("distinct") {
            return Err(Refusal::new(format!("{name}() is not kept"), "use count(distinct x), which is exact"));
        }
        if self.other_aggregates.contains(name) {
            let remedy = "use count, count(distinct x), sum, avg, min or max";
            return Err(Refusal::new(format!("the aggregate {name}() is not one that Freshet keeps"), remedy));
        }
        if ["tumble", "hop", "session"].contains(&name) {
            let remedy = format!("write FROM {name}(source, …)");
            return Err(Refusal::new(format!("{name}() is a table function"), remedy));
        }
        Err(Refusal::unknown("function", name, self.scalars.keys().chain(self.aggregates.keys()).map(String::as_str)))
    }
}

/// `processing_time()`: known to the planner only, which turns it into a column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ProcessingTime {
    signature: Signature,
}

impl ProcessingTime {
    fn new() -> ProcessingTime {
        // Volatile, so that no rule of the optimizer evaluates it while planning.
        ProcessingTime { signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for ProcessingTime {
    fn name(&self) -> &'static str {
        PROCESSING_TIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("processing_time() is a column of the input, not a function to call")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_functions_are_refused_and_pure_ones_are_not() {
        let functions = Functions::new();
        for name in ["now", "random", "current_date", "current_timestamp", "uuid", "localtimestamp"] {
            let refusal = functions.check(name).expect_err(name).to_string();
            assert!(refusal.contains("processing_time()"), "{name}: {refusal}");
        }
        for name in ["lower", "date_trunc", "coalesce", "round", "processing_time", "count", "substr", "regexp_like"] {
            assert_eq!(functions.check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn unknown_functions_and_aggregates_are_told_apart() {
        let functions = Functions::new();
        let refused = |name| functions.check(name).expect_err(name).to_string();
        assert!(refused("lowr").contains("did you mean 'lower'?"), "{}", refused("lowr"));
        assert!(refused("stddev").contains("use count, count(distinct x), sum"), "{}", refused("stddev"));
        assert!(refused("approx_count_distinct").contains("count(distinct x)"), "{}", refused("approx_count_distinct"));
        assert!(refused("tumble").contains("FROM tumble("), "{}", refused("tumble"));
    }
}
