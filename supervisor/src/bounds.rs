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

// sandbox: cage

/// Identities that can be handed out before one is used again: uids from 0x7000_0000 up.
pub const IDENTITY_SLOTS_MAX: u32 = 1 << 16;
/// Longest wait for one word of the sandboxed child while it is built, milliseconds. All of it takes some ten.
pub const LAUNCH_WAIT_MS: u16 = 15_000;
/// Longest text of one launch message, bytes. A whole message stays under PIPE_BUF (4096), so that writes are atomic.
pub const LAUNCH_DETAIL_BYTES_MAX: usize = 1000;
/// Size of the private /dev/shm, bytes. Browsers and databases want more; MCP servers do not.
pub const SHM_BYTES_MAX: u64 = 64 << 20;
/// Inodes of each private tmpfs. They cost kernel memory outside the size limit.
pub const TMPFS_INODES_MAX: u32 = 1 << 16;
/// Size of the tmpfs that holds the generated root, bytes: some directories and a few small files.
pub const ROOT_BYTES_MAX: u64 = 4 << 20;
/// Longest wait for one answer in the network self-test, milliseconds.
pub const SELF_TEST_WAIT_MS: u16 = 2_000;

// sandbox: layers

/// Most memory that a process of the server may pin, bytes. Key stores of crypto libraries pin a few pages.
pub const LOCKED_MEMORY_BYTES_MAX: u64 = 8 << 20;
/// Most signals queued for the run's uid. Runtimes use timers, not queues of signals.
pub const PENDING_SIGNALS_MAX: u64 = 4096;
/// Most variables of the server's environment. Far above any real one, far below what execve(2) takes.
pub const ENVIRONMENT_VARIABLES_MAX: usize = 512;
/// Longest value of one variable, bytes. The kernel takes 128 KiB (`MAX_ARG_STRLEN`) with the name.
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 64 << 10;
/// Longest wait for a killed cgroup to be empty, milliseconds. A process dies when its pending I/O ends.
pub const CGROUP_EMPTY_WAIT_MS: u64 = 5_000;
/// Descriptors that relay may hold: pipes, segment, store, event loop.
pub const RELAY_DESCRIPTORS_MAX: u64 = 64;
/// Descriptors that egress may hold: two for each connection of the gateway, the listeners, maps and resolver sockets.
pub const EGRESS_DESCRIPTORS_MAX: u64 = 2 * GATEWAY_CONNECTIONS_MAX as u64 + 256;
