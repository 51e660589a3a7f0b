//! The sandbox's first process: born by clone3 as pid 1, it joins and makes the namespaces, builds the view, forks the
//! workload and becomes the static init. Root until it has nothing left to do as root.
//!
//! The parent is provably single-threaded at the clone, so this code may allocate. It never returns, never panics
//! through (the clone's guard ends the process), and says everything through one pipe.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, execveat, setgroups, sethostname, setresgid, setresuid};

use super::cgroup::Leaf;
use super::exec::Image;
use super::rlimits::CallersLimits;
use super::rootfs::{self, HOST_NAME, INSIDE_ID};
use super::seccomp::Filter;
use super::step::{At, Failure, Message, Reporter, Step};
use super::{Answer, Layer, LayerReport, Plan, capabilities, init, selftest, workload};
use crate::bounds::{INOTIFY_INSTANCES_MAX, INOTIFY_WATCHES_MAX};
use crate::sys::fds::{OnExec, adopt, close_from, place};
use crate::sys::mount::{attr, new_filesystem};
use crate::sys::process::{Fork, block_signals, exit_now, fork_unchecked, reset_signals};
use crate::weaken::in_force;

/// Namespaces that exist from the clone on. The network namespace is joined, cgroup and user follow later.
pub(super) const AT_CLONE: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS);

/// What the child needs to know; made before the clone.
pub(super) struct Blueprint<'a> {
    pub(super) plan: &'a Plan,
    pub(super) run_id: u32,
    pub(super) filter: &'a Filter,
    /// Whether somebody hears of what the filter refuses.
    pub(super) tells: bool,
    pub(super) image: &'a Image,
    pub(super) leaf: &'a Leaf,
    /// What the caller's own processes were bound by.
    pub(super) callers: &'a CallersLimits,
}

/// The child's ends of what connects it to the parent, by the parent's numbers.
pub(super) struct Ends<'a> {
    /// Standard input, output and error of the server.
    pub(super) stdio: [BorrowedFd<'a>; 3],
    pub(super) report: BorrowedFd<'a>,
    pub(super) go: BorrowedFd<'a>,
    pub(super) netns: BorrowedFd<'a>,
    pub(super) lifeline: BorrowedFd<'a>,
    pub(super) status: BorrowedFd<'a>,
    pub(super) identity: BorrowedFd<'a>,
    pub(super) init: BorrowedFd<'a>,
    /// For [`rootfs::build`].
    pub(super) idmaps: &'a [OwnedFd],
    /// The lifeline's other end, to spoil it in a weakened build.
    pub(super) lifeline_spoiler: Option<BorrowedFd<'a>>,
}

/// The same, owned, at small numbers, and nothing else open.
struct Held {
    report: Reporter,
    go: OwnedFd,
    netns: OwnedFd,
    lifeline: OwnedFd,
    status: OwnedFd,
    identity: OwnedFd,
    init: OwnedFd,
    idmaps: Vec<OwnedFd>,
    spoiler: Option<OwnedFd>,
}

/// uid and gid that the workload has in its own eyes.
pub(super) fn inside_id(run_id: u32) -> u32 {
    if in_force("user-namespace") { INSIDE_ID } else { run_id }
}

/// Ends the process with its reason on the pipe.
pub(super) fn fail(report: &Reporter, failure: Failure) -> ! {
    // A parent that no longer listens is one that has gone; the exit code is all that is left then.
    let _unheard = report.send(&Message::Failed(failure));
    exit_now(1)
}

/// Waits for the parent's next word; its end means that nobody wants us any more.
pub(super) fn await_word(go: &OwnedFd, step: Step) -> Result<(), Failure> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(go, &mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => exit_now(1),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).at(step),
        }
    }
}

/// Tells the parent what is wanted and waits for its word. The step is passed with the word, not before it: the parent
/// looks at this process meanwhile.
fn ask(report: &Reporter, go: &OwnedFd, wanted: &Message, step: Step) -> Result<(), Failure> {
    report.send(wanted).map_err(|errno| Failure { step, errno: Some(errno), detail: String::new() })?;
    await_word(go, step).at(step)
}

/// The child's life. Called by the clone.
pub(super) fn run(blueprint: &Blueprint<'_>, ends: &Ends<'_>) -> ! {
    let held = match take_over(ends) {
        Ok(held) => held,
        // Nothing of the pipe is known to work: the parent sees it end.
        Err(_) => exit_now(1),
    };
    let report = held.report.0.try_clone().map_or_else(|_| exit_now(1), Reporter);
    match enter(blueprint, held) {
        Err(failure) => fail(&report, failure),
        Ok(never) => match never {},
    }
}

