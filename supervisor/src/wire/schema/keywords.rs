//! A schema as it is judged: nodes that name each other by number, so that recursion in the schema is none in memory.

use std::collections::{HashMap, HashSet};

use super::number::Divisor;
use super::pattern::Pattern;
use crate::wire::json::Value;

/// The number of a node.
pub(super) type NodeId = usize;

/// One schema or subschema: all its checks must hold.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) checks: Vec<Check>,
}

/// One keyword, or several that are judged together.
#[derive(Debug)]
pub(super) enum Check {
    /// The schema `false`.
    Never,
    Type(Types),
    /// `enum`, `const`: canonical forms, and the values for a message.
    OneOfValues {
        values: HashSet<Vec<u8>>,
        shown: String,
    },
    Bound(Bound, f64),
    MultipleOf(Divisor),
    Count(Count, u64),
    Pattern(Pattern),
    UniqueItems,
    Required(Vec<String>),
    /// `dependentRequired`, and the lists of `dependencies`.
    DependentRequired(Vec<(String, Vec<String>)>),
    /// `dependentSchemas`, and the schemas of `dependencies`.
    DependentSchemas(Vec<(String, NodeId)>),
    Members(Box<Members>),
    PropertyNames(NodeId),
    /// `prefixItems` and `items`; in draft-07 `items` and `additionalItems`.
    Items {
        prefix: Vec<NodeId>,
        rest: Option<NodeId>,
    },
    Contains {
        node: NodeId,
        min: u64,
        max: Option<u64>,
    },
    /// `$ref`, and each entry of `allOf`.
    Also(NodeId),
    AnyOf(Vec<NodeId>),
    OneOf(Vec<NodeId>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
}

/// `properties`, `patternProperties` and `additionalProperties`.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) properties: HashMap<String, NodeId>,
    /// The names of `properties` by their case-folded form.
    pub(super) folded: HashMap<String, Vec<String>>,
    pub(super) patterns: Vec<(Pattern, NodeId)>,
    pub(super) additional: Option<NodeId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Minimum,
    ExclusiveMinimum,
    Maximum,
    ExclusiveMaximum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    MinLength,
    MaxLength,
    MinItems,
    MaxItems,
    MinProperties,
    MaxProperties,
}

/// A set of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    const NAMES: [&'static str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
    const INTEGER: usize = 2;
    const NUMBER: usize = 3;

    /// With the type `name`; none when there is no such type.
    pub(super) fn with(self, name: &str) -> Option<Self> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        Some(Self(self.0 | 1 << at))
    }

    /// Whether `value` is of one of them. A number without a fraction is an integer, however it is written.
    pub(super) fn hold(self, value: &Value<'_>) -> bool {
        let has = |at: usize| self.0 & (1 << at) != 0;
        match value {
            Value::Number(number) => {
                has(Self::NUMBER) || (has(Self::INTEGER) && super::number::double(number).fract() == 0.0)
            }
            other => Self::NAMES.iter().position(|known| *known == type_name(other)).is_some_and(has),
        }
    }

    /// In words, with their articles.
    pub(super) fn in_words(self) -> String {
        let names = Self::NAMES.iter().enumerate().filter(|(at, _)| self.0 & (1 << at) != 0);
        let words = names.map(|(_, name)| match *name {
            "null" => "null".to_owned(),
            "integer" | "array" | "object" => format!("an {name}"),
            _ => format!("a {name}"),
        });
        words.collect::<Vec<_>>().join(" or ")
    }
}

/// The type of a value, as `type` calls it; numbers are "number".
pub(super) const fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
