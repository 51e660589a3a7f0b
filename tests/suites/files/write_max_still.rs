//! `max` of a writable folder against a server that works at it, and what stopping it for a count leaves.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::arena::{self, Arena, ROOT};
use harness::processes::{self, Process};
use harness::run::Run;
use harness::session::Session;
use harness::{records, wait};
use nix::sys::signal::Signal;

use super::disk::Disk;
use super::{end, shell};

/// What both begin with. A walk through /out comes to folder `$first` with four thousand names, then to `@last`; it has read their
/// names before. `$heard` waits so many seconds for what befalls `$first` (inotify(7)): 0x20, opened; 0x10, closed.
const WATCHER: &str = r#"
    for my $n (1..64) { mkdir("/out/$n") or die; }
    opendir(my $folder, "/out") or die;
    my ($first, @last) = (grep { /^[0-9]/ } readdir($folder))[0, -2, -1];
    for my $n (1..4000) { open(my $f, ">", "/out/$first/$n") or die; }
    my ($path, $seen) = ("/out/$first", syscall(294, 0));         # inotify_init1
    syscall(254, $seen, $path, 0x30) >= 0 or die;                 # inotify_add_watch
    open(my $events, "<&=", $seen) or die;
    my $begun = time;
    my $heard = sub {
        my $set = ""; vec($set, $seen, 1) = 1;
        time - $begun < 10 or exit 7;
        select($set, undef, undef, shift) > 0 or return 0;
        my $mask = 0;
        sysread($events, my $text, 65536);
        while (length($text) >= 16) {
            my (undef, $what, undef, $length) = unpack("lLLL", $text);
            $mask |= $what;
            substr($text, 0, 16 + $length) = "";
        }
        $mask;
    };
    while (!($heard->(1) & 0x10)) { }
    select(undef, undef, undef, 0.01);
"#;

/// Sixty megabytes in a folder that gets another name when a walk has read the one it has.
const RENAMER: &str = r#"
    rmdir("/out/$last[1]") or die;
    open(my $file, ">", "/out/$last[0]/large") or die;
    syscall(285, fileno($file), 0, 0, 60 << 20) == 0 or die;      # fallocate
    while (1) {
        while (!($heard->(1) & 0x20)) { }
        rename("/out/$last[0]", "/out/$last[1]") or die;
        @last = reverse @last;
    }
"#;

/// Sixty megabytes that are given back when a walk begins, and taken again when it is over.
const SHRINKER: &str = r#"
    open(my $file, ">", "/out/$last[1]/large") or die;
    while (1) {
        syscall(285, fileno($file), 0, 0, 60 << 20) == 0 or die;  # fallocate
        while (!($heard->(1) & 0x20)) { }
        truncate($file, 0) or die;
        while (!($heard->(1) & 0x10)) { }
        select(undef, undef, undef, 0.01);
    }
"#;

/// Descriptors in as many processes as it may have make a stop long, and a folder that is renamed all the time makes each count
/// doubtful. What the clock says of a stop is the sign to take 420 MiB, and to give them back within a rest of three such stops.
const RESTER: &str = r#"
import os, signal, time
null = os.open("/dev/null", os.O_RDONLY)
try:
    while True:
        top = os.dup(null)
except OSError:
    os.closerange(top - 15, top + 1)
def child(work):
    if os.fork() == 0:
        while True:
            work()
def rename():
    os.mkdir("/out/a"); os.rename("/out/a", "/out/b"); os.rmdir("/out/b"); time.sleep(0.0002)
child(rename)
try:
    while True:
        child(signal.pause)
except OSError:
    pass
rounds = 0
begun = last = time.monotonic()
while rounds < 5:
    time.sleep(0.001)
    stood, last = time.monotonic() - last, time.monotonic()
    if last - begun > 60:
        os._exit(8)
    if stood < 0.1:
        continue
    for name in range(7):
        large = os.open("/out/%d" % name, os.O_CREAT | os.O_WRONLY)
        os.posix_fallocate(large, 0, 60 << 20)
        os.close(large)
    time.sleep(max(0.3, 1.5 * stood))
    for name in range(7):
        os.unlink("/out/%d" % name)
    rounds, last = rounds + 1, time.monotonic()
os._exit(7)
"#;

/// Runs `script` with a `max` of 64 MiB until it is stopped for good; on a busy machine that takes some counts.
fn assert_found(arena: &Arena, script: &str) {
    let session = shell(arena, ", max: 64M", "max: 64", &format!("exec {script}")).start();
    let (meter, _) = meter_and_leaf(&session);
    assert!(wait::becomes_true(Duration::from_secs(60), || !meter.is_alive()), "{}", session.stderr());
    let ended = session.ended();
    assert_eq!(ended.code, 124, "{}", ended.stderr);
    assert_eq!(end()["reason"]["code"], "write_limit", "{:#?}", end());
    assert!(ended.stderr.contains(&format!("{ROOT}/out holds more bytes")), "{}", ended.stderr);
}

#[test]
fn folders_that_are_renamed_while_they_are_counted_hide_nothing() {
    arena::run(|arena| assert_found(arena, &format!("perl -e '{WATCHER}{RENAMER}'")));
}

#[test]
fn a_server_that_empties_its_files_when_it_sees_the_count_is_found() {
    arena::run(|arena| assert_found(arena, &format!("perl -e '{WATCHER}{SHRINKER}'")));
}

#[test]
fn a_server_that_is_stopped_for_long_has_no_time_to_pass_its_max_thereafter() {
    arena::run(|arena| assert_found(arena, &format!("python3 -c '{RESTER}'")));
}

