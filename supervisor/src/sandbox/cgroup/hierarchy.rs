//! Which cgroup trees this host has: pure version 2, or version 2 beside version 1 (cgroups(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::CgroupError;

/// A controller that a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
    /// Share of the processors.
    Cpu,
}

impl Controller {
    /// All that a run needs.
    pub const ALL: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

    /// The kernel's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Where the trees are mounted and which one holds each controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Mount point of the version 2 tree, with or without controllers: BPF programs, `cgroup.kill` and events live here.
    pub v2: PathBuf,
    /// Controllers that the version 2 tree has.
    pub on_v2: Vec<Controller>,
    /// Mount points of the version 1 trees of the others.
    pub on_v1: BTreeMap<Controller, PathBuf>,
    /// Mount point of the version 1 tree that can freeze, where there is one. Version 2 always can.
    pub freezer: Option<PathBuf>,
}

/// `pure`, or `hybrid` where version 1 trees hold some of the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every controller is on version 2.
    Pure,
    /// Some are on version 1.
    Hybrid,
}

impl Hierarchy {
    /// Looks at this host.
    ///
    /// # Errors
    /// No writable version 2 mount, a controller on neither version, or an unreadable `/proc`.
    pub fn detect() -> Result<Self, CgroupError> {
        let mountinfo = super::files::read(Path::new("/proc/self/mountinfo"))?;
        Self::from_mountinfo(&mountinfo, |v2| super::files::read(&v2.join("cgroup.controllers")))
    }

    /// The same from the text of `/proc/self/mountinfo`; `controllers` reads `cgroup.controllers` of the given mount.
    pub(crate) fn from_mountinfo(
        mountinfo: &str,
        controllers: impl FnOnce(&Path) -> Result<String, CgroupError>,
    ) -> Result<Self, CgroupError> {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let writable = |kind: &'static str| mounts.iter().filter(move |mount| mount.kind == kind && mount.writable);
        let v2 = writable("cgroup2").next().ok_or(CgroupError::NoV2)?.point.clone();
        let on_tree = controllers(&v2)?;
        let on_v1 = |name: &str| {
            let mount = writable("cgroup").find(|mount| mount.super_options.split(',').any(|option| option == name));
            mount.map(|mount| mount.point.clone())
        };
        let mut hierarchy = Self { v2, on_v2: Vec::new(), on_v1: BTreeMap::new(), freezer: on_v1("freezer") };
        for controller in Controller::ALL {
            if on_tree.split_whitespace().any(|name| name == controller.name()) {
                hierarchy.on_v2.push(controller);
                continue;
            }
            let mount = on_v1(controller.name()).ok_or(CgroupError::NoController(controller.name()))?;
            hierarchy.on_v1.insert(controller, mount);
        }
        Ok(hierarchy)
    }

    /// Every tree in which a process can be held up, each once.
    #[must_use]
    pub fn trees(&self) -> BTreeSet<&Path> {
        self.on_v1.values().chain(&self.freezer).chain([&self.v2]).map(PathBuf::as_path).collect()
    }

    /// Pure or hybrid.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if self.on_v1.is_empty() { Mode::Pure } else { Mode::Hybrid }
    }
}

/// One line of mountinfo, as far as cgroups need it (proc_pid_mountinfo(5)).
struct Mount<'a> {
    point: PathBuf,
    writable: bool,
    kind: &'a str,
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        let point = unescape(fields.next()?);
        let writable = fields.next()?.split(',').any(|option| option == "rw");
        let mut fields = filesystem.split(' ');
        Some(Self { point, writable, kind: fields.next()?, super_options: fields.nth(1)? })
    }
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/freezer rw,relatime shared:10 - cgroup cgroup rw,freezer
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/my\\040memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const PURE: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn finds_each_controller_of_a_hybrid_host() {
        let found = Hierarchy::from_mountinfo(HYBRID, |_| Ok(String::new())).unwrap();
        assert_eq!(found.mode(), Mode::Hybrid);
        assert_eq!(found.v2, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.on_v1[&Controller::Cpu], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.on_v1[&Controller::Memory], Path::new("/sys/fs/cgroup/my memory"));
        assert_eq!(found.on_v1[&Controller::Pids], Path::new("/sys/fs/cgroup/pids"));
        let trees: Vec<_> = found.trees().into_iter().map(|tree| tree.file_name().unwrap().to_owned()).collect();
        assert_eq!(trees, ["cpu,cpuacct", "freezer", "my memory", "pids", "unified"]);
    }

    #[test]
    fn takes_version_2_where_it_has_the_controller() {
        let found = Hierarchy::from_mountinfo(PURE, |_| Ok("cpuset cpu io memory hugetlb pids\n".to_owned())).unwrap();
        assert_eq!((found.mode(), found.on_v2.len(), found.trees().len()), (Mode::Pure, 3, 1));
        let mixed = Hierarchy::from_mountinfo(HYBRID, |_| Ok("pids\n".to_owned())).unwrap();
        assert_eq!(mixed.on_v2, [Controller::Pids]);
        assert_eq!(mixed.on_v1.len(), 2);
    }

    #[test]
    fn refuses_a_host_without_what_is_needed() {
        let v1_only = HYBRID.replace("cgroup2", "tmpfs");
        assert!(matches!(Hierarchy::from_mountinfo(&v1_only, |_| Ok(String::new())), Err(CgroupError::NoV2)));
        let read_only = PURE.replace("rw,nosuid", "ro,nosuid");
        assert!(matches!(Hierarchy::from_mountinfo(&read_only, |_| Ok(String::new())), Err(CgroupError::NoV2)));
        let without = |controllers: &'static str| Hierarchy::from_mountinfo(PURE, |_| Ok(controllers.to_owned()));
        assert!(matches!(without("cpu pids"), Err(CgroupError::NoController("memory"))));
        assert!(matches!(without("cpuset memory pids"), Err(CgroupError::NoController("cpu"))));
    }
}
