//! The file audit: which files the server opens for writing, told by the kernel as they are opened. An extra layer, and one that only
//! looks: where it cannot be had, the run goes on and the record says why.
//!
//! An LSM program on `file_open`, on the session's cgroup or for the host, as those of [`super::lsm`]. It is in force when it has told of
//! the file that the sandbox's own pid 1 opens: a kernel can take a program and never call it.

use std::os::fd::{BorrowedFd, OwnedFd};

use intercept_sandbox_abi as abi;

use super::btf_object::{BtfObject, Maps, cgroup_id, refused};
use super::extra::Extra;
use super::kernel_memo;
use super::kernel_types::FileTypes;
use super::lsm::{LsmError, Reach};
use crate::weaken;

/// The compiled programs, apart from the others: only a kernel that calls them pays for parsing them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/files.o");

/// Attaches the program for the cgroup v2 directory `cgroup`, in the narrower reach if that can be had; not where the kernel does not call it
/// ([`super::lsm::uncalled`]).
#[must_use]
pub fn arm(maps: &Maps<'_>, cgroup: BorrowedFd<'_>, uncalled: Option<&str>) -> Extra<OwnedFd> {
    let taken = (!weaken::in_force("fs-trace")).then_some("a test took it away");
    if let Some(reason) = taken.or(uncalled) {
        return Extra::Absent(reason.to_owned());
    }
    let attach = |programs: Programs<'_>| Reach::narrowest(|reach| programs.attach(reach, cgroup));
    Extra::of(Programs::prepare(maps, cgroup).and_then(attach))
}

/// What speaks against the program, when so many files have been told.
#[must_use]
pub fn doubt(told: u64) -> Option<String> {
    (told == 0).then(|| "the kernel did not tell of the file of the self-test".to_owned())
}

/// The program in both reaches, bound to its maps; not yet given to the verifier.
#[derive(Debug)]
pub struct Programs<'m> {
    object: BtfObject<'m, [u8; abi::FILE_SCOPE_BYTES]>,
    /// Id of the hook.
    target: u32,
}

impl<'m> Programs<'m> {
    /// Finds the hook in this kernel and binds the programs to `maps` and to the cgroup v2 directory `cgroup`.
    ///
    /// # Errors
    /// [`LsmError`].
    pub fn prepare(maps: &Maps<'m>, cgroup: BorrowedFd<'_>) -> Result<Self, LsmError> {
        let FileTypes { hook, mode, inode, kind, path } = kernel_memo::types()?.files()?;
        let mut object = BtfObject::bind(OBJECT, maps, abi::MAP_FILES, None)?;
        object.set_own(abi::FileScope { cgroup: cgroup_id(cgroup)?, mode, inode, kind, zero: 0 }.to_bytes())?;
        [Reach::Cgroup, Reach::Host]
            .into_iter()
            .try_for_each(|reach| object.patch(name(reach), abi::PLACE_OF_PATH, path))?;
        Ok(Self { object, target: hook })
    }

    /// Loads and attaches the program in one reach, for the cgroup of [`Self::prepare`].
    ///
    /// # Errors
    /// [`LsmError`].
    pub fn attach(&self, reach: Reach, cgroup: BorrowedFd<'_>) -> Result<OwnedFd, LsmError> {
        let program = self.object.load(reach.kind(), name(reach), self.target)?;
        Ok(reach.attach(&program, cgroup).map_err(refused(name(reach), "attached"))?)
    }
}

const fn name(reach: Reach) -> &'static str {
    match reach {
        Reach::Cgroup => abi::program::LSM_OPEN,
        Reach::Host => abi::program::LSM_OPEN_HOST,
    }
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
        for name in [Reach::Cgroup, Reach::Host].map(name) {
            let function = &object.functions[&object.programs[name].function_key()];
            let marked = function.instructions.iter().filter(|one| one.imm == abi::PLACE_OF_PATH).count();
            assert_eq!(marked, 1, "{name}");
        }
    }

    #[test]
    fn in_force_is_what_was_called_once() {
        assert_eq!((doubt(1), doubt(u64::MAX)), (None, None));
        assert!(doubt(0).is_some_and(|why| why.contains("self-test")));
    }
}
