//! The ground that both runs stand on, and the host's eyes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use harness::arena::{self, API_ADDRESS, API_HOST, Arena};
use harness::canary::Canaries;
use harness::processes::{self, Bystander, Process};
use harness::session::{Session, text_of};
use harness::stand_in::StandIn;
use serde_json::json;

use crate::attacks::{Argument, Judge};

/// Process limit of the hostile policy; the bare fork bomb makes 200.
const PROCESSES_MAX: usize = 64;

/// Device number of /dev/null (devices.txt: character 1:3).
const NULL_DEVICE: u64 = 1 << 8 | 3;

/// What both runs stand on.
pub(crate) struct Ground {
    pub(crate) canaries: Canaries,
    pub(crate) stand_in: StandIn,
    secrets: Vec<(&'static str, String)>,
}

/// One run of all attacks.
pub(crate) struct Visit<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) session: Session,
    root: Process,
    bystander: Bystander,
}

impl Ground {
    pub(crate) fn lay(arena: &Arena) -> Self {
        arena.program("hostile");
        arena.writable_folder("images");
        let (private, shown) = (arena.folder("private"), arena.folder("shown"));
        arena.file("shown/note", "shown to the server\n");
        let shadow = fs::read_to_string("/etc/shadow").expect("root reads shadow");
        let secrets = vec![
            ("shadow", shadow.lines().next().expect("root has a line").to_owned()),
            ("root-only", arena::plant_secret(&shown.join("root-only"))),
            ("private", arena::plant_secret(&private.join("secret"))),
            ("inherited", arena::plant_secret(&private.join("inherited-secret"))),
        ];
        let canaries = Canaries::open(&private.join("canary.sock"));
        let stand_in = StandIn::serve(API_HOST, &format!("{API_ADDRESS}:443")).expect("the arena has the address");
        Self { canaries, stand_in, secrets }
    }

    pub(crate) fn secret(&self, name: &str) -> &str {
        &self.secrets.iter().find(|(known, _)| *known == name).expect("a secret of this file").1
    }
}

/// Whether a descriptor of `process` is described by `part`. The null device bound over a file still shows that file's path.
fn holds(process: &Process, part: &str) -> bool {
    let is_null = |number: &u32| {
        let open = fs::metadata(format!("/proc/{}/fd/{number}", process.pid));
        open.is_ok_and(|open| open.file_type().is_char_device() && open.rdev() == NULL_DEVICE)
    };
    process.descriptors().iter().any(|(number, text)| text.contains(part) && !is_null(number))
}

impl Visit<'_> {
    pub(crate) fn call(&mut self, probe: &str, argument: Argument) -> String {
        let argument = match argument {
            Argument::None => String::new(),
            Argument::Text(text) => text.to_owned(),
            Argument::Bystander => self.bystander.pid().to_string(),
        };
        text_of(&self.session.call("probe", json!({"name": probe, "argument": argument})))
    }

    /// How often the host sees the attack's success.
    pub(crate) fn hits(&self, judge: Judge, told: &str, connections_before: usize) -> usize {
        let server = || processes::tree(self.root.pid).into_iter();
        match judge {
            Judge::Canary(name) => self.ground.canaries.take(name),
            Judge::StandIn => self.ground.stand_in.connections() - connections_before,
            Judge::Leak(name) => usize::from(told.contains(self.ground.secret(name))),
            Judge::Descriptor(part) => server().filter(|process| holds(process, part)).count(),
            Judge::Appears(name) => usize::from(appears(name)),
            Judge::Linked => usize::from(fs::metadata("/mnt/arena/shown/note").expect("planted").nlink() > 1),
            Judge::Mounted => {
                let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", self.root.pid)).unwrap_or_default();
                usize::from(mounts.contains("isb-probe"))
            }
            Judge::Namespace(kind) => {
                let own = self.root.namespace(kind);
                server().filter(|process| process.namespace(kind) != own).count()
            }
            Judge::RootChild => server()
                .filter(|process| process.pid != self.root.pid)
                .filter(|process| process.status("Uid").is_some_and(|ids| ids.split_whitespace().any(|id| id == "0")))
                .count(),
            Judge::Traced => {
                let tracer = self.bystander.process().and_then(|process| process.status("TracerPid"));
                usize::from(tracer.is_none_or(|tracer| tracer != "0"))
            }
            Judge::Dead => usize::from(self.bystander.process().is_none()),
            Judge::Crowd => usize::from(server().count() > PROCESSES_MAX),
            Judge::Word => usize::from(told.starts_with("ok")),
        }
    }
}

pub(crate) fn appears(name: &str) -> bool {
    let path = Path::new("/mnt/arena/images").join(name);
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    // A setuid probe that left an ordinary file has failed: a plain file in the writable folder is the server's right.
    !name.starts_with("setuid") || found.mode() & 0o6000 != 0
}

pub(crate) fn clear_traces() {
    for entry in fs::read_dir("/mnt/arena/images").expect("planted").flatten() {
        fs::remove_file(entry.path()).expect("root can remove");
    }
    // The bare run planted it; under us it must not be there to begin with.
    let _ = fs::remove_file("/mnt/arena/shown/planted");
}

/// Wraps `inner` so that it starts with a secret file open on descriptor 9.
pub(crate) fn with_careless_parent(inner: &Command) -> Command {
    let mut outer = harness::run::as_real_root("sh".into());
    outer.args(["-c", "exec 9</mnt/arena/private/inherited-secret; exec \"$@\"", "sh"]).arg(inner.get_program());
    outer.args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

pub(crate) fn visit<'a>(ground: &'a Ground, command: &Command, bare: bool) -> Visit<'a> {
    let mut session = Session::start(with_careless_parent(command));
    session.initialize();
    let root = if bare {
        Process::find(session.pid()).expect("it has answered")
    } else {
        session.server("/mnt/arena/bin/hostile")
    };
    Visit { ground, session, root, bystander: Bystander::start() }
}
