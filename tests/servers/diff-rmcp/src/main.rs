//! An MCP server on the official Rust SDK for the differential suite. It checks nothing: each call that reaches a tool is written
//! down as this language saw it, one line a call.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::stdio;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Map, Value, json};

const TOOLS: [&str; 3] = ["allowed", "denied", "limited"];

/// A value with its leaves as strings, type first.
fn seen(value: &Value) -> Value {
    match value {
        Value::Null => json!("null:"),
        Value::Bool(truth) => json!(format!("boolean:{truth}")),
        Value::Number(number) => json!(format!("number:{number}")),
        Value::String(text) => json!(format!("string:{text}")),
        Value::Array(items) => items.iter().map(seen).collect(),
        Value::Object(members) => Value::Object(seen_members(members)),
    }
}

fn seen_members(members: &JsonObject) -> Map<String, Value> {
    members.iter().map(|(key, value)| (key.clone(), seen(value))).collect()
}

fn schema() -> JsonObject {
    let properties = json!({
        "tag": {"type": "string"}, "text": {"type": "string"}, "n": {"type": "number"}, "flag": {"type": "boolean"},
        "nested": {"type": "object"},
    });
    Map::from_iter([("type".to_owned(), json!("object")), ("properties".to_owned(), properties)])
}

fn write_down(tool: &str, arguments: &JsonObject) -> std::io::Result<()> {
    let path = std::env::var("EXECUTED").map_err(std::io::Error::other)?;
    let mut log = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(log, "{}", json!({"tool": tool, "arguments": seen_members(arguments)}))
}

struct Recorder;

impl ServerHandler for Recorder {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = TOOLS.map(|name| Tool::new(name, format!("The tool {name}"), schema()));
        Ok(ListToolsResult::with_all_items(tools.to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if !TOOLS.contains(&&*request.name) {
            return Err(ErrorData::invalid_params("no such tool", None));
        }
        write_down(&request.name, &request.arguments.unwrap_or_default())
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(CallToolResult::success(vec![ContentBlock::text("done")]).into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        Recorder.serve(stdio()).await?.waiting().await?;
        Ok(())
    })
}
