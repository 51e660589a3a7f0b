//! The exec audit by itself: which starts of programs are told, and what it costs those of whom nothing is told.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use intercept_sandbox::egress::events::{EventReader, RingEvent};
use intercept_sandbox::egress::exec_events::{ExecEvent, ExecStart};
use intercept_sandbox::egress::exec_trace::Loaded as Trace;
use intercept_sandbox::egress::extra::Extra;
use intercept_sandbox::egress::probes::Loaded;
use intercept_sandbox::egress::wall::Wall;
use intercept_sandbox::sandbox::{Answer, LayerReport};
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use crate::field::{Field, Leaf};
use crate::{features, plan};

/// Whether this kernel describes its types: then nothing of this may be missing.
fn is_described() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Starts this very program inside `leaf`, where it does what [`run`] says.
#[allow(clippy::disallowed_methods)] // a test's child, not the supervisor's
pub(crate) fn inside(leaf: &Leaf, words: &[&OsStr]) {
    let own = std::env::current_exe().expect("this program");
    let status = Command::new(own).arg("execs").arg(&leaf.path).args(words).status().expect("a child");
    assert!(status.success(), "{words:?}: {status}");
}

/// The child's side: joins the cgroup and starts programs in one of several ways.
#[allow(clippy::disallowed_methods)]
pub(crate) fn run(arguments: &[std::ffi::OsString]) {
    let [leaf, way, words @ ..] = arguments else { panic!("execs LEAF WAY WORD...") };
    fs::write(Path::new(leaf).join("cgroup.procs"), "0").expect("join the cgroup");
    let program = &words[0];
    let by_descriptor = |fd: &std::os::fd::OwnedFd| {
        let name = CString::new("by-descriptor").expect("a name");
        let never = nix::unistd::fexecve(fd, &[name.as_c_str()], &[] as &[&std::ffi::CStr]);
        panic!("{never:?}");
    };
    match way.to_str().expect("a way") {
        "spawn" => words.iter().for_each(|program| {
            let status = Command::new(program).status();
            assert!(status.is_ok_and(|status| status.success()), "{program:?}");
        }),
        "fail" => words.iter().for_each(|program| assert!(Command::new(program).status().is_err(), "{program:?}")),
        "refused" => words.iter().for_each(|program| {
            let error = Command::new(program).status().expect_err("refused");
            assert_eq!(error.raw_os_error(), Some(nix::libc::EACCES), "{program:?}");
        }),
        "shell" => drop(Command::new("/bin/sh").arg("-c").args(words).exec()),
        "thread" => {
            let program = program.clone();
            let thread = std::thread::spawn(move || Command::new(program).exec());
            panic!("{:?}", thread.join());
        }
        "descriptor" => by_descriptor(
            &open(Path::new(program), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).expect("a program"),
        ),
        "memory" => {
            let memory = memfd_create(c"hidden", MFdFlags::MFD_CLOEXEC).expect("a memory file");
            fs::write(
                format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory)),
                fs::read(program).expect("a program"),
            )
            .expect("a copy");
            by_descriptor(&memory);
        }
        "flood" => {
            let count = words[1].to_str().and_then(|count| count.parse().ok()).expect("a number");
            (0..count).for_each(|_: u32| assert!(Command::new(program).status().is_ok_and(|status| status.success())));
        }
        other => panic!("{other}"),
    }
}

pub(crate) fn drain(reader: &mut EventReader, leaf: &Leaf) -> Vec<ExecStart> {
    let events = std::iter::from_fn(|| reader.next_event()).map(|event| event.expect("an event"));
    let starts = events.filter_map(|event| match event {
        RingEvent::Exec(ExecEvent { time_ns, cgroup, start }) => {
            let boot_ns = intercept_sandbox::clock::now().boot_ns;
            assert!(cgroup == leaf.id() && time_ns <= boot_ns && boot_ns - time_ns < 60_000_000_000, "{start:?}");
            assert!(start.pid > 1 && start.ppid.is_some_and(|ppid| ppid > 1 && ppid != start.pid), "{start:?}");
            Some(start)
        }
        RingEvent::Net(_) | RingEvent::File(_) => None,
    });
    starts.collect()
}

/// A copy of true(1), which every system has.
pub(crate) fn copy_to(path: &Path) {
    fs::copy("/bin/true", path).expect("a copy");
}

