//! The bounds of the program, each with its reason; a test goes one over each.

mod memory;
mod wire;

pub use memory::*;
pub use wire::*;

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
/// Most entries of `methods` in one policy. MCP has some 40 methods.
pub const POLICY_METHODS_MAX: usize = 256;
/// Most rules in one policy, over all tools.
pub const POLICY_RULES_MAX: usize = 20_000;
/// Quiet that a changed policy file must have kept before it is read again, milliseconds: editors write in several steps.
pub const RELOAD_QUIET_MS: u64 = 100;
/// Longest time that steady changes can put off the reading of a policy file, milliseconds.
pub const RELOAD_WAIT_MAX_MS: u64 = 1_000;
/// Longest reason of a rejected policy file, bytes.
pub const RELOAD_REASON_BYTES_MAX: usize = 2 << 10;
/// Problems of a rejected policy file that its record names; `policy check` shows all of them.
pub const RELOAD_PROBLEMS_SHOWN: usize = 3;
/// How long `reload` waits for the answer of one session, milliseconds.
pub const RELOAD_ANSWER_WAIT_MS: u64 = 15_000;
/// Longest wait for the tools/list that a call's check needs, milliseconds.
pub const SCHEMA_WAIT_MS: u64 = 5_000;
/// Most bytes of tool and argument names that are kept of the server's schemas.
pub const SCHEMA_BYTES_MAX: usize = 16 << 20;
/// Largest canonical definition of a tool that is kept whole, bytes; of a larger one the hash. Real ones have a few KiB.
pub const PIN_BYTES_MAX: usize = 256 << 10;
/// Most tools of one server that are pinned.
pub const PINS_MAX: usize = 10_000;
/// Most bytes of definitions that are kept of one server, in memory and on disk each.
pub const PINS_BYTES_MAX: usize = 16 << 20;
/// Largest lock file, bytes: [`PINS_BYTES_MAX`] of definitions and a line's frame for each of [`PINS_MAX`] tools.
pub const LOCK_BYTES_MAX: u64 = 24 << 20;
/// Most bytes of a blob in the folder of pins: a definition and its frame, the name in escapes.
pub const PIN_BLOB_BYTES_MAX: usize = PIN_BYTES_MAX + (4 << 10);
/// Longest text of what changed in a definition, bytes. It fits a record's string.
pub const PIN_DIFF_BYTES_MAX: usize = 4 << 10;
/// Most places of a definition that a diff names; more are counted as one.
pub const PIN_DIFF_PLACES_MAX: usize = 24;
/// Longest value in a diff, characters.
pub const PIN_DIFF_CHARS_MAX: usize = 240;
/// Tools whose refusal gets a record of its own, of one reading of the list; the rest is counted.
pub const PIN_RECORDS_MAX: usize = 64;
/// Longest wait of a call for its tool's pin to be written, milliseconds. The pin of a tool that is called goes first, and a write
/// takes some milliseconds; a disk, or a monitor, that takes longer has failed.
pub const PIN_WAIT_MS: u64 = 5_000;
/// Most bytes of calls that wait for the server's schemas, or for a pin.
pub const PARKED_BYTES_MAX: usize = 16 << 20;
/// Lines a second of a server's non-MCP output that get a record of their own.
pub const NOISE_RECORDS_A_SECOND: u32 = 100;
/// Most work of reading lists of tools, and compiling their schemas, that may be owed when another one is asked for: in steps of
/// reading a byte, some ten nanoseconds. So some seconds at once, and a large list that does not change may be read some twenty times.
pub const LIST_WORK_MAX: u64 = 256 << 20;
/// How long one such step is owed, nanoseconds: a server whose list changes all the time costs a twentieth of the relay's time.
pub const LIST_WORK_PAUSE_NS: u64 = 200;
/// Most pages of tools/list that are read for the schemas.
pub const SCHEMA_PAGES_MAX: usize = 100;
/// Largest `max` of a sliding window, calls.
pub const WINDOW_CALLS_MAX: u64 = 10_000_000;
/// Longest window, seconds (366 days).
pub const WINDOW_SECONDS_MAX: u64 = 366 * 86_400;
/// Longest `pace.every`, milliseconds (a day). What is slower is a rate limit.
pub const PACE_EVERY_MS_MAX: u64 = 86_400_000;
/// Largest `pace.burst`, calls. With the longest `every` it is 8.64e17 ns, far below what 64 bits hold.
pub const PACE_BURST_MAX: u64 = 10_000;
/// Longest `approvals.timeout`, seconds (an hour). Clients give up long before.
pub const APPROVAL_TIMEOUT_SECONDS_MAX: u64 = 3_600;
/// Longest `approvals.valid`, seconds (a week). An approval is for a call that someone has looked at, not for good.
pub const APPROVAL_VALID_SECONDS_MAX: u64 = 7 * 86_400;
/// Largest audit record, bytes. Longer strings inside are cut and marked.
pub const AUDIT_RECORD_BYTES_MAX: usize = 64 << 10;
/// No record is shorter, bytes: its name, session, time and two hashes alone are longer. What notes a log accounts for goes by it.
pub const AUDIT_RECORD_BYTES_MIN: u64 = 128;
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
/// Most bytes that the gateway holds back of what a client sends before its hello is answered: early data (RFC 8446, 2.3), of
/// which servers take 16 KiB. Also the most of it that is dropped after a HelloRetryRequest.
pub const EARLY_DATA_BYTES_MAX: usize = 32 << 10;
/// Most bytes of the answer to a ClientHello that are read for the kind that it is, and most alerts before it. A ServerHello in records
/// of one byte shows it within 256.
pub const SERVER_HELLO_BYTES_MAX: usize = 512;
/// See [`SERVER_HELLO_BYTES_MAX`].
pub const SERVER_ALERTS_MAX: usize = 4;
/// Most connections that one session holds open through the gateway.
pub const GATEWAY_CONNECTIONS_MAX: usize = 256;
/// What the kernel may hold of one connection between the server and the gateway, each way, bytes; it takes twice as much with what it
/// needs itself (socket(7)). Unset it grows to megabytes, and none of it is charged to the server.
pub const GATEWAY_SOCKET_BYTES: usize = 128 << 10;
/// Likewise of one connection to a host, of what it sends: its window, so at 100 ms some 5 MB a second, or 2 where `net.core.rmem_max` is
/// the 208 KiB of kernels before 6.16, for no more is given.
pub const UPSTREAM_RECEIVED_BYTES: u32 = 512 << 10;
/// Likewise of what is sent to it.
pub const UPSTREAM_SENT_BYTES: u32 = 256 << 10;
/// Bytes that wait for a slow reader before we stop reading what would add to them; one message may overshoot.
pub const PIPE_BACKLOG_BYTES_MAX: usize = 1 << 20;
/// Size of the pipe to the server, bytes: a large call in few steps. Larger ones are slower: reader and writer no longer work side by side.
pub const SERVER_PIPE_BYTES: i32 = 256 << 10;
/// Lines of the server from this size on, bytes, go to the client in the buffer that they were read into; a smaller one is cheaper copied.
pub const HAND_OVER_BYTES_MIN: usize = 64 << 10;
/// Longest stderr line of the server that is passed on, bytes.
pub const STDERR_LINE_BYTES_MAX: usize = 8 << 10;
/// Bytes of the server's stderr that pass at once, as we write them: a long trace of a start that fails.
pub const STDERR_BURST_BYTES: u32 = 512 << 10;
/// Bytes a second of it that pass in the long run: 340 MB a day, whoever keeps them. A client writes stderr to a file.
pub const STDERR_BYTES_A_SECOND: u32 = 4 << 10;
/// Bytes that one of our processes may say at once on stderr; a policy's warnings at start fit.
pub const VOICE_BURST_BYTES: u32 = 256 << 10;
/// Bytes a second that it may say in the long run.
pub const VOICE_BYTES_A_SECOND: u32 = 1 << 10;
/// Longest wait for a socket that is our stderr and is not read, milliseconds: as good as none, but 0 means for ever (SO_SNDTIMEO, socket(7)).
pub const STDERR_SOCKET_WAIT_MS: i64 = 1;

