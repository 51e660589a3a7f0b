//! The sandbox's mechanisms one by one, as root on this host's real kernel: cgroup, confinement, filter under runtimes.

#![allow(clippy::unwrap_used, reason = "a helper of a test may end the test")]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use intercept_sandbox::doctor::{self, State};
use intercept_sandbox::sandbox::Answer;
use intercept_sandbox::sandbox::cgroup::{CgroupError, Leaf, kill, sweep};
use intercept_sandbox::sandbox::confine::{self, ConfineError, Terms};
use intercept_sandbox::sandbox::plan::ResourcesPlan;
use intercept_sandbox::sys::fork::{ask_child, leave_child};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Uid, getpid, getppid, pipe, read, write};

const SERVICE: u32 = 0x7000_0001;

fn plan() -> ResourcesPlan {
    ResourcesPlan { memory_bytes: 64 << 20, cpu_millis: 500, pids_max: 5, open_files: 64, wall: None }
}

/// A name that no other run has: the pid in front, the test's number behind.
fn session(test: u8) -> String {
    format!("{:08x}{:022x}{test:02x}", getpid().as_raw(), 0)
}

/// Runs a shell command inside the leaf and returns its output.
fn in_leaf(leaf: &Leaf, script: &str) -> String {
    let adopt: String = leaf.directories().map(|dir| format!("echo $$ > {}/cgroup.procs; ", dir.display())).collect();
    let output = Command::new("sh").args(["-c", &format!("{adopt}{script}")]).stderr(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_leaf_has_its_ceilings_and_goes_without_a_trace() {
    let leaf = Leaf::create(&session(1), &plan()).unwrap();
    let directories: Vec<_> = leaf.directories().map(Path::to_owned).collect();
    let value = |file: &str| {
        let found = directories.iter().find_map(|directory| fs::read_to_string(directory.join(file)).ok());
        found.map(|text| text.trim().to_owned())
    };
    assert_eq!(value("pids.max").as_deref(), Some("5"));
    let memory = value("memory.max").or_else(|| value("memory.limit_in_bytes"));
    assert_eq!(memory.as_deref(), Some("67108864"));
    let cpu = value("cpu.max").or_else(|| value("cpu.cfs_quota_us"));
    assert!(matches!(cpu.as_deref(), Some("50000 100000" | "50000")), "{cpu:?}");
    assert!(matches!(Leaf::create(&session(1), &plan()), Err(CgroupError::Exists(_))));
    assert!(matches!(Leaf::create("../escape", &plan()), Err(CgroupError::Session(_))));
    assert!(!matches!(leaf.answer(), Answer::Unsupported(_)));
    leaf.remove().unwrap();
    assert!(directories.iter().all(|directory| !directory.exists()), "{directories:?}");
}

#[test]
fn nobody_but_root_can_open_a_leaf() {
    let leaf = Leaf::create(&session(9), &plan()).unwrap();
    let directories: Vec<_> = leaf.directories().map(Path::to_owned).collect();
    for directory in &directories {
        let parent = directory.parent().unwrap();
        assert_eq!(fs::metadata(parent).unwrap().mode() & 0o7777, 0o700, "{}", parent.display());
    }
    let opens = ask_child(|| {
        if nix::unistd::setresuid(Uid::from_raw(SERVICE), Uid::from_raw(SERVICE), Uid::from_raw(SERVICE)).is_err() {
            return 100;
        }
        let opened = directories.iter().filter(|directory| fs::File::open(directory).is_ok());
        i32::try_from(opened.count()).unwrap_or(99)
    });
    assert!(matches!(opens, Ok(WaitStatus::Exited(_, 0))), "{opens:?}");
    leaf.remove().unwrap();
}

#[test]
fn processes_and_memory_end_at_the_ceiling() {
    let leaf = Leaf::create(&session(2), &plan()).unwrap();
    // The shell and four more; the fifth sleep cannot be forked.
    let count = in_leaf(&leaf, "i=0; while [ $i -lt 4 ]; do sleep 60 >&- & i=$((i+1)); done; echo four; (echo five)");
    assert_eq!(count, "four\n");
    leaf.remove().unwrap();
    // Another leaf: what was killed counts until its parent, here the host's init, has reaped it.
    let leaf = Leaf::create(&session(7), &plan()).unwrap();
    // tail keeps a line without an end in memory: 200 MiB do not fit into 64.
    assert_eq!(in_leaf(&leaf, "head -c 20m /dev/zero | tail | wc -c"), "20971520\n");
    assert_ne!(in_leaf(&leaf, "head -c 200m /dev/zero | tail | wc -c"), "209715200\n");
    leaf.remove().unwrap();
}

#[test]
fn one_write_kills_daemons_too_and_so_does_the_older_way() {
    let daemon = "setsid sh -c 'sleep 60 & sleep 60' >/dev/null & echo started";
    for (test, older) in [(3, false), (8, true)] {
        let leaf = Leaf::create(&session(test), &plan()).unwrap();
        assert_eq!(in_leaf(&leaf, daemon), "started\n");
        assert!(matches!(leaf.wait_until_empty(1), Err(CgroupError::StillPopulated { .. })));
        if older {
            kill::by_signals(leaf.path()).unwrap();
        } else {
            let descriptor = leaf.kill_fd().unwrap();
            fs::File::from(descriptor).write_all(b"1").unwrap();
        }
        leaf.wait_until_empty(5_000).unwrap();
        leaf.remove().unwrap();
    }
}

#[test]
fn a_sweep_takes_a_crashed_runs_leaf_and_spares_a_live_one() {
    let live = Leaf::create(&session(4), &plan()).unwrap();
    let dead = session(5);
    let crashed = ask_child(|| match Leaf::create(&dead, &plan()) {
        Ok(leaf) => {
            in_leaf(&leaf, "setsid sleep 60 >/dev/null &");
            0 // ends without removing anything; the kernel lets go of the lock
        }
        Err(_) => 1,
    });
    assert!(matches!(crashed, Ok(WaitStatus::Exited(_, 0))), "{crashed:?}");
    let left = live.path().with_file_name(&dead);
    assert_eq!(fs::read_to_string(left.join("cgroup.procs")).unwrap().lines().count(), 1);
    let swept = sweep().unwrap();
    assert!(swept.failed.is_empty(), "{:?}", swept.failed);
    assert!(!left.exists());
    assert!(!swept.removed.contains(&session(4)) && live.path().exists());
    live.remove().unwrap();
}

/// Forks, confines by `confine`, then asks `question` there. 100 and more are the child's own trouble.
fn confined(
    keep: &[i32],
    confine: impl FnOnce(&Terms<'_>) -> Result<confine::Confined, ConfineError>,
    question: impl FnOnce() -> i32,
) -> WaitStatus {
    ask_child(|| {
        let terms = Terms { uid: SERVICE, gid: SERVICE, parent: getppid(), keep };
        match confine(&terms) {
            Ok(confined) if confined.calls_allowed > 20 => question(),
            Ok(_) => 100,
            Err(error) => {
                eprintln!("{error:?}");
                101
            }
        }
    })
    .unwrap()
}

#[test]
fn relay_keeps_what_it_is_given_and_nothing_else() {
    let store = tempfile::tempdir().unwrap();
    fs::set_permissions(store.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let secret = fs::File::open("/etc/shadow").unwrap();
    let (reader, writer) = pipe().unwrap();
    let file = store.path().join("limits.db");
    let secret_fd = secret.as_raw_fd();
    let status = confined(
        &[2, writer.as_raw_fd()],
        |terms| confine::relay(terms, 0, store.path()),
        || {
            let checks = [
                Uid::current().as_raw() == SERVICE && Uid::effective().as_raw() == SERVICE,
                nix::sys::stat::fstat(secret.as_fd()) == Err(nix::errno::Errno::EBADF),
                fs::File::open("/etc/hostname").is_err() && fs::File::open("/proc/self/status").is_err(),
                fs::write(&file, "counted").is_ok() && fs::read(&file).is_ok_and(|text| text == b"counted"),
                fs::remove_file(&file).is_ok(),
                write(&writer, b"x").is_ok(),
            ];
            checks.iter().position(|check| !check).map_or(0, |place| i32::try_from(place).unwrap_or(98) + 1)
        },
    );
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "fd {secret_fd}: {status:?}");
    assert_eq!(read(&reader, &mut [0; 4]), Ok(1));
}

#[test]
fn the_host_sees_a_confined_process_without_any_privilege() {
    let store = tempfile::tempdir().unwrap();
    let (ready_reader, ready_writer) = pipe().unwrap();
    let (end_reader, end_writer) = pipe().unwrap();
    let parent = getpid();
    let child = leave_child(|| {
        let keep = [2, ready_writer.as_raw_fd(), end_reader.as_raw_fd()];
        let terms = Terms { uid: SERVICE, gid: SERVICE, parent, keep: &keep };
        if confine::relay(&terms, 0, store.path()).is_err() || write(&ready_writer, b"r").is_err() {
            return 1;
        }
        i32::from(read(&end_reader, &mut [0]) != Ok(0))
    })
    .unwrap();
    drop(ready_writer);
    assert_eq!(read(&ready_reader, &mut [0]), Ok(1));
    let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    let id = SERVICE.to_string();
    assert_eq!((field("Uid:"), field("Gid:")), (vec![&*id; 4], vec![&*id; 4]));
    assert!(field("Groups:").is_empty());
    assert_eq!((field("NoNewPrivs:"), field("Seccomp:"), field("Threads:")), (vec!["1"], vec!["2"], vec!["1"]));
    let mut open: Vec<String> = fs::read_dir(format!("/proc/{child}/fd"))
        .unwrap()
        .map(|fd| fd.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open.len(), 5, "0 to 2, the two pipes: {open:?}");
    // Not dumpable: what is in its memory is root's to see.
    assert!(fs::metadata(format!("/proc/{child}/maps")).unwrap().uid() == 0);
    drop(end_writer);
    assert!(matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))));
}

