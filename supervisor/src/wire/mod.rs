//! The pipe: frames, strict JSON, JSON-RPC, MCP. Bytes in, values out; no I/O, no clock.
#![forbid(unsafe_code)]

pub mod json;