// monitor

/// Longest wait for the relay's word, milliseconds, from when it is due, or from the last look at which its log had grown. Its word
/// that the client is gone is due when the client's end was closed: it reads what the client left first, each call with a record on disk.
/// Its last record is due when the server is gone: it delivers and records first what the server and egress left. Past it the relay
/// hangs. As long as one record may take ([`EGRESS_RECORD_WAIT_MS`]): a disk that takes longer has failed.
pub const RELAY_WORD_WAIT_MS: u64 = 10_000;
/// Longest such wait of a relay whose log does grow, milliseconds: thousands of records on a slow disk. One that was taken over could
/// write for ever.
pub const RELAY_WORD_WAIT_MAX_MS: u64 = 120_000;
/// How long the relay may take, once its log is whole, to deliver what the client and people have not read, milliseconds.
pub const DELIVERY_WAIT_MS: u64 = 2_000;

/// Refused system calls that are answered and counted at once, before they get a pace. All kinds together are some ninety.
pub const DENIALS_AT_ONCE_MAX: u32 = 512;
/// Refused system calls that are answered a second after that: a thread that goes on with them waits, and the monitor's part of a
/// processor stays below some hundredths.
pub const DENIALS_A_SECOND_MAX: u32 = 400;
/// Longest time between two looks at calls that wait, and between two tries of a relay that is behind, milliseconds.
pub const DENIALS_REST_MS: u64 = 50;

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
/// Mounts below one path of `filesystem.read` that are shown one by one, because a file system among them cannot map owners; each is a
/// descriptor for a moment. Those beyond it are covered.
pub const READ_MOUNTS_MAX: usize = 256;
/// Names of each such mount that are looked at for sockets and pipes at the start: some 50 ms.
pub const READ_NAMES_MAX: u32 = 1 << 16;
/// Longest time for that, milliseconds, for all of them together: the child says nothing meanwhile, see [`LAUNCH_WAIT_MS`].
pub const READ_LOOK_MS: u64 = 4_000;
/// Size of the tmpfs that holds the generated root, bytes: some directories and a few small files.
pub const ROOT_BYTES_MAX: u64 = 4 << 20;
/// Longest wait for one answer in the network self-test, milliseconds. Running out of it refuses the start, so it is long enough for a
/// machine that is busy or emulated, and below [`LAUNCH_WAIT_MS`].
pub const SELF_TEST_WAIT_MS: u16 = 8_000;

