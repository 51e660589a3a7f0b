//! The kernel's description of its own types (BTF, /sys/kernel/btf/vmlinux), read for a few names alone.
//!
//! Building all of it, as aya does, takes several times as long (30 ms). Nothing here trusts a length: what does not fit is an error.
//! What was found is kept for the next start ([`super::kernel_memo`]).

use std::path::Path;

use intercept_sandbox_abi as abi;

/// Where the kernel publishes it. Some 6 MB.
const PLACE: &str = "/sys/kernel/btf/vmlinux";
/// `struct btf_header`: magic of the machine's byte order, then the version.
const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 24;
/// `struct btf_type`.
const TYPE_BYTES: usize = 12;
/// `struct btf_member`.
const MEMBER_BYTES: usize = 12;
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const FUNCTION: u32 = 12;
/// Bytes behind a type of each kind: those of its own, and those of each of its members. `btf_kind` of linux/btf.h.
const BEHIND: [(usize, usize); 20] = [
    (0, 0),
    (4, 0), // integer
    (0, 0),
    (12, 0), // array
    (0, MEMBER_BYTES),
    (0, MEMBER_BYTES), // union
    (0, 8),            // enumeration
    (0, 0),
    (0, 0), // typedef
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),  // function prototype
    (4, 0),  // variable
    (0, 12), // section
    (0, 0),
    (4, 0), // declaration tag
    (0, 0),
    (0, 12), // enumeration of 64 bits
];

