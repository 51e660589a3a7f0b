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

// Egress: resolver, gateway, dial, and the channel to the relay.

/// Longest DNS query that the stub reads, bytes; also the largest EDNS answer size it honours. RFC 9715 advises 1400, BIND listens with 4096.
pub const DNS_MESSAGE_BYTES_MAX: usize = 4096;
/// Most DNS-over-TCP connections that one session holds open.
pub const DNS_TCP_CONNECTIONS_MAX: usize = 32;
/// Longest wait for one DNS message over TCP, milliseconds (RFC 7766 lets a server choose; ours is on the same host).
pub const DNS_TCP_WAIT_MS: u64 = 5_000;
/// Seconds for which the server may keep an answer of the stub. Synthetic addresses hold for the whole run; short helps tests and humans.
pub const DNS_TTL_S: u32 = 60;
/// How long a connection to an unknown address is read for the name to record, milliseconds.
pub const GATEWAY_SNIFF_WAIT_MS: u64 = 1_000;
/// How long a connection may be silent both ways before it is cut, milliseconds. Above the slowest image generation.
pub const GATEWAY_IDLE_MS: u64 = 600_000;
/// Bytes copied at once, for each direction of a connection.
pub const GATEWAY_COPY_BYTES: usize = 32 << 10;
/// Longest wait for the relay to say that a record is on disk, milliseconds. A disk that takes longer has failed.
pub const EGRESS_RECORD_WAIT_MS: u64 = 10_000;
/// Reports that may wait for the relay; past it, whatever wants to report waits too.
pub const EGRESS_QUEUE_MAX: usize = 256;
/// How long open connections get to end when the session finishes, milliseconds.
pub const EGRESS_FINISH_WAIT_MS: u64 = 500;
/// Different network events whose repeats are counted one by one; the rest share one counter for each operation.
pub const REPEATS_KEYS_MAX: usize = 64;
/// First pause between two records of the same repeated event, milliseconds; doubles up to [`REPEATS_PAUSE_MAX_MS`].
pub const REPEATS_PAUSE_MIN_MS: u64 = 1_000;
/// Longest pause between two records of the same repeated event, milliseconds.
pub const REPEATS_PAUSE_MAX_MS: u64 = 60_000;
/// How long an event that stopped repeating keeps its slot, milliseconds: bounds the rate of new names at `REPEATS_KEYS_MAX` each such time.
pub const REPEATS_KEEP_MS: u64 = 10_000;
/// Longest wait for the addresses of a host, milliseconds.
pub const DIAL_RESOLVE_WAIT_MS: u64 = 10_000;
/// Longest wait for one connect, milliseconds.
pub const DIAL_CONNECT_WAIT_MS: u64 = 10_000;
/// Addresses of a host that are tried, in the resolver's order.
pub const DIAL_ADDRESSES_MAX: usize = 4;
/// Largest resolv.conf that is read, bytes.
pub const RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;
/// Largest hosts file that is read, bytes. Ad-block lists are megabytes; 8 MiB holds the big ones.
pub const HOSTS_FILE_BYTES_MAX: u64 = 8 << 20;