// limits

/// Longest wait for another supervisor's transaction on the limit store, milliseconds. Past it the call is denied (`store_down`).
pub const LIMIT_STORE_WAIT_MS: u64 = 2_000;
/// Most calls forgotten in one reservation, so that a burst that expires at once does not stall the next call.
pub const LIMIT_PRUNE_ROWS_MAX: u64 = 64;
/// Most calls that the limit store in memory keeps: some 10 MB. It serves tests and `policy test`, whose cases make a few calls each.
pub const MEMORY_STORE_CALLS_MAX: usize = 100_000;
/// Most rules whose pace is remembered at once: as many as a policy may have. Rules of earlier policies leave when they have rested.
pub const PACES_MAX: usize = POLICY_RULES_MAX;
/// Longest rest that a pace may need, `every` times `burst`, milliseconds: 100 years of 366 days. Nanoseconds in `u64` end after 584 years.
pub const PACE_REST_MS_MAX: u64 = 100 * 366 * 86_400_000;

/// Longest line of a Redis reply, bytes. Its error messages name the script's line and stay far below.
pub const REDIS_LINE_BYTES_MAX: usize = 4096;
/// Longest string in a Redis reply, bytes. INFO is the longest, some 8 KiB.
pub const REDIS_BULK_BYTES_MAX: usize = 64 << 10;
/// Most items in a Redis reply. Our script answers with one for each claim and one more.
pub const REDIS_ITEMS_MAX: usize = 4096;
/// Longest reply of Redis, bytes: as many items as there may be, each an amount of 39 digits and its frame.
pub const REDIS_REPLY_BYTES_MAX: usize = 256 << 10;
/// Longest prefix of our keys in Redis, bytes.
pub const REDIS_PREFIX_BYTES_MAX: usize = 64;
/// First pause after a connection to Redis could not be had, milliseconds; doubles up to [`REDIS_RETRY_MAX_MS`].
pub const REDIS_RETRY_MIN_MS: u64 = 1_000;
/// Longest such pause, milliseconds. Each try may hold up the session for [`LIMIT_STORE_WAIT_MS`].
pub const REDIS_RETRY_MAX_MS: u64 = 8_000;
/// Longest time for making one connection to Redis, milliseconds; below [`LIMIT_STORE_WAIT_MS`], so that the reason arrives.
pub const REDIS_LINK_WAIT_MS: u64 = 1_500;
/// Longest answer of the process that connects, bytes: a reason, or the prefix and the address without its password.
pub const STORE_LINK_TEXT_BYTES_MAX: usize = 512;
/// Longest text of `--state-dsn`, bytes.
pub const STATE_DSN_BYTES_MAX: usize = 4096;
// sandbox: layers

