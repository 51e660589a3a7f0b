//! JSON Schema of a tool's arguments and results, as servers advertise it: 2020-12, which a schema without `$schema` is, and
//! draft-07.
//!
//! The schema comes from a server that nobody trusts, the value from an agent or that server, and the process that judges them
//! has one thread. So every judgement has a budget of work ([`SCHEMA_WORK_MAX`]) and of nesting, patterns search in linear time, and
//! nothing is fetched: a reference leads into the same document or the schema cannot be judged. What this reading does not know for
//! certain makes the schema [`Unjudgeable`], never looser. `format` and the `content` keywords are annotations, as in 2020-12.
//!
//! - `compile` reads a schema once; `check` judges a value; `pattern` is ECMA-262's regular expressions on a linear engine;
//!   `canonical` is when two JSON values are equal; `number` is `multipleOf`.

mod canonical;
mod check;
mod compile;
mod keywords;
mod mismatch;
mod number;
mod pattern;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use super::json::Value;
#[cfg(doc)]
use crate::bounds::SCHEMA_WORK_MAX;

pub use mismatch::Mismatch;
pub use pattern::Patterns;

/// A schema that was read.
#[derive(Debug)]
pub struct Schema {
    /// The root is the first.
    nodes: Vec<keywords::Node>,
    /// What it takes to keep it, bytes, roughly.
    bytes: usize,
}

/// Why a value cannot be judged by a schema. Whoever needed the judgement is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unjudgeable {
    /// The server gives none.
    #[error("the server gives none")]
    Absent,
    /// `$schema` names neither 2020-12 nor draft-07.
    #[error("its $schema is neither 2020-12 nor draft-07")]
    Dialect,
    /// A `$ref` that leads out of the document, or nowhere in it.
    #[error("a $ref leads out of the schema or nowhere")]
    Reference,
    /// A keyword that this reading does not judge.
    #[error("it uses {0}, which is not judged here")]
    Keyword(&'static str),
    /// A keyword with a value that it cannot have.
    #[error("its {0} is malformed")]
    Malformed(&'static str),
    /// A pattern that no linear engine reads, or one that is too large, or one too many.
    #[error("a pattern cannot be judged, or is too large")]
    Pattern,
    /// More of it than is read.
    #[error("it is too large")]
    TooLarge,
    /// Judging the value took more than [`SCHEMA_WORK_MAX`], or nested too deep.
    #[error("judging these values by it takes too much work")]
    Work,
}

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It says something else.
    Mismatch(Mismatch),
    /// It cannot be told.
    Unjudgeable(Unjudgeable),
}

/// Whether a key that differs from a property of the schema only in case is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It is, wherever it stands: a server could read it as that property. For arguments.
    Folded,
    /// It is another key. For results.
    Exact,
}

impl Schema {
    /// Reads a schema. `patterns` are those of earlier schemas of the same server, shared and counted together.
    ///
    /// # Errors
    /// [`Unjudgeable`] for what cannot be judged whatever the value.
    pub fn compile(schema: &Value<'_>, patterns: &mut Patterns) -> Result<Self, Unjudgeable> {
        compile::compile(schema, patterns)
    }

    /// Whether `value` fits. Pure; ends within a fixed amount of work.
    ///
    /// # Errors
    /// [`Fault`]: the first thing that does not fit, or that it cannot be told.
    pub fn check(&self, value: &Value<'_>, keys: Keys) -> Result<(), Fault> {
        check::check(&self.nodes, value, keys)
    }

    /// What it takes to keep it, bytes, roughly; its patterns aside.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}
