//! Files that are none of its business, and files that it should not be able to make.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};

use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

use crate::raw::{At, syscall};
use crate::{Probe, Told};

const WRITABLE: &str = "/mnt/arena/images";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("read-shadow", |_| read("/etc/shadow")),
    ("read-path", read),
    ("read-proc-root", read_through_proc),
    ("read-inherited", |_| read_inherited()),
    ("read-kcore", |_| hold("/proc/kcore", false)),
    ("write-core-pattern", |_| hold("/proc/sys/kernel/core_pattern", true)),
    ("write-sysrq", |_| hold("/proc/sysrq-trigger", true)),
    ("write-shown", |_| fs::write("/mnt/arena/shown/planted", "planted").map(|()| String::new()).at("write")),
    ("setuid-chmod", |_| setuid_chmod()),
    ("setuid-open", |_| setuid_open()),
    ("setuid-mknod", |_| make("setuid-mknod", SFlag::S_IFREG, 0o6755, 0)),
    ("setuid-openat2", |_| setuid_openat2()),
    ("device-node", |_| make("device-node", SFlag::S_IFCHR, 0o666, makedev(1, 3))),
    ("fifo", |_| make("fifo", SFlag::S_IFIFO, 0o666, 0)),
    ("symlink-out", |_| {
        symlink("/etc/shadow", format!("{WRITABLE}/symlink-out")).map(|()| String::new()).at("symlink")
    }),
    ("link-out", |_| {
        fs::hard_link("/mnt/arena/shown/note", format!("{WRITABLE}/link-out")).map(|()| String::new()).at("link")
    }),
];

fn read(path: &str) -> Told {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned()).at("open")
}

/// Reads the arena's secret through the root folder of another process: PID 1, or the one it was told of.
fn read_through_proc(pid: &str) -> Told {
    let secret = |pid| read(&format!("/proc/{pid}/root/mnt/arena/private/secret"));
    secret("1").or_else(|_| secret(pid))
}

/// Reads from every descriptor that a careless parent may have left open.
fn read_inherited() -> Told {
    let mut loot = String::new();
    for number in 3..1024 {
        if fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|target| target.is_file()) {
            // SAFETY: the descriptor is open; it is given back below, never closed.
            let mut file = unsafe { File::from_raw_fd(number) };
            let mut bytes = [0; 256];
            let length = file.read(&mut bytes).unwrap_or(0);
            loot += &String::from_utf8_lossy(&bytes[..length]);
            let _ = file.into_raw_fd();
        }
    }
    Ok(loot)
}

/// Opens a file and keeps it open, unwritten: the host sees the descriptor, and nothing is harmed.
fn hold(path: &str, write: bool) -> Told {
    let file = OpenOptions::new().read(!write).write(write).open(path).at("open")?;
    Ok(format!("descriptor {}", file.into_raw_fd()))
}

fn make(name: &str, kind: SFlag, mode: u32, device: u64) -> Told {
    let path = format!("{WRITABLE}/{name}");
    umask(Mode::empty());
    mknod(path.as_str(), kind, Mode::from_bits_retain(mode), device).map(|()| String::new()).at("mknod")
}

fn setuid_chmod() -> Told {
    let path = format!("{WRITABLE}/setuid-chmod");
    fs::write(&path, "#!/bin/sh\n").at("write")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).map(|()| String::new()).at("chmod")
}

fn setuid_open() -> Told {
    umask(Mode::empty());
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o6755);
    options.open(format!("{WRITABLE}/setuid-open")).map(|_| String::new()).at("open")
}

fn setuid_openat2() -> Told {
    let path = format!("{WRITABLE}/setuid-openat2\0");
    // struct open_how (openat2(2)): flags, mode, resolve.
    let how: [u64; 3] = [(libc::O_CREAT | libc::O_WRONLY) as u64, 0o6755, 0];
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, how.as_ptr() as usize, size_of_val(&how), 0, 0];
    syscall(libc::SYS_openat2, arguments).map(|_| String::new()).at("openat2")
}