/// Most memory that a process of the server may pin, bytes. Key stores of crypto libraries pin a few pages.
pub const LOCKED_MEMORY_BYTES_MAX: u64 = 8 << 20;
/// Most signals queued for the run's uid. Runtimes use timers, not queues of signals.
pub const PENDING_SIGNALS_MAX: u64 = 4096;
/// Most inotify instances of a run. An event loop has one; the host's root, for whom they count too, has 128 as a rule.
pub const INOTIFY_INSTANCES_MAX: u32 = 16;
/// Most inotify watches of a run: half of what an old or small machine gives its root for everything.
pub const INOTIFY_WATCHES_MAX: u32 = 4096;
/// Most variables of the server's environment. Far above any real one, far below what execve(2) takes.
pub const ENVIRONMENT_VARIABLES_MAX: usize = 512;
/// Longest value of one variable, bytes. The kernel takes 128 KiB (`MAX_ARG_STRLEN`) with the name.
pub const ENVIRONMENT_VALUE_BYTES_MAX: usize = 64 << 10;
/// Longest wait for a killed cgroup to be empty, milliseconds. A process dies when its pending I/O ends.
pub const CGROUP_EMPTY_WAIT_MS: u64 = 5_000;
/// Rest after something happened at a run's ceiling, milliseconds: what happens meanwhile is one record.
pub const CEILING_REST_MS: u64 = 1_000;
/// Time between two looks at the counters of a cgroup of version 1, which tells nobody of a change, milliseconds.
pub const CEILING_LOOK_MS: u64 = 5_000;
/// Longest wait for the lock of a leaf that was just made, milliseconds. A sweeper holds it for one removal at most.
pub const CGROUP_LOCK_WAIT_MS: u64 = 2_000;
/// Longest wait for a lock that all sessions of the host share, milliseconds: the host index, the registry of uids. Each holds it for a few
/// writes, the slowest of them a flush of the disk.
pub const LOCK_WAIT_MS: u64 = 10_000;
/// Pause between two tries of a lock, milliseconds.
pub const LOCK_RETRY_MS: u64 = 5;
/// Descriptors that the monitor may hold at least, whatever its caller's limit is: more than any process that it forks.
pub const MONITOR_DESCRIPTORS_MIN: u64 = 4_096;
/// Descriptors that relay may hold: pipes, segment, store, event loop.
pub const RELAY_DESCRIPTORS_MAX: u64 = 64;
/// Descriptors that the meter may hold: the writable folders, one for each level of a walk, a few of its own.
pub const METER_DESCRIPTORS_MAX: u64 = (POLICY_MOUNTS_MAX + USAGE_DEPTH_MAX) as u64 + 64;
/// Folders in folders that a writable folder with `max` may hold; each is a descriptor of the walk.
pub const USAGE_DEPTH_MAX: usize = 128;
/// Names that a writable folder with `max` may hold: a walk over so many takes about two seconds.
pub const USAGE_NAMES_MAX: u64 = 1 << 20;
/// What a name counts at least, bytes: an empty file takes an inode and a part of its folder.
pub const USAGE_NAME_BYTES: u64 = 4096;
/// Descriptors that a server with such a folder may hold open, those of threads that share them once: as many as `process.max` times
/// `open_files` are where a policy gives neither, so that nobody meets it with these. A count of so many takes 0.3 s on
/// an idle machine and 1.5 s on a busy one.
pub const HELD_DESCRIPTORS_MAX: u64 = 64 * 1024;
/// Threads and descriptors that one count of a server that runs asks, 5 to 25 ms: its folders are looked at again before it goes on.
/// Few servers have more.
pub const HELD_STEPS: u64 = 1024;
/// Shortest pause between two counts of writable folders, milliseconds.
pub const METER_PAUSE_MS_MIN: u64 = 20;
/// Longest pause between two counts of writable folders, milliseconds.
pub const METER_PAUSE_MS_MAX: u64 = 1000;
/// Longest wait for the first count of the writable folders, milliseconds: a million names from a slow disk.
pub const METER_FIRST_WAIT_MS: u16 = 60_000;
/// Longest wait for a server to stand still, milliseconds. One that cannot be stopped cannot be counted: the session ends.
pub const FREEZE_WAIT_MS: u64 = 10_000;
/// The same where a folder holds too much by a count that is not certain, milliseconds: what is being written goes on meanwhile.
pub const FREEZE_OVER_WAIT_MS: u64 = 250;
/// Time between two looks at whether it stands still, milliseconds.
pub const FREEZE_LOOK_MS: u64 = 1;
/// How much longer than it stood still a server runs before it is stopped again for a doubt: that takes a tenth of its time at most.
pub const FREEZE_REST_TIMES: u64 = 9;
/// The same where two counts in a row found too much, neither of them certain: a quarter of its time at most.
pub const FREEZE_REST_EXCESS_TIMES: u64 = 3;
/// Shortest such rest, milliseconds.
pub const FREEZE_REST_MS_MIN: u64 = 100;
/// How long after a doubt counts may begin with a stop, milliseconds: a server that sees a walk begin (inotify(7)) has hidden by its end.
pub const FREEZE_SUSPECT_MS: u64 = 10_000;
/// Of how many counts of a suspect, by chance, one begins with a stop for the names alone, though it rests from the others: with a
/// pause as long as a count, that takes a sixteenth of its time.
pub const FREEZE_NAMES_ONE_IN: u64 = 8;
/// Time between two counts of a server that stands still without a doubt, milliseconds, give or take a half by chance. What one hands to the other leaves no trace.
pub const FREEZE_EVERY_MS: u64 = 10_000;
/// Descriptors that egress may hold: two for each connection of the gateway, the listeners, the stub's connections, maps.
pub const EGRESS_DESCRIPTORS_MAX: u64 = 2 * GATEWAY_CONNECTIONS_MAX as u64 + 256;
/// Descriptors that the dialer may hold: for each dial its connection, or the questions to the resolvers, and a few of its own.
pub const DIALER_DESCRIPTORS_MAX: u64 = 4 * GATEWAY_CONNECTIONS_MAX as u64 + 64;
// egress/wall
/// Longest datagram of a netlink dump, bytes: the kernel fills at most 32 KiB (net/netlink/af_netlink.c).
pub const NETLINK_REPLY_BYTES: usize = 32 << 10;
/// Most routes that the new namespace may list before the answer counts as broken; it has about six.
pub const NETLINK_ROUTES_MAX: usize = 256;
/// Connections that wait on a listener of the namespace: as many as the gateway serves at once.
pub const LISTEN_BACKLOG: i32 = 256;
/// How long a thread that has ended may still be listed among the process' threads, milliseconds: it is some ten microseconds, unless
/// the machine has no time for it.
pub const LAST_THREAD_WAIT_MS: u64 = 5_000;
/// Most destinations, address and port, that the probes hold open.
pub const PROBE_DESTINATIONS_MAX: usize = 16_384;
// Audit.

