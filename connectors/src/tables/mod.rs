//! What PostgreSQL and SQLite have in common as places for views: what fits into a table, the tables of rejects, and who may write.

pub(crate) mod fit;
mod owner;
pub(crate) mod rejects;
mod staging;

use freshet_model::{Epoch, TableSchema};

use crate::Error;

pub(crate) use owner::{Held, Owner};
pub(crate) use staging::staged_view;
pub use staging::{Staged, staged_job};

/// What a preparation made of the views, and found.
pub(crate) struct SetUp<T> {
    /// Each view with its table.
    pub(crate) views: Vec<(TableSchema, T)>,
    /// The newest epoch that earlier starts have left.
    pub(crate) held: Option<Epoch>,
}

/// What keeps a table from holding its view, and the statement that would change it.
pub(crate) struct Difference {
    pub(crate) problem: String,
    pub(crate) fix: String,
}

/// Says that a table refuses a second row with the same values in some columns, while its view only adds rows.
pub(crate) fn only_added(table: &str, view: &TableSchema, unique: &[String]) -> Difference {
    let names = unique.join(", ");
    let key = unique.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
    let problem = format!("table {table} keeps ({names}) unique, but the rows of {} are only added, repeats included", view.name);
    let fix = format!("declare key = [{key}] in a view over them, so that a later row takes the place of an earlier one");
    Difference { problem, fix }
}

/// Says all that keeps the tables of a sink from holding its views.
pub(crate) fn does_not_fit(thing: &str, differences: &[Difference]) -> Error {
    let join = |part: fn(&Difference) -> &str| differences.iter().map(part).collect::<Vec<_>>().join("; ");
    let problem = join(|difference| &difference.problem);
    Error::setup(thing, problem, format!("change the tables or the views: {}", join(|difference| &difference.fix)))
}
