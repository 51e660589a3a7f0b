//! Tools: what a `tools/call` asks for, and what a `tools/list` answered.

use std::collections::HashSet;

use super::fold;
use super::json::Value;
use super::methods::{Era, parameters_in};
use crate::bounds::TOOL_NAME_BYTES_MAX;

/// The parameters of a `tools/call`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToolCall<'v> {
    /// `params.name`.
    pub name: &'v str,
    /// `params.arguments`, an object when present.
    pub arguments: Option<&'v Value<'v>>,
    /// `params.task`, an object when present: forwarded like the arguments.
    pub task: Option<&'v Value<'v>>,
    /// `params._meta`, an object when present: forwarded like the arguments.
    pub meta: Option<&'v Value<'v>>,
    /// `params.inputResponses` (2026-07-28), an object when present: what the client answers to an InputRequiredResult.
    pub input_responses: Option<&'v Value<'v>>,
    /// `params.requestState` (2026-07-28), a string when present: what that result gave it to send back.
    pub request_state: Option<&'v Value<'v>>,
}

/// Why the parameters of a `tools/call` are none. Answered with -32602.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// `name` is missing, no string, empty or over [`TOOL_NAME_BYTES_MAX`].
    #[error("\"name\" is not a short string")]
    Name,
    /// `arguments` is present and no object.
    #[error("\"arguments\" is not an object")]
    Arguments,
    /// `task` or `_meta` is present and no object.
    #[error("\"task\" or \"_meta\" is not an object")]
    Beside,
    /// `inputResponses` is present and no object, or `requestState` and no string.
    #[error("\"inputResponses\" is not an object, or \"requestState\" is not a string")]
    Retry,
    /// A key that tools/call does not have in the request's revision: a server could read it, and nobody judges it.
    #[error(
        "tools/call takes \"name\", \"arguments\", \"task\" and \"_meta\" alone; where \"_meta\" names 2026-07-28,          \"inputResponses\" and \"requestState\" and no \"task\""
    )]
    Unknown,
}

impl<'v> ToolCall<'v> {
    /// Reads the parameters of a `tools/call`.
    ///
    /// # Errors
    /// When they are not those of a call.
    pub fn of(params: Option<&'v Value<'v>>) -> Result<Self, CallError> {
        let name = params.and_then(|params| params.member("name")).and_then(Value::as_str).filter(|name| is_name(name));
        let keys = params.and_then(Value::as_object).unwrap_or_default();
        // Only the request itself can say that it is of 2026-07-28: there it must (RequestMetaObject).
        let era = Era::of_request(params).ok().flatten().unwrap_or(Era::V2025_11_25);
        if keys.iter().any(|(key, _)| !parameters_in("tools/call", era).any(|known| known == key)) {
            return Err(CallError::Unknown);
        }
        let [arguments, task, meta, input_responses, request_state] =
            ["arguments", "task", "_meta", "inputResponses", "requestState"]
                .map(|key| params.and_then(|params| params.member(key)));
        let is_object = |value: Option<&Value<'_>>| value.is_none_or(|value| value.as_object().is_some());
        if !is_object(arguments) {
            return Err(CallError::Arguments);
        }
        if !is_object(task) || !is_object(meta) {
            return Err(CallError::Beside);
        }
        if !is_object(input_responses) || request_state.is_some_and(|state| state.as_str().is_none()) {
            return Err(CallError::Retry);
        }
        Ok(Self { name: name.ok_or(CallError::Name)?, arguments, task, meta, input_responses, request_state })
    }

    /// A call of `name` with nothing but `arguments`.
    #[must_use]
    pub const fn plain(name: &'v str, arguments: Option<&'v Value<'v>>) -> Self {
        Self { name, arguments, task: None, meta: None, input_responses: None, request_state: None }
    }

    /// What of `_meta` a server can act on: all but a plain `progressToken`, which names the call and is another each time.
    pub fn meta_members(self) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
        let is_token = |key: &str, value: &Value<'_>| {
            key == "progressToken" && matches!(value, Value::String(_) | Value::Number(_))
        };
        let members = self.meta.and_then(Value::as_object).unwrap_or_default();
        members.iter().map(|(key, value)| (&**key, value)).filter(move |(key, value)| !is_token(key, value))
    }
}

