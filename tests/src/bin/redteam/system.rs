//! Files of the kernel and devices. What opens stays open, unwritten: the host sees the descriptor, and nothing is harmed.

use std::fs;
use std::io::Write;

use crate::raw::{At, open};
use crate::{Probe, Told};

pub(crate) const PROBES: &[(&str, Probe)] = &[
    ("open-read", |path| open(path, libc::O_RDONLY | libc::O_NONBLOCK).map(|fd| format!("descriptor {fd}"))),
    ("open-write", |path| open(path, libc::O_WRONLY | libc::O_NONBLOCK).map(|fd| format!("descriptor {fd}"))),
    ("read-kcore", |_| open("/proc/kcore", libc::O_RDONLY).map(|fd| format!("descriptor {fd}"))),
    ("write-core-pattern", |_| write_only("/proc/sys/kernel/core_pattern")),
    ("write-sysrq", |_| write_only("/proc/sysrq-trigger")),
    ("write-oom-score", |pid| set_score(&format!("/proc/{pid}/oom_score_adj"), "500")),
    ("protect-from-oom", |_| set_score("/proc/self/oom_score_adj", "-1000")),
    ("cgroup-make", |path| fs::create_dir(path).map(|()| String::new()).at("mkdir")),
    ("cgroup-leave", |_| cgroup_leave()),
    ("kernel-addresses", |_| {
        let text = fs::read_to_string("/proc/kallsyms").at("open")?;
        let real = text.lines().find(|line| !line.starts_with("0000000000000000"));
        real.map(|line| line.to_owned()).ok_or(nix::errno::Errno::EPERM).at("read")
    }),
];

fn write_only(path: &str) -> Told {
    open(path, libc::O_WRONLY).map(|fd| format!("descriptor {fd}"))
}

fn set_score(path: &str, score: &str) -> Told {
    fs::write(path, score).map(|()| String::new()).at("write")
}

/// Moves itself to the root of every hierarchy that it finds.
fn cgroup_leave() -> Told {
    let mut moved = 0;
    let mut last = Err(nix::errno::Errno::ENOENT).at("open");
    let below = fs::read_dir("/sys/fs/cgroup").map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let below: Vec<std::path::PathBuf> = below.unwrap_or_default();
    for folder in below.into_iter().chain(["/sys/fs/cgroup".into()]) {
        // Opened and never made: the folder above the trees of version 1 takes any file.
        let opened = fs::OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
        match opened.and_then(|mut file| file.write_all(b"0")) {
            Ok(()) => moved += 1,
            Err(error) => last = Err(error).at("write"),
        }
    }
    if moved > 0 { Ok(format!("{moved} moves")) } else { last }
}
