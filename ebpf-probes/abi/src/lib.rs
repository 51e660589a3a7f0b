//! What the probes and the supervisor agree on: one event layout, map keys, map and program names, fixed addresses.
//!
//! Everything here is plain data without padding, so that the supervisor can read an event field by field from bytes
//! and the kernel never copies an uninitialised byte into the ring.
#![no_std]
#![forbid(unsafe_code)]

/// One ring-buffer event. 72 bytes, native byte order, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory of the calling task.
    pub cgroup: u64,
    /// Socket cookie, unique per socket since boot; 0 from an LSM program, which is given none.
    pub cookie: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the task, NUL padded.
    pub comm: [u8; 16],
    /// Address asked for: 16 bytes for IPv6, the first four for IPv4, zero for [`OP_SOCKET`].
    pub dst: [u8; 16],
    /// Port asked for, host order; 0 for [`OP_SOCKET`].
    pub port: u16,
    /// `IPPROTO_*`. 16 bits, because MPTCP is 262.
    pub proto: u16,
    /// Address family of the operation: [`AF_INET`] or [`AF_INET6`].
    pub family: u8,
    /// `SOCK_*`.
    pub kind: u8,
    /// One of `OP_*`.
    pub op: u8,
    /// [`ALLOWED`] or [`DENIED`].
    pub verdict: u8,
}

/// Bytes of one [`Event`].
pub const EVENT_BYTES: usize = 72;
const _: () = assert!(size_of::<Event>() == EVENT_BYTES);
const _: () = assert!(align_of::<Event>() == 8);

/// Byte offsets inside [`Event`], for a reader without `unsafe`.
pub mod offset {
    use super::Event;
    use core::mem::offset_of;

    /// Of [`Event::time_ns`].
    pub const TIME_NS: usize = offset_of!(Event, time_ns);
    /// Of [`Event::cgroup`].
    pub const CGROUP: usize = offset_of!(Event, cgroup);
    /// Of [`Event::cookie`].
    pub const COOKIE: usize = offset_of!(Event, cookie);
    /// Of [`Event::tgid`].
    pub const TGID: usize = offset_of!(Event, tgid);
    /// Of [`Event::tid`].
    pub const TID: usize = offset_of!(Event, tid);
    /// Of [`Event::comm`].
    pub const COMM: usize = offset_of!(Event, comm);
    /// Of [`Event::dst`].
    pub const DST: usize = offset_of!(Event, dst);
    /// Of [`Event::port`].
    pub const PORT: usize = offset_of!(Event, port);
    /// Of [`Event::proto`].
    pub const PROTO: usize = offset_of!(Event, proto);
    /// Of [`Event::family`].
    pub const FAMILY: usize = offset_of!(Event, family);
    /// Of [`Event::kind`].
    pub const KIND: usize = offset_of!(Event, kind);
    /// Of [`Event::op`].
    pub const OP: usize = offset_of!(Event, op);
    /// Of [`Event::verdict`].
    pub const VERDICT: usize = offset_of!(Event, verdict);
}

/// [`Event::op`]: connect(2), or sendto(2) with `MSG_FASTOPEN`.
pub const OP_CONNECT: u8 = 1;
/// [`Event::op`]: sendto(2) or sendmsg(2) with an address.
pub const OP_SENDMSG: u8 = 2;
/// [`Event::op`]: socket(2).
pub const OP_SOCKET: u8 = 3;
/// [`Event::op`]: bind(2).
pub const OP_BIND: u8 = 4;

/// [`Event::verdict`]: let through.
pub const ALLOWED: u8 = 1;
/// [`Event::verdict`]: refused.
pub const DENIED: u8 = 2;

