//! The pipe: frames, strict JSON, JSON-RPC, MCP. Bytes in, values out; no I/O, no clock.
//!
//! A line goes up through the files in this order: [`frame`] cuts it out of the stream, [`json`] reads it or refuses it,
//! [`jsonrpc`] makes it a message, [`methods`] says whether MCP knows its method in this direction, [`tools`] reads what
//! a `tools/call` asks for and what a `tools/list` answered, [`ids`] matches answers to questions, [`reply`] writes ours.
#![forbid(unsafe_code)]

pub mod fold;
pub mod frame;
pub mod ids;
pub mod json;
pub mod jsonrpc;
pub mod methods;
pub mod pin;
pub mod pin_diff;
pub mod pin_lock;
pub mod reply;
pub mod tool_names;
pub mod tools;
