//! Taking more than one's share. Each has a bound of its own, above what the policy allows and below what harms the machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, fork, pause};

use crate::process::die_with_parent;
use crate::raw::{At, syscall};
use crate::{Probe, Told};

/// Children and threads, at most. Enough to pass any sensible limit, few enough for the bare run.
const CROWD: usize = 200;
const MIB: usize = 1 << 20;

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("fork-bomb", |_| fork_bomb()),
    ("thread-bomb", |_| thread_bomb()),
    ("memory-bomb", |_| memory_bomb()),
    ("memory-bomb-many", |_| memory_bomb_of_many()),
    ("cpu-bomb", |_| cpu_bomb()),
    ("descriptor-bomb", |_| descriptor_bomb()),
    ("inotify-instances", |_| inotify_instances()),
    ("inotify-watches", |folder| inotify_watches(folder)),
    ("signal-bomb", |_| signal_bomb()),
    ("fill", |path| fill(path, 128)),
    ("inode-flood", |path| inode_flood(path)),
    ("output-line", |_| endless_line(3 * MIB)),
    ("output-noise", |_| noise()),
    ("stderr-flood", |_| stderr_flood()),
    ("core-dump", |_| core_dump()),
];

fn fork_bomb() -> Told {
    for made in 0..CROWD {
        // SAFETY: this program is single-threaded.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                die_with_parent();
                loop {
                    pause();
                }
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(errno) => return Ok(format!("{made} children, then {errno:?}")),
        }
    }
    Ok(format!("{CROWD} children"))
}

fn thread_bomb() -> Told {
    for made in 0..CROWD {
        let started = std::thread::Builder::new().stack_size(64 << 10).spawn(|| {
            loop {
                pause();
            }
        });
        if let Err(error) = started {
            return Ok(format!("{made} threads, then {error}"));
        }
    }
    Ok(format!("{CROWD} threads"))
}

/// 400 MiB, touched; then it stays.
fn memory_bomb() -> Told {
    std::mem::forget(vec![1u8; 400 * MIB]);
    Ok("400 MiB".into())
}

/// The same in parts, so that no single process is large.
fn memory_bomb_of_many() -> Told {
    for _ in 0..8 {
        // SAFETY: this program is single-threaded.
        if let ForkResult::Child = unsafe { fork() }.at("fork")? {
            die_with_parent();
            std::mem::forget(vec![1u8; 50 * MIB]);
            loop {
                pause();
            }
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok("8 times 50 MiB".into())
}

/// So many that they get their part of a busy machine too.
fn cpu_bomb() -> Told {
    for _ in 0..16 {
        // SAFETY: this program is single-threaded.
        if let ForkResult::Child = unsafe { fork() }.at("fork")? {
            die_with_parent();
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                std::hint::spin_loop();
            }
            loop {
                pause();
            }
        }
    }
    Ok("16 spin".into())
}

fn descriptor_bomb() -> Told {
    let limits: [u64; 2] = [4096, 4096];
    let _ = syscall(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE as usize, limits.as_ptr() as usize, 0, 0, 0]);
    let mut held = 0;
    while held < 3000 && crate::raw::open("/dev/null", libc::O_RDONLY).is_ok() {
        held += 1;
    }
    Ok(format!("{held} descriptors"))
}

/// Instances of inotify are counted by user namespace, and in the outermost for who made the inner ones.
fn inotify_instances() -> Told {
    let mut held = 0;
    while held < 40 && syscall(libc::SYS_inotify_init1, [0; 6]).is_ok() {
        held += 1;
    }
    Ok(format!("{held} instances"))
}

fn inotify_watches(folder: &str) -> Told {
    let folder = format!("{folder}/isb-watched");
    fs::create_dir_all(&folder).at("mkdir")?;
    let fd = syscall(libc::SYS_inotify_init1, [0; 6]).at("inotify_init1")? as usize;
    for made in 0..5000 {
        let path = format!("{folder}/{made}");
        fs::write(&path, "").at("write")?;
        let path = path + "\0";
        let arguments = [fd, path.as_ptr() as usize, libc::IN_MODIFY as usize, 0, 0, 0];
        if let Err(errno) = syscall(libc::SYS_inotify_add_watch, arguments) {
            return Ok(format!("{made} watches, then {errno:?}"));
        }
    }
    Ok("5000 watches".into())
}

/// Queued signals are counted by uid: whoever shares one with the host takes the host's.
fn signal_bomb() -> Told {
    // SAFETY: all of sigset_t may be zero; the signal is blocked, so that it queues.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGRTMIN()) };
    // SAFETY: as above.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    let mut info = [0i32; 32];
    info[0] = libc::SIGRTMIN();
    info[2] = -1;
    let mut queued = 0;
    let own = std::process::id() as usize;
    while queued < 5000
        && syscall(libc::SYS_rt_sigqueueinfo, [own, info[0] as usize, info.as_ptr() as usize, 0, 0, 0]).is_ok()
    {
        queued += 1;
    }
    Ok(format!("{queued} signals"))
}

/// Fills a folder with `mebibytes`, in one file.
fn fill(folder: &str, mebibytes: usize) -> Told {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).open(format!("{folder}/isb-fill")).at("open")?;
    let block = vec![7u8; MIB];
    for written in 0..mebibytes {
        if let Err(error) = file.write_all(&block) {
            return Ok(format!("{written} MiB, then {error}"));
        }
    }
    Ok(format!("{mebibytes} MiB"))
}

fn inode_flood(folder: &str) -> Told {
    let folder = format!("{folder}/isb-inodes");
    fs::create_dir_all(&folder).at("mkdir")?;
    for made in 0..70_000 {
        if let Err(error) = fs::write(format!("{folder}/{made}"), "") {
            return Ok(format!("{made} files, then {error}"));
        }
    }
    Ok("70000 files".into())
}

/// One line without an end on the server's own output.
fn endless_line(bytes: usize) -> Told {
    let block = vec![b'x'; MIB];
    let mut written = 0;
    while written < bytes {
        if let Err(error) = raw_write(1, &block) {
            return Ok(format!("{written} bytes, then {error}"));
        }
        written += MIB;
    }
    raw_write(1, b"\n").map(|()| format!("{written} bytes")).at("write")
}

/// Lines that are no messages.
fn noise() -> Told {
    let block = "noise that is no message\n".repeat(4000);
    for _ in 0..5 {
        raw_write(1, block.as_bytes()).at("write")?;
    }
    Ok("20000 lines".into())
}

fn stderr_flood() -> Told {
    let block = vec![b'e'; MIB];
    for _ in 0..8 {
        raw_write(2, &block).at("write")?;
    }
    raw_write(2, b"\n").map(|()| "8 MiB".into()).at("write")
}

fn raw_write(fd: i32, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the bytes are live and their length is given.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        if written < 0 {
            return Err(io::Error::last_os_error());
        }
        bytes = &bytes[written.unsigned_abs()..];
    }
    Ok(())
}

/// Dies so that a core file is written, where one may be.
fn core_dump() -> Told {
    let limits: [u64; 2] = [u64::MAX, u64::MAX];
    let _ = syscall(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, limits.as_ptr() as usize, 0, 0, 0]);
    std::env::set_current_dir("/mnt/arena/images").at("chdir")?;
    // SAFETY: this program is single-threaded.
    if let ForkResult::Parent { child } = unsafe { fork() }.at("fork")? {
        return nix::sys::wait::waitpid(child, None).map(|status| format!("{status:?}")).at("wait");
    }
    // SAFETY: that is the point.
    unsafe { libc::abort() }
}
