//! The file audit by itself: which openings are told.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use intercept_sandbox::egress::events::{EventReader, RingEvent};
use intercept_sandbox::egress::file_events::FileEvent;
use intercept_sandbox::egress::file_trace;
use intercept_sandbox::egress::lsm::Reach;
use intercept_sandbox::egress::probes::{Features, Loaded, Probes};
use intercept_sandbox::egress::serve::Lost;
use intercept_sandbox::egress::wall::Wall;
use intercept_sandbox::sandbox::Answer;

use crate::execs::inside;
use crate::field::{Field, Leaf, SILENCE, attack};
use crate::{features, lsm, plan};

/// What a shell inside `leaf` is told to do, and the paths of the files that are told.
fn written(leaf: &Leaf, reader: &mut EventReader, script: &str) -> Vec<Option<String>> {
    inside(leaf, &["shell", script].map(OsStr::new));
    let events = std::iter::from_fn(|| reader.next_event()).map(|event| event.expect("an event"));
    let files = events.filter_map(|event| match event {
        RingEvent::File(FileEvent { time_ns, cgroup, open }) => {
            let boot_ns = intercept_sandbox::clock::now().boot_ns;
            assert!(cgroup == leaf.id() && time_ns <= boot_ns && boot_ns - time_ns < 60_000_000_000, "{open:?}");
            assert!(open.pid > 1 && (open.comm, open.count, open.others) == ("sh".to_owned(), 1, false));
            Some(open.path)
        }
        RingEvent::Net(_) | RingEvent::Exec(_) => None,
    });
    files.collect()
}

/// Probes with the file audit in one reach, and the ring.
fn armed(field: &Field, leaf: &Leaf, reach: Reach) -> (Probes, EventReader, std::os::fd::OwnedFd) {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let loaded = Loaded::load(&plan(), Features { lsm: false, ..features() }).expect("programs");
    let programs =
        file_trace::Programs::prepare(&loaded.shared_maps().expect("maps"), leaf.fd.as_fd()).expect("programs");
    let link = programs.attach(reach, leaf.fd.as_fd()).expect("a link");
    let mut probes = loaded.attach(leaf.fd.as_fd(), field.netns.as_fd(), &unused, None).expect("probes");
    let reader = probes.take_events().expect("the ring");
    (probes, reader, link)
}

/// What a shell opens for writing is what the script says, and nothing of its own.
pub(crate) fn told(field: &Field) {
    let (leaf, outside) = (Leaf::make("files"), Leaf::make("files-outside"));
    let wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    match wall.probes.file_answer().answer {
        Answer::Unsupported(why) if lsm::is_listed() => assert!(why.contains("self-test"), "{why}"), // nobody was inside yet
        Answer::Unsupported(why) => {
            assert!(why.contains("lsm= list") || why.contains("security/lsm"), "{why}");
            return eprintln!("  fs-trace: {why}");
        }
        other => panic!("{other:?}"),
    }
    inside(&leaf, &["shell", ": > /dev/shm/isb-files; rm /dev/shm/isb-files"].map(OsStr::new));
    assert_eq!(wall.probes.file_answer().answer, Answer::Enforced);
    drop(wall);
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_str().expect("text").to_owned();
    for reach in [Reach::Cgroup, Reach::Host] {
        let (probes, mut reader, link) = armed(field, &leaf, reach);
        let paths = |names: &[&str]| names.iter().map(|name| Some(format!("{at}/{name}"))).collect::<Vec<_>>();
        let mut write = |script: &str| written(&leaf, &mut reader, &format!("cd {at}; {script}"));
        assert_eq!(write("echo a > a; echo b >> a; exec 3<>c"), paths(&["a", "a", "c"]), "{reach:?}");
        assert_eq!(write(": < a; : > /dev/null; test -w a; (: > no/such/file) 2>&1 || true"), [], "{reach:?}");
        assert_eq!(write("ln -s a link; : > link; : > ./../${PWD##*/}/c"), paths(&["a", "c"]), "{reach:?}");
        for (folders, fits) in [(400, true), (600, false)] {
            let long = "d/".repeat(folders);
            let seen = write(&format!("mkdir -p {long}; cd {long}; : > x"));
            assert_eq!(seen, [fits.then(|| format!("{at}/{long}x"))], "{reach:?}: {folders}");
        }
        let gone = write("exec 3> gone; rm gone; : > /proc/self/fd/3");
        assert_eq!(gone, paths(&["gone", "gone (deleted)"]), "{reach:?}");
        assert_eq!(probes.lost().expect("counters"), Lost::default());
        assert_eq!(written(&outside, &mut reader, &format!(": > {at}/a")), [], "{reach:?}: another cgroup");
        drop(link);
        assert_eq!(written(&leaf, &mut reader, &format!(": > {at}/a")), [], "{reach:?}: out of force with its link");
    }
    assert!(folder.path().metadata().expect("a folder").nlink() > 1);
}

/// Openings past a quarter of the ring are counted, and programs and the network still have their room.
pub(crate) fn a_quarter_of_the_ring(field: &Field) {
    if !lsm::is_listed() {
        return;
    }
    let leaf = Leaf::make("quarter");
    let mut wall = Wall::raise(&plan(), leaf.fd.as_fd()).expect("the wall");
    let mut reader = wall.probes.take_events().expect("the ring");
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!("i=0; while [ $i -lt 300 ]; do : > {}/x; i=$((i+1)); done", folder.path().display());
    inside(&leaf, &["shell", &script].map(OsStr::new));
    inside(&leaf, &["flood", "/bin/true", "30"].map(OsStr::new));
    let (_, _) = attack(&leaf, wall.netns.as_fd(), &["tcp4"]);
    let (mut files, mut execs, mut net) = (0, 0, 0);
    for event in std::iter::from_fn(|| reader.next_event()) {
        match event.expect("an event") {
            RingEvent::File(_) => files += 1,
            RingEvent::Exec(_) => execs += 1,
            RingEvent::Net(_) => net += 1,
        }
    }
    let Lost { events, execs: unheard, opens: lost } = wall.probes.lost().expect("counters");
    assert_eq!((files + lost, execs, net), (300, 31, 1), "and the shell");
    assert_eq!((events, unheard), (0, 0));
    assert!(lost > 200 && files > 50, "{files} told, {lost} lost");
    assert_eq!(field.heard(), SILENCE);
}
