//! The policy language: text in, decisions out. Pure: no files, no clock.
#![forbid(unsafe_code)]

mod condition;
mod model;
mod verdict;

pub use condition::Condition;
pub use model::*;
pub use verdict::*;
