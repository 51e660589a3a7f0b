//! `validate:` of a rule: a call against what the server itself says of the tool.

use std::collections::HashSet;

use super::model::Rule;
use super::verdict::{Call, DenialCode, KnownTool, SchemaKnowledge};
use super::wording;
use crate::weaken::in_force;
use crate::wire::json::Value;
use crate::wire::schema::{Fault, Keys};

/// Most arguments that are searched one by one for a required name.
const SEARCHED_MAX: usize = 64;

/// Arguments that are absent.
const NO_ARGUMENTS: &Value<'static> = &Value::Object(Vec::new());

/// One key of `validate:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validation {
    RequiredArgs,
    Schema,
    Output,
}

impl Validation {
    /// What it asks, in words.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::RequiredArgs => "every argument that the tool's schema requires is given",
            Self::Schema => "the arguments fit the tool's input schema",
            Self::Output => "there is an output schema to judge the result by",
        }
    }
}

/// What it found.
#[derive(Clone, Debug)]
#[must_use]
pub(super) enum Validated {
    Passes,
    Pending,
    /// With what the agent reads where the rule has no words of its own.
    Refuses(DenialCode, String),
}

impl Rule {
    /// What the rule asks of the server's schemas, in the order in which it is judged.
    pub(super) fn validations(&self) -> impl Iterator<Item = Validation> + use<> {
        let asked = self.validate;
        [
            (Validation::RequiredArgs, asked.required_args && in_force("policy-required-args")),
            (Validation::Schema, asked.schema && in_force("policy-schema")),
            (Validation::Output, asked.output),
        ]
        .into_iter()
        .filter_map(|(validation, is_asked)| is_asked.then_some(validation))
    }

    /// Judges one of them.
    pub(super) fn validated(&self, validation: Validation, call: &Call<'_>) -> Validated {
        let tool = match call.schema {
            SchemaKnowledge::Pending => return Validated::Pending,
            SchemaKnowledge::Unavailable => {
                return Validated::Refuses(DenialCode::SchemaUnavailable, wording::schema_unavailable(self));
            }
            SchemaKnowledge::Known(tool) => tool,
        };
        match validation {
            Validation::RequiredArgs => self.required_given(tool, call),
            Validation::Schema => self.arguments_fit(tool, call),
            Validation::Output => match tool.output {
                Ok(_) => Validated::Passes,
                Err(why) => {
                    let text = wording::schema_unjudgeable(self, "output", why);
                    Validated::Refuses(DenialCode::SchemaUnavailable, text)
                }
            },
        }
    }

    /// What the schema requires is present and not null.
    fn required_given(&self, tool: KnownTool<'_>, call: &Call<'_>) -> Validated {
        let Some(names) = tool.required else {
            return Validated::Refuses(DenialCode::SchemaUnavailable, wording::schema_unavailable(self));
        };
        let members = call.arguments.and_then(Value::as_object).unwrap_or_default();
        // A server may require as many names as a client sends keys: each is looked up, not searched for.
        let is_many = members.len() > SEARCHED_MAX;
        let many: HashSet<&str> = match is_many {
            true => members.iter().filter(|(_, value)| !matches!(value, Value::Null)).map(|(key, _)| &**key).collect(),
            false => HashSet::new(),
        };
        let given = |name: &str| match is_many {
            true => many.contains(name),
            false => members.iter().any(|(key, value)| key == name && !matches!(value, Value::Null)),
        };
        match names.iter().find(|name| !given(name)) {
            None => Validated::Passes,
            Some(name) => Validated::Refuses(DenialCode::MissingArgument, wording::missing_argument(self, name)),
        }
    }

    fn arguments_fit(&self, tool: KnownTool<'_>, call: &Call<'_>) -> Validated {
        let judged = match tool.input {
            Ok(schema) => schema.check(call.arguments.unwrap_or(NO_ARGUMENTS), Keys::Folded),
            Err(why) => Err(Fault::Unjudgeable(why.clone())),
        };
        match judged {
            Ok(()) => Validated::Passes,
            Err(Fault::Mismatch(mismatch)) => {
                Validated::Refuses(DenialCode::SchemaMismatch, wording::schema_mismatch(self, &mismatch))
            }
            Err(Fault::Unjudgeable(why)) => {
                Validated::Refuses(DenialCode::SchemaUnavailable, wording::schema_unjudgeable(self, "input", &why))
            }
        }
    }
}
