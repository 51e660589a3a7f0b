//! More than its share. Each has a session of its own: some end it.

use std::fs;
use std::path::PathBuf;

use super::super::eyes::{Judge, has_cpu_bound, kilobytes, no_core_file_in_place, ticks};
use super::super::life;
use super::{Argument, Group, Row};
use crate::processes::Process;

const CGROUP: &str = "cgroup";

/// What bare runs leave in the host's folders.
pub(super) const LEFT_BEHIND: &[&str] = &[
    "/tmp/isb-fill",
    "/dev/shm/isb-inodes",
    "/dev/shm/isb-watched",
    "/dev/shm/isb-fill",
    "/sys/fs/cgroup/unified/isb-redteam",
    "/sys/fs/cgroup/isb-redteam",
];

const fn row(id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Row {
    Row::new(Group::Resources, id, what, judge, layers).alone()
}

pub(super) const ROWS: &[Row] = &[
    row("fork-bomb", "200 processes; 64 allowed", Judge::Crowd(|crowd| crowd.len() > 64), [CGROUP, "RLIMIT_NPROC"]),
    row("thread-bomb", "200 threads; 64 allowed", Judge::Crowd(|crowd| threads(crowd) > 64), [CGROUP, "RLIMIT_NPROC"]),
    row("memory-bomb", "400 MiB; 200 allowed", Judge::Crowd(|crowd| resident(crowd) > 300 << 10), [CGROUP, ""]),
    row(
        "memory-bomb-many",
        "400 MiB by eight; 200 allowed",
        Judge::Crowd(|crowd| resident(crowd) > 300 << 10),
        [CGROUP, ""],
    ),
    row("cpu-bomb", "16 spin; 0.3 of a processor allowed", Judge::Crowd(takes_much), [CGROUP, ""]),
    row(
        "descriptor-bomb",
        "3000 descriptors; 256 allowed",
        Judge::Crowd(|crowd| crowd.iter().any(|p| p.descriptors().len() > 256)),
        ["RLIMIT_NOFILE", ""],
    ),
    row(
        "inotify-instances",
        "40 inotify instances, which count for root's; 16 allowed",
        Judge::Crowd(|crowd| watchers(crowd).count() > 16),
        ["ceilings of the user namespace", ""],
    ),
    row(
        "inotify-watches",
        "5000 inotify watches, likewise; 4096 allowed",
        Judge::Crowd(|crowd| watchers(crowd).map(|path| watches(&path)).sum::<usize>() > 4096),
        ["ceilings of the user namespace", ""],
    )
    .told(Argument::Text("/dev/shm")),
    row(
        "signal-bomb",
        "5000 queued signals",
        Judge::Crowd(|crowd| crowd.iter().any(|p| queued(p) > 4096)),
        ["seccomp", "RLIMIT_SIGPENDING"],
    ),
    row(
        "fill-tmp",
        "128 MiB in /tmp; 16 allowed",
        Judge::Crowd(|crowd| size(crowd, "tmp/isb-fill") > 64 << 20),
        ["size of the tmpfs", CGROUP],
    )
    .by("fill", Argument::Text("/tmp")),
    row(
        "fill-shm",
        "128 MiB in /dev/shm; 64 allowed",
        Judge::Crowd(|crowd| size(crowd, "dev/shm/isb-fill") > 64 << 20),
        ["size of the tmpfs", CGROUP],
    )
    .by("fill", Argument::Text("/dev/shm")),
    row(
        "inode-flood",
        "70000 files in /dev/shm",
        Judge::Crowd(|crowd| files(crowd, "dev/shm/isb-inodes") > 66_000),
        ["inodes of the tmpfs", CGROUP],
    )
    .by("inode-flood", Argument::Text("/dev/shm")),
    row("core-dump", "a core file in its folder", Judge::Life(life::core_dump), ["hard RLIMIT_CORE", ""])
        .unless_lacking(no_core_file_in_place),
    row(
        "huge-sparse-file",
        "a file of 64 GiB without a block; the folder's max is 16 MiB",
        Judge::Life(life::huge_file),
        ["RLIMIT_FSIZE", ""],
    ),
    row("output-line", "a line of 3 MiB to the client; 1 allowed", Judge::Life(life::long_line), ["relay", ""]),
    row("output-noise", "lines that are no messages", Judge::Life(life::noise), ["relay", ""]),
    row("stderr-flood", "8 MiB without an end of line on stderr", Judge::Life(life::stderr_flood), ["relay", ""]),
];

fn threads(crowd: &[Process]) -> usize {
    crowd.iter().map(Process::threads).sum()
}

fn resident(crowd: &[Process]) -> u64 {
    crowd.iter().map(|process| kilobytes(process, "VmRSS")).sum()
}

/// More than 0.4 of a processor in the next 1.5 seconds; or no bound at all, for on a busy machine nobody gets much. None before somebody
/// spins.
fn takes_much(crowd: &[Process]) -> bool {
    if crowd.len() < 16 {
        return false;
    }
    if !crowd.iter().all(has_cpu_bound) {
        return true;
    }
    let before = ticks(crowd);
    let begun = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    (ticks(crowd) - before) as f64 / 100.0 / begun.elapsed().as_secs_f64() > 0.4
}

/// What the kernel says of each of their inotify instances (proc_pid_fdinfo(5)).
fn watchers(crowd: &[Process]) -> impl Iterator<Item = PathBuf> {
    let of_process = |process: &Process| {
        let held = process.descriptors().into_iter().filter(|(_, text)| text == "anon_inode:inotify");
        let pid = process.pid;
        held.map(move |(number, _)| PathBuf::from(format!("/proc/{pid}/fdinfo/{number}"))).collect::<Vec<_>>()
    };
    crowd.iter().flat_map(of_process)
}

fn watches(path: &PathBuf) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("inotify wd:")).count()
}

fn queued(process: &Process) -> u64 {
    process.status("SigQ").and_then(|text| text.split('/').next()?.parse().ok()).unwrap_or(0)
}

/// A path in the root of the probe's process, as the host reaches it.
fn inside(crowd: &[Process], path: &str) -> Option<PathBuf> {
    crowd.first().map(|process| PathBuf::from(format!("/proc/{}/root/{path}", process.pid)))
}

fn size(crowd: &[Process], path: &str) -> u64 {
    inside(crowd, path).and_then(|path| fs::metadata(path).ok()).map_or(0, |found| found.len())
}

fn files(crowd: &[Process], path: &str) -> usize {
    inside(crowd, path).and_then(|path| fs::read_dir(path).ok()).map_or(0, Iterator::count)
}
