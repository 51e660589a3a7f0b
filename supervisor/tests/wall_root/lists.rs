//! The LSM program on exec by itself: no Landlock and no filter stand before it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use intercept_sandbox::egress::lsm::{Programs, Reach};
use intercept_sandbox::egress::probes::Loaded;
use intercept_sandbox::sandbox::plan::FilesystemPlan;
use intercept_sandbox::sandbox::programs::{self, Executables, Part, Program};
use intercept_sandbox::sandbox::{Answer, Sight};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::execs::{copy_to, drain, inside};
use crate::field::{Field, Leaf, SILENCE, attack};
use crate::{features, lsm, plan};

/// Programs of this test, and those of them that are listed.
struct Ground {
    folder: tempfile::TempDir,
    listed: Vec<Program>,
    init: OwnedFd,
}

impl Ground {
    fn make() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        ["listed", "copy", "runs-scripts"].into_iter().for_each(|name| copy_to(&at(name)));
        fs::hard_link(at("listed"), at("same-file")).expect("a link");
        for (script, interpreter) in [("script", "listed"), ("unlisted-script", "listed"), ("half", "runs-scripts")] {
            fs::write(at(script), format!("#!{}\n", at(interpreter).display())).expect("a script");
            fs::set_permissions(at(script), fs::Permissions::from_mode(0o755)).expect("a script");
        }
        let view = FilesystemPlan { read: vec![folder.path().to_owned()], ..FilesystemPlan::default() };
        let names = BTreeSet::from([at("listed"), at("script")].map(|path| path.to_str().expect("text").to_owned()));
        let mut listed = programs::resolve(Path::new("/bin/sh"), &names, &view, Sight::Root).expect("a list");
        // As if its interpreter had been left out.
        listed.push(Program { path: at("half"), part: Part::Listed });
        let init = memfd_create(c"init", MFdFlags::MFD_CLOEXEC).expect("a memory file");
        fs::write(format!("/proc/self/fd/{}", init.as_raw_fd()), fs::read("/bin/true").expect("true")).expect("a copy");
        Self { folder, listed, init }
    }

    fn executables(&self) -> Executables<'_> {
        Executables { listed: &self.listed, init: self.init.as_fd() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts each in `leaf`, where it must end as `way` says.
    fn start(&self, leaf: &Leaf, way: &str, names: &[&str]) {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.at(name)).collect();
        inside(
            leaf,
            &[&[OsStr::new(way)], &paths.iter().map(|path| path.as_os_str()).collect::<Vec<_>>()[..]].concat(),
        );
    }
}

const LISTED: [&str; 3] = ["listed", "same-file", "script"];
const UNLISTED: [&str; 4] = ["copy", "runs-scripts", "unlisted-script", "half"];

pub(crate) fn on_the_cgroup(field: &Field) {
    alone(Reach::Cgroup);
    told(field);
}

pub(crate) fn on_the_host(_: &Field) {
    alone(Reach::Host);
}

fn alone(reach: Reach) {
    if !lsm::is_listed() {
        return lsm::absent();
    }
    let (leaf, outside) = (Leaf::make("list"), Leaf::make("list-outside"));
    let loaded = Loaded::load(&plan(), features()).expect("programs"); // for its maps
    let maps = loaded.shared_maps().expect("maps");
    let ground = Ground::make();
    let programs = Programs::prepare(&maps, leaf.fd.as_fd(), Some(&ground.executables())).expect("the LSM programs");
    let links = programs.attach(reach, leaf.fd.as_fd()).expect("links");
    ground.start(&leaf, "spawn", &LISTED);
    ground.start(&leaf, "refused", &UNLISTED);
    let init = format!("/proc/{}/fd/{}", std::process::id(), ground.init.as_raw_fd());
    inside(&leaf, &["spawn", &init].map(OsStr::new)); // pid 1
    // A file in the place of a listed one is not the listed one.
    fs::rename(ground.at("copy"), ground.at("listed")).expect("own files");
    ground.start(&leaf, "refused", &["listed", "script"]);
    ground.start(&leaf, "spawn", &["same-file"]);
    let rest = &UNLISTED[1..];
    ground.start(&outside, "spawn", rest);
    drop(links);
    ground.start(&leaf, "spawn", rest);
}

/// Each refusal is an event, and the layer is in force when there was one.
fn told(field: &Field) {
    if !lsm::is_listed() {
        return;
    }
    let (leaf, ground) = (Leaf::make("list-told"), Ground::make());
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let loaded = Loaded::load(&plan(), features()).expect("programs");
    let attached = loaded.attach(leaf.fd.as_fd(), field.netns.as_fd(), &unused, Some(&ground.executables()));
    let mut probes = attached.expect("probes");
    let (_, _) = attack(&leaf, field.netns.as_fd(), &["tcp4", "udp-sendto"]);
    assert_eq!(field.heard(), SILENCE);
    let answer = probes.lsm_answer().answer;
    assert!(matches!(&answer, Answer::Unsupported(why) if why.contains("0 programs")), "{answer:?}");
    let mut reader = probes.take_events().expect("the ring");
    drain(&mut reader, &leaf);
    ground.start(&leaf, "refused", &UNLISTED);
    assert_eq!(probes.lsm_answer().answer, Answer::Enforced);
    let told: Vec<_> = drain(&mut reader, &leaf).into_iter().map(|start| (start.path, start.interpreter)).collect();
    let shown = |name: &str| ground.at(name).to_str().map(str::to_owned);
    let wanted = UNLISTED.map(|name| (shown(name), (name == "half").then(|| shown("runs-scripts")).flatten()));
    assert_eq!(told, wanted);
    ground.start(&leaf, "spawn", &["listed"]);
    let starts = drain(&mut reader, &leaf);
    assert!(starts.len() == 1 && !starts[0].denied, "{starts:?}");
}