#[test]
fn egress_opens_no_file_and_no_socket_and_the_dialer_dials_and_does_not_listen() {
    let dies = |status: &WaitStatus| matches!(status, WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGSYS, _));
    let open = || i32::from(fs::File::open("/etc/hostname").is_ok());
    let dial = || i32::from(std::net::UdpSocket::bind("127.0.0.1:0").is_err());
    // Egress's listeners are given to it, its connections come from the dialer.
    for status in [confined(&[2], confine::egress, open), confined(&[2], confine::egress, dial)] {
        assert!(dies(&status), "{status:?}");
    }
    let listen = || i32::from(std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    for status in [confined(&[2], confine::dialer, open), confined(&[2], confine::dialer, listen)] {
        assert!(dies(&status), "{status:?}");
    }
    let dialled = confined(&[2], confine::dialer, dial);
    assert!(matches!(dialled, WaitStatus::Exited(_, 0)), "{dialled:?}");
}

#[test]
fn the_janitor_can_empty_its_directories_and_no_other() {
    let ours = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir_in("/var/tmp").unwrap(); // below the parent of ours, empty directories may go
    for directory in [&ours, &other] {
        fs::create_dir(directory.path().join("leaf")).unwrap();
    }
    let (mine, foreign) = (ours.path().join("leaf"), other.path().join("leaf"));
    let directories = [ours.path().to_owned()];
    let status = confined(
        &[2],
        |terms| confine::janitor(terms, &directories),
        || i32::from(fs::remove_dir(&mine).is_err()) + 2 * i32::from(fs::remove_dir(&foreign).is_ok()),
    );
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

#[test]
fn a_janitor_can_kill_and_remove_a_leaf() {
    let leaf = Leaf::create(&session(6), &plan()).unwrap();
    in_leaf(&leaf, "setsid sleep 60 >/dev/null &");
    let directories: Vec<_> = leaf.directories().map(Path::to_owned).collect(); // what the monitor gives it, no more
    let left = directories.clone();
    let keep = [2, leaf.v2_dir().as_raw_fd()];
    let status = confined(&keep, |terms| confine::janitor(terms, &directories), || i32::from(leaf.remove().is_err()));
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    assert!(left.iter().all(|directory| !directory.exists()), "{left:?}");
}

#[test]
fn a_confined_process_dies_with_its_parent() {
    let (reader, writer) = pipe().unwrap();
    let (stay_reader, stay_writer) = pipe().unwrap();
    let status = ask_child(|| {
        let parent = getpid();
        // The grandchild holds the pipe open until it dies; this child ends as soon as the grandchild is confined.
        let (ready_reader, ready_writer) = pipe().unwrap();
        let keep = [2, writer.as_raw_fd(), ready_writer.as_raw_fd(), stay_reader.as_raw_fd()];
        match leave_child(|| {
            let terms = Terms { uid: SERVICE, gid: SERVICE, parent, keep: &keep };
            if confine::egress(&terms).is_err() || write(&ready_writer, b"r").is_err() {
                return 1;
            }
            // It lives until the test has judged: what nothing ends would otherwise end by itself as the test's wait does.
            let _ = poll(&mut [PollFd::new(stay_reader.as_fd(), PollFlags::empty())], PollTimeout::NONE);
            2
        }) {
            Ok(_) => i32::from(read(&ready_reader, &mut [0]) != Ok(1)),
            Err(_) => 3,
        }
    });
    assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    drop(writer);
    let hung_up = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_000_u16));
    drop(stay_writer);
    assert_eq!(hung_up, Ok(1), "the grandchild lives on");
}