/// One page of a `tools/list`.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<'v> {
    /// The tools, in the server's order.
    pub tools: Vec<ListedTool<'v>>,
    /// `nextCursor`: there is another page.
    pub next_cursor: Option<String>,
}

/// One tool of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedTool<'v> {
    /// `name`.
    pub name: String,
    /// What its `inputSchema` says; none when that cannot be read, so that a rule which needs it refuses.
    pub schema: Option<InputSchema>,
    /// The whole entry.
    pub definition: &'v Value<'v>,
}

/// What the top level of an inputSchema says, `allOf` branches included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputSchema {
    /// `required`.
    pub required: Vec<String>,
    /// The names of `properties`.
    pub properties: Vec<String>,
}

/// Why the result of a `tools/list` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// `result` is no object, or its `tools` no array.
    #[error("\"tools\" is not an array")]
    Tools,
    /// A key that some reader takes for `tools` or `nextCursor`.
    #[error("a key differs from \"tools\" or \"nextCursor\" only in case")]
    Keys,
    /// `nextCursor` is present and no string.
    #[error("\"nextCursor\" is not a string")]
    Cursor,
}

/// The members of a page that are read.
const LISTING: [&str; 2] = ["tools", "nextCursor"];
/// The members that make a tool what it is (wire/pin).
const DEFINING: [&str; 6] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];

/// Reads a page. Entries that [`filter`] would drop whatever it is told are not in it.
///
/// # Errors
/// When the result is not that of a `tools/list`.
pub fn read_page<'v>(result: &'v Value<'v>) -> Result<Page<'v>, ListError> {
    if fold::misnamed(result, LISTING).is_some() {
        return Err(ListError::Keys);
    }
    let entries = result.member("tools").and_then(Value::as_array).ok_or(ListError::Tools)?;
    let mut seen = HashSet::new();
    let tools = entries
        .iter()
        .filter_map(|entry| Some((name_of(entry)?, entry)))
        .filter(|(name, _)| seen.insert(*name))
        .map(|(name, entry)| ListedTool {
            name: name.to_owned(),
            schema: entry.member("inputSchema").and_then(InputSchema::of),
            definition: entry,
        })
        .collect();
    let next_cursor = match result.member("nextCursor") {
        None => None,
        Some(Value::String(cursor)) => Some(cursor.clone().into_owned()),
        Some(_) => return Err(ListError::Cursor),
    };
    Ok(Page { tools, next_cursor })
}

/// The entries of a page that have a usable name.
pub fn entries<'v>(result: &'v Value<'v>) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
    let entries = result.member("tools").and_then(Value::as_array).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((name_of(entry)?, entry)))
}

/// Drops the tools that `keep` does not keep, those without a usable name, and the second of two with one name. The rest of the
/// result keeps its order, unknown fields and `_meta`. How many were dropped; with 0 the line can go on as it came.
///
/// # Errors
/// When the result is not that of a `tools/list`.
pub fn filter(result: &mut Value<'_>, mut keep: impl FnMut(&str, &Value<'_>) -> bool) -> Result<usize, ListError> {
    if fold::misnamed(result, LISTING).is_some() {
        return Err(ListError::Keys);
    }
    let Some(Value::Array(entries)) = result.member_mut("tools") else {
        return Err(ListError::Tools);
    };
    let before = entries.len();
    let mut seen = HashSet::new();
    entries.retain(|entry| name_of(entry).is_some_and(|name| keep(name, entry) && seen.insert(name.to_owned())));
    Ok(before - entries.len())
}

/// None for an entry of which readers could take two names, or two of what is pinned: nobody can say what they would see.
fn name_of<'v>(entry: &'v Value<'_>) -> Option<&'v str> {
    if fold::misnamed(entry, DEFINING).is_some() {
        return None;
    }
    entry.member("name").and_then(Value::as_str).filter(|name| is_name(name))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX
}

