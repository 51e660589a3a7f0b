//! The exec audit: which programs the server starts, told by the kernel as they start. An extra layer, and one that only looks:
//! where it cannot be had, the run goes on and the record says why.
//!
//! One program for each session (tp_btf on `sched_process_exec`). The kernel calls it for every process of the host; it compares the cgroup
//! and is done. It is in force when it has been called for the sandbox's own pid 1: a kernel can take a program and never call it.

use std::os::fd::{BorrowedFd, OwnedFd};

use intercept_sandbox_abi as abi;

use super::btf_object::{BtfObject, Maps, ObjectError, OwnValue, cgroup_id, refused};
use super::extra::Extra;
use super::kernel_memo;
use super::kernel_types::{ExecTypes, TypesError};
use crate::sys::bpf::{self, Kind};
use crate::weaken;

/// The compiled program, apart from the others: only a kernel that describes its types pays for parsing it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/exec.o");

/// Why there is no exec audit. No error of a run: it becomes the layer's reason.
#[derive(Debug, thiserror::Error)]
pub enum ExecTraceError {
    /// The kernel does not say where the program belongs, or has other structures.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// The program cannot be had.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// A program that the verifier accepted, or why there is none; it looks at no cgroup yet.
#[derive(Debug)]
pub struct Loaded(Result<Ready, ExecTraceError>);

impl Loaded {
    /// Finds the tracepoint in this kernel and lets the verifier check the program.
    #[must_use]
    pub fn load(maps: &Maps<'_>) -> Self {
        Self(load(maps))
    }

    /// Attaches the program for the cgroup v2 directory `cgroup`: its processes alone are told of, not those of a cgroup in it, for a
    /// session's cgroup has none and the server can make none.
    #[must_use]
    pub fn attach(self, cgroup: BorrowedFd<'_>) -> Extra<OwnedFd> {
        if !weaken::in_force("exec-trace") {
            return Extra::Absent("a test took it away".to_owned());
        }
        Extra::of(self.0.and_then(|ready| attach(ready, cgroup)))
    }
}

/// What speaks against the program, when so many starts have been told.
#[must_use]
pub fn doubt(told: u64) -> Option<String> {
    (told == 0).then(|| "the kernel did not tell of the sandbox's own pid 1".to_owned())
}

type Ready = (OwnedFd, OwnValue<[u8; abi::EXEC_SCOPE_BYTES]>, ExecTypes);

fn load(maps: &Maps<'_>) -> Result<Ready, ExecTraceError> {
    let types = kernel_memo::types()?.exec()?;
    let object = BtfObject::bind(OBJECT, maps, abi::MAP_EXECS, None)?;
    let program = object.load(Kind::TpBtf, abi::program::EXEC, types.tracepoint)?;
    Ok((program, object.into_own(), types))
}

fn attach((program, mut own, types): Ready, cgroup: BorrowedFd<'_>) -> Result<OwnedFd, ExecTraceError> {
    own.set(types.scope(cgroup_id(cgroup)?).to_bytes())?;
    Ok(bpf::attach_to_host(&program).map_err(refused(abi::program::EXEC, "attached"))?)
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;

    #[test]
    fn the_embedded_object_is_an_elf_for_bpf_with_the_program() {
        assert_eq!((&OBJECT[..4], u16::from_le_bytes([OBJECT[18], OBJECT[19]])), (&b"\x7fELF"[..], 247)); // EM_BPF
        assert!(OBJECT.len() < 16 << 10, "the object has grown to {} bytes: debug information?", OBJECT.len());
        assert!(Object::parse(OBJECT).unwrap().programs.contains_key(abi::program::EXEC));
    }

    #[test]
    fn in_force_is_what_was_called_once() {
        assert_eq!((doubt(1), doubt(u64::MAX)), (None, None));
        assert!(doubt(0).is_some_and(|why| why.contains("pid 1")));
    }
}
