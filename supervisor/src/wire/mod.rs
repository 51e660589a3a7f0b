//! The pipe: frames, strict JSON, JSON-RPC, MCP. Bytes in, values out; no I/O, no clock.
//!
//! A line goes up through the files in this order: [`frame`] cuts it out of the stream ([`overlong`] says whom an error about a dropped
//! one is for), [`json`] reads it or refuses it,
//! [`jsonrpc`] makes it a message, [`methods`] says whether MCP knows its method in this direction, [`tools`] reads what
//! a `tools/call` asks for and what a `tools/list` answered, [`advertised`] keeps of that what [`schema`] judges values by,
//! [`ids`] matches answers to questions, [`reply`] writes ours. Before all that, [`secrets`] takes the known secrets out of what a server says;
//! [`elicitation`] cleans what a person will read.
#![forbid(unsafe_code)]

pub mod advertised;
pub mod elicitation;
pub mod fold;
pub mod frame;
pub mod ids;
pub mod json;
pub mod jsonrpc;
pub mod methods;
pub mod overlong;
pub mod pin;
pub mod pin_diff;
pub mod pin_lock;
pub mod reply;
pub mod schema;
pub mod secrets;
pub mod tool_names;
pub mod tools;
