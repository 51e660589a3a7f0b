//! What is bounded of the messages between client and server, and of the schemas in them.

/// Values (and members) in one message. A parsed value costs 32 bytes and more, so that 64 MiB of `[1,1,..` would cost a gigabyte.
pub const JSON_VALUES_MAX: usize = 1 << 20;
/// Longest number, bytes of text. A double in shortest form needs 24; the slack is for padded zeros.
pub const JSON_NUMBER_BYTES_MAX: usize = 64;
/// Longest text of a top-level key that is looked at in a line that is too long to be read, bytes. `jsonrpc` escaped letter by letter has 44.
pub const OVERLONG_KEY_BYTES_MAX: usize = 64;
/// Longest method name, bytes. MCP's longest has 36.
pub const METHOD_BYTES_MAX: usize = 128;
/// Streams of subscriptions/listen that may be open at once. A client needs one.
pub const SUBSCRIPTIONS_MAX: usize = 64;
/// Progress tokens remembered of requests that became tasks.
pub const TASK_TOKENS_MAX: usize = 64;
/// Calls remembered that a server answered with a request for input.
pub const CONTINUATIONS_MAX: usize = 256;
/// How often one charged call may be sent again with the input that the server asked for. Forms need one or two.
pub const CALL_ROUNDS_MAX: u32 = 8;
/// How long a call may wait for that input, seconds: a person may have to give it.
pub const CONTINUATION_SECONDS: u64 = 600;
/// Cancelled requests remembered so that their late answers are dropped quietly.
pub const CANCELLED_CALLS_MAX: usize = 1024;

// schema

/// Most subschemas of one tool's schema. Large real ones have some hundred.
pub const SCHEMA_NODES_MAX: usize = 4096;
/// Largest schema that is read, in values and in sixteen bytes of text each.
pub const SCHEMA_VALUE_COST_MAX: u64 = 64 << 10;
/// Deepest chain of subschemas while one value is judged: a value of 64 levels with some references and alternatives at each.
/// A level takes some kilobytes of stack.
pub const SCHEMA_NESTING_MAX: usize = 256;
/// Most work for judging one value: steps of some ten nanoseconds, so well under a second for an honest schema. The worst pattern that
/// fits costs some seconds.
pub const SCHEMA_WORK_MAX: u64 = 16 << 20;
/// Longest pattern of a schema, bytes. Real ones have some dozens, the longest (addresses, e-mail) under two thousand. Parsing
/// takes memory and time by the text before any bound on the compiled size is looked at.
pub const SCHEMA_PATTERN_TEXT_BYTES_MAX: usize = 4 << 10;
/// Most `\p{..}` and `\P{..}` in one pattern of a schema. Five bytes of text become hundreds of ranges each, in the parser, where
/// no bound on the compiled size reaches; names in every script need two or three.
pub const SCHEMA_PATTERN_PROPERTIES_MAX: usize = 16;
/// Largest compiled pattern of a schema, bytes.
pub const SCHEMA_PATTERN_BYTES_MAX: usize = 1 << 20;
/// Most bytes that all of them compile to; what compiling in vain was tried with counts too, for it took the same time.
pub const SCHEMA_PATTERNS_BYTES_MAX: usize = 16 << 20;
/// Most different patterns in the schemas of one server that are kept.
pub const SCHEMA_PATTERNS_MAX: usize = 128;
