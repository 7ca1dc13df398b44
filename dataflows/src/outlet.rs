//! The way from an operator to a thread that does I/O: plain functions, so that the operator does none.

use freshet_model::Epoch;

/// What an operator knows of a thread that works for it.
pub struct Outlet<T> {
    /// Takes what is to be done, without waiting.
    pub send: Box<dyn FnMut(T)>,
    /// Returns the first epoch that has not been finished.
    pub finished: Box<dyn Fn() -> Epoch>,
}
