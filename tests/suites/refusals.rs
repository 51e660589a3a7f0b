//! A kernel that refuses what a core layer is made of: the run refuses to start, the command is never executed, and nothing is
//! left. The refusing is real (a seccomp filter around the supervisor, a mount that is gone), so no feature is needed.

use harness::arena::{self, Arena, ROOT};
use harness::remains::{Before, GONE_LIMIT};
use harness::run::{Run, as_real_root};
use harness::session::{Ended, Session};
use harness::{paths, wait};
use intercept_sandbox::sandbox::Layer;
use nix::mount::{MntFlags, umount2};

/// What each core layer's absence is refused with. What our own processes need as well they miss too, but the sandboxed child
/// is heard first.
/// Where our own processes need the same, they say so before the server's child is asked (ISB-R012).
const REFUSED_WITH: [(Layer, &str); 10] = [
    (Layer::Namespaces, "ISB-R013"),
    (Layer::Rootfs, "ISB-R013"),
    (Layer::Identity, "ISB-R013"),
    (Layer::Capabilities, "ISB-R012"),
    (Layer::NoNewPrivs, "ISB-R012"),
    (Layer::Seccomp, "ISB-R012"),
    (Layer::Cgroup, "ISB-R009"),
    (Layer::Netns, "ISB-R011"),
    (Layer::Gateway, "ISB-R019"), // without listen(2) the control socket is what fails first
    (Layer::CgroupBpf, "ISB-R011"),
];

/// A run that leaves a file on the host when its command is executed.
fn run(arena: &Arena, before: &Before, require: &str) -> Run {
    arena.writable_folder("images");
    let policy = format!(
        "version: \"1\"\nname: refusals\ndefault: deny\ntools: {{}}\nsandbox:\n  require: [{require}]\n  filesystem:\n    write: [{ROOT}/images]\n"
    );
    let script = format!("echo ran > {ROOT}/images/canary; read line; exit 0");
    Run::new(arena, &policy).command(["/bin/sh", "-c", &script, before.mark()])
}

/// The run under a kernel without the layer.
fn deprived(run: &Run, layer: Layer) -> Ended {
    let inner = run.to_command();
    let mut command = as_real_root(paths::helper("deprived"));
    command.arg(layer.name()).arg(inner.get_program()).args(inner.get_args());
    Session::start(command).finish()
}

fn refused(arena: &Arena, before: &Before, layer: Layer, code: &str, ended: &Ended) {
    assert_eq!(ended.code, 125, "{}: {}", layer.name(), ended.stderr);
    assert!(ended.stderr.contains(code), "{}: not {code}: {}", layer.name(), ended.stderr);
    assert!(!arena.path("images/canary").exists(), "{}: the command was executed", layer.name());
    assert_eq!(before.after(GONE_LIMIT, Before::all), [] as [String; 0], "{}", layer.name());
}

#[test]
fn a_run_starts_where_nothing_is_missing() {
    arena::run(|arena| {
        let session = run(arena, &Before::look(), "landlock").start();
        let canary = arena.path("images/canary");
        assert!(wait::becomes_true(wait::COMES_LIMIT, || canary.exists()), "{}", session.stderr());
        assert_eq!(session.finish().code, 0);
    });
}

#[test]
fn without_any_core_layer_no_run_starts() {
    arena::run(|arena| {
        let before = Before::look();
        let run = run(arena, &before, "");
        for (layer, code) in REFUSED_WITH.into_iter().filter(|(layer, _)| *layer != Layer::Cgroup) {
            refused(arena, &before, layer, code, &deprived(&run, layer));
        }
    });
}

#[test]
fn without_a_cgroup_tree_no_run_starts() {
    arena::run(|arena| {
        let table = std::fs::read_to_string("/proc/thread-self/mounts").expect("procfs");
        let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for mount in table.lines().map(fields).filter(|fields| fields.get(2).is_some_and(|kind| kind == "cgroup2")) {
            umount2(mount[1].as_str(), MntFlags::MNT_DETACH).expect("root can unmount in a namespace of its own");
        }
        let before = Before::look();
        let ended = run(arena, &before, "").start().finish();
        refused(arena, &before, Layer::Cgroup, "ISB-R009", &ended);
    });
}

#[test]
fn an_extra_layer_that_the_policy_requires_is_refused_too() {
    arena::run(|arena| {
        let before = Before::look();
        let run = run(arena, &before, "landlock");
        let ended = deprived(&run, Layer::Landlock);
        assert_eq!(ended.code, 125, "{}", ended.stderr);
        assert!(!arena.path("images/canary").exists());
        assert_eq!(before.after(GONE_LIMIT, Before::all), [] as [String; 0]);
    });
}

#[test]
fn every_core_layer_is_in_the_table() {
    let core: Vec<Layer> = Layer::ALL.into_iter().filter(|layer| layer.is_core()).collect();
    assert_eq!(core, REFUSED_WITH.map(|(layer, _)| layer));
}
