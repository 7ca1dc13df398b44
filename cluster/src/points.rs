//! Places at which a test can break things on purpose, by the crate `fail`; nothing without the feature `failpoints`.

/// Marks a place by its name; the action `return` lets the function fail there.
#[cfg(feature = "failpoints")]
macro_rules! point {
    ($name:literal) => {
        fail::fail_point!($name, |_| Err($crate::Error::injected($name).into()));
    };
}

#[cfg(not(feature = "failpoints"))]
macro_rules! point {
    ($name:literal) => {};
}
