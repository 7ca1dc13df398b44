//! Places where a test makes the process crash, wait or fail. Without the cargo feature `failpoints` there are none.
//!
//! Each is configured by its name as crate `fail` describes, from a test or by the variable `FAILPOINTS`: `return` makes the step fail as if the other
//! side were away, `return(crash)` ends the process at once as a kill does, `sleep(milliseconds)` and `pause` make it wait.

use crate::Error;

/// Passes a place, and tells whether the step is to fail there.
pub(crate) fn hit(name: &str) -> bool {
    fail::fail_point!(name, |action| {
        if action.as_deref() == Some("crash") {
            std::process::abort();
        }
        true
    });
    // Without fail points nothing reads it.
    let _ = name;
    false
}

/// Passes a place; `thing` is named in the error.
pub(crate) fn point(name: &str, thing: &str) -> Result<(), Error> {
    if hit(name) { Err(Error::unavailable(thing, format!("fail point {name}"))) } else { Ok(()) }
}
