//! What our own processes may take of the host's memory: address space (RLIMIT_AS), for the kernel counts nothing else of a process'
//! that an intruder could not evade. Each is some twice what its other bounds come to, so no session meets it; who does is aborted.

/// What each of them has from the monitor that it was forked from: the program, the heaps of two threads that loaded the probes (64 MiB of
/// addresses each), the policy, its patterns and pins. A session has 160 MiB of it, the largest policies twice as much.
const INHERITED_BYTES: u64 = 512 << 20;

/// Memory of the relay, bytes, without the lines that it reads. Beside what it has from the monitor: the values of one message, 256 MiB
/// ([`super::JSON_VALUES_MAX`]); the states of patterns, 64 MiB of the policy and 128 MiB of schemas, twice where a search goes back; a second
/// policy when it changes; pins, schemas, calls that wait: some 130 MiB.
const RELAY_OWN_BYTES: u64 = 3 << 29;
/// How often it may hold what the longest lines of client and server have: as read, unescaped, written anew, waiting for a reader; in buffers that
/// double. Measured were 2.6 times for plain text and 4.2 for text of nothing but separators, each of which is escaped.
const RELAY_LINES_TIMES: u64 = 8;
/// Memory of egress, bytes: 256 connections with 128 KiB of buffers each, their hellos, 32 of DNS, reports that wait: some 70 MiB.
pub const EGRESS_MEMORY_BYTES_MAX: u64 = INHERITED_BYTES + (256 << 20);
/// Memory of the dialer, bytes: the hosts file, 256 dials and the answers of resolvers.
pub const DIALER_MEMORY_BYTES_MAX: u64 = INHERITED_BYTES + (128 << 20);
/// Memory of the link, bytes: one connection and its reply.
pub const LINK_MEMORY_BYTES_MAX: u64 = INHERITED_BYTES + (64 << 20);
/// Memory of the janitor, bytes: it sleeps.
pub const JANITOR_MEMORY_BYTES_MAX: u64 = INHERITED_BYTES + (64 << 20);
/// Memory of the meter, bytes: what it remembers of a million names and 65,536 descriptors, some 100 MiB.
pub const METER_MEMORY_BYTES_MAX: u64 = INHERITED_BYTES + (512 << 20);

/// Memory of the relay, bytes, where the longest lines of both directions have `lines_bytes` together: 2.5 GiB by default.
#[must_use]
pub const fn relay_memory_bytes_max(lines_bytes: u64) -> u64 {
    (INHERITED_BYTES + RELAY_OWN_BYTES).saturating_add(lines_bytes.saturating_mul(RELAY_LINES_TIMES))
}
