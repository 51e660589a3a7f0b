//! The policy language: text in, decisions out. Pure: no files, no clock.
//!
//! - [`load`] reads YAML strictly into a [`Policy`], or says everything that is wrong with it at once.
//! - [`Policy::visibility`] and [`Policy::judge`] decide; [`Policy::explain`] decides the same and tells why.
//! - [`Policy::normalised`] prints what was understood, every default written out.
#![forbid(unsafe_code)]

mod cases;
mod charge;
mod codes;
mod condition;
mod decide;
mod decimal;
mod diff;
mod explain;
mod holds;
mod key;
mod load;
mod model;
mod normalised;
mod replay;
mod verdict;
mod wording;
mod yaml;

#[cfg(test)]
mod ready;
#[cfg(test)]
mod testing;

pub use cases::{CaseFile, CasesRun, PolicyFrom};
pub use charge::{Charged, LimitHit};
pub use codes::Code;
pub use condition::{Clause, Condition, Literal, Number, Step, Test};
pub use decimal::Decimal;
pub use diff::{Change, Way};
pub use explain::{CheckTrace, Explanation, Found, RuleTrace};
pub use holds::Outcome;
pub use load::{Loaded, Source, decode, load, read_cases};
pub use model::*;
pub use replay::{Finding, Hash, Leaf, Recorded, RecordedLimit, Replay, Shape, Was};
pub use verdict::*;
