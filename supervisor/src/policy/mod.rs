//! The policy language: text in, decisions out. Pure: no files, no clock.
//!
//! - [`load`] reads YAML strictly into a [`Policy`], or says everything that is wrong with it at once.
//! - [`Policy::visibility`] and [`Policy::judge`] decide; [`Policy::explain`] decides the same and tells why.
//! - [`Policy::normalised`] prints what was understood, every default written out.
#![forbid(unsafe_code)]

mod amount;
mod argument_keys;
mod cases;
mod charge;
mod codes;
mod compare;
mod condition;
mod decide;
mod decimal;
mod diff;
pub mod draft;
mod explain;
mod holds;
mod host_name;
mod key;
mod limit_words;
mod live;
mod load;
mod methods;
mod model;
mod normalised;
mod owes;
mod replay;
mod secrecy;
mod trace;
mod validation;
mod verdict;
mod wording;
mod yaml;

#[cfg(test)]
mod intercept;
#[cfg(test)]
mod ready;
#[cfg(test)]
mod testing;

pub use argument_keys::{AMBIGUOUS_ARGUMENT, ArgumentKeys};
pub use cases::{CaseFile, CasesRun, PolicyFrom};
pub use charge::{Charged, LimitHit, Tills};
pub use codes::Code;
pub use condition::{Clause, Condition, Literal, Number, Step, Test};
pub use decimal::Decimal;
pub use diff::{Change, Way};
pub use explain::{CheckTrace, Explanation, Found, RuleTrace};
pub use holds::Outcome;
pub use host_name::HostPattern;
pub use live::{fixed_changes, visibility_changes, wants_more_schemas};
pub use load::{Loaded, Source, decode, json_schema, load, read_cases};
pub use methods::{MethodVerdict, Methods};
pub use model::*;
pub use replay::{Finding, Hash, Leaf, Recorded, RecordedLimit, Replay, Shape, Was};
pub use secrecy::is_secret;
pub use trace::{ConditionTrace, FoundValue};
pub use verdict::*;
pub(crate) use wording::as_sentence;