pub(crate) fn told(_: &Field) {
    let leaf = Leaf::make("execs");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    let mut reader = wall.probes.take_events().expect("the ring");
    if !is_described() {
        return check(&wall.probes.exec_answer(), false);
    }
    check(&wall.probes.exec_answer(), false); // nobody was inside yet
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    let (odd, script) = (at(b"odd \x1b[2J\n\"\xff"), at(b"run.sh"));
    let room = 262 - folder.path().as_os_str().len() - 1; // of a path, what is shown
    let (fits, long) = (at(&vec![b'f'; room]), at(&vec![b'l'; room + 1]));
    [&odd, &fits, &long].into_iter().for_each(|path| copy_to(path));
    fs::write(&script, "#!/bin/true -x\n").expect("a script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a script");
    let own = std::env::current_exe().expect("this program");
    let shown = |path: &Path| Some(path.to_string_lossy().into_owned());
    let mut starts = |way: &str, words: &[&OsStr]| {
        inside(&leaf, &[&[OsStr::new(way)], words].concat());
        drain(&mut reader, &leaf)
    };
    let paths = |starts: &[ExecStart]| starts.iter().map(|start| start.path.clone()).collect::<Vec<_>>();

    let plain = starts("spawn", &[OsStr::new("/bin/true"), odd.as_os_str()]);
    assert_eq!(paths(&plain), [shown(Path::new("/bin/true")), shown(&odd)]);
    assert_eq!((plain[0].comm.as_str(), plain[0].cut, plain[0].interpreter.as_deref()), ("true", false, None));
    assert!(plain[0].ppid == plain[1].ppid && plain[0].pid != plain[1].pid, "{plain:?}");

    let scripts = starts("spawn", &[script.as_os_str()]);
    assert_eq!((paths(&scripts), scripts[0].interpreter.as_deref()), (vec![shown(&script)], Some("/bin/true")));

    let lengths = starts("spawn", &[fits.as_os_str(), long.as_os_str()]);
    assert_eq!(paths(&lengths), [shown(&fits), long.to_str().map(|path| path[..262].to_owned())]);
    assert_eq!((lengths[0].cut, lengths[1].cut), (false, true));

    assert_eq!(starts("fail", &[OsStr::new("/no/such/program"), folder.path().as_os_str()]), []);
    // A child of a child that nobody waits for, and several in a row.
    let forked = starts("shell", &[OsStr::new("( ( /bin/true & wait ) & wait ); /bin/true; /bin/true")]);
    assert_eq!(paths(&forked), ["/bin/sh", "/bin/true", "/bin/true", "/bin/true"].map(|path| Some(path.to_owned())));
    let thread = starts("thread", &[OsStr::new("/bin/true")]);
    assert_eq!(paths(&thread), [shown(Path::new("/bin/true"))]);
    for way in ["descriptor", "memory"] {
        let named = starts(way, &[OsStr::new("/bin/true")]);
        let path = named.first().and_then(|start| start.path.as_deref()).expect("one start");
        assert!(named.len() == 1 && path.starts_with("/dev/fd/"), "{named:?}");
    }
    // What others start is nobody's business here: this very program was started outside, again and again.
    assert!(!plain.iter().chain(&forked).any(|start| start.path == shown(&own)));
    check(&wall.probes.exec_answer(), true);
    drop(wall);
    assert_eq!(starts("spawn", &[OsStr::new("/bin/true")]), [], "out of force with its link");
}

/// In force exactly where something was started inside and the kernel describes its types.
fn check(report: &LayerReport, started: bool) {
    match &report.answer {
        Answer::Enforced => assert!(is_described() && started),
        Answer::Unsupported(why) if is_described() => assert!(!started && why.contains("pid 1"), "{why}"),
        Answer::Unsupported(why) => {
            assert!(why.contains("btf"), "{why}");
            eprintln!("  exec-trace: {why}");
        }
        Answer::Partial(gap) => panic!("{gap}"),
    }
}

/// Starts past half of the ring are counted, and the network's events still have their room.
pub(crate) fn half_a_ring(field: &Field) {
    if !is_described() {
        return;
    }
    let leaf = Leaf::make("half");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    let mut reader = wall.probes.take_events().expect("the ring");
    inside(&leaf, &["flood", "/bin/true", "300"].map(OsStr::new));
    let (_, _) = crate::field::attack(&leaf, wall.netns.as_fd(), &["tcp4"]);
    let (mut execs, mut net) = (0, 0);
    for event in std::iter::from_fn(|| reader.next_event()) {
        match event.expect("an event") {
            RingEvent::Exec(_) => execs += 1,
            RingEvent::Net(_) => net += 1,
            RingEvent::File(event) => panic!("{event:?}"),
        }
    }
    let lost = wall.probes.lost().expect("counters");
    assert_eq!((execs + lost.execs, net, lost.events), (300, 1, 0));
    assert!(lost.execs > 50 && execs > 200, "{execs} told, {lost:?} lost");
    assert_eq!(field.heard(), crate::field::SILENCE);
}

/// What the programs of 0, 1 and 200 sessions cost a process of the host that starts /bin/true, and a session that attaches one more.
#[allow(clippy::disallowed_methods)]
pub(crate) fn cost(_: &Field) {
    if !is_described() {
        return;
    }
    let leaf = Leaf::make("cost");
    let loaded = Loaded::load(&plan(), features()).expect("programs"); // for its maps
    let maps = loaded.shared_maps().expect("maps");
    let (mut held, mut first) = (Vec::new(), Duration::ZERO);
    fs::create_dir_all("/run/intercept-sandbox").expect("root"); // the kernel's types are looked up once then, as in a run
    // An emulated processor measures nothing.
    let (rounds, many) = if std::env::var_os("ISB_TEST_PATIENCE").is_some() { (10, 10) } else { (300, 200) };
    for sessions in [0, 1, many] {
        while held.len() < sessions {
            let begun = Instant::now();
            held.push(Trace::load(&maps).attach(leaf.fd.as_fd()));
            first = begun.elapsed();
            assert!(matches!(held.last(), Some(Extra::Attached(_))), "{:?}", held.last());
        }
        let mut times: Vec<Duration> = (0..rounds)
            .map(|_| {
                let begun = Instant::now();
                assert!(Command::new("/bin/true").status().expect("a child").success());
                begun.elapsed()
            })
            .collect();
        times.sort();
        eprintln!(
            "  {sessions} sessions: a start takes {:?} (median), {:?} (tenth); the last attached in {first:?}",
            times[rounds / 2],
            times[rounds / 10]
        );
    }
    let begun = Instant::now();
    held.truncate(1);
    let each = begun.elapsed() / u32::try_from(many - 1).expect("few");
    let begun = Instant::now();
    held.clear();
    eprintln!("  detached in {each:?} each, the last in {:?}", begun.elapsed());
}