/// Most items of a list in a record (argv, layers, top-level argument keys); the rest is counted.
pub const AUDIT_LIST_ITEMS_MAX: usize = 64;
/// Most argument leaves that get a keyed hash of their own; the rest is counted. With 240 bytes each they fit a record.
pub const AUDIT_ARGUMENT_LEAVES_MAX: usize = 128;
/// Messages of a dead relay's that are still heard: twice what its socket holds with the kernel's usual buffer of 208 KiB.
pub const RELAY_LAST_WORDS_MAX: usize = 512;
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
/// Different network events of one operation, verdict and neighbourhood whose repeats are counted one by one; the rest share one counter.
pub const REPEATS_KEYS_MAX: usize = 64;
/// Programs that a server may start, and files that it may open for writing, at once with a record for each; beyond, they are counted.
pub const TALLY_AT_ONCE_MAX: u64 = 64;
/// Records of each of these kinds that come back in a second: 150 MB of log a day with paths of usual length, some 1.2 GB with the longest
/// that are shown, of a server that does nothing else; [`AUDIT_SESSION_BYTES_MAX`] ends it before.
pub const TALLY_A_SECOND_MAX: u64 = 4;
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
/// Dials that a session may begin at once after a rest: as many as it may hold connections.
pub const DIALS_AT_ONCE_MAX: u32 = GATEWAY_CONNECTIONS_MAX as u32;
/// Dials that it may begin in a second once those are used up; a dial over it waits its turn. Each is recorded, which is slower still.
pub const DIALS_PER_S_MAX: u32 = 100;
/// Longest text with which the dialer says why there is no connection, bytes; the rest is cut. It names a host of 253 bytes at most twice.
pub const DIAL_ANSWER_TEXT_BYTES_MAX: usize = 1024;
/// Longest wait for the dialer's answer, milliseconds: its turn, the resolver, every address.
pub const DIAL_ANSWER_WAIT_MS: u64 = 5_000 + DIAL_RESOLVE_WAIT_MS + DIAL_ADDRESSES_MAX as u64 * DIAL_CONNECT_WAIT_MS;
/// Send buffer of the dialer's end, bytes (the kernel doubles it): a few answers. The descriptors of answers that nobody reads count
/// against all processes of the dialers' uid (unix(7), ETOOMANYREFS), those of other sessions too.
pub const DIAL_ANSWERS_BUFFER_BYTES: usize = 4096;
/// Largest resolv.conf that is read, bytes.
pub const RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;
/// Largest hosts file that is read, bytes. Ad-block lists are megabytes; 8 MiB holds the big ones.
pub const HOSTS_FILE_BYTES_MAX: u64 = 8 << 20;
// Policy text.

