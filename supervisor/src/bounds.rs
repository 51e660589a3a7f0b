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

// Policy text.

/// Deepest nesting of lists and mappings in a policy, aliases expanded. The language itself needs 8.
pub const POLICY_DEPTH_MAX: usize = 32;
/// Most YAML nodes in a policy, aliases expanded: an alias bomb ends here. 1 MiB of the tersest honest text holds fewer.
pub const POLICY_NODES_MAX: usize = 1 << 18;
/// Most problems reported of one file; a person mends the first ones first.
pub const POLICY_DIAGNOSTICS_MAX: usize = 100;
/// Most conditions in one policy, over all rules.
pub const POLICY_CONDITIONS_MAX: usize = 50_000;
/// Most `regex` conditions in one policy: with the next bound, 64 MiB of programs.
pub const POLICY_REGEXES_MAX: usize = 128;
/// Largest compiled pattern, bytes.
pub const POLICY_REGEX_BYTES_MAX: usize = 512 << 10;
/// Longest policy, rule or variable name, bytes. Names stand in file names, limit keys and records.
pub const POLICY_NAME_BYTES_MAX: usize = 128;
/// Longest message that a rule gives the agent, bytes.
pub const POLICY_REASON_BYTES_MAX: usize = 1024;
/// Largest exponent of a decimal number that is compared, in magnitude. f64 ends at 308.
pub const DECIMAL_EXPONENT_MAX: i64 = 9_999;
/// Most ports of one host.
pub const HOST_PORTS_MAX: usize = 64;
/// Most folders in `filesystem.read` and in `filesystem.write`, each.
pub const POLICY_MOUNTS_MAX: usize = 256;
// wire

/// Values (and members) in one message. A parsed value costs 32 bytes and more, so that 64 MiB of `[1,1,..` would cost a gigabyte.
pub const JSON_VALUES_MAX: usize = 1 << 20;
/// Longest number, bytes of text. A double in shortest form needs 24; the slack is for padded zeros.
pub const JSON_NUMBER_BYTES_MAX: usize = 64;
/// Longest method name, bytes. MCP's longest has 36.
pub const METHOD_BYTES_MAX: usize = 128;
/// Cancelled requests remembered so that their late answers are dropped quietly.
pub const CANCELLED_CALLS_MAX: usize = 1024;

// limits

/// Longest wait for another supervisor's transaction on the limit store, milliseconds. Past it the call is denied (`store_down`).
pub const LIMIT_STORE_WAIT_MS: u64 = 2_000;
/// Most calls forgotten in one reservation, so that a burst that expires at once does not stall the next call.
pub const LIMIT_PRUNE_ROWS_MAX: u64 = 64;
