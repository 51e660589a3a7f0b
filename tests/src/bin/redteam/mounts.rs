//! Changing the view: mounts by the old calls and the new, roots.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::raw::{At, reach, syscall};
use crate::{Probe, Told};

/// An empty folder of the shown ones.
const HOLLOW: &str = "/mnt/arena/shown/hollow";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("mount", |_| mount_one("tmpfs", "")),
    ("mount-proc", |_| mount_one("proc", "")),
    ("mount-sysfs", |_| mount_one("sysfs", "")),
    ("mount-cgroup2", |_| mount_one("cgroup2", "")),
    ("mount-bpffs", |_| mount_one("bpf", "")),
    ("mount-devpts", |_| mount_one("devpts", "newinstance")),
    ("mount-mqueue", |_| mount_one("mqueue", "")),
    ("mount-overlay", |_| mount_one("overlay", "lowerdir=/usr/lib:/usr/bin")),
    ("mount-bind", |_| told(mount(Some("/usr"), HOLLOW, None::<&str>, MsFlags::MS_BIND, None::<&str>))),
    ("mount-fuse", |_| mount_fuse()),
    ("remount-writable", |_| {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        // In the bare run it is no mount yet: it becomes one first.
        let _ = mount(Some(HOLLOW), HOLLOW, None::<&str>, MsFlags::MS_BIND, None::<&str>);
        told(mount(None::<&str>, HOLLOW, None::<&str>, flags | MsFlags::MS_NODIRATIME, None::<&str>))
    }),
    // Nothing is mounted there: EINVAL is the answer of a kernel that looked.
    ("umount", |_| match umount2(HOLLOW, MntFlags::MNT_DETACH) {
        Err(Errno::EINVAL) => Ok("looked at".into()),
        other => told(other),
    }),
    ("new-mount-api", |_| new_mount_api()),
    ("fsopen", |_| held(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0, 0, 0, 0, 0])),
    ("fspick", |_| held(libc::SYS_fspick, [libc::AT_FDCWD as usize, c"/".as_ptr() as usize, 0, 0, 0, 0])),
    ("open-tree", |_| {
        // OPEN_TREE_CLONE | AT_RECURSIVE
        held(libc::SYS_open_tree, [libc::AT_FDCWD as usize, c"/usr".as_ptr() as usize, 0x8001, 0, 0, 0])
    }),
    ("move-mount", |_| reach(libc::SYS_move_mount, [usize::MAX, 0, usize::MAX, 0, 0x8000, 0], REACHED)),
    ("mount-setattr", |_| {
        let attributes = [0u64; 4];
        let path = c"/".as_ptr() as usize;
        let at = libc::AT_FDCWD as usize;
        reach(libc::SYS_mount_setattr, [at, path, 0x8000_0000, attributes.as_ptr() as usize, 32, 0], REACHED)
    }),
    ("pivot-root", |_| {
        let none = c"/isb-none".as_ptr() as usize;
        reach(libc::SYS_pivot_root, [none, none, 0, 0, 0, 0], &[Errno::ENOENT, Errno::EINVAL])
    }),
    ("chroot", |_| {
        syscall(libc::SYS_chroot, [c"/usr".as_ptr() as usize, 0, 0, 0, 0, 0]).map(|_| String::new()).at("chroot")
    }),
];

const REACHED: &[Errno] = &[Errno::EINVAL, Errno::EBADF, Errno::EFAULT, Errno::ENOENT];

fn told(outcome: nix::Result<()>) -> Told {
    outcome.map(|()| "mounted".into()).at("mount")
}

fn mount_one(kind: &str, options: &str) -> Told {
    told(mount(Some("isb-probe"), HOLLOW, Some(kind), MsFlags::empty(), Some(options)))
}

/// A FUSE mount needs a descriptor of /dev/fuse.
fn mount_fuse() -> Told {
    let fd = crate::raw::open("/dev/fuse", libc::O_RDWR)?;
    mount_one("fuse", &format!("fd={fd},rootmode=40000,user_id=0,group_id=0"))
}

fn held(number: libc::c_long, arguments: [usize; 6]) -> Told {
    syscall(number, arguments).map(|fd| format!("descriptor {fd}")).at("open")
}

/// fsopen, fsconfig, fsmount, move_mount: a tmpfs without mount(2).
fn new_mount_api() -> Told {
    let context = syscall(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0, 0, 0, 0, 0]).at("fsopen")? as usize;
    let (set_string, create) = (1, 6); // FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE
    let (key, value) = (c"source".as_ptr() as usize, c"isb-probe".as_ptr() as usize);
    syscall(libc::SYS_fsconfig, [context, set_string, key, value, 0, 0]).at("fsconfig")?;
    syscall(libc::SYS_fsconfig, [context, create, 0, 0, 0, 0]).at("fsconfig")?;
    let tree = syscall(libc::SYS_fsmount, [context, 0, 0, 0, 0, 0]).at("fsmount")? as usize;
    let target = format!("{HOLLOW}\0");
    let (at, empty) = (libc::AT_FDCWD as usize, c"".as_ptr() as usize);
    let arguments = [tree, empty, at, target.as_ptr() as usize, 4, 0]; // MOVE_MOUNT_F_EMPTY_PATH
    syscall(libc::SYS_move_mount, arguments).map(|_| "mounted".into()).at("move_mount")
}
