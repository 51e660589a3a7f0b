//! Every bound of the program, with its reason. A bound that is not here does not exist; a test goes one over each.

/// Longest line accepted from the client, bytes. Requests carry arguments, not payloads.
pub const CLIENT_LINE_BYTES_MAX: usize = 4 << 20;
/// Longest line accepted from the server, bytes. Base64 images are large lines and legitimate.
pub const SERVER_LINE_BYTES_MAX: usize = 64 << 20;
/// Deepest nesting of arrays and objects in one message. The MCP schemas need under 20.
pub const JSON_DEPTH_MAX: usize = 64;
/// Largest integer magnitude that JavaScript reads as written: 2^53 - 1.
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Requests of one direction that may be unanswered at once.
pub const PENDING_CALLS_MAX: usize = 1024;
/// Longest JSON-RPC id accepted as a string, bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 256;
/// Longest tool name accepted, bytes. The MCP draft recommends 128.
pub const TOOL_NAME_BYTES_MAX: usize = 256;
/// Largest policy file, bytes.
pub const POLICY_BYTES_MAX: u64 = 1 << 20;
/// Most tools in one policy.
pub const POLICY_TOOLS_MAX: usize = 10_000;
/// Most rules in one policy, over all tools.
pub const POLICY_RULES_MAX: usize = 20_000;
/// Longest wait for the tools/list that a call's check needs, milliseconds.
pub const SCHEMA_WAIT_MS: u64 = 5_000;
/// Largest `max` of a sliding window, calls.
pub const WINDOW_CALLS_MAX: u64 = 10_000_000;
/// Longest window, seconds (366 days).
pub const WINDOW_SECONDS_MAX: u64 = 366 * 86_400;
/// Largest audit record, bytes. Longer strings inside are cut and marked.
pub const AUDIT_RECORD_BYTES_MAX: usize = 64 << 10;
/// Most audit bytes of one session; past it the session ends.
pub const AUDIT_SESSION_BYTES_MAX: u64 = 1 << 30;
/// Longest message between our own processes, bytes.
pub const CREW_MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Most hosts in one policy. Each gets one synthetic address of 198.18.0.0/15.
pub const HOSTS_MAX: usize = 1024;
/// Most bytes of a TLS ClientHello that the gateway gathers.
pub const CLIENT_HELLO_BYTES_MAX: usize = 64 << 10;
/// Longest wait for a whole ClientHello, milliseconds.
pub const CLIENT_HELLO_WAIT_MS: u64 = 10_000;
/// Most connections that one session holds open through the gateway.
pub const GATEWAY_CONNECTIONS_MAX: usize = 256;
/// Bytes of server output held for a client that does not read; past it we stop reading the server.
pub const RELAY_BUFFER_BYTES_MAX: usize = 128 << 20;
/// Longest stderr line of the server that is passed on, bytes.
pub const STDERR_LINE_BYTES_MAX: usize = 8 << 10;

// Audit.

/// Most items of a list in a record (argv, layers, top-level argument keys); the rest is counted.
pub const AUDIT_LIST_ITEMS_MAX: usize = 64;
/// Most argument leaves that get a keyed hash of their own; the rest is counted. With 240 bytes each they fit a record.
pub const AUDIT_ARGUMENT_LEAVES_MAX: usize = 128;
/// Bytes that stay allocated beyond the end of a segment, so that one last record of any size fits on a full disk.
pub const AUDIT_RESERVE_BYTES: u64 = AUDIT_RECORD_BYTES_MAX as u64;
/// The same for a segment that continues a killed writer's: its header and the session's end are under 10 KiB, and what
/// the killed writer left of its own reserve on a full disk must do.
pub const AUDIT_SUCCESSOR_RESERVE_BYTES: u64 = 16 << 10;
/// Bytes of a segment that are allocated at a time: some 500 records between two calls of fallocate.
pub const AUDIT_RESERVE_CHUNK_BYTES: u64 = 256 << 10;
/// Bytes that stay allocated beyond the end of the notes and the index: a dozen notes or lines.
pub const AUDIT_SIDECAR_RESERVE_BYTES: u64 = 4 << 10;
/// Most records between two signed notes; what stands after the last note can be rewritten by who holds the file.
pub const AUDIT_CHECKPOINT_RECORDS: u64 = 1000;
/// Longest time between a record and the signed note that covers it, seconds.
pub const AUDIT_CHECKPOINT_SECONDS: u64 = 60;
