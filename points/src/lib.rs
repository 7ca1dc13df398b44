//! Fail points: named places at which a test, or chaos, lets the program crash, fail or wait.
//!
//! Without the feature `failpoints` there are none, and they cost nothing. With it each is set by its name, by a test (`fail::cfg`) or by the
//! variable `FAILPOINTS`, in the words of the crate `fail`:
//!
//! | setting | at the point |
//! |---|---|
//! | `return` | the step fails, as if the disk or the other side were away |
//! | `return(crash)` | the process ends at once, as of a kill |
//! | `return(delay)` | the step takes longer than anybody expects |
//! | `2*off->1*return->off` | nothing twice, then once, then never again |
//!
//! What happens is printed to the standard error, so that whoever set a point can tell that it was passed.

/// A step that is delayed takes so much longer.
#[cfg(feature = "failpoints")]
const DELAY: std::time::Duration = std::time::Duration::from_millis(1500);

/// Passes a place, and tells whether the step is to fail there.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn hit(name: &str) -> bool {
    fail::fail_point!(name, |action| act(name, action.as_deref()));
    false
}

/// Passes a place: nothing is ever to fail there.
#[cfg(not(feature = "failpoints"))]
#[must_use]
#[inline(always)]
pub fn hit(_: &str) -> bool {
    false
}

#[cfg(feature = "failpoints")]
fn act(name: &str, action: Option<&str>) -> bool {
    eprintln!("fail point {name}: {}", action.unwrap_or("error"));
    match action {
        Some("crash") => std::process::abort(),
        Some("delay") => std::thread::sleep(DELAY),
        _ => return true,
    }
    false
}

/// Tells whether anything is to happen at a place.
#[cfg(feature = "failpoints")]
#[must_use]
pub fn is_set(name: &str) -> bool {
    fail::list().iter().any(|(point, actions)| point == name && actions != "off")
}

/// Tells whether anything is to happen at a place: nothing is.
#[cfg(not(feature = "failpoints"))]
#[must_use]
#[inline(always)]
pub fn is_set(_: &str) -> bool {
    false
}
