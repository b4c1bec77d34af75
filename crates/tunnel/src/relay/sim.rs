//! Placeholder.

/// A place where the simulated process may vanish.
pub(crate) fn crash_point() {}
