//! Nothing outlives anything.

/// Every case of this file.
pub(crate) const ALL: &[(&str, fn())] = &[];