fn take_over(ends: &Ends<'_>) -> Result<Held, Errno> {
    let [stdin, stdout, stderr] = ends.stdio;
    let mut wanted = vec![(stdin, OnExec::Keep), (stdout, OnExec::Keep), (stderr, OnExec::Keep)];
    let closing = [ends.report, ends.go, ends.netns, ends.lifeline, ends.status, ends.identity, ends.init];
    let more = ends.lifeline_spoiler.into_iter().chain(ends.idmaps.iter().map(AsFd::as_fd));
    wanted.extend(closing.into_iter().chain(more).map(|fd| (fd, OnExec::Close)));
    place(&wanted)?;
    if in_force("close-range") {
        close_from(u32::try_from(wanted.len()).map_err(|_| Errno::EOVERFLOW)?)?;
    }
    let mut numbers = 3..;
    let mut next = || numbers.next().ok_or(Errno::EMFILE).and_then(adopt);
    Ok(Held {
        report: Reporter(next()?),
        go: next()?,
        netns: next()?,
        lifeline: next()?,
        status: next()?,
        identity: next()?,
        init: next()?,
        spoiler: ends.lifeline_spoiler.map(|_| next()).transpose()?,
        idmaps: ends.idmaps.iter().map(|_| next()).collect::<Result<_, _>>()?,
    })
}

fn enter(blueprint: &Blueprint<'_>, held: Held) -> Result<Infallible, Failure> {
    Ok::<_, Failure>(()).at(Step::Descriptors)?; // taken over by our caller, who could not yet say so
    die_with_parent()?;
    reset_signals().at(Step::Signals)?;
    // First, so that all that follows is counted; one thread that moves itself waits for nobody.
    let outside = |error| Failure { step: Step::Cgroups, errno: None, detail: crate::report::chain(&error) };
    blueprint.leaf.join().map_err(outside).at(Step::Cgroups)?;
    // A caller may be exempt from the OOM killer (-1000); what runs here must not be.
    fs::write("/proc/self/oom_score_adj", "500").at(Step::OomScore)?;
    setns(&held.netns, CloneFlags::CLONE_NEWNET).at(Step::NetworkNamespace)?;
    sethostname(HOST_NAME).at(Step::HostName)?;
    let unlisted = build_view(blueprint, &held)?;
    ask(&held.report, &held.go, &Message::WantsRelease, Step::Release)?;
    unshare(CloneFlags::CLONE_NEWCGROUP).at(Step::CgroupNamespace)?;
    drop((held.netns, held.idmaps));
    become_unprivileged_namespace(&held.report, &held.go)?;
    block_signals().at(Step::Signals)?;
    match fork_unchecked().at(Step::Fork)? {
        Fork::Child => workload::run(blueprint, held.report, held.go),
        Fork::Parent(workload) => {
            drop(held.go);
            let ends = InitEnds {
                report: held.report,
                lifeline: held.lifeline,
                status: held.status,
                identity: held.identity,
                spoiler: held.spoiler,
                program: held.init,
                unlisted,
            };
            become_init(blueprint, ends, workload.as_raw())
        }
    }
}

/// PR_SET_PDEATHSIG from a parent that is still root; the second cord beside the lifeline.
fn die_with_parent() -> Result<(), Failure> {
    if in_force("pdeathsig") {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).at(Step::ParentDeath)?;
    }
    Ok(())
}

/// Builds the view and enters it. With a list of programs it answers a file that is not on it.
fn build_view(blueprint: &Blueprint<'_>, held: &Held) -> Result<Option<OwnedFd>, Failure> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).at(Step::Propagation)?;
    let named =
        |step| move |error: rootfs::RootfsError| Failure { step, errno: Some(error.errno), detail: error.to_string() };
    let view = rootfs::build(blueprint.plan, &held.idmaps).map_err(named(Step::Rootfs)).at(Step::Rootfs)?;
    let unlisted = || view.hidden_file(selftest::UNLISTED_IMAGE, init::MODE).map_err(named(Step::Rootfs));
    let unlisted = blueprint.plan.filesystem.exec.as_ref().map(|_| unlisted()).transpose()?;
    let answer = view.answer(&blueprint.plan.filesystem);
    view.enter().map_err(named(Step::Pivot)).at(Step::Pivot)?;
    held.report.send(&Message::Layer(LayerReport { layer: Layer::Rootfs, answer })).at(Step::Rootfs)?;
    Ok(unlisted)
}

/// The user namespace, last, so that every mount above is locked and every other namespace is the host's to command.
fn become_unprivileged_namespace(report: &Reporter, go: &OwnedFd) -> Result<(), Failure> {
    if in_force("setgroups") {
        // Now: inside it is denied for good, and a kept gid 0 opens what root's group may read.
        setgroups(&[]).at(Step::Groups)?;
    }
    if in_force("user-namespace") {
        // The view's own is read-only where this is written, and the host's may be.
        let proc = new_filesystem(c"proc", &[], attr::NOSUID | attr::NODEV | attr::NOEXEC).at(Step::UserLimits)?;
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).at(Step::UserNamespace)?;
        bound_user_namespace(&proc).at(Step::UserLimits)?;
        ask(report, go, &Message::WantsMaps, Step::Mapping)?;
    }
    Ok(())
}

