//! Fail points of this crate; `freshet_points` says how they are set.

/// Marks a place by its name, at which the function may be made to fail.
macro_rules! point {
    ($name:literal) => {
        if freshet_points::hit($name) {
            return Err($crate::Error::injected($name).into());
        }
    };
}