#[test]
fn a_server_that_writes_and_renames_within_its_max_goes_on() {
    arena::run(|arena| {
        let script = "i=0; while [ $i -lt 300 ]; do head -c 100000 /dev/zero > /out/new; mv /out/new /out/done; i=$((i+1)); done; exit 7";
        let ended = shell(arena, ", max: 1M", "max: 64", script).start().ended();
        assert_eq!(ended.code, 7, "{}", ended.stderr);
        assert_eq!(end()["reason"]["code"], "server_exit", "{:#?}", end());
    });
}

#[test]
fn a_folder_without_max_on_another_file_system_hides_no_removed_file() {
    arena::run(|arena| {
        let _free = Disk::mount(arena, "free", &[], "loop").expect("root can mount");
        arena.writable_folder("out");
        let policy = format!(
            "name: files\ndefault: deny\ntools: {{}}\nsandbox:\n  filesystem:\n    write: [{{path: /out, from: {ROOT}/out, max: 16M}}, {{path: /free, from: {ROOT}/free}}]\n"
        );
        let script = "for n in 3 4 5 6 7 8 9; do eval \"exec $n>/out/$n\"; rm /out/$n; eval \"head -c 4000000 /dev/zero >&$n\"; done; sleep 8; exit 7";
        let ended = Run::new(arena, &policy).command(["/bin/sh", "-c", script]).start().ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        assert_eq!(end()["reason"]["code"], "write_limit", "{:#?}", end());
        assert!(ended.stderr.contains("in removed files"), "{}", ended.stderr);
        let rootfs = records::layer("rootfs");
        let reason = rootfs["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("/free; removed files") && reason.contains("counted every"), "{rootfs}");
    });
}

/// A session whose server makes files without end, caught while it is stopped: the meter is stopped, too, and does not let it go on.
fn stopped(arena: &Arena) -> (Session, Process, PathBuf) {
    let out = arena.writable_folder("out");
    for number in 0..20_000 {
        fs::write(out.join(number.to_string()), "").expect("root can write");
    }
    let script = "while :; do : > /out/new; mv /out/new /out/old; done";
    let session = shell(arena, ", max: 1G", "max: 64", script).start();
    let deadline = Instant::now() + wait::on_this_machine(wait::COMES_LIMIT);
    let mut found = None;
    while Instant::now() < deadline {
        let (meter, leaf) = found.get_or_insert_with(|| meter_and_leaf(&session));
        let freeze = leaf.join("cgroup.freeze");
        let is_frozen = || fs::read_to_string(&freeze).is_ok_and(|text| text.trim() == "1");
        if is_frozen() {
            assert!(meter.signal(Signal::SIGSTOP), "it counts");
            let is_stopped = || meter.status("State").is_some_and(|state| state.starts_with('T'));
            assert!(wait::becomes_true(wait::COMES_LIMIT, is_stopped), "{:?}", meter.status("State"));
            let frozen = || fs::read_to_string(leaf.join("cgroup.events")).is_ok_and(|text| text.contains("frozen 1"));
            if is_frozen() && wait::becomes_true(wait::COMES_LIMIT, frozen) {
                return (session, meter.clone(), leaf.clone());
            }
            assert!(meter.signal(Signal::SIGCONT), "it is stopped");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    panic!("the server is never stopped: {}", session.stderr());
}

fn meter_and_leaf(session: &Session) -> (Process, PathBuf) {
    let look = || session.processes().into_iter().find(|process| process.comm == "isb-meter");
    let meter = wait::until(wait::COMES_LIMIT, look).expect("it counts");
    let starts = records::of_type(records::DEFAULT_DIRECTORY, "session.start");
    let name = starts[0]["session"].as_str().expect("a session has a name");
    let leaf = processes::cgroups_named(name).into_iter().find(|leaf| leaf.join("cgroup.freeze").exists());
    (meter, leaf.expect("a session has a leaf"))
}

/// Everything of `crowd` is gone soon.
fn assert_gone(crowd: &[Process], leaf: &std::path::Path) {
    let alive = || crowd.iter().filter(|process| process.is_alive()).collect::<Vec<_>>();
    let gone = wait::becomes_true(Duration::from_secs(5), || alive().is_empty() && !leaf.exists());
    assert!(gone, "still alive: {:?}, leaf {}", alive(), leaf.exists());
}

#[test]
fn a_meter_that_dies_while_the_server_is_stopped_ends_the_session() {
    arena::run(|arena| {
        let (session, meter, leaf) = stopped(arena);
        let crowd = session.processes();
        assert!(meter.signal(Signal::SIGKILL), "it is stopped");
        let ended = session.ended();
        assert_eq!(ended.code, 124, "{}", ended.stderr);
        assert_eq!(end()["reason"]["code"], "meter_died", "{:#?}", end());
        assert_gone(&crowd, &leaf);
    });
}

#[test]
fn a_session_ends_while_the_server_is_stopped() {
    arena::run(|arena| {
        let (session, _meter, leaf) = stopped(arena);
        let crowd = session.processes();
        session.signal(Signal::SIGTERM);
        let ended = session.ended();
        assert!(ended.took < wait::on_this_machine(Duration::from_secs(5)), "{:?}", ended.took);
        assert_gone(&crowd, &leaf);
    });
}

#[test]
fn a_supervisor_that_is_killed_while_the_server_is_stopped_leaves_nothing() {
    arena::run(|arena| {
        let (session, _meter, leaf) = stopped(arena);
        let crowd = session.processes();
        session.signal(Signal::SIGKILL);
        assert_eq!(session.ended().code, 128 + 9);
        assert_gone(&crowd, &leaf);
    });
}
