//! The LSM programs: connect and send are refused before the protocol's code, and so before the cgroup programs, by the
//! same rule. An extra layer: where the kernel has no place for it, the run goes on and the record says why.
//!
//! It is in force when the self-test was refused by each of the two programs: a kernel can take a program and never call it.

use std::os::fd::{BorrowedFd, OwnedFd};

use intercept_sandbox_abi as abi;

pub use super::btf_object::Maps;
use super::btf_object::{BtfObject, ObjectError, cgroup_id, refused};
use super::kernel_memo;
use super::kernel_types::TypesError;
use crate::report::chain;
use crate::sandbox::Answer;
use crate::sys::bpf::{self, Kind};

/// The compiled programs, apart from the others: only a kernel that calls them pays for parsing them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf-probes/prebuilt/lsm.o");
/// The kernel's list of its security modules.
const LIST: &str = "/sys/kernel/security/lsm";
/// For whom a program is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// For the sockets of the cgroup (Linux 6.0, and ten hooks for all cgroups of a host).
    Cgroup,
    /// For every process of the host; the program compares the cgroup.
    Host,
}

impl Reach {
    const fn kind(self) -> Kind {
        match self {
            Self::Cgroup => Kind::LsmCgroup,
            Self::Host => Kind::Lsm,
        }
    }

    /// On connect(2), then on sendto(2) and sendmsg(2).
    const fn programs(self) -> [&'static str; 2] {
        match self {
            Self::Cgroup => [abi::program::LSM_CONNECT, abi::program::LSM_SENDMSG],
            Self::Host => [abi::program::LSM_CONNECT_HOST, abi::program::LSM_SENDMSG_HOST],
        }
    }
}

/// Why there are no LSM programs. No error of a run: it becomes the layer's reason.
#[derive(Debug, thiserror::Error)]
pub enum LsmError {
    /// The list of security modules cannot be read.
    #[error("cannot read {LIST}")]
    List(#[source] std::io::Error),
    /// The kernel was booted without it.
    #[error("bpf is not in the kernel's lsm= list ({0})")]
    NotListed(String),
    /// The kernel does not say where the programs belong, or has other structures.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// A program cannot be had.
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// Programs in force. Dropping the last copy, over all processes, takes them out of force.
#[derive(Debug)]
pub struct Links {
    /// Held, never read.
    _links: [OwnedFd; 2],
}

/// The layer of one run.
#[derive(Debug)]
pub enum Lsm {
    /// Both programs are attached.
    Attached(Links),
    /// They are not, and why.
    Absent(String),
}

impl Lsm {
    /// Attaches both programs for the cgroup v2 directory `cgroup`, in the narrower reach if that can be had. Without BPF
    /// among the kernel's security modules this costs the reading of one small file.
    #[must_use]
    pub fn arm(maps: &Maps<'_>, cgroup: BorrowedFd<'_>) -> Self {
        let prepared = listed().and_then(|()| Programs::prepare(maps, cgroup));
        let attached = prepared.and_then(|programs| {
            programs.attach(Reach::Cgroup, cgroup).or_else(|_| programs.attach(Reach::Host, cgroup))
        });
        match attached {
            Ok(links) => Self::Attached(links),
            Err(error) => Self::Absent(chain(&error)),
        }
    }

    /// What the layer answers, when the programs have refused so many connects and sends of the self-test.
    pub fn answer(&self, refused: [u64; 2]) -> Answer {
        match self {
            Self::Attached(_) if refused.iter().all(|count| *count > 0) => Answer::Enforced,
            Self::Attached(_) => Answer::Unsupported(format!(
                "attached, but the self-test was refused by other layers: {} connects, {} sends refused here",
                refused[0], refused[1]
            )),
            Self::Absent(reason) => Answer::Unsupported(reason.clone()),
        }
    }
}

/// Whether the kernel calls BPF programs as a security module.
fn listed() -> Result<(), LsmError> {
    let list = std::fs::read_to_string(LIST).map_err(LsmError::List)?;
    if list.trim().split(',').any(|module| module == "bpf") {
        return Ok(());
    }
    Err(LsmError::NotListed(list.trim().to_owned()))
}

/// Both programs in both reaches, bound to their maps; not yet given to the verifier.
#[derive(Debug)]
pub struct Programs<'m> {
    object: BtfObject<'m, u64>,
    /// Ids of the hooks.
    targets: [u32; 2],
}

impl<'m> Programs<'m> {
    /// Finds the hooks in this kernel and binds the programs to `maps` and to the cgroup v2 directory `cgroup`.
    ///
    /// # Errors
    /// [`LsmError`].
    pub fn prepare(maps: &Maps<'m>, cgroup: BorrowedFd<'_>) -> Result<Self, LsmError> {
        let targets = kernel_memo::types()?.hooks()?;
        let mut object = BtfObject::bind(OBJECT, maps, abi::MAP_SCOPE)?;
        object.set_own(cgroup_id(cgroup)?)?; // tells the programs for the host whom they are about
        Ok(Self { object, targets })
    }

    /// Loads and attaches both programs in one reach, for the cgroup of [`Self::prepare`].
    ///
    /// # Errors
    /// [`LsmError`]; nothing of them is in force then.
    pub fn attach(&self, reach: Reach, cgroup: BorrowedFd<'_>) -> Result<Links, LsmError> {
        let [connect, sendmsg] = reach.programs();
        let arm = |name, target| {
            let program = self.object.load(reach.kind(), name, target)?;
            let link = match reach {
                Reach::Cgroup => bpf::attach_to_cgroup(&program, cgroup),
                Reach::Host => bpf::attach_to_host(&program),
            };
            link.map_err(refused(name, "attached")).map_err(LsmError::from)
        };
        Ok(Links { _links: [arm(connect, self.targets[0])?, arm(sendmsg, self.targets[1])?] })
    }
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

    #[test]
    fn in_force_is_what_both_programs_have_refused() {
        let none = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let attached = Lsm::Attached(Links { _links: [none(), none()] });
        assert_eq!(attached.answer([1, 1]), Answer::Enforced);
        for refused in [[0, 0], [7, 0], [0, 7]] {
            let answer = attached.answer(refused);
            assert!(matches!(&answer, Answer::Unsupported(why) if why.contains("self-test")), "{answer:?}");
        }
        let absent = Lsm::Absent("for a reason".to_owned());
        assert_eq!(absent.answer([7, 7]), Answer::Unsupported("for a reason".to_owned()));
    }
}