/// Bounds what the run takes of inotify(7). It counts in this namespace for the run's uid and in the host's for root, who made this
/// one: without a bound here a server leaves the host's root, and the watch of our policy files, none (ucounts, kernel/ucount.c).
fn bound_user_namespace(proc: &OwnedFd) -> Result<(), Errno> {
    if !in_force("inotify-limits") {
        return Ok(());
    }
    let ceilings = [
        ("sys/user/max_inotify_instances", INOTIFY_INSTANCES_MAX),
        ("sys/user/max_inotify_watches", INOTIFY_WATCHES_MAX),
    ];
    for (name, most) in ceilings {
        let file = openat(proc, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(&file, most.to_string().as_bytes())?;
    }
    Ok(())
}

/// Takes the run's uid and gid.
pub(super) fn take_identity(run_id: u32) -> Result<(), Errno> {
    let id = inside_id(run_id);
    let gid = Gid::from_raw(id);
    setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(id);
    setresuid(uid, uid, uid)
}

struct InitEnds {
    report: Reporter,
    lifeline: OwnedFd,
    status: OwnedFd,
    identity: OwnedFd,
    spoiler: Option<OwnedFd>,
    program: OwnedFd,
    /// What must not be executed, to be tried.
    unlisted: Option<OwnedFd>,
}

/// Empties this process and executes the init in its place. It keeps the lifeline, the status pipe and the lock of the
/// run's identity; the server's pipes are not its business, or their ends would never be seen.
fn become_init(blueprint: &Blueprint<'_>, ends: InitEnds, workload: i32) -> Result<Infallible, Failure> {
    take_identity(blueprint.run_id).at(Step::InitConfine)?;
    capabilities::drop_all().map_err(|error| Failure {
        step: Step::InitConfine,
        errno: None,
        detail: error.to_string(),
    })?;
    nix::sys::prctl::set_dumpable(false).at(Step::InitConfine)?;
    nix::sys::prctl::set_no_new_privs().at(Step::InitConfine)?;
    die_with_parent()?; // the change of ids has cleared it (prctl(2))
    let arguments = [c"init".to_owned(), CString::new(workload.to_string()).unwrap_or_default()];
    let spoiler = ends.spoiler.as_ref().unwrap_or(&ends.identity);
    let mut wanted = vec![
        (ends.lifeline.as_fd(), OnExec::Keep),
        (ends.status.as_fd(), OnExec::Keep),
        (ends.identity.as_fd(), OnExec::Keep),
        (spoiler.as_fd(), OnExec::Keep),
        (ends.program.as_fd(), OnExec::Close),
        (ends.report.0.as_fd(), OnExec::Close),
    ];
    wanted.extend(ends.unlisted.iter().map(|file| (file.as_fd(), OnExec::Close)));
    // From here on the old numbers mean nothing; this process only ever executes or ends.
    place(&wanted).at(Step::InitExec)?;
    let failed = (|| {
        close_from(u32::try_from(wanted.len()).map_err(|_| Errno::EOVERFLOW)?)?;
        let program = adopt(4)?;
        selftest::open_a_file();
        if wanted.len() > 6 {
            selftest::try_unlisted(&adopt(6)?);
        }
        execveat::<_, CString, CString>(&program, c"", &arguments, &[], AtFlags::AT_EMPTY_PATH)
    })();
    let Err(errno) = failed;
    let report = adopt(5).map_or_else(|_| exit_now(1), Reporter);
    fail(&report, Failure { step: Step::InitExec, errno: Some(errno), detail: String::new() })
}

/// Writes the maps of the child's user namespace: one id each, setgroups denied. Called by the parent, which is root.
///
/// # Errors
/// Those of writing /proc/PID/{setgroups,uid_map,gid_map} (user_namespaces(7)).
pub(super) fn write_maps(pid: i32, run_id: u32) -> Result<(), std::io::Error> {
    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("{INSIDE_ID} {run_id} 1"))?;
    fs::write(format!("/proc/{pid}/uid_map"), format!("{INSIDE_ID} {run_id} 1"))
}

/// Compares the child's namespaces with ours, as the host sees them.
///
/// # Errors
/// Those of reading the links of /proc/PID/ns.
pub(super) fn apart(pid: i32) -> Result<LayerReport, std::io::Error> {
    let mut shared = Vec::new();
    for name in ["mnt", "pid", "ipc", "uts", "cgroup", "user", "net"] {
        if fs::read_link(format!("/proc/{pid}/ns/{name}"))? == fs::read_link(format!("/proc/self/ns/{name}"))? {
            shared.push(name);
        }
    }
    let answer = if shared.is_empty() {
        Answer::Enforced
    } else {
        Answer::Unsupported(format!("shared with the host: {}", shared.join(", ")))
    };
    Ok(LayerReport { layer: Layer::Namespaces, answer })
}
