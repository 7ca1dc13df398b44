//! Fail points of this crate; `freshet_points` says how they are set.

pub(crate) use freshet_points::{hit, is_set};

use crate::Error;

/// Passes a place; `thing` is named in the error.
pub(crate) fn point(name: &str, thing: &str) -> Result<(), Error> {
    if hit(name) { Err(Error::unavailable(thing, format!("fail point {name}"))) } else { Ok(()) }
}
