//! Files that are none of its business, read and changed.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::fs::{PermissionsExt, chown};

use nix::errno::Errno;

use crate::raw::{At, open, syscall};
use crate::{Probe, Told};

const SHOWN: &str = "/mnt/arena/shown";

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("read-shadow", |_| read("/etc/shadow")),
    ("read-path", read),
    ("read-proc-root", read_through_proc),
    ("read-proc", |argument| read(&format!("/proc/{argument}"))),
    ("read-memory", read_memory),
    ("read-inherited", |_| read_inherited()),
    ("read-environment", |_| Ok(env::vars().map(|(name, value)| format!("{name}={value} ")).collect())),
    ("read-by-handle", read_by_handle),
    ("name-to-handle", name_to_handle),
    ("list-folder", |path| {
        let names = fs::read_dir(path).at("open")?.flatten();
        Ok(names.map(|entry| entry.file_name().to_string_lossy().into_owned() + " ").collect())
    }),
    ("write-shown", |_| done(fs::write(format!("{SHOWN}/planted"), "planted"), "write")),
    ("write-path", |path| done(fs::write(path, "planted"), "write")),
    ("append-shown", |_| done(fs::OpenOptions::new().append(true).open(format!("{SHOWN}/changed")).map(drop), "open")),
    ("truncate-shown", |_| {
        let path = format!("{SHOWN}/cut\0");
        syscall(libc::SYS_truncate, [path.as_ptr() as usize, 0, 0, 0, 0, 0]).map(|_| String::new()).at("truncate")
    }),
    ("unlink-shown", |_| done(fs::remove_file(format!("{SHOWN}/gone")), "unlink")),
    ("rename-shown", |_| done(fs::rename(format!("{SHOWN}/moved"), "/mnt/arena/images/moved"), "rename")),
    ("chmod-shown", |_| {
        done(fs::set_permissions(format!("{SHOWN}/loosened"), fs::Permissions::from_mode(0o666)), "chmod")
    }),
    ("chown-shown", |_| done(chown(format!("{SHOWN}/owned"), Some(1234), Some(1234)), "chown")),
    ("mkdir-shown", |_| done(fs::create_dir(format!("{SHOWN}/planted-folder")), "mkdir")),
    ("exe-of-init", |_| open("/proc/1/exe", libc::O_RDONLY).map(|fd| format!("descriptor {fd}"))),
    ("own-program-writable", |_| own_program()),
    ("host-shm", shm),
    ("host-queue", queue),
];

fn done(outcome: std::io::Result<()>, step: &'static str) -> Told {
    outcome.map(|()| String::new()).at(step)
}

fn read(path: &str) -> Told {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut bytes)).at("open")?;
    Ok(String::from_utf8_lossy(&bytes).replace('\0', "\n"))
}

/// Reads the arena's secret through the root folder of another process: PID 1, or the one it was told of.
fn read_through_proc(pid: &str) -> Told {
    let secret = |pid| read(&format!("/proc/{pid}/root/mnt/arena/private/secret"));
    secret("1").or_else(|_| secret(pid))
}

/// `PID:ADDRESS`: 64 bytes of another process' memory, through its file in /proc.
fn read_memory(target: &str) -> Told {
    let (pid, address) = crate::process::target(target);
    let file = File::open(format!("/proc/{pid}/mem")).at("open")?;
    let mut bytes = [0; 64];
    std::os::unix::fs::FileExt::read_at(&file, &mut bytes, address).at("read")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads from every descriptor that a careless parent may have left open.
fn read_inherited() -> Told {
    let mut loot = String::new();
    for number in 3..1024 {
        // The file itself is asked: its path need not be one here.
        if fs::metadata(format!("/proc/self/fd/{number}")).is_ok_and(|found| found.is_file()) {
            // SAFETY: the descriptor is open; it is given back below, never closed.
            let mut file = unsafe { File::from_raw_fd(number) };
            let mut bytes = [0; 256];
            let length = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).unwrap_or(0);
            let _ = file.by_ref();
            loot += &String::from_utf8_lossy(&bytes[..length]);
            let _ = file.into_raw_fd();
        }
    }
    if loot.is_empty() { Err(Errno::EBADF).at("read") } else { Ok(loot) }
}

/// The handle of a file that the host knows (hex of struct file_handle), opened under any path of the same file system.
fn read_by_handle(hex: &str) -> Told {
    let digits = hex.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let handle: Vec<u8> = digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    let mount = open(SHOWN, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let arguments = [mount as usize, handle.as_ptr() as usize, libc::O_RDONLY as usize, 0, 0, 0];
    let fd = syscall(libc::SYS_open_by_handle_at, arguments).at("open_by_handle_at")?;
    read(&format!("/proc/self/fd/{fd}"))
}

/// The kernel's handle of a file, as hex of struct file_handle.
fn name_to_handle(path: &str) -> Told {
    let path = format!("{path}\0");
    // struct file_handle (open_by_handle_at(2)): bytes, type, then the handle.
    let mut handle = [0u32; 34];
    handle[0] = 128;
    let mut mount = 0i32;
    let (at, mount) = (libc::AT_FDCWD as usize, (&raw mut mount) as usize);
    let arguments = [at, path.as_ptr() as usize, handle.as_mut_ptr() as usize, mount, 0, 0];
    syscall(libc::SYS_name_to_handle_at, arguments).at("name_to_handle_at")?;
    let length = 8 + handle[0] as usize;
    let bytes = handle.iter().flat_map(|word| word.to_ne_bytes()).take(length);
    Ok(bytes.map(|byte| format!("{byte:02x}")).collect())
}

/// CVE-2019-5736: the program that runs, opened through /proc and written once it is free. ETXTBSY: it is only busy.
fn own_program() -> Told {
    match open("/proc/self/exe", libc::O_WRONLY) {
        Err(failure) if failure.is(Errno::ETXTBSY) => Ok("only busy".into()),
        other => other.map(|fd| format!("descriptor {fd}")),
    }
}

/// A System V segment of the host, by id.
fn shm(id: &str) -> Told {
    let id: usize = id.parse().expect("the suite sends a number");
    let address = syscall(libc::SYS_shmat, [id, 0, libc::SHM_RDONLY as usize, 0, 0, 0]).at("shmat")?;
    // SAFETY: a segment of at least one page, as the stand made it.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, 64) };
    Ok(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

/// A message into a System V queue of the host, by id.
fn queue(id: &str) -> Told {
    let id: usize = id.parse().expect("the suite sends a number");
    let message: [i64; 2] = [1, i64::from_ne_bytes(*b"looted!\0")];
    let arguments = [id, message.as_ptr() as usize, 8, libc::IPC_NOWAIT as usize, 0, 0];
    syscall(libc::SYS_msgsnd, arguments).map(|_| "sent".into()).at("msgsnd")
}
