//! The call of `explain --call`: the `params` of a tools/call, read by the parser of the pipe.

use crate::wire::json::{self, Reject, Value};

/// Why the text is no call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("--call is not JSON that the pipe would let pass")]
    Json(#[from] Reject),
    #[error("--call wants {{\"name\": \"TOOL\", \"arguments\": {{...}}}}")]
    Shape,
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
