//! Functions that a program of your own adds to SQL.
//!
//! A function is DataFusion's [`ScalarUDFImpl`](datafusion_expr::ScalarUDFImpl). It has to be immutable, as an epoch that is replayed must give the same rows. The program is `freshet` with the
//! function in it: it calls [`main_with`](crate::commands::main_with) with a set of [`Functions`], as `examples/own_function.rs` does. Arrow and
//! DataFusion are handed on here in the versions that Freshet is built with.

pub use arrow;
pub use freshet_dataflows::sql::{FunctionError, Functions};
pub use freshet_dataflows::{datafusion_common, datafusion_expr};
