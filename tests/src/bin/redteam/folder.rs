//! What a writable folder must not be used for: marks, links and kinds of files that outlive the run on the host.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};

use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

use crate::raw::{At, syscall};
use crate::{Probe, Told};

const WRITABLE: &str = "/mnt/arena/images";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("setuid-chmod", |_| setuid_chmod()),
    ("setuid-fchmodat2", |_| setuid_fchmodat2()),
    ("setuid-open", |_| setuid_open()),
    ("setuid-mknod", |_| make("setuid-mknod", SFlag::S_IFREG, 0o6755, 0)),
    ("setuid-openat2", |_| setuid_openat2()),
    ("setgid-folder", |_| {
        umask(Mode::empty());
        fs::create_dir(at("setgid-folder")).at("mkdir")?;
        fs::set_permissions(at("setgid-folder"), fs::Permissions::from_mode(0o2777)).map(|()| String::new()).at("chmod")
    }),
    ("device-node", |_| make("device-node", SFlag::S_IFCHR, 0o666, makedev(1, 3))),
    ("block-node", |_| make("block-node", SFlag::S_IFBLK, 0o666, makedev(7, 0))),
    ("fifo", |_| make("fifo", SFlag::S_IFIFO, 0o666, 0)),
    ("socket-node", |_| crate::sockets::unix_listen(at("socket-node").as_bytes())),
    ("symlink-out", |_| symlink("/etc/shadow", at("symlink-out")).map(|()| String::new()).at("symlink")),
    ("symlink-folder", |_| symlink("/mnt/arena/private", at("symlink-folder")).map(|()| String::new()).at("symlink")),
    ("symlink-swap", |_| symlink_swap()),
    ("link-out", |_| fs::hard_link("/mnt/arena/shown/note", at("link-out")).map(|()| String::new()).at("link")),
    ("give-to-root", |_| give_to_root()),
    ("file-capability", |_| attribute("security.capability", &CAPABILITY)),
    ("trusted-attribute", |_| attribute("trusted.isb", b"planted")),
    ("user-attribute", |_| attribute("user.isb", b"planted")),
    ("access-list", |_| attribute("system.posix_acl_access", &ACCESS_LIST)),
    ("immutable-file", |_| immutable()),
    ("huge-sparse-file", |_| sparse()),
];

/// struct vfs_cap_data: revision 2, effective, permitted CAP_NET_RAW.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Version 2; owner rw, uid 1234 rw, group none, mask rw, others none (acl(5), linux/posix_acl_xattr.h).
const ACCESS_LIST: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xd2, 4, 0, 0, 4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 6, 0,
    255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

pub(crate) fn at(name: &str) -> String {
    format!("{WRITABLE}/{name}")
}

fn make(name: &str, kind: SFlag, mode: u32, device: u64) -> Told {
    umask(Mode::empty());
    mknod(at(name).as_str(), kind, Mode::from_bits_retain(mode), device).map(|()| String::new()).at("mknod")
}

fn setuid_chmod() -> Told {
    fs::write(at("setuid-chmod"), "#!/bin/sh\n").at("write")?;
    fs::set_permissions(at("setuid-chmod"), fs::Permissions::from_mode(0o6755)).map(|()| String::new()).at("chmod")
}

fn setuid_fchmodat2() -> Told {
    fs::write(at("setuid-fchmodat2"), "#!/bin/sh\n").at("write")?;
    let path = at("setuid-fchmodat2") + "\0";
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, 0o6755, 0, 0, 0];
    syscall(452, arguments).map(|_| String::new()).at("fchmodat2")
}

fn setuid_open() -> Told {
    umask(Mode::empty());
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o6755);
    options.open(at("setuid-open")).map(|_| String::new()).at("open")
}

fn setuid_openat2() -> Told {
    let path = at("setuid-openat2\0");
    // struct open_how (openat2(2)): flags, mode, resolve.
    let how: [u64; 3] = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o6755, 0];
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, how.as_ptr() as usize, size_of_val(&how), 0, 0];
    syscall(libc::SYS_openat2, arguments).map(|_| String::new()).at("openat2")
}

/// A file that turns into a link to a secret and back, for a host program that looks first and opens then.
fn symlink_swap() -> Told {
    fs::write(at("swap"), "harmless").at("write")?;
    let mut outcome = Ok(());
    for _ in 0..100 {
        outcome = symlink("/etc/shadow", at("swap-link")).and_then(|()| fs::rename(at("swap-link"), at("swap")));
        if outcome.is_err() {
            break;
        }
        let _ = fs::remove_file(at("swap"));
        let _ = fs::write(at("swap"), "harmless");
    }
    outcome.at("symlink")?;
    symlink("/etc/shadow", at("swapped")).map(|()| String::new()).at("symlink")
}

fn give_to_root() -> Told {
    fs::write(at("given"), "#!/bin/sh\n").at("write")?;
    // Where it is refused it stays the maker's own, whoever that is.
    chown(at("given"), Some(0), Some(0)).map(|()| String::new()).at("chown")
}

fn attribute(name: &str, value: &[u8]) -> Told {
    let path = at("marked");
    fs::write(&path, "#!/bin/sh\n").at("write")?;
    let (path, name) = (path + "\0", format!("{name}\0"));
    let arguments = [path.as_ptr() as usize, name.as_ptr() as usize, value.as_ptr() as usize, value.len(), 0, 0];
    syscall(libc::SYS_setxattr, arguments).map(|_| "set".into()).at("setxattr")
}

fn immutable() -> Told {
    fs::write(at("immutable"), "for good").at("write")?;
    let fd = crate::raw::open(&at("immutable"), libc::O_RDONLY)?;
    let flags: i64 = 0x10; // FS_IMMUTABLE_FL
    let (request, flags) = (0x4008_6602, &raw const flags as usize); // FS_IOC_SETFLAGS
    syscall(libc::SYS_ioctl, [fd as usize, request, flags, 0, 0, 0]).map(|_| "set".into()).at("ioctl")
}

/// A file of 64 GiB that takes no block.
fn sparse() -> Told {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(at("sparse")).at("open")?;
    file.set_len(64 << 30).map(|()| "made".into()).at("ftruncate")
}
