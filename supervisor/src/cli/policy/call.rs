//! The call of `explain --call`: the `params` of a tools/call.

use crate::wire::json::{Number, Value};

/// Why the text is no call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("--call is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("--call wants {{\"name\": \"TOOL\", \"arguments\": {{...}}}}")]
    Shape,
}

/// Tool name and arguments.
pub(super) fn parse(text: &str) -> Result<(String, Option<Value<'static>>), CallError> {
    let mut call = match serde_json::from_str(text)? {
        serde_json::Value::Object(call) => call,
        _ => return Err(CallError::Shape),
    };
    let name = match call.remove("name") {
        Some(serde_json::Value::String(name)) => name,
        _ => return Err(CallError::Shape),
    };
    let arguments = match call.remove("arguments") {
        None => None,
        Some(arguments @ serde_json::Value::Object(_)) => Some(value(arguments)),
        Some(_) => return Err(CallError::Shape),
    };
    if call.is_empty() { Ok((name, arguments)) } else { Err(CallError::Shape) }
}

fn value(json: serde_json::Value) -> Value<'static> {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(value),
        serde_json::Value::Number(number) => Value::Number(Number::new(number.to_string().into())),
        serde_json::Value::String(text) => Value::String(text.into()),
        serde_json::Value::Array(items) => Value::Array(items.into_iter().map(value).collect()),
        serde_json::Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, member)| (key.into(), value(member))).collect())
        }
    }
}
