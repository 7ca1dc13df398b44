//! `dedupe` in FROM: a stream without the repeats of a key.
//!
//! It becomes a node of the logical plan, a [`DedupeTable`], with the columns of its first argument.

use std::cmp::Ordering;
use std::fmt;

use datafusion_common::{DFSchemaRef, Result, plan_err};
use datafusion_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

/// A stream of which the first record of each key passes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DedupeTable {
    pub(super) input: LogicalPlan,
    /// The key, over the input's columns.
    pub(super) keys: Vec<Expr>,
    /// For how long a key is remembered, in microseconds.
    pub(super) within: i64,
}

// The trait asks for an order, which nothing here uses.
impl PartialOrd for DedupeTable {
    fn partial_cmp(&self, other: &DedupeTable) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for DedupeTable {
    fn name(&self) -> &'static str {
        "dedupe"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "dedupe: {:?} within {}", self.keys, self.within)
    }

    fn with_exprs_and_inputs(&self, keys: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<DedupeTable> {
        match (inputs.pop(), inputs.len()) {
            (Some(input), 0) => Ok(DedupeTable { input, keys, within: self.within }),
            _ => plan_err!("dedupe() has one input"),
        }
    }
}
