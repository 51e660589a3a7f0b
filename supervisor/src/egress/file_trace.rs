//! The file audit: which files the server opens for writing, told by the kernel as they are opened. An extra layer, and one that only
//! looks: where it cannot be had, the run goes on and the record says why.
//!
//! An LSM program on `file_open`, on the session's cgroup or for the host, as those of [`super::lsm`]. It is in force when it has told of
//! the file that the sandbox's own pid 1 opens: a kernel can take a program and never call it.

use std::os::fd::{BorrowedFd, OwnedFd};

use intercept_sandbox_abi as abi;

use super::btf_object::{BtfObject, Maps, cgroup_id, refused};
use super::kernel_memo;
use super::lsm::{LsmError, Reach, listed};
use crate::report::chain;
use crate::sandbox::Answer;
use crate::weaken;

/// The compiled programs, apart from the others: only a kernel that calls them pays for parsing them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/files.o");

/// The layer of one run.
#[derive(Debug)]
pub enum FileTrace {
    /// The program is attached as long as this is held, in any process.
    Attached(OwnedFd),
    /// It is not, and why.
    Absent(String),
}

impl FileTrace {
    /// Attaches the program for the cgroup v2 directory `cgroup`, in the narrower reach if that can be had. Without BPF among the
    /// kernel's security modules this costs the reading of one small file.
    #[must_use]
    pub fn arm(maps: &Maps<'_>, cgroup: BorrowedFd<'_>) -> Self {
        if !weaken::in_force("fs-trace") {
            return Self::Absent("a test took it away".to_owned());
        }
        let attached =
            listed().and_then(|()| attach(maps, cgroup, Reach::Cgroup).or_else(|_| attach(maps, cgroup, Reach::Host)));
        match attached {
            Ok(link) => Self::Attached(link),
            Err(error) => Self::Absent(chain(&error)),
        }
    }

    /// What the layer answers, when so many files have been told.
    pub fn answer(&self, told: u64) -> Answer {
        match self {
            Self::Attached(_) if told > 0 => Answer::Enforced,
            Self::Attached(_) => {
                Answer::Unsupported("attached, but the kernel did not tell of the file of the self-test".to_owned())
            }
            Self::Absent(reason) => Answer::Unsupported(reason.clone()),
        }
    }
}

/// Puts the program in force for the cgroup v2 directory `cgroup`, in one reach.
///
/// # Errors
/// [`LsmError`].
pub fn attach(maps: &Maps<'_>, cgroup: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd, LsmError> {
    let name = match reach {
        Reach::Cgroup => abi::program::LSM_OPEN,
        Reach::Host => abi::program::LSM_OPEN_HOST,
    };
    let types = kernel_memo::types()?.files()?;
    let mut object = BtfObject::bind(OBJECT, maps, abi::MAP_FILES, None)?;
    let (mode, inode, kind) = (types.mode, types.inode, types.kind);
    object.set_own(abi::FileScope { cgroup: cgroup_id(cgroup)?, mode, inode, kind, zero: 0 }.to_bytes())?;
    object.patch(name, abi::PLACE_OF_PATH, types.path)?;
    let program = object.load(reach.kind(), name, types.hook)?;
    Ok(reach.attach(&program, cgroup).map_err(refused(name, "attached"))?)
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;

    #[test]
    fn the_embedded_object_is_an_elf_for_bpf_and_each_program_has_one_place_for_the_path() {
        assert_eq!((&OBJECT[..4], u16::from_le_bytes([OBJECT[18], OBJECT[19]])), (&b"\x7fELF"[..], 247)); // EM_BPF
        assert!(OBJECT.len() < 16 << 10, "the object has grown to {} bytes: debug information?", OBJECT.len());
        let object = Object::parse(OBJECT).unwrap();
        for name in [abi::program::LSM_OPEN, abi::program::LSM_OPEN_HOST] {
            let function = &object.functions[&object.programs[name].function_key()];
            let marked = function.instructions.iter().filter(|one| one.imm == abi::PLACE_OF_PATH).count();
            assert_eq!(marked, 1, "{name}");
        }
    }

    #[test]
    fn in_force_is_what_was_called_once() {
        let attached = FileTrace::Attached(std::fs::File::open("/dev/null").unwrap().into());
        assert_eq!(attached.answer(1), Answer::Enforced);
        let answer = attached.answer(0);
        assert!(matches!(&answer, Answer::Unsupported(why) if why.contains("self-test")), "{answer:?}");
        let absent = FileTrace::Absent("for a reason".to_owned());
        assert_eq!(absent.answer(7), Answer::Unsupported("for a reason".to_owned()));
    }
}