/// Deepest nesting of lists and mappings in a policy, aliases expanded. The language itself needs 8.
pub const POLICY_DEPTH_MAX: usize = 32;
/// Most YAML nodes in a policy, aliases expanded: an alias bomb ends here. 1 MiB of the tersest honest text holds fewer.
pub const POLICY_NODES_MAX: usize = 1 << 18;
/// Most problems reported of one file; a person mends the first ones first.
pub const POLICY_DIAGNOSTICS_MAX: usize = 100;
/// Most conditions in one policy, over all rules.
pub const POLICY_CONDITIONS_MAX: usize = 50_000;
/// Deepest nesting of `any`, `all` and `not` in one condition. People lose count at three.
pub const POLICY_GROUP_DEPTH_MAX: usize = 8;
/// Most steps of a condition's path: no message is nested deeper, so a longer one would name nothing.
pub const POLICY_PATH_STEPS_MAX: usize = JSON_DEPTH_MAX;
/// Longest sentence that names a condition, bytes: groups can hold thousands of tests.
pub const CONDITION_TEXT_BYTES_MAX: usize = 1024;
/// Most `regex` and `not_regex` conditions in one policy: with the next bound, 64 MiB of programs.
pub const POLICY_REGEXES_MAX: usize = 128;
/// Largest compiled pattern, bytes.
pub const POLICY_REGEX_BYTES_MAX: usize = 512 << 10;
/// Longest policy, rule or variable name, bytes. Names stand in file names, limit keys and records.
pub const POLICY_NAME_BYTES_MAX: usize = 128;
/// Longest message that a rule gives the agent, bytes.
pub const POLICY_REASON_BYTES_MAX: usize = 1024;
/// Largest exponent of a decimal number that is compared, in magnitude. f64 ends at 308.
pub const DECIMAL_EXPONENT_MAX: i64 = 9_999;
/// Shortest `client_line` and `server_line` of a policy, bytes: below, no session would begin.
pub const POLICY_LINE_BYTES_MIN: u64 = 1 << 10;
/// Longest `client_line` of a policy, bytes.
pub const POLICY_CLIENT_LINE_BYTES_MAX: u64 = 64 << 20;
/// Longest `server_line` of a policy, bytes. A line is held whole, and its values once more.
pub const POLICY_SERVER_LINE_BYTES_MAX: u64 = 256 << 20;
/// Most ports of one host.
pub const HOST_PORTS_MAX: usize = 64;
/// Most folders in `filesystem.read` and in `filesystem.write`, each.
pub const POLICY_MOUNTS_MAX: usize = 256;
/// Most programs in `process.exec`: a server starts a handful; each is a rule of Landlock.
pub const POLICY_PROGRAMS_MAX: usize = 256;
// Approvals.

