//! The LSM programs: connect and send are refused before the protocol's code, and so before the cgroup programs, by the
//! same rule; where the policy has `process.exec`, a program that is not listed is refused behind Landlock's rules. An extra layer:
//! where the kernel has no place for it, the run goes on and the record says why.
//!
//! It is in force when the self-test was refused by each of the programs: a kernel can take a program and never call it.

use std::os::fd::{BorrowedFd, OwnedFd};

use intercept_sandbox_abi as abi;
use nix::errno::Errno;

pub use super::btf_object::Maps;
use super::btf_object::{BtfObject, ObjectError, cgroup_id, refused};
use super::exec_files::{ExecFiles, ExecFilesError};
use super::extra::Extra;
use super::kernel_memo;
use super::kernel_types::{KernelTypes, ListTypes, TypesError};
use crate::sandbox::programs::Executables;
use crate::sys::bpf::{self, Kind};
use crate::weaken;

/// The compiled programs, apart from the others: only a kernel that calls them pays for parsing them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/lsm.o");
/// The kernel's list of its security modules.
const LIST: &str = "/sys/kernel/security/lsm";

/// For whom a program is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// For the processes of the cgroup (Linux 6.0, and ten hooks for all cgroups of a host).
    Cgroup,
    /// For every process of the host; the program compares the cgroup.
    Host,
}

impl Reach {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Cgroup => Kind::LsmCgroup,
            Self::Host => Kind::Lsm,
        }
    }

    /// Puts a program of this kind in force as long as the link is held.
    pub(super) fn attach(self, program: &OwnedFd, cgroup: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        match self {
            Self::Cgroup => bpf::attach_to_cgroup(program, cgroup),
            Self::Host => bpf::attach_to_host(program),
        }
    }

    /// The narrower reach if that can be had.
    pub(super) fn narrowest<L>(mut attach: impl FnMut(Self) -> Result<L, LsmError>) -> Result<L, LsmError> {
        attach(Self::Cgroup).or_else(|_| attach(Self::Host))
    }

    /// On connect(2), on sendto(2) and sendmsg(2), on execve(2).
    const fn programs(self) -> [&'static str; 3] {
        match self {
            Self::Cgroup => [abi::program::LSM_CONNECT, abi::program::LSM_SENDMSG, abi::program::LSM_EXEC],
            Self::Host => [abi::program::LSM_CONNECT_HOST, abi::program::LSM_SENDMSG_HOST, abi::program::LSM_EXEC_HOST],
        }
    }
}

/// Why there are no LSM programs. No error of a run: it becomes the layer's reason.
#[derive(Debug, thiserror::Error)]
pub enum LsmError {
    /// The kernel does not say where the programs belong, or has other structures.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// The listed programs cannot be told from others.
    #[error(transparent)]
    Files(#[from] ExecFilesError),
    /// A program cannot be had.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Programs in force. Dropping the last copy, over all processes, takes them out of force.
#[derive(Debug)]
pub struct Links {
    /// Held, never read: one for each program.
    links: Vec<OwnedFd>,
    /// Likewise, for their numbers: the files of the list.
    _files: Vec<OwnedFd>,
}

/// What the programs have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// connect(2).
    pub connects: u64,
    /// sendto(2) and sendmsg(2).
    pub sends: u64,
    /// execve(2); nobody counts them without a list.
    pub execs: u64,
}

/// Attaches the programs for the cgroup v2 directory `cgroup`, in the narrower reach if that can be had; the one on exec where there is a
/// list. Asked of a kernel that calls them ([`uncalled`]).
#[must_use]
pub fn arm(maps: &Maps<'_>, cgroup: BorrowedFd<'_>, list: Option<&Executables<'_>>) -> Extra<Links> {
    let attach = |programs: Programs<'_>| {
        let links = Reach::narrowest(|reach| programs.attach(reach, cgroup))?;
        Ok(Links { _files: programs.into_held(), ..links })
    };
    Extra::of(Programs::prepare(maps, cgroup, list).and_then(attach))
}

/// What speaks against the programs, when they have refused so much of the self-test.
#[must_use]
pub fn doubt(links: &Links, refused: Refused) -> Option<String> {
    let Refused { connects, sends, execs } = refused;
    if [connects, sends, execs].iter().take(links.links.len()).all(|count| *count > 0) {
        return None;
    }
    let programs = if links.links.len() > 2 { format!(", {execs} programs") } else { String::new() };
    Some(format!(
        "the self-test was refused by other layers: {connects} connects, {sends} sends{programs} refused here"
    ))
}

/// Why the kernel does not call BPF programs as a security module, if it does not. Reads one small file.
#[must_use]
pub fn uncalled() -> Option<String> {
    match std::fs::read_to_string(LIST) {
        Ok(list) if list.trim().split(',').any(|module| module == "bpf") => None,
        Ok(list) => Some(format!("bpf is not in the kernel's lsm= list ({})", list.trim())),
        Err(error) => Some(format!("cannot read {LIST}: {error}")),
    }
}

/// The programs in both reaches, bound to their maps; not yet given to the verifier.
#[derive(Debug)]
pub struct Programs<'m> {
    object: BtfObject<'m, [u8; abi::LSM_SCOPE_BYTES]>,
    /// Ids of the hooks of the programs that are to be attached.
    targets: Vec<u32>,
    /// The files of the list.
    held: Vec<OwnedFd>,
}