/// One start of a program, or one that was refused. 576 bytes, native byte order, no padding; what its lengths leave of a path is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExecEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory of the task.
    pub cgroup: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Process id of the parent in the initial pid namespace; 0 where it cannot be read.
    pub ppid: u32,
    /// Name of the task, NUL padded: of a start, what the kernel has just made from the path.
    pub comm: [u8; 16],
    /// Bytes written to [`Self::path`], NUL included; 0 where it could not be read.
    pub path_bytes: u16,
    /// Bytes written to [`Self::interpreter`], NUL included; 0 without one, or where it could not be read.
    pub interpreter_bytes: u16,
    /// [`ALLOWED`] or [`DENIED`].
    pub verdict: u32,
    /// The path as it was asked for; [`PATH_BYTES`] long when it was cut, or fits exactly.
    pub path: [u8; PATH_BYTES],
    /// The path of what runs it, for a script.
    pub interpreter: [u8; PATH_BYTES],
}

/// Of a path, NUL included: what is longer is cut.
pub const PATH_BYTES: usize = 264;
/// Bytes of one [`ExecEvent`].
pub const EXEC_EVENT_BYTES: usize = 576;
const _: () = assert!(size_of::<ExecEvent>() == EXEC_EVENT_BYTES);
const _: () = assert!(align_of::<ExecEvent>() == 8);

/// Byte offsets inside [`ExecEvent`].
pub mod exec_offset {
    use super::ExecEvent;
    use core::mem::offset_of;

    /// Of [`ExecEvent::time_ns`].
    pub const TIME_NS: usize = offset_of!(ExecEvent, time_ns);
    /// Of [`ExecEvent::cgroup`].
    pub const CGROUP: usize = offset_of!(ExecEvent, cgroup);
    /// Of [`ExecEvent::tgid`].
    pub const TGID: usize = offset_of!(ExecEvent, tgid);
    /// Of [`ExecEvent::ppid`].
    pub const PPID: usize = offset_of!(ExecEvent, ppid);
    /// Of [`ExecEvent::comm`].
    pub const COMM: usize = offset_of!(ExecEvent, comm);
    /// Of [`ExecEvent::path_bytes`].
    pub const PATH_BYTES: usize = offset_of!(ExecEvent, path_bytes);
    /// Of [`ExecEvent::interpreter_bytes`].
    pub const INTERPRETER_BYTES: usize = offset_of!(ExecEvent, interpreter_bytes);
    /// Of [`ExecEvent::verdict`].
    pub const VERDICT: usize = offset_of!(ExecEvent, verdict);
    /// Of [`ExecEvent::path`].
    pub const PATH: usize = offset_of!(ExecEvent, path);
    /// Of [`ExecEvent::interpreter`].
    pub const INTERPRETER: usize = offset_of!(ExecEvent, interpreter);
}

/// What the program on exec needs to know, the one value of [`MAP_EXECS`]; the LSM programs' begins with the same. 24 bytes, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExecScope {
    /// Id of the cgroup v2 directory whose execs are told.
    pub cgroup: u64,
    /// Where `filename` stands in the kernel's `struct linux_binprm`, bytes.
    pub filename: u32,
    /// Where `interp` stands there.
    pub interp: u32,
    /// Where `real_parent` stands in `struct task_struct`.
    pub real_parent: u32,
    /// Where `tgid` stands there.
    pub tgid: u32,
}

/// Bytes of one [`ExecScope`].
pub const EXEC_SCOPE_BYTES: usize = 24;
const _: () = assert!(size_of::<ExecScope>() == EXEC_SCOPE_BYTES);

impl ExecScope {
    /// The value as the bytes that the program reads.
    #[must_use]
    pub fn to_bytes(self) -> [u8; EXEC_SCOPE_BYTES] {
        let members = [self.filename, self.interp, self.real_parent, self.tgid];
        joined(&[&self.cgroup.to_ne_bytes()], &members)
    }
}