/// Most questions to a person that one session lists. More than a person reads; an agent that asks more is refused.
pub const APPROVALS_LISTED_MAX: usize = 64;
/// Most calls that wait for a person at a time: retries of the listed ones.
pub const APPROVALS_WAITING_MAX: usize = 256;
/// Most bytes of calls that wait for a person.
pub const APPROVALS_BYTES_MAX: usize = 16 << 20;
/// Hex digits of an approval's id: 48 bits, keyed, so that no agent can make a call whose id looks like another's.
pub const APPROVAL_ID_DIGITS: usize = 12;
/// Hex digits that name an approval at least.
pub const APPROVAL_ID_DIGITS_MIN: usize = 8;
/// Longest text of one value that the list of approvals shows, characters; what is cut is said.
pub const APPROVAL_VALUE_CHARS_MAX: usize = 400;
/// Longest text of all arguments that the list of approvals shows, bytes before escaping; what is cut is said.
pub const APPROVAL_SHOWN_BYTES_MAX: usize = 8 << 10;
/// Longest text of a call that `approvals show` shows, arguments and what stands beside them, bytes; what is cut is said. No line is longer.
pub const APPROVAL_WHOLE_BYTES_MAX: usize = CLIENT_LINE_BYTES_MAX;
/// Longest reason that a person may give for a refusal, bytes.
pub const APPROVAL_REASON_BYTES_MAX: usize = 512;
/// Connections to the control socket of a session that are served at a time.
pub const CONTROL_PEERS_MAX: usize = 4;
/// Longest request on the control socket, bytes.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 4 << 10;
/// How long a connection to the control socket may take, milliseconds, from its accept to the last byte of its reply.
pub const CONTROL_WAIT_MS: u64 = 2_000;
/// Longest reply that a command reads from a control socket, bytes. A full list has at most some 6.5 MiB:
/// [`APPROVALS_LISTED_MAX`] questions, each with arguments, `task` and `_meta` of [`APPROVAL_SHOWN_BYTES_MAX`], of which no byte
/// becomes more than four when it is escaped for a screen and as JSON (96 KiB), and two names (5 KiB). A question in full has at
/// most twice [`APPROVAL_WHOLE_BYTES_MAX`] and one entry of the list.
pub const CONTROL_REPLY_BYTES_MAX: usize = 16 << 20;
// policy scan

/// Longest line read from a scanned server, bytes. A page of a thousand tools has some.
pub const SCAN_LINE_BYTES_MAX: usize = 8 << 20;
/// Most bytes read from a scanned server, all pages together.
pub const SCAN_BYTES_MAX: usize = 16 << 20;
/// Longest cursor that is sent back, bytes. With `SCHEMA_PAGES_MAX` pages, all requests fit into one pipe's backlog.
pub const SCAN_CURSOR_BYTES_MAX: usize = 4 << 10;
/// Most bytes kept of what a scan writes to stderr; the last ones are shown when it fails.
pub const SCAN_STDERR_BYTES_MAX: usize = 16 << 10;
/// Longest time that a scan may be given, seconds.
pub const SCAN_SECONDS_MAX: u64 = 600;
/// Longest wait for the end of a scanned run, milliseconds: its own shutdown takes at most 2 s, its log a write.
pub const SCAN_END_WAIT_MS: u64 = 10_000;
/// Characters of a server's text in one comment of a draft.
pub const DRAFT_REMARK_CHARS_MAX: usize = 160;
/// Most arguments of a tool that a draft judges. A person would not read more.
pub const DRAFT_ARGUMENTS_MAX: usize = 64;
/// Most values of an enum that a draft writes down.
pub const DRAFT_CHOICES_MAX: usize = 64;
/// Longest string of an enum or const that a draft writes down, bytes.
pub const DRAFT_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a policy that a draft keeps for its comments on what it left out: 51 lines at most.
pub const DRAFT_SPARE_BYTES: usize = 128 << 10;
// Policy tests.

/// Most cases in one case file.
pub const CASES_MAX: usize = 10_000;
/// Most calls that the cases of one file make, `repeat` counted: some seconds of work.
pub const CASE_CALLS_MAX: u64 = 1_000_000;
