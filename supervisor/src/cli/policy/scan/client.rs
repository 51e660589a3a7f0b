//! The MCP client of a scan: handshake, pages of tools/list, nothing else. It offers no capability and answers nothing, so a server
//! has nothing to ask of it.

use std::collections::HashSet;

use super::error::ScanError;
use crate::bounds::{POLICY_TOOLS_MAX, SCAN_CURSOR_BYTES_MAX, SCHEMA_PAGES_MAX};
use crate::wire::json::{self, Value};

/// Revisions whose tools/list reads alike; the first is asked for.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Lines to and from a server.
pub(super) trait Line {
    /// Sends one line.
    fn send(&mut self, line: &[u8], method: &'static str) -> Result<(), ScanError>;
    /// The next line, within the scan's time and bytes. `method` is what is waited for.
    fn receive(&mut self, method: &'static str) -> Result<Vec<u8>, ScanError>;
}

/// What a server said of itself.
#[derive(Debug)]
pub(super) struct Listed {
    /// The protocol version that it chose.
    pub(super) protocol: String,
    /// The name and version that it gives itself.
    pub(super) server: String,
    /// The entries of every page, in order.
    pub(super) tools: Vec<Value<'static>>,
}

/// Asks for everything there is.
///
/// # Errors
/// When the server does not answer, in time and in bounds, with what can be read.
pub(super) fn list(line: &mut impl Line) -> Result<Listed, ScanError> {
    let greeting = format!(
        r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"intercept-sandbox-scan","version":"{}"}}}}"#,
        VERSIONS[0],
        env!("CARGO_PKG_VERSION")
    );
    let hello = ask(line, 1, "initialize", &greeting)?;
    let text = |value: Option<&Value<'_>>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let protocol = text(hello.member("protocolVersion"));
    if !VERSIONS.contains(&protocol.as_str()) {
        return Err(ScanError::Version(protocol.chars().take(32).collect()));
    }
    line.send(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "initialize")?;
    let info = |key| text(hello.member("serverInfo").and_then(|info| info.member(key)));
    let mut listed = Listed { protocol, server: format!("{} {}", info("name"), info("version")), tools: Vec::new() };
    if hello.member("capabilities").and_then(|capabilities| capabilities.member("tools")).is_some() {
        pages(line, &mut listed.tools)?;
    }
    Ok(listed)
}

fn pages(line: &mut impl Line, tools: &mut Vec<Value<'static>>) -> Result<(), ScanError> {
    const METHOD: &str = "tools/list";
    let mut seen = HashSet::new();
    let mut params = "{}".to_owned();
    for page in 0..SCHEMA_PAGES_MAX {
        let mut result = ask(line, 2 + page, METHOD, &params)?;
        let unreadable = |why: &str| ScanError::Unreadable { method: METHOD, why: why.to_owned() };
        let Some(Value::Array(entries)) = result.member_mut("tools") else {
            return Err(unreadable("`tools` is not a list"));
        };
        tools.append(entries);
        if tools.len() > POLICY_TOOLS_MAX {
            return Err(ScanError::TooManyTools);
        }
        let cursor = match result.member("nextCursor") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::String(cursor)) => cursor.clone().into_owned(),
            Some(_) => return Err(unreadable("`nextCursor` is not a string")),
        };
        if cursor.len() > SCAN_CURSOR_BYTES_MAX {
            return Err(ScanError::Cursor);
        }
        let mut quoted = Vec::new();
        json::write_string(&cursor, &mut quoted);
        params = format!(r#"{{"cursor":{}}}"#, String::from_utf8_lossy(&quoted));
        if !seen.insert(cursor) {
            return Err(ScanError::Endless);
        }
    }
    Err(ScanError::Endless)
}

/// Sends a request and waits for its answer; every other message is passed over.
fn ask(line: &mut impl Line, id: usize, method: &'static str, params: &str) -> Result<Value<'static>, ScanError> {
    line.send(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#).as_bytes(), method)?;
    loop {
        let bytes = line.receive(method)?;
        // Lines that are no strict JSON never pass `run`; one that did would be no answer.
        let Ok(mut message) = json::parse(&bytes) else { continue };
        let answers = matches!(message.member("id"), Some(Value::Number(number)) if number.text() == id.to_string());
        if !answers || message.member("method").is_some() {
            continue;
        }
        if let Some(error) = message.member("error") {
            let text = error.member("message").and_then(Value::as_str).unwrap_or("(no message)");
            return Err(ScanError::Refused { method, text: text.chars().take(200).collect() });
        }
        return match message.member_mut("result") {
            Some(result @ Value::Object(_)) => Ok(std::mem::replace(result, Value::Null).into_owned()),
            _ => Err(ScanError::Unreadable { method, why: "`result` is not an object".to_owned() }),
        };
    }
}
