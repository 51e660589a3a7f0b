//! An eBPF object whose programs are bound to types of the kernel as they are loaded: the LSM programs and the one on exec.
//! aya would parse all of the kernel's types for them; here the ids come from [`super::kernel_memo`].

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya_obj::relocation::EbpfRelocationError;
use aya_obj::{Object, ParseError};
use intercept_sandbox_abi as abi;
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::sys::bpf::{self, Kind};

/// Maps of the cgroup programs that these write into, by name.
pub type Maps<'a> = [(&'static str, BorrowedFd<'a>); 3];

/// Why a program of the object is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object does not parse.
    #[error("cannot read the eBPF object")]
    Parse(#[from] ParseError),
    /// A program refers to a map that is not there.
    #[error("cannot bind the eBPF object to its maps")]
    Relocation(#[from] EbpfRelocationError),
    /// The object lacks a program or a map.
    #[error("the eBPF object has no {0}")]
    Missing(&'static str),
    /// The object's own map cannot be made or filled.
    #[error("cannot make an eBPF map")]
    Map(#[from] MapError),
    /// A descriptor cannot be looked at or copied.
    #[error("cannot look at a descriptor")]
    Descriptor(#[source] std::io::Error),
    /// The kernel does not load or attach a program.
    #[error("eBPF program {program}: cannot be {act}")]
    Program {
        /// Its name.
        program: &'static str,
        /// `loaded` or `attached`.
        act: &'static str,
        /// Why.
        #[source]
        cause: Errno,
    },
}

/// An object with its maps; its programs are not yet given to the verifier.
#[derive(Debug)]
pub(super) struct BtfObject<'m, V: Pod> {
    object: Object,
    own: OwnValue<V>,
    /// Another map of its own, where it has one.
    files: Option<Files>,
    /// Named in the instructions by their numbers, so they stay open.
    _shared: Maps<'m>,
}

/// A set of files.
type Files = HashMap<MapData, [u8; abi::FILE_KEY_BYTES], u32>;

/// The object's own map: an array of one value, zero until it is set.
pub(super) struct OwnValue<V: Pod>(Array<MapData, V>);

impl<V: Pod> std::fmt::Debug for OwnValue<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OwnValue").finish_non_exhaustive()
    }
}

impl<V: Pod> OwnValue<V> {
    /// What the programs read from now on.
    pub(super) fn set(&mut self, value: V) -> Result<(), ObjectError> {
        Ok(self.0.set(0, value, 0)?)
    }
}

impl<'m, V: Pod> BtfObject<'m, V> {
    /// Parses `bytes` and binds its programs to `shared`, to a map of its own by the name `own`, and to a set of files of its own, where
    /// it has one: `files` is its name, and the most that it may hold.
    pub(super) fn bind(
        bytes: &[u8],
        shared: &Maps<'m>,
        own: &'static str,
        files: Option<(&'static str, u32)>,
    ) -> Result<Self, ObjectError> {
        let mut object = Object::parse(bytes)?;
        let create = |name: &'static str, entries: Option<u32>| -> Result<MapData, ObjectError> {
            let mut map = object.maps.get(name).cloned().ok_or(ObjectError::Missing(name))?;
            entries.into_iter().for_each(|entries| map.set_max_entries(entries));
            Ok(MapData::create(map, name, None)?)
        };
        let data = create(own, None)?;
        let set = files.map(|(name, entries)| create(name, Some(entries)).map(|set| (name, set))).transpose()?;
        let made = [(own, &data)].into_iter().chain(set.iter().map(|(name, set)| (*name, set)));
        let made = made.map(|(name, map)| (name, map.fd().as_fd().as_raw_fd()));
        let fds = shared.iter().map(|(name, fd)| (*name, fd.as_raw_fd())).chain(made);
        let definitions: Vec<(&str, RawFd, aya_obj::Map)> = fds
            // A program that does without a map of the others does not name it.
            .filter_map(|(name, fd)| Some((name, fd, object.maps.get(name).cloned()?)))
            .collect();
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_maps(definitions.iter().map(|(name, fd, map)| (*name, *fd, map)), &sections)?;
        object.relocate_calls(&sections)?;
        let files = set.map(|(_, set)| Files::try_from(Map::HashMap(set))).transpose()?;
        Ok(Self { object, own: OwnValue(Array::try_from(Map::Array(data))?), files, _shared: *shared })
    }

    /// Puts a file into its set.
    pub(super) fn add_file(&mut self, file: abi::FileKey) -> Result<(), ObjectError> {
        let files = self.files.as_mut().ok_or(ObjectError::Missing(abi::MAP_PROGRAMS))?;
        Ok(files.insert(file.to_bytes(), 0, 0)?)
    }

    /// What its programs find in the map of its own.
    pub(super) fn set_own(&mut self, value: V) -> Result<(), ObjectError> {
        self.own.set(value)
    }

    /// The map of its own, which its programs keep when the object is gone.
    pub(super) fn into_own(self) -> OwnValue<V> {
        self.own
    }

    /// Writes `place` into the one addition of the program `name` that adds `mark`: a relocation that no tool makes for us.
    pub(super) fn patch(&mut self, name: &'static str, mark: i32, place: u32) -> Result<(), ObjectError> {
        /// `BPF_ALU64 | BPF_ADD | BPF_K` of linux/bpf_common.h.
        const ADD: u8 = 0x07;
        let place = i32::try_from(place).map_err(|_| ObjectError::Missing(name))?;
        let key = self.object.programs.get(name).ok_or(ObjectError::Missing(name))?.function_key();
        let function = self.object.functions.get_mut(&key).ok_or(ObjectError::Missing(name))?;
        let mut marked = function.instructions.iter_mut().filter(|one| one.code == ADD && one.imm == mark);
        match (marked.next(), marked.next()) {
            (Some(one), None) => one.imm = place,
            _ => return Err(ObjectError::Missing(name)),
        }
        Ok(())
    }

    /// Lets the verifier check a program for the kernel's type with the id `target`.
    pub(super) fn load(&self, kind: Kind, name: &'static str, target: u32) -> Result<OwnedFd, ObjectError> {
        let program = self.object.programs.get(name).ok_or(ObjectError::Missing(name))?;
        let function = self.object.functions.get(&program.function_key()).ok_or(ObjectError::Missing(name))?;
        let loaded = bpf::load(kind, target, &function.instructions, name, &program.license);
        loaded.map_err(refused(name, "loaded"))
    }
}

/// The id of a cgroup v2 directory, as programs are told it.
pub(super) fn cgroup_id(cgroup: BorrowedFd<'_>) -> Result<u64, ObjectError> {
    let stat = fstat(cgroup).map_err(|errno| ObjectError::Descriptor(errno.into()))?;
    Ok(stat.st_ino) // of cgroup v2, the inode is the id
}

pub(super) fn refused(program: &'static str, act: &'static str) -> impl FnOnce(Errno) -> ObjectError {
    move |cause| ObjectError::Program { program, act, cause }
}