/// What the LSM programs need to know, the one value of [`MAP_SCOPE`]. 48 bytes, no padding. Without a list of programs all but the
/// cgroup is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct LsmScope {
    /// The cgroup, and what an [`ExecEvent`] takes.
    pub exec: ExecScope,
    /// Where `file` stands in the kernel's `struct linux_binprm`, bytes.
    pub file: u32,
    /// Where `f_inode` stands in `struct file`.
    pub inode: u32,
    /// Where `i_ino` stands in `struct inode`.
    pub number: u32,
    /// Where `i_sb` stands there.
    pub superblock: u32,
    /// Where `s_dev` stands in `struct super_block`.
    pub device: u32,
    /// Always zero.
    pub zero: u32,
}

/// Bytes of one [`LsmScope`].
pub const LSM_SCOPE_BYTES: usize = 48;
const _: () = assert!(size_of::<LsmScope>() == LSM_SCOPE_BYTES);

impl LsmScope {
    /// The value as the bytes that the programs read.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LSM_SCOPE_BYTES] {
        let members = [self.file, self.inode, self.number, self.superblock, self.device, self.zero];
        joined(&[&self.exec.to_bytes()], &members)
    }
}

/// Bytes and then numbers, in the machine's order; what is too much is left out.
fn joined<const N: usize>(bytes: &[&[u8]], numbers: &[u32]) -> [u8; N] {
    let mut joined = [0; N];
    let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
    let all = bytes.iter().flat_map(|bytes| bytes.iter().copied()).chain(numbers);
    joined.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    joined
}

/// Key of [`MAP_PROGRAMS`]: a file by the kernel's own numbers, which stat(2) may show otherwise. 16 bytes, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct FileKey {
    /// `i_ino` of its inode.
    pub inode: u64,
    /// `s_dev` of its file system: the major number, and the minor one in the lower 20 bits.
    pub device: u32,
    /// Always zero: keys are compared as bytes.
    pub zero: u32,
}

/// Bytes of one [`FileKey`].
pub const FILE_KEY_BYTES: usize = 16;
const _: () = assert!(size_of::<FileKey>() == FILE_KEY_BYTES);

impl FileKey {
    /// The key as the bytes that the kernel compares.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FILE_KEY_BYTES] {
        joined(&[&self.inode.to_ne_bytes()], &[self.device, self.zero])
    }
}

/// One file that was opened for writing. 1064 bytes, native byte order, no padding; what its length leaves of the path is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FileEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Id of the cgroup v2 directory of the task.
    pub cgroup: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Bytes written to [`Self::path`], NUL included; 0 where there is no path, or it does not fit.
    pub path_bytes: u32,
    /// Name of the task, NUL padded.
    pub comm: [u8; 16],
    /// The path as the task sees it.
    pub path: [u8; FILE_PATH_BYTES],
}

/// Of the path of a file, NUL included: what is longer is not told.
pub const FILE_PATH_BYTES: usize = 1024;
/// Bytes of one [`FileEvent`].
pub const FILE_EVENT_BYTES: usize = 1064;
const _: () = assert!(size_of::<FileEvent>() == FILE_EVENT_BYTES);
const _: () = assert!(align_of::<FileEvent>() == 8);

/// Byte offsets inside [`FileEvent`].
pub mod file_offset {
    use super::FileEvent;
    use core::mem::offset_of;

    /// Of [`FileEvent::time_ns`].
    pub const TIME_NS: usize = offset_of!(FileEvent, time_ns);
    /// Of [`FileEvent::cgroup`].
    pub const CGROUP: usize = offset_of!(FileEvent, cgroup);
    /// Of [`FileEvent::tgid`].
    pub const TGID: usize = offset_of!(FileEvent, tgid);
    /// Of [`FileEvent::path_bytes`].
    pub const PATH_BYTES: usize = offset_of!(FileEvent, path_bytes);
    /// Of [`FileEvent::comm`].
    pub const COMM: usize = offset_of!(FileEvent, comm);
    /// Of [`FileEvent::path`].
    pub const PATH: usize = offset_of!(FileEvent, path);
}

