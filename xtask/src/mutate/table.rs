//! Which test must notice that a protection is gone.

use super::Row;

const fn row(protection: &'static str, target: &'static str, test: &'static str) -> Row {
    Row { protection, target, test }
}

/// Every protection of the product that can be dropped.
pub(crate) const TABLE: &[Row] = &[row("no-new-privs", "layers", "the_server_has_no_new_privs")];
