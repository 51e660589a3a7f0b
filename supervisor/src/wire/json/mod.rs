//! Strict JSON: one parser whose reading no other parser can differ from, or a refusal.
//!
//! RFC 8259 leaves duplicate keys, number range, lone surrogates and more to the implementation; each such freedom is a way to show
//! one message to the policy and another to the server. Here every one of them is refused, with a code of its own ([`RejectCode`]).
//!
//! One grammar, two readings of it: [`parse`] builds a tree, [`scan`] says where things stand. Both refuse the same lines.

mod grammar;
mod keys;
mod lexer;
mod number;
mod parse;
mod reject;
mod scan;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use parse::{Parsed, parse, parse_spanned};
pub use reject::{Reject, RejectCode};
pub use scan::{Members, Outline, scan, write_escaping_separators};
pub use value::{Number, Value};
pub use write::{write, write_string};
