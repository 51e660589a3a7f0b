//! bpf(2): loading a program that does nothing, to learn whether this kernel takes its kind.

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// `BPF_PROG_LOAD` of linux/bpf.h.
const LOAD: libc::c_int = 5;
/// `BPF_PROG_TYPE_TRACING`.
const TRACING: u32 = 26;
/// `BPF_TRACE_RAW_TP`: the attach type of tp_btf programs.
const TRACE_RAW_TP: u32 = 23;
/// `r0 = 0; exit`, eight bytes an instruction.
const NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

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

/// Loads a tp_btf program for the tracepoint whose BTF typedef has the id `typedef` (Linux 5.5). The program is gone when
/// the descriptor is dropped; it is attached to nothing.
///
/// # Errors
/// `EPERM` without privilege or where the kernel forbids it; `EINVAL` for a kind or an id that it does not know.
pub fn load_tp_btf(typedef: u32) -> Result<OwnedFd, Errno> {
    let attr = Load {
        prog_type: TRACING,
        insn_cnt: 2,
        insns: NOTHING.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type: TRACE_RAW_TP,
        attach_btf_id: typedef,
        ..Load::default()
    };
    // SAFETY: `attr` has the layout asserted above and lives through the call, and so do the constants it points at; the
    // kernel reads all three and, without a log buffer, writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const attr, size_of::<Load>()) };
    let descriptor = RawFd::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