/// What is looked for, each with one number for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The id of a function.
    Function(&'static str),
    /// The id of a typedef.
    Typedef(&'static str),
    /// Where a member stands in its structure, in bytes from the begin.
    Member(&'static str, &'static str),
}

/// All that our programs ask of a kernel: first the LSM programs on sockets, then the exec audit, then the LSM programs on exec and on
/// open, which need some of the same. In one pass, for it takes milliseconds.
pub(super) const WANTED: [Wanted; 20] = [
    Wanted::Function("bpf_lsm_socket_connect"),
    Wanted::Function("bpf_lsm_socket_sendmsg"),
    Wanted::Member("msghdr", "msg_name"),
    Wanted::Member("msghdr", "msg_namelen"),
    Wanted::Member("socket", "type"),
    Wanted::Typedef("btf_trace_sched_process_exec"),
    Wanted::Member("linux_binprm", "filename"),
    Wanted::Member("linux_binprm", "interp"),
    Wanted::Member("task_struct", "real_parent"),
    Wanted::Member("task_struct", "tgid"),
    Wanted::Function("bpf_lsm_bprm_check_security"),
    Wanted::Member("linux_binprm", "file"),
    Wanted::Member("file", "f_inode"),
    Wanted::Member("inode", "i_ino"),
    Wanted::Member("inode", "i_sb"),
    Wanted::Member("super_block", "s_dev"),
    Wanted::Function("bpf_lsm_file_open"),
    Wanted::Member("file", "f_mode"),
    Wanted::Member("file", "f_path"),
    Wanted::Member("inode", "i_mode"),
];
/// What the LSM programs were compiled for: places of the third to the fifth of [`WANTED`].
const COMPILED: [u32; 3] = [0, 8, 4];
/// The answer for what is not there.
const NONE: u32 = u32::MAX;
/// The answer for what is there twice, or otherwise than expected: nobody can say what is meant.
const UNCLEAR: u32 = u32::MAX - 1;
/// No structure of the kernel is larger; what claims to be, was not read from one.
const STRUCTURE_BYTES_MAX: u32 = 64 << 10;

/// Why nothing can be said of the kernel's types.
#[derive(Debug, thiserror::Error)]
pub enum TypesError {
    /// The file cannot be read.
    #[error("cannot read {PLACE}")]
    Read(#[source] std::io::Error),
    /// Not the format, or one that is newer than this program.
    #[error("{PLACE} cannot be understood: {0}")]
    Format(&'static str),
    /// The kernel has no such function or tracepoint.
    #[error("the kernel has no {0}")]
    Absent(&'static str),
    /// The kernel lays a structure out otherwise, or has two of that name, or none.
    #[error("the kernel's struct {0} is not laid out as expected")]
    Layout(&'static str),
}

/// The answers to [`WANTED`] for one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTypes(pub(super) [u32; WANTED.len()]);

/// What the exec audit needs to know of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecTypes {
    /// Id of the tracepoint's typedef.
    pub tracepoint: u32,
    /// `filename` and `interp` in `struct linux_binprm`, bytes.
    pub binprm: [u32; 2],
    /// `real_parent` and `tgid` in `struct task_struct`, bytes.
    pub task: [u32; 2],
}

impl ExecTypes {
    /// The same for the programs, with the id of the cgroup that they are about.
    pub(super) fn scope(self, cgroup: u64) -> abi::ExecScope {
        let Self { binprm: [filename, interp], task: [real_parent, tgid], .. } = self;
        abi::ExecScope { cgroup, filename, interp, real_parent, tgid }
    }
}

/// What the LSM program on exec needs to know of a kernel, for what it decides by; what it tells, it tells as the exec audit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListTypes {
    /// Id of the hook.
    pub hook: u32,
    /// `file` in `struct linux_binprm`, bytes.
    pub file: u32,
    /// `f_inode` in `struct file`.
    pub inode: u32,
    /// `i_ino` in `struct inode`.
    pub number: u32,
    /// `i_sb` there.
    pub superblock: u32,
    /// `s_dev` in `struct super_block`.
    pub device: u32,
}

/// What the programs on open need to know of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTypes {
    /// Id of the hook.
    pub hook: u32,
    /// `f_mode` in `struct file`, bytes.
    pub mode: u32,
    /// `f_path` there.
    pub path: u32,
    /// `f_inode` there.
    pub inode: u32,
    /// `i_mode` in `struct inode`.
    pub kind: u32,
}

impl KernelTypes {
    /// Reads the description of the running kernel. Takes milliseconds: [`super::kernel_memo::types`] remembers.
    ///
    /// # Errors
    /// [`TypesError::Read`], [`TypesError::Format`]. What is missing in it is told by whoever needs it.
    pub fn read() -> Result<Self, TypesError> {
        let bytes = std::fs::read(Path::new(PLACE)).map_err(TypesError::Read)?;
        find(&bytes, WANTED).map(Self)
    }

    /// The ids of the two hooks of the LSM programs on sockets, in a kernel whose structures are those that they were compiled for.
    ///
    /// # Errors
    /// [`TypesError::Absent`], [`TypesError::Layout`].
    pub fn hooks(&self) -> Result<[u32; 2], TypesError> {
        for (index, compiled) in (2..).zip(COMPILED) {
            if self.number(index)? != compiled {
                return Err(WANTED[index].missing());
            }
        }
        Ok([self.number(0)?, self.number(1)?])
    }

    /// What the exec audit is told.
    ///
    /// # Errors
    /// [`TypesError::Absent`], [`TypesError::Layout`].
    pub fn exec(&self) -> Result<ExecTypes, TypesError> {
        Ok(ExecTypes {
            tracepoint: self.number(5)?,
            binprm: [self.number(6)?, self.number(7)?],
            task: [self.number(8)?, self.number(9)?],
        })
    }

    /// What the LSM program on exec is told.
    ///
    /// # Errors
    /// [`TypesError::Absent`], [`TypesError::Layout`].
    pub fn list(&self) -> Result<ListTypes, TypesError> {
        Ok(ListTypes {
            hook: self.number(10)?,
            file: self.number(11)?,
            inode: self.number(12)?,
            number: self.number(13)?,
            superblock: self.number(14)?,
            device: self.number(15)?,
        })
    }

    /// What the programs on open are told.
    ///
    /// # Errors
    /// [`TypesError::Absent`], [`TypesError::Layout`].
    pub fn files(&self) -> Result<FileTypes, TypesError> {
        Ok(FileTypes {
            hook: self.number(16)?,
            mode: self.number(17)?,
            path: self.number(18)?,
            inode: self.number(12)?,
            kind: self.number(19)?,
        })
    }

    fn number(&self, index: usize) -> Result<u32, TypesError> {
        let (wanted, number) = (WANTED[index], self.0[index]);
        let within = !matches!(wanted, Wanted::Member(..)) || number < STRUCTURE_BYTES_MAX;
        if matches!(number, NONE | UNCLEAR) || !within { Err(wanted.missing()) } else { Ok(number) }
    }
}

impl Wanted {
    const fn missing(self) -> TypesError {
        match self {
            Self::Function(name) | Self::Typedef(name) => TypesError::Absent(name),
            Self::Member(structure, _) => TypesError::Layout(structure),
        }
    }
}

fn find<const N: usize>(bytes: &[u8], wanted: [Wanted; N]) -> Result<[u32; N], TypesError> {
    let (types, strings) = sections(bytes)?;
    let named = |at: u32, name: &str| {
        let text = usize::try_from(at).ok().and_then(|at| strings.get(at..));
        text.and_then(|text| text.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut numbers = [NONE; N];
    let (mut at, mut id) = (0, 0);
    while at < types.len() {
        id += 1; // the first type is 1: 0 is void
        let [name, info] = pair(types, at)?;
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if matches!(kind, STRUCT | TYPEDEF | FUNCTION) {
            for (number, wanted) in numbers.iter_mut().zip(wanted) {
                let found = match wanted {
                    Wanted::Function(function) => (kind == FUNCTION && named(name, function)).then_some(id),
                    Wanted::Typedef(typedef) => (kind == TYPEDEF && named(name, typedef)).then_some(id),
                    Wanted::Member(structure, member) if kind == STRUCT && named(name, structure) => {
                        let body = types.get(at + TYPE_BYTES..).ok_or(TypesError::Format("a type without its end"))?;
                        Some(place(body, members, info >> 31 == 1, |name| named(name, member))?)
                    }
                    Wanted::Member(..) => None,
                };
                if let Some(found) = found {
                    *number = if *number == NONE { found } else { UNCLEAR };
                }
            }
        }
        let (own, each) = BEHIND.get(kind as usize).ok_or(TypesError::Format("a kind of type that is not known"))?;
        at += TYPE_BYTES + own + each * members;
    }
    Ok(numbers)
}

/// The types and the strings.
fn sections(bytes: &[u8]) -> Result<(&[u8], &[u8]), TypesError> {
    let short = TypesError::Format("shorter than its header says");
    let head = bytes.get(..HEADER_BYTES).ok_or(short)?;
    if u16::from_ne_bytes([head[0], head[1]]) != MAGIC || head[2] != VERSION {
        return Err(TypesError::Format("another format or version"));
    }
    let length = word(head, 4)? as usize;
    let section = |at: usize| {
        let (start, size) = (length + word(head, at)? as usize, word(head, at + 4)? as usize);
        bytes.get(start..start + size).ok_or(TypesError::Format("shorter than its header says"))
    };
    Ok((section(8)?, section(16)?))
}

/// Where a member stands, bytes; [`UNCLEAR`] for a structure that lacks it, which is not the one that is meant. `bits`: the places
/// have the width of a bit field above them.
fn place(body: &[u8], count: usize, bits: bool, is_it: impl Fn(u32) -> bool) -> Result<u32, TypesError> {
    for at in (0..count).map(|index| index * MEMBER_BYTES) {
        let (name, place) = (word(body, at)?, word(body, at + 8)?);
        if is_it(name) {
            let field = bits && place >> 24 != 0;
            let place = if bits { place & 0x00ff_ffff } else { place };
            return Ok(if field || place % 8 != 0 { UNCLEAR } else { place / 8 });
        }
    }
    Ok(UNCLEAR)
}

/// Two numbers of four bytes, in the machine's order.
fn pair(bytes: &[u8], at: usize) -> Result<[u32; 2], TypesError> {
    match bytes.get(at..at + 8) {
        Some(&[a, b, c, d, e, f, g, h]) => Ok([[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)),
        _ => Err(TypesError::Format("a type without its end")),
    }
}

/// One such number.
fn word(bytes: &[u8], at: usize) -> Result<u32, TypesError> {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_ne_bytes).ok_or(TypesError::Format("a type without its end"))
}

#[cfg(test)]
#[path = "kernel_types_tests.rs"]
mod tests;