impl InputSchema {
    /// None for a schema that hides what it requires (`$ref`) or that is malformed where we read it.
    #[must_use]
    pub fn of(schema: &Value<'_>) -> Option<Self> {
        schema.as_object()?;
        if schema.member("$ref").is_some() {
            return None;
        }
        let mut read = Self::default();
        if let Some(required) = schema.member("required") {
            for name in required.as_array()? {
                read.required.push(name.as_str()?.to_owned());
            }
        }
        if let Some(properties) = schema.member("properties") {
            read.properties.extend(properties.as_object()?.iter().map(|(name, _)| name.clone().into_owned()));
        }
        if let Some(branches) = schema.member("allOf") {
            for branch in branches.as_array()? {
                let branch = Self::of(branch)?;
                read.required.extend(branch.required);
                read.properties.extend(branch.properties);
            }
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::{parse, write};

    fn schema_of(text: &str) -> Option<InputSchema> {
        let page = format!(r#"{{"tools":[{{"name":"t","inputSchema":{text}}}]}}"#);
        read_page(&parse(page.as_bytes()).unwrap()).unwrap().tools[0].schema.clone()
    }

    #[test]
    fn call_is_read() {
        let params = parse(br#"{"name":"t","arguments":{"a":1},"_meta":{}}"#).unwrap();
        let call = ToolCall::of(Some(&params)).unwrap();
        assert_eq!(call.name, "t");
        assert_eq!(call.arguments, params.member("arguments"));
        assert_eq!(ToolCall::of(Some(&parse(br#"{"name":"t"}"#).unwrap())).unwrap().arguments, None);
    }

    #[test]
    fn malformed_calls_are_refused() {
        assert_eq!(ToolCall::of(None), Err(CallError::Name));
        for (text, error) in [
            (r#"{}"#, CallError::Name),
            (r#"{"name":1}"#, CallError::Name),
            (r#"{"name":""}"#, CallError::Name),
            (r#"{"name":"t","arguments":null}"#, CallError::Arguments),
            (r#"{"name":"t","arguments":[1]}"#, CallError::Arguments),
            (r#"{"name":"t","arguments":"{}"}"#, CallError::Arguments),
        ] {
            assert_eq!(ToolCall::of(Some(&parse(text.as_bytes()).unwrap())), Err(error), "{text}");
        }
    }

    #[test]
    fn tool_name_at_the_bound_passes_and_one_over_does_not() {
        let params = |length: usize| format!(r#"{{"name":"{}"}}"#, "n".repeat(length));
        let (fits, over) = (params(TOOL_NAME_BYTES_MAX), params(TOOL_NAME_BYTES_MAX + 1));
        assert!(ToolCall::of(Some(&parse(fits.as_bytes()).unwrap())).is_ok());
        assert_eq!(ToolCall::of(Some(&parse(over.as_bytes()).unwrap())), Err(CallError::Name));
    }

    #[test]
    fn filter_keeps_order_and_every_other_field() {
        let line = r#"{"z":1.0,"tools":[{"name":"b","x":[1e2]},{"name":"a"},{"name":"c","_meta":{"k":null}}],"nextCursor":"n","_meta":{"y":2}}"#;
        let mut result = parse(line.as_bytes()).unwrap();
        assert_eq!(filter(&mut result, |name, _| name != "a"), Ok(1));
        let mut out = Vec::new();
        write(&result, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), line.replace(r#"{"name":"a"},"#, ""));
        assert_eq!(filter(&mut result, |_, _| true), Ok(0));
    }

    #[test]
    fn tools_that_cannot_be_judged_are_dropped() {
        let text = br#"{"tools":[{"name":"a"},1,{"title":"x"},{"name":7},{"name":""},{"name":"a","inputSchema":{}}]}"#;
        let mut result = parse(text).unwrap();
        let page = read_page(&result).unwrap();
        assert_eq!(page.tools.len(), 1);
        assert_eq!((page.tools[0].name.as_str(), &page.tools[0].schema), ("a", &None));
        assert_eq!(filter(&mut result, |_, _| true), Ok(5));
        assert_eq!(result, parse(br#"{"tools":[{"name":"a"}]}"#).unwrap());
    }

    #[test]
    fn what_is_no_tools_list_is_refused() {
        for text in ["null", "[]", "{}", r#"{"tools":{}}"#] {
            let mut result = parse(text.as_bytes()).unwrap();
            assert_eq!(read_page(&result), Err(ListError::Tools), "{text}");
            assert_eq!(filter(&mut result, |_, _| true), Err(ListError::Tools), "{text}");
        }
        assert_eq!(read_page(&parse(br#"{"tools":[],"nextCursor":1}"#).unwrap()), Err(ListError::Cursor));
    }

    #[test]
    fn a_call_has_the_parameters_of_the_revisions_and_no_other() {
        for (text, error) in [
            (r#"{"name":"a","extra":{}}"#, CallError::Unknown),
            (r#"{"name":"a","input":null}"#, CallError::Unknown),
            (r#"{"name":"a","_meta":"x"}"#, CallError::Beside),
            (r#"{"name":"a","task":[]}"#, CallError::Beside),
        ] {
            assert_eq!(ToolCall::of(Some(&parse(text.as_bytes()).unwrap())), Err(error), "{text}");
        }
        let text = br#"{"name":"a","task":{"ttl":1},"_meta":{"progressToken":"p","to":1}}"#;
        let params = parse(text).unwrap();
        let call = ToolCall::of(Some(&params)).unwrap();
        assert!(call.task.is_some());
        assert_eq!(call.meta_members().map(|(key, _)| key).collect::<Vec<_>>(), ["to"]);
        let odd = parse(br#"{"name":"a","_meta":{"progressToken":{"to":1}}}"#).unwrap();
        assert_eq!(ToolCall::of(Some(&odd)).unwrap().meta_members().count(), 1, "no token that MCP knows");
    }

    #[test]
    fn answers_to_an_input_required_result_belong_to_their_revision() {
        let with = |version: &str, rest: &str| {
            let meta = format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#);
            format!(r#"{{"name":"t",{rest},{meta}}}"#)
        };
        let of = |text: &str| {
            let params = parse(text.as_bytes()).unwrap();
            ToolCall::of(Some(&params)).map(|call| (call.input_responses.is_some(), call.request_state.is_some()))
        };
        let retry = r#""inputResponses":{"a":{}},"requestState":"s""#;
        assert_eq!(of(&with("2026-07-28", retry)), Ok((true, true)));
        assert_eq!(of(&with("2025-11-25", retry)), Err(CallError::Unknown));
        assert_eq!(of(r#"{"name":"t","requestState":"s"}"#), Err(CallError::Unknown));
        assert_eq!(of(&with("2026-07-28", r#""task":{}"#)), Err(CallError::Unknown));
        assert_eq!(of(&with("2026-07-28", r#""requestState":1"#)), Err(CallError::Retry));
        assert_eq!(of(&with("2026-07-28", r#""inputResponses":[]"#)), Err(CallError::Retry));
    }

    #[test]
    fn page_and_cursor_are_read() {
        let list = parse(br#"{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"p2"}"#).unwrap();
        let page = read_page(&list).unwrap();
        assert_eq!(page.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(page.next_cursor.as_deref(), Some("p2"));
        assert_eq!(read_page(&parse(br#"{"tools":[]}"#).unwrap()).unwrap().next_cursor, None);
    }

    #[test]
    fn schema_names_are_read() {
        let read = schema_of(
            r#"{"type":"object","properties":{"prompt":{},"n":{}},"required":["prompt"],"allOf":[{"required":["n"]}]}"#,
        )
        .unwrap();
        assert_eq!(read.required, ["prompt", "n"]);
        assert_eq!(read.properties, ["prompt", "n"]);
        assert_eq!(schema_of("{}"), Some(InputSchema::default()));
    }

    #[test]
    fn unreadable_schemas_are_unknown() {
        for text in [
            "null",
            "true",
            r#"{"required":"prompt"}"#,
            r#"{"required":[1]}"#,
            r##"{"$ref":"#/x"}"##,
            r#"{"properties":[]}"#,
            r#"{"allOf":[true]}"#,
        ] {
            assert_eq!(schema_of(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_reader_without_case_would_see_otherwise_is_not_listed() {
        for text in [r#"{"tools":[],"Tools":[{"name":"hidden"}]}"#, r#"{"tools":[],"nextcursor":"x"}"#] {
            let mut page = parse(text.as_bytes()).unwrap();
            assert_eq!(read_page(&page).unwrap_err(), ListError::Keys, "{text}");
            assert_eq!(filter(&mut page, |_, _| true), Err(ListError::Keys), "{text}");
        }
        let text = br#"{"tools":[{"name":"a","description":"good","Description":"evil"},{"name":"b","Name":"c"},{"name":"d","x":1}]}"#;
        let mut page = parse(text).unwrap();
        assert_eq!(read_page(&page).unwrap().tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["d"]);
        assert_eq!(filter(&mut page, |_, _| true), Ok(2));
    }
}
