//! Whether a result is what the tool's outputSchema says.

use crate::wire::json::Value;
use crate::wire::schema::{Fault, Keys, Schema};

/// Why `result`, the result of a tools/call, does not fit `schema`: what the agent reads instead of it. None where it fits.
///
/// A result that is no error must have `structuredContent` (MCP 2025-11-25, "Output Schema"); one that is an error need not, but what it
/// has must fit. `asks` says that this revision of MCP knows results that ask for input first: those have no content yet.
pub(super) fn fault(result: &Value<'_>, schema: &Schema, asks: bool) -> Option<String> {
    let is_error = result.member("isError") == Some(&Value::Bool(true));
    let Some(content) = result.member("structuredContent") else {
        let asks = asks && result.member("resultType").and_then(Value::as_str) == Some("input_required");
        let is_excused = is_error || (asks && result.member("content").is_none());
        return (!is_excused).then(|| "The result was withheld: it has no structuredContent.".to_owned());
    };
    match schema.check(content, Keys::Exact) {
        Ok(()) => None,
        Err(Fault::Mismatch(mismatch)) => Some(format!("The result was withheld: structuredContent{mismatch}.")),
        Err(Fault::Unjudgeable(why)) => Some(format!("The result was withheld: it cannot be judged, {why}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::schema::Patterns;

    fn found(result: &str, asks: bool) -> Option<String> {
        let schema = br#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;
        let schema = Schema::compile(&parse(schema).unwrap(), &mut Patterns::default()).unwrap();
        fault(&parse(result.as_bytes()).unwrap(), &schema, asks)
    }

    #[test]
    fn a_result_fits_or_is_withheld_with_the_place() {
        for fits in [
            r#"{"content":[],"structuredContent":{"n":1}}"#,
            r#"{"content":[],"isError":false,"structuredContent":{"n":1,"N":2}}"#,
            r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#,
        ] {
            assert_eq!(found(fits, false), None, "{fits}");
        }
        for (result, text) in [
            (r#"{"content":[]}"#, "it has no structuredContent."),
            (r#"{"content":[],"isError":"true"}"#, "it has no structuredContent."),
            (r#"{"structuredContent":{}}"#, "structuredContent must have the key \"n\"."),
            (r#"{"structuredContent":{"n":"x"}}"#, "structuredContent.n must be an integer, not string."),
            (
                r#"{"isError":true,"structuredContent":{"n":"x"}}"#,
                "structuredContent.n must be an integer, not string.",
            ),
            (r#"{"structuredContent":null}"#, "structuredContent must be an object, not null."),
            (r#"{"toolResult":{"n":1}}"#, "it has no structuredContent."),
            ("[]", "it has no structuredContent."),
        ] {
            assert_eq!(found(result, false), Some(format!("The result was withheld: {text}")), "{result}");
        }
    }

    #[test]
    fn a_result_that_asks_for_input_has_no_content_yet_where_the_revision_knows_it() {
        let asks = r#"{"resultType":"input_required","inputRequests":{}}"#;
        assert_eq!(found(asks, true), None);
        assert!(found(asks, false).is_some(), "an older client would read it as a result");
        assert!(found(r#"{"resultType":"input_required","content":[]}"#, true).is_some());
        assert!(found(r#"{"resultType":"input_required","structuredContent":{}}"#, true).is_some());
    }
}
