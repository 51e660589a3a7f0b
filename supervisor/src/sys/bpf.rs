//! bpf(2): programs that find their place by the kernel's own description of its types, for which aya would parse all of it.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use aya_obj::generated::bpf_insn;
use nix::errno::Errno;

/// `BPF_PROG_LOAD` of linux/bpf.h.
const LOAD: libc::c_int = 5;
/// `BPF_RAW_TRACEPOINT_OPEN`, which also attaches what needs no name.
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
/// `BPF_LINK_CREATE`.
const LINK_CREATE: libc::c_int = 28;
/// The instructions `r0 = 0` and `exit`: their codes, for all else in them is zero.
const NOTHING: [u8; 2] = [0xb7, 0x95];

/// Kinds of program that are bound to a type of the kernel as they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On a tracepoint with typed arguments (Linux 5.5). The type is the tracepoint's typedef.
    TpBtf,
    /// On a security hook, for the whole host (5.7). The type is the function `bpf_lsm_*`.
    Lsm,
    /// On a security hook, for a cgroup (6.0). The type is the function `bpf_lsm_*`.
    LsmCgroup,
}

impl Kind {
    /// `BPF_PROG_TYPE_TRACING` or `BPF_PROG_TYPE_LSM`.
    const fn program(self) -> u32 {
        match self {
            Self::TpBtf => 26,
            Self::Lsm | Self::LsmCgroup => 29,
        }
    }

    /// `BPF_TRACE_RAW_TP`, `BPF_LSM_MAC` or `BPF_LSM_CGROUP`.
    const fn attachment(self) -> u32 {
        match self {
            Self::TpBtf => 23,
            Self::Lsm => 27,
            Self::LsmCgroup => 43,
        }
    }
}

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads, up to `attach_btf_id`.
#[derive(Default)]
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    btf: [u64; 4],
    line_info_cnt: u32,
    attach_btf_id: u32,
}

const _: () = assert!(size_of::<Load>() == 112);
const _: () = assert!(std::mem::offset_of!(Load, expected_attach_type) == 68);
const _: () = assert!(std::mem::offset_of!(Load, attach_btf_id) == 108);

/// The part that `BPF_LINK_CREATE` reads.
#[repr(C)]
struct Link {
    prog_fd: RawFd,
    target_fd: RawFd,
    attach_type: u32,
    flags: u32,
}

/// The part that `BPF_RAW_TRACEPOINT_OPEN` reads.
#[repr(C)]
struct Open {
    name: u64,
    prog_fd: RawFd,
    zero: u32,
}

/// Loads `instructions` for the type with the id `target`. The program is gone when the last descriptor and link of it are.
/// `name` is for those who list programs; the kernel takes its first 15 bytes, of letters, digits and `_`.
///
/// # Errors
/// `EPERM` without privilege or where the kernel forbids it; `EINVAL` for a kind or an id that it does not know; `EACCES`
/// or `EINVAL` when its verifier refuses the program.
pub fn load(kind: Kind, target: u32, instructions: &[bpf_insn], name: &str, license: &CStr) -> Result<OwnedFd, Errno> {
    let mut prog_name = [0; 16];
    prog_name.iter_mut().zip(name.bytes().take(15)).for_each(|(to, from)| *to = from);
    let insn_cnt = u32::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?;
    let attr = Load {
        prog_type: kind.program(),
        insn_cnt,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name,
        expected_attach_type: kind.attachment(),
        attach_btf_id: target,
        ..Load::default()
    };
    // SAFETY: `attr` has the layout asserted above; it and the three things that it points at live through the call. The
    // kernel reads them (as many instructions as the slice has, the license up to its NUL) and writes nothing.
    unsafe { call(LOAD, &attr) }
}

/// Loads a tp_btf program that does nothing, to learn whether the kernel takes its kind. It is attached to nothing.
///
/// # Errors
/// As [`load`].
pub fn load_tp_btf(typedef: u32) -> Result<OwnedFd, Errno> {
    let zeroes = bpf_insn::new_bitfield_1(0, 0);
    let nothing = NOTHING.map(|code| bpf_insn { code, _bitfield_align_1: [], _bitfield_1: zeroes, off: 0, imm: 0 });
    load(Kind::TpBtf, typedef, &nothing, "", c"GPL")
}

/// Puts a [`Kind::LsmCgroup`] program in force on a cgroup v2 directory, as long as the link is held.
///
/// # Errors
/// `E2BIG` when ten other hooks are taken on this host, which is all that the kernel has room for.
pub fn attach_to_cgroup(program: &OwnedFd, cgroup: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let attach_type = Kind::LsmCgroup.attachment();
    let attr = Link { prog_fd: program.as_raw_fd(), target_fd: cgroup.as_raw_fd(), attach_type, flags: 0 };
    // SAFETY: plain numbers in the kernel's layout.
    unsafe { call(LINK_CREATE, &attr) }
}

/// Puts a [`Kind::Lsm`] program in force for the whole host, as long as the link is held.
///
/// # Errors
/// `EPERM` without privilege; `EBUSY` when the hook has no room.
pub fn attach_to_host(program: &OwnedFd) -> Result<OwnedFd, Errno> {
    let attr = Open { name: 0, prog_fd: program.as_raw_fd(), zero: 0 };
    // SAFETY: plain numbers in the kernel's layout; without a name it attaches where the program was loaded for.
    unsafe { call(RAW_TRACEPOINT_OPEN, &attr) }
}

/// One bpf(2) call that gives a descriptor.
///
/// # Safety
/// `attr` is laid out as the kernel's `union bpf_attr` for `command`, and what it points at is valid for it.
unsafe fn call<T>(command: libc::c_int, attr: &T) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's word for `attr`; the kernel reads no more than its size.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    let descriptor = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
