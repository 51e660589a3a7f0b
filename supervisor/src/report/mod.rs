//! What people read: diagnostics and small tables. Values go in, text comes out; the caller writes it.
#![forbid(unsafe_code)]

mod chain;
mod diagnostic;
mod table;
mod text;

pub use chain::chain;
pub use diagnostic::{Diagnostic, Place, Severity};
pub use table::table;
pub use text::{is_deceptive, printable};
