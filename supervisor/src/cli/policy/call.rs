//! The call of `explain --call`: the `params` of a tools/call, read by the parser of the pipe.

use crate::wire::advertised::Advertised;
use crate::wire::json::{self, Reject, Value};
use crate::wire::schema::Patterns;
use crate::wire::tools::InputSchema;

/// Why the text is no call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("--call is not JSON that the pipe would let pass")]
    Json(#[from] Reject),
    #[error("--call wants {{\"name\": \"TOOL\", \"arguments\": {{...}}}}")]
    Shape,
    #[error("--schema is not JSON that the pipe would let pass")]
    Schema(#[source] Reject),
}

/// A tool with the inputSchema of `--schema`.
pub(super) fn schema(text: &str) -> Result<Advertised, CallError> {
    let schema = json::parse(text.as_bytes()).map_err(CallError::Schema)?;
    let names = InputSchema::of(&schema);
    let definition = Value::Object(vec![("inputSchema".into(), schema)]);
    let mut tool = Advertised::names(names);
    tool.read_input(&definition, &mut Patterns::default());
    Ok(tool)
}

/// Tool name and arguments.
pub(super) fn parse(text: &str) -> Result<(String, Option<Value<'_>>), CallError> {
    let Value::Object(members) = json::parse(text.as_bytes())? else {
        return Err(CallError::Shape);
    };
    let (mut tool, mut arguments) = (None, None);
    for (key, value) in members {
        match (key.as_ref(), value) {
            ("name", Value::String(name)) => tool = Some(name.into_owned()),
            ("arguments", value @ Value::Object(_)) => arguments = Some(value),
            _ => return Err(CallError::Shape),
        }
    }
    Ok((tool.ok_or(CallError::Shape)?, arguments))
}
