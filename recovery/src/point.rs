//! Fail points: named places at which a test can have this crate fail, panic or wait.
//!
//! Without the feature `failpoints` they cost nothing.

/// Returns [`Error::Unavailable`](crate::Error::Unavailable) from the function if a test has set the point to `return`.
macro_rules! point {
    ($name:literal) => {
        fail::fail_point!($name, |_| Err($crate::Error::unavailable($name, "failed as asked by a test")))
    };
}

pub(crate) use point;
