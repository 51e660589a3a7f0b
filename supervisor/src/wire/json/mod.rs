//! Strict JSON: one parser whose reading no other parser can differ from, or a refusal.

mod value;

pub use value::{Number, Value};
