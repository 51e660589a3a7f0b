//! YAML text to a tree that knows where each value stands.
//!
//! The tree is built from the event layer of the YAML parser, not through serde: places, exact scalar text, duplicate keys
//! and alias sizes are all visible there, and every problem can be reported at once.

mod build;
mod scalar;
mod tree;

pub(super) use build::parse;
pub(super) use scalar::{Meaning, meaning};
pub(super) use tree::{Entry, Kind, Node, Scalar, Span};