/// What the programs on open need to know, the one value of [`MAP_FILES`]. 24 bytes, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FileScope {
    /// Id of the cgroup v2 directory whose files are told.
    pub cgroup: u64,
    /// Where `f_mode` stands in the kernel's `struct file`, bytes.
    pub mode: u32,
    /// Where `f_inode` stands there.
    pub inode: u32,
    /// Where `i_mode` stands in `struct inode`.
    pub kind: u32,
    /// Always zero.
    pub zero: u32,
}

/// Bytes of one [`FileScope`].
pub const FILE_SCOPE_BYTES: usize = 24;
const _: () = assert!(size_of::<FileScope>() == FILE_SCOPE_BYTES);

impl FileScope {
    /// The value as the bytes that the programs read.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FILE_SCOPE_BYTES] {
        joined(&[&self.cgroup.to_ne_bytes()], &[self.mode, self.inode, self.kind, self.zero])
    }
}

/// What the loader replaces in the programs on open by the place of `f_path` in `struct file`: a number that nothing else has.
pub const PLACE_OF_PATH: i32 = 0x66_5f_70_61;

/// Key of [`MAP_ALLOWED`]: one synthetic address and port. 8 bytes, no padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AllowKey {
    /// The address, network order.
    pub address: [u8; 4],
    /// The port, network order.
    pub port: [u8; 2],
    /// Always zero: keys are compared as bytes.
    pub zero: [u8; 2],
}

/// Bytes of one [`AllowKey`].
pub const ALLOW_KEY_BYTES: usize = 8;
const _: () = assert!(size_of::<AllowKey>() == ALLOW_KEY_BYTES);

impl AllowKey {
    /// The key for `address` and `port` (host order).
    #[must_use]
    #[inline(always)]
    pub const fn new(address: [u8; 4], port: u16) -> Self {
        Self { address, port: port.to_be_bytes(), zero: [0; 2] }
    }

    /// The key as the bytes that the kernel compares.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; ALLOW_KEY_BYTES] {
        let ([a, b, c, d], [e, f], [g, h]) = (self.address, self.port, self.zero);
        [a, b, c, d, e, f, g, h]
    }
}

/// Value of [`MAP_ALLOWED`]: the destination is open. Any other value, or no entry, is closed.
pub const OPEN: u32 = 1;
/// Value of [`MAP_ALLOWED`]: known to the policy, closed for now (call scope).
pub const CLOSED: u32 = 0;

/// `AF_INET`, address_families(7).
pub const AF_INET: u8 = 2;
/// `AF_INET6`, address_families(7).
pub const AF_INET6: u8 = 10;
/// `SOCK_STREAM`, socket(2).
pub const SOCK_STREAM: u8 = 1;
/// `SOCK_DGRAM`, socket(2).
pub const SOCK_DGRAM: u8 = 2;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u16 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u16 = 17;

/// Where the DNS stub answers: the first host address of 198.18.0.0/15 (RFC 2544, never routed).
pub const STUB_ADDRESS: [u8; 4] = [198, 18, 0, 1];
/// Port of the DNS stub, UDP and TCP.
pub const STUB_PORT: u16 = 53;

/// Ring buffer of [`Event`]s, [`ExecEvent`]s and [`FileEvent`]s, which their lengths tell apart.
pub const MAP_EVENTS: &str = "EVENTS";
/// Hash map [`AllowKey`] -> `u32`.
pub const MAP_ALLOWED: &str = "ALLOWED";
/// SOCKMAP of one slot: the gateway's listener.
pub const MAP_GATEWAY: &str = "GATEWAY";
/// Array of `u64` counters, indexed by `COUNTER_*`.
pub const MAP_COUNTERS: &str = "COUNTERS";