#[test]
fn confinement_refuses_root_threads_and_a_lost_parent() {
    let terms = Terms { uid: SERVICE, gid: SERVICE, parent: getppid(), keep: &[0, 1, 2] };
    assert!(matches!(confine::egress(&terms), Err(ConfineError::Threads(_))), "the test runner has threads");
    for (uid, gid) in [(0, SERVICE), (SERVICE, 0)] {
        let status = ask_child(|| {
            let terms = Terms { uid, gid, parent: getppid(), keep: &[2] };
            i32::from(!matches!(confine::egress(&terms), Err(ConfineError::Root)))
        });
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
    }
    let status = ask_child(|| {
        let terms = Terms { uid: SERVICE, gid: SERVICE, parent: getpid(), keep: &[2] };
        i32::from(!matches!(confine::egress(&terms), Err(ConfineError::Orphan)))
    });
    assert!(matches!(status, Ok(WaitStatus::Exited(_, 0))), "{status:?}");
}

/// Runs a program under the server's filter in a network namespace with nothing but loopback.
fn under_filter(program: &str, code: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("ip link set lo up && exec {} {program} \"$0\"", env!("CARGO_BIN_EXE_under-filter"));
    let mut child = Command::new("unshare");
    child.args(["-n", "sh", "-c", &script]).current_dir(folder.path());
    let path = folder.path().join("program");
    fs::File::create(&path).unwrap().write_all(code.as_bytes()).unwrap();
    let output = child.arg(&path).output().unwrap();
    let mut errors = String::new();
    output.stderr.as_slice().read_to_string(&mut errors).unwrap();
    format!("{}{errors}", String::from_utf8(output.stdout).unwrap())
}

#[test]
fn node_works_under_the_filter() {
    assert_eq!(
        under_filter("node", include_str!("mechanisms/runtime.js")),
        "http worker exec fork unix udp setid:EPERM\n"
    );
}

#[test]
fn python_works_under_the_filter() {
    let expected = "http asyncio subprocess sqlite processes threads setid:1 vsock:1\n";
    assert_eq!(under_filter("python3", include_str!("mechanisms/runtime.py")), expected);
}

#[test]
fn doctor_finds_the_core_of_this_host() {
    let checks = doctor::checks();
    let missing: Vec<_> = checks.iter().filter(|check| check.state == State::Missing).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    // The program type of the exec audit, found by loading one: where the kernel publishes its types, it is there.
    let state = |name| checks.iter().find(|check| check.name == name).unwrap().state;
    assert!(state("btf") != State::Ok || state("bpf-tp-btf") == State::Ok, "{checks:#?}");
}
