//! Shared by the unit tests of the policy.

use std::path::Path;
use std::sync::LazyLock;

use super::holds::Outcome;
use super::load::{Source, load};
use super::model::Policy;
use super::verdict::{Call, KnownTool, SchemaKnowledge};
use crate::report::Diagnostic;
use crate::wire::json::Value;
use crate::wire::schema::{Patterns, Schema};

pub(super) fn loaded_at(path: &str, text: &str) -> Policy {
    match load(&Source { path: Path::new(path), text }) {
        Ok(loaded) => loaded.policy,
        Err(errors) => panic!("{}", rendered(&errors)),
    }
}

pub(super) fn loaded(text: &str) -> Policy {
    loaded_at("/etc/p.yaml", text)
}

pub(super) fn errors(text: &str) -> Vec<Diagnostic> {
    load(&Source { path: Path::new("/etc/p.yaml"), text }).map(|loaded| loaded.policy.normalised()).expect_err(text)
}

pub(super) fn warnings(text: &str) -> Vec<Diagnostic> {
    load(&Source { path: Path::new("/etc/p.yaml"), text })
        .unwrap_or_else(|errors| panic!("{}", rendered(&errors)))
        .warnings
}

pub(super) fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect()
}

/// JSON text as the value that the policy judges, read by the parser of the pipe.
pub(super) fn value(json: &str) -> Value<'static> {
    let kept: &'static str = Box::leak(json.into());
    crate::wire::json::parse(kept.as_bytes()).unwrap_or_else(|reject| panic!("{json}: {reject:?}"))
}

/// One condition on `args.x`.
pub(super) fn judge_condition(op: &str, operand: &str, if_present: bool, arguments: &str) -> Outcome {
    let extra = if if_present { ", if_present: true" } else { "" };
    let text =
        format!("tools: {{t: {{rules: [{{conditions: [{{path: args.x, op: {op}, value: {operand}{extra}}}]}}]}}}}");
    let policy = loaded(&text);
    policy.tools["t"].rules[0].conditions[0].check(Some(&value(arguments)))
}

static PROMPT: LazyLock<Vec<String>> = LazyLock::new(|| vec!["p".to_owned()]);

/// `p` is a short string, `n` an integer.
pub(super) static STRICT: LazyLock<Schema> = LazyLock::new(|| {
    schema(r#"{"properties": {"p": {"type": "string", "maxLength": 4}, "n": {"type": "integer"}}, "required": ["p"]}"#)
});

pub(super) fn schema(text: &str) -> Schema {
    Schema::compile(&value(text), &mut Patterns::default()).unwrap_or_else(|why| panic!("{text}: {why}"))
}

pub(super) fn call<'a>(tool: &'a str, arguments: Option<&'a Value<'a>>) -> Call<'a> {
    Call { tool, arguments, schema: SchemaKnowledge::Unavailable }
}

/// `schema`: 0 pending, 1 unavailable, 2 requires `p` and takes [`STRICT`]; there is no output schema.
pub(super) fn call_with<'a>(tool: &'a str, arguments: Option<&'a Value<'a>>, schema: usize) -> Call<'a> {
    let known = SchemaKnowledge::Known(KnownTool { input: Ok(&STRICT), ..KnownTool::requiring(&PROMPT) });
    Call { tool, arguments, schema: [SchemaKnowledge::Pending, SchemaKnowledge::Unavailable, known][schema] }
}