impl<'m> Programs<'m> {
    /// Finds the hooks in this kernel and binds the programs to `maps`, to the cgroup v2 directory `cgroup` and to the list.
    ///
    /// # Errors
    /// [`LsmError`].
    pub fn prepare(maps: &Maps<'m>, cgroup: BorrowedFd<'_>, list: Option<&Executables<'_>>) -> Result<Self, LsmError> {
        let types = kernel_memo::types()?;
        let cgroup = cgroup_id(cgroup)?;
        let list = list.map(ExecFiles::of).transpose()?;
        let (scope, targets) = wanted(&types, cgroup, list.is_some())?;
        let files = list.as_ref().map_or(&[][..], ExecFiles::keys);
        let room = u32::try_from(files.len().max(1)).unwrap_or(u32::MAX); // a map of 0 entries is EINVAL
        let mut object = BtfObject::bind(OBJECT, maps, abi::MAP_SCOPE, Some((abi::MAP_PROGRAMS, room)))?;
        object.set_own(scope.to_bytes())?;
        files.iter().try_for_each(|file| object.add_file(*file))?;
        Ok(Self { object, targets, held: list.map(ExecFiles::into_held).unwrap_or_default() })
    }

    /// Loads and attaches the programs in one reach, for the cgroup of [`Self::prepare`]. They go by the list as long as [`Self`] lives, or
    /// what [`Self::into_held`] gives.
    ///
    /// # Errors
    /// [`LsmError`]; nothing of them is in force then.
    pub fn attach(&self, reach: Reach, cgroup: BorrowedFd<'_>) -> Result<Links, LsmError> {
        let arm = |(name, target): (&'static str, &u32)| {
            let program = self.object.load(reach.kind(), name, *target)?;
            reach.attach(&program, cgroup).map_err(refused(name, "attached")).map_err(LsmError::from)
        };
        let links = reach.programs().into_iter().zip(&self.targets).map(arm).collect::<Result<_, _>>()?;
        Ok(Links { links, _files: Vec::new() })
    }

    /// The files of the list: while they are held, no other file gets their numbers.
    #[must_use]
    pub fn into_held(self) -> Vec<OwnedFd> {
        self.held
    }
}

/// What the programs are told, and the hooks of those that a run needs: on sockets always, on exec with a list.
fn wanted(types: &KernelTypes, cgroup: u64, with_list: bool) -> Result<(abi::LsmScope, Vec<u32>), TypesError> {
    let mut hooks = types.hooks()?.to_vec();
    let exec = abi::ExecScope { cgroup, filename: 0, interp: 0, real_parent: 0, tgid: 0 };
    let mut scope = abi::LsmScope { exec, file: 0, inode: 0, number: 0, superblock: 0, device: 0, zero: 0 };
    if with_list && weaken::in_force("lsm-exec") {
        let ListTypes { hook, file, inode, number, superblock, device } = types.list()?;
        hooks.push(hook);
        scope = abi::LsmScope { exec: types.exec()?.scope(cgroup), file, inode, number, superblock, device, zero: 0 };
    }
    Ok((scope, hooks))
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;

    #[test]
    fn the_embedded_object_is_an_elf_for_bpf_with_both_reaches() {
        assert_eq!((&OBJECT[..4], u16::from_le_bytes([OBJECT[18], OBJECT[19]])), (&b"\x7fELF"[..], 247)); // EM_BPF
        assert!(OBJECT.len() < 64 << 10, "the object has grown to {} bytes: debug information?", OBJECT.len());
        let object = Object::parse(OBJECT).unwrap();
        for name in [Reach::Cgroup, Reach::Host].into_iter().flat_map(Reach::programs) {
            assert!(object.programs.contains_key(name), "{name}");
        }
    }

    fn attached(programs: usize) -> Links {
        let none = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        Links { links: (0..programs).map(|_| none()).collect(), _files: Vec::new() }
    }

    #[test]
    fn in_force_is_what_every_program_has_refused() {
        let refused = |[connects, sends, execs]: [u64; 3]| Refused { connects, sends, execs };
        for (programs, enough) in [(2, [1, 1, 0]), (3, [1, 1, 1])] {
            assert_eq!(doubt(&attached(programs), refused(enough)), None);
        }
        for (programs, counts) in [(2, [0, 0, 7]), (2, [7, 0, 7]), (2, [0, 7, 7]), (3, [7, 7, 0]), (3, [0, 7, 7])] {
            let why = doubt(&attached(programs), refused(counts)).expect("a doubt");
            assert_eq!((why.contains("self-test"), why.contains("programs")), (true, programs == 3), "{why}");
        }
    }

    #[test]
    fn a_list_brings_its_program_and_what_that_needs_of_the_kernel() {
        let types = KernelTypes([7, 9, 0, 8, 4, 11, 96, 104, 1400, 1380, 13, 64, 32, 40, 48, 16, 17, 20, 64, 2]);
        let (scope, hooks) = wanted(&types, 5, false).unwrap();
        assert_eq!((hooks, scope.exec.cgroup, scope.exec.filename, scope.file), (vec![7, 9], 5, 0, 0));
        let (scope, hooks) = wanted(&types, 5, true).unwrap();
        assert_eq!(hooks, [7, 9, 13]);
        let bytes = scope.to_bytes();
        let words: Vec<u32> = bytes[8..].chunks(4).map(|four| u32::from_ne_bytes(four.try_into().unwrap())).collect();
        assert_eq!((&bytes[..8], words), (&5_u64.to_ne_bytes()[..], vec![96, 104, 1400, 1380, 64, 32, 40, 48, 16, 0]));
        // A kernel that lacks something for the list has the others' programs where there is none.
        let mut lacking = types;
        lacking.0[10] = u32::MAX;
        assert!(wanted(&lacking, 5, false).is_ok() && wanted(&lacking, 5, true).is_err());
    }
}