/// Bytes that the server received, all protocols, IP headers included.
pub const COUNTER_BYTES_IN: u32 = 0;
/// Bytes that the server sent, all protocols, IP headers included.
pub const COUNTER_BYTES_OUT: u32 = 1;
/// Events for which the ring had no room.
pub const COUNTER_LOST: u32 = 2;
/// What the LSM program on connect(2) refused.
pub const COUNTER_LSM_CONNECT: u32 = 3;
/// What the LSM program on sendto(2) and sendmsg(2) refused.
pub const COUNTER_LSM_SENDMSG: u32 = 4;
/// Programs that were started and told: an [`ExecEvent`] each.
pub const COUNTER_EXECS: u32 = 5;
/// Programs that were started or refused while more than half of the ring was taken: they are not told.
pub const COUNTER_EXECS_LOST: u32 = 6;
/// Programs that the LSM program on exec refused.
pub const COUNTER_LSM_EXEC: u32 = 7;
/// Files that were opened for writing and told: a [`FileEvent`] each.
pub const COUNTER_OPENS: u32 = 8;
/// Files that were opened for writing while more than a quarter of the ring was taken, or could not be read: they are not told.
pub const COUNTER_OPENS_LOST: u32 = 9;
/// Number of counters.
pub const COUNTERS: u32 = 10;

/// Array of one [`LsmScope`], of the LSM programs alone.
pub const MAP_SCOPE: &str = "SCOPE";
/// Hash map [`FileKey`] -> `u32`, of the LSM programs alone: what may be executed. Its values say nothing.
pub const MAP_PROGRAMS: &str = "PROGRAMS";

/// Array of one [`FileScope`], of the programs on open alone.
pub const MAP_FILES: &str = "FILES";

/// Array of one [`ExecScope`], of the program on exec alone.
pub const MAP_EXECS: &str = "EXECS";

/// Size of the ring, bytes: a power of two and a multiple of the page size. Holds about 3,200 events, or 220 starts of programs in the half that those may take, or 60 files in their quarter.
pub const RING_BYTES: u32 = 256 << 10;

/// Read-only global (`u8`): 1 when the kernel has `bpf_set_retval` (5.18), so that a refusal says why.
pub const GLOBAL_SET_RETVAL: &str = "SET_RETVAL";

/// Names of the programs in the four objects.
pub mod program {
    /// `cgroup/connect4`.
    pub const CONNECT4: &str = "connect4";
    /// `cgroup/connect6`.
    pub const CONNECT6: &str = "connect6";
    /// `cgroup/sendmsg4`.
    pub const SENDMSG4: &str = "sendmsg4";
    /// `cgroup/sendmsg6`.
    pub const SENDMSG6: &str = "sendmsg6";
    /// `cgroup/sock_create`.
    pub const SOCK_CREATE: &str = "sock_create";
    /// `cgroup/bind4`.
    pub const BIND4: &str = "bind4";
    /// `cgroup/bind6`.
    pub const BIND6: &str = "bind6";
    /// `cgroup_skb/ingress`.
    pub const COUNT_INGRESS: &str = "count_ingress";
    /// `cgroup_skb/egress`.
    pub const COUNT_EGRESS: &str = "count_egress";
    /// `sk_lookup`.
    pub const TO_GATEWAY: &str = "to_gateway";
    /// `lsm_cgroup/socket_connect`.
    pub const LSM_CONNECT: &str = "lsm_connect";
    /// `lsm_cgroup/socket_sendmsg`.
    pub const LSM_SENDMSG: &str = "lsm_sendmsg";
    /// `lsm/socket_connect`.
    pub const LSM_CONNECT_HOST: &str = "lsm_connect_host";
    /// `lsm/socket_sendmsg`.
    pub const LSM_SENDMSG_HOST: &str = "lsm_sendmsg_host";
    /// `lsm_cgroup/bprm_check_security`.
    pub const LSM_EXEC: &str = "lsm_exec";
    /// `lsm/bprm_check_security`.
    pub const LSM_EXEC_HOST: &str = "lsm_exec_host";
    /// `lsm_cgroup/file_open`.
    pub const LSM_OPEN: &str = "lsm_open";
    /// `lsm/file_open`.
    pub const LSM_OPEN_HOST: &str = "lsm_open_host";
    /// `tp_btf/sched_process_exec`.
    pub const EXEC: &str = "exec";
}
