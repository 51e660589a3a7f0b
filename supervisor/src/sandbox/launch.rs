//! The parent's half of a launch: clone into the cgroup, look that it stands there, write the maps, collect every layer's answer.
//!
//! The one place where the supervisor starts a foreign program. It waits at most [`LAUNCH_WAIT_MS`] for each word of the
//! child, and a launch that fails leaves no process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Gid, Pid, Uid, fchown, pipe2};

use super::Answer;
use super::cgroup::{CgroupError, Leaf};
use super::exec::Image;
use super::identity::{IdentityError, RunIdentity};
use super::namespaces::{self, Blueprint, Ends};
use super::plan::WritableFolder;
use super::programs::Executables;
use super::rlimits::CallersLimits;
use super::running::{Guard, Server};
use super::seccomp::{Filter, FilterError};
use super::step::{Failure, Message, hear};
use super::{Layer, LayerReport, Plan, idmap, init, rootfs};
use crate::bounds::LAUNCH_WAIT_MS;
use crate::fault::{self, Stage};
use crate::sys::clone::clone3;
use crate::sys::{fds, pidfd};

/// Why the cage of a run cannot be built. Exit code 125.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// No identity.
    #[error("cannot take an identity for the run")]
    Identity(#[from] IdentityError),
    /// No cgroup.
    #[error("cannot make the cgroup of the run")]
    Cgroup(#[from] CgroupError),
    /// No filter.
    #[error("cannot assemble the system call filter")]
    Filter(#[from] FilterError),
    /// The plan shows what may not be shown.
    #[error("the view")]
    Rootfs(#[from] rootfs::RootfsError),
    /// The command or environment holds a NUL byte, or the command is empty.
    #[error("the command is empty, or it or the environment contains a NUL byte")]
    Command,
    /// The file of pid 1.
    #[error("cannot make the image of pid 1")]
    Init(#[source] Errno),
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A step of the child failed. Exit code 125.
    #[error("the sandbox could not be built: {0}")]
    Step(Failure),
    /// A layer that the run needs is not in force. Exit code 125.
    #[error("layer {} is not in force: {reason}", layer.name())]
    Layer {
        /// Which.
        layer: Layer,
        /// Its reason.
        reason: String,
    },
    /// The child ended without a word. Exit code 125.
    #[error("the sandboxed child ended without saying why")]
    Vanished,
    /// The child said nothing for [`LAUNCH_WAIT_MS`]. Exit code 125.
    #[error("the sandboxed child was silent for {LAUNCH_WAIT_MS} ms")]
    Slow,
    /// Something on the parent's side. Exit code 125.
    #[error("{act}")]
    Parent {
        /// What was done.
        act: &'static str,
        /// Why it failed.
        source: Errno,
    },
    /// A writable folder's owner cannot be mapped. Exit code 125.
    #[error("cannot map the owner of {}", path.display())]
    Owner {
        /// The folder on the host.
        path: PathBuf,
        /// Why; `EPERM` when the owner is root.
        source: Errno,
    },
    /// The child does not stand in its cgroup. Exit code 125.
    #[error("the server is not in its cgroup")]
    Cgroup(#[from] CgroupError),
    /// Standard input, output and error must be pipes: a terminal or a file would be a way out. Exit code 125.
    #[error("descriptor {0} for the server is not a pipe")]
    NotAPipe(usize),
    /// The command is not there, or cannot be executed.
    #[error("cannot execute {}: {}{hint}", path.display(), errno.desc())]
    Exec {
        /// The executable, as the server sees it.
        path: PathBuf,
        /// What execve(2) said.
        errno: Errno,
        /// 127 not found in the view, 126 found but not executable.
        code: u8,
        /// What would help; empty or starts with `; `.
        hint: String,
    },
}

impl LaunchError {
    /// The exit code of docs/cli.md.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec { code, .. } => *code,
            _ => 125,
        }
    }

    pub(super) fn parent(act: &'static str) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Parent { act, source }
    }
}

/// What the server is connected to. The ends become the server's: the parent's copies are closed by the launch.
#[derive(Debug)]
pub struct LaunchIo<'a> {
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Read end of its standard input.
    pub stdin: OwnedFd,
    /// Write end of its standard output.
    pub stdout: OwnedFd,
    /// Write end of its standard error.
    pub stderr: OwnedFd,
}

/// Everything of a run that exists before its first process.
#[derive(Debug)]
pub struct Cage {
    identity: RunIdentity,
    leaf: Leaf,
    filter: Filter,
    tells: bool,
    callers: CallersLimits,
    image: Image,
    init: OwnedFd,
}

impl Cage {
    /// Takes an identity, makes the cgroup, assembles the filter.
    ///
    /// # Errors
    /// [`CageError`]. Needs root.
    pub fn build(plan: &Plan) -> Result<Self, CageError> {
        rootfs::refuse_reserved(&plan.filesystem)?;
        let image = Image::of(plan).ok_or(CageError::Command)?;
        let filter = match &plan.filesystem.exec {
            Some(_) => Filter::workload_of_listed_programs()?,
            None => Filter::workload()?,
        };
        let init = init::file().map_err(CageError::Init)?;
        let identity = RunIdentity::take()?;
        Stage::Identity.passed().map_err(CageError::Init)?;
        // Last: it is the one thing here that outlives an error.
        let leaf = Leaf::create(&plan.session, &plan.resources)?;
        Ok(Self { identity, leaf, filter, tells: false, callers: CallersLimits::default(), image, init })
    }

    /// The same, but that refused calls are heard of: whoever runs the server answers at [`super::running::Running::listener`], or the
    /// thread that made the call waits for good.
    #[must_use]
    pub fn telling(self) -> Self {
        Self { tells: true, ..self }
    }

    /// The same, but that the server gets no more than these limits, which its caller had.
    #[must_use]
    pub fn within(self, callers: CallersLimits) -> Self {
        Self { callers, ..self }
    }

    /// The host identity of the run.
    #[must_use]
    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    /// The cgroup of the run.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// What may be executed in the cgroup of the run; none without a list.
    #[must_use]
    pub fn executables<'a>(&'a self, plan: &'a Plan) -> Option<Executables<'a>> {
        plan.filesystem.exec.as_deref().map(|listed| Executables { listed, init: self.init.as_fd() })
    }

    /// The cgroup, to be removed when the run has ended; frees the identity.
    #[must_use]
    pub fn into_leaf(self) -> Leaf {
        self.leaf
    }

    /// [`Self::begin`] and [`Launching::finish`] in one, where nothing is to be done meanwhile.
    ///
    /// # Errors
    /// Theirs.
    pub fn launch(&self, plan: &Plan, io: LaunchIo<'_>) -> Result<Server, LaunchError> {
        self.begin(plan, io)?.finish()
    }

    /// Maps the owners of writable folders and clones the sandbox's first process. It joins its cgroups, builds the view and waits
    /// for [`Launching::finish`].
    ///
    /// # Errors
    /// [`LaunchError`]; nothing of the launch is left then. Needs root and a process with one thread.
    pub fn begin<'c>(&'c self, plan: &'c Plan, io: LaunchIo<'_>) -> Result<Launching<'c>, LaunchError> {
        let idmaps = self.map_owners(plan)?;
        self.hand_over(&io)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(LaunchError::parent("make a pipe"));
        // A socket, because the listener of the filter comes over it.
        let (report, report_write) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(LaunchError::parent("make a socket pair"))?;
        let (go_read, go) = pipe()?;
        let (lifeline_read, lifeline) = pipe()?;
        let (status, status_write) = pipe()?;
        let (leaf, run_id) = (&self.leaf, self.identity.uid());
        let (filter, image, callers) = (&self.filter, &self.image, &self.callers);
        let blueprint = Blueprint { plan, run_id, filter, tells: self.tells, image, leaf, callers };
        let spoiler = (!crate::weaken::in_force("lifeline")).then(|| lifeline.as_fd());
        let ends = Ends {
            stdio: [io.stdin.as_fd(), io.stdout.as_fd(), io.stderr.as_fd()],
            report: report_write.as_fd(),
            go: go_read.as_fd(),
            netns: io.netns,
            lifeline: lifeline_read.as_fd(),
            status: status_write.as_fd(),
            identity: self.identity.lock().as_fd(),
            init: self.init.as_fd(),
            idmaps: &idmaps,
            lifeline_spoiler: spoiler,
        };
        let (pid, child) =
            clone3(namespaces::AT_CLONE, Some(self.leaf.v2_dir()), || namespaces::run(&blueprint, &ends))
                .map_err(LaunchError::parent("clone the sandboxed child"))?;
        let guard = Guard::new(pid, child);
        Stage::Cloned.passed().map_err(LaunchError::parent("clone the sandboxed child"))?;
        Ok(Launching { cage: self, plan, pid, guard, report, go, lifeline, status })
    }

    /// A user namespace for all that is only to be read, and one for each writable folder, in the plan's order.
    fn map_owners(&self, plan: &Plan) -> Result<Vec<OwnedFd>, LaunchError> {
        let (run_uid, run_gid) = (self.identity.uid(), self.identity.gid());
        let map = |folder: &WritableFolder| {
            let (disk_uid, disk_gid) = (folder.owner_uid, folder.owner_gid);
            let owner = |source| LaunchError::Owner { path: folder.source.clone(), source };
            let namespace = idmap::namespace(idmap::Mapping { disk_uid, disk_gid, run_uid, run_gid }).map_err(owner)?;
            Stage::Owners.passed().map_err(owner)?;
            Ok(namespace)
        };
        let read = idmap::without_groups().map_err(LaunchError::parent("map the groups of what is only to be read"));
        std::iter::once(read).chain(plan.filesystem.write.iter().map(map)).collect()
    }

    /// The server must be able to reopen its own pipes (`> /dev/stderr`), so they become the run's.
    fn hand_over(&self, io: &LaunchIo<'_>) -> Result<(), LaunchError> {
        let (uid, gid) = (Uid::from_raw(self.identity.uid()), Gid::from_raw(self.identity.gid()));
        for (number, fd) in [&io.stdin, &io.stdout, &io.stderr].into_iter().enumerate() {
            if !fds::is_pipe(fd.as_fd()).map_err(LaunchError::parent("look at a descriptor"))? {
                return Err(LaunchError::NotAPipe(number));
            }
            fchown(fd, Some(uid), Some(gid)).map_err(LaunchError::parent("hand over a pipe"))?;
        }
        Ok(())
    }
}

/// A sandbox that builds its view. It goes no further than that by itself. Dropped, it is killed.
#[derive(Debug)]
pub struct Launching<'c> {
    cage: &'c Cage,
    plan: &'c Plan,
    pid: Pid,
    guard: Guard,
    report: OwnedFd,
    go: OwnedFd,
    lifeline: OwnedFd,
    status: OwnedFd,
}

impl Launching<'_> {
    /// The host pid of the sandbox's pid 1.
    #[must_use]
    pub fn init_pid(&self) -> Pid {
        self.pid
    }

    /// Goes on up to the gate: every layer in force and its answer collected, nothing foreign executed. What the child is
    /// to find in its network namespace and on its cgroup is there before this is called.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing of the launch is left then.
    pub fn finish(self) -> Result<Server, LaunchError> {
        self.finish_meanwhile(|| {})
    }

    /// [`Launching::finish`]; `meanwhile` is done while the child confines and tests itself, when nothing else is to be done here.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing of the launch is left then.
    pub fn finish_meanwhile(self, meanwhile: impl FnOnce()) -> Result<Server, LaunchError> {
        let (mut layers, listener) = self.accompany(meanwhile)?;
        await_init(&self.status)?;
        layers.push(LayerReport { layer: Layer::Cgroup, answer: self.cage.leaf.answer() });
        layers
            .push(namespaces::apart(self.pid.as_raw()).map_err(|error| parent("read the child's namespaces", &error))?);
        layers.sort_by_key(|report| report.layer);
        refuse_missing(&layers, self.plan)?;
        Stage::AtGate.passed().map_err(LaunchError::parent("bring the child to the gate"))?;
        let Self { plan, guard, report, go, lifeline, status, .. } = self;
        Ok(Server { guard, layers, listener, report, go, status, lifeline, executable: plan.executable.clone() })
    }

    /// Answers the child until it stands at the gate. The listener of its filter comes on the way.
    fn accompany(&self, meanwhile: impl FnOnce()) -> Result<(Vec<LayerReport>, Option<OwnedFd>), LaunchError> {
        let mut layers = Vec::with_capacity(Layer::ALL.len());
        let mut meanwhile = Some(meanwhile);
        let mut listener = None;
        loop {
            let Some((message, fd)) = next(&self.report)? else { return Err(LaunchError::Vanished) };
            match message {
                Message::WantsRelease => {
                    // Before the cgroup namespace is made: its root is where the child stands then.
                    self.cage.leaf.prove_inside(self.pid.as_raw())?;
                    Stage::Adopted.passed().map_err(LaunchError::parent("find the child in its cgroup"))?;
                    say(&self.go)?;
                }
                Message::WantsMaps => {
                    namespaces::write_maps(self.pid.as_raw(), self.cage.identity.uid())
                        .map_err(|error| parent("write the id maps", &error))?;
                    Stage::Mapped.passed().map_err(LaunchError::parent("write the id maps"))?;
                    say(&self.go)?;
                    if let Some(meanwhile) = meanwhile.take() {
                        meanwhile();
                    }
                }
                Message::Layer(layer) => layers.push(layer),
                Message::Listener => listener = fd,
                Message::AtGate => return Ok((layers, listener)),
                Message::Failed(failure) => return Err(LaunchError::Step(failure)),
            }
        }
    }
}

fn parent(act: &'static str, error: &std::io::Error) -> LaunchError {
    LaunchError::parent(act)(crate::sys::process::errno_of(error))
}

/// The next message of the child, and what came with it, within the time of a launch.
pub(super) fn next(report: &OwnedFd) -> Result<Option<(Message, Option<OwnedFd>)>, LaunchError> {
    let failed = "read the child's report";
    if !pidfd::readable(report.as_fd(), LAUNCH_WAIT_MS.into()).map_err(LaunchError::parent(failed))? {
        return Err(LaunchError::Slow);
    }
    hear(report).map_err(LaunchError::parent(failed))
}

/// One word to the child. That it has ended meanwhile is not said here: its report says why.
pub(super) fn say(go: &OwnedFd) -> Result<(), LaunchError> {
    match nix::unistd::write(go, &[1]) {
        Ok(_) | Err(Errno::EPIPE) => Ok(()),
        Err(source) => Err(LaunchError::Parent { act: "release the child", source }),
    }
}

fn await_init(status: &OwnedFd) -> Result<(), LaunchError> {
    let failed = "read the status of pid 1";
    if !pidfd::readable(status.as_fd(), LAUNCH_WAIT_MS.into()).map_err(LaunchError::parent(failed))? {
        return Err(LaunchError::Slow);
    }
    match init::read_message(status).map_err(LaunchError::parent(failed))? {
        Some((init::READY, _)) => Ok(()),
        _ => Err(LaunchError::Vanished),
    }
}

/// Core layers, and those that the policy requires, are in force or nothing starts (P7). Only layers of this launch are
/// judged here; the network's answer to their own owner.
fn refuse_missing(layers: &[LayerReport], plan: &Plan) -> Result<(), LaunchError> {
    const OURS: [Layer; 9] = [
        Layer::Namespaces,
        Layer::Rootfs,
        Layer::Identity,
        Layer::Capabilities,
        Layer::NoNewPrivs,
        Layer::Seccomp,
        Layer::Cgroup,
        Layer::Netns,
        Layer::Landlock,
    ];
    for layer in OURS.into_iter().filter(|layer| layer.is_core() || plan.require.contains(layer)) {
        let reason = match layers.iter().find(|report| report.layer == layer).map(|report| &report.answer) {
            _ if fault::lacks(layer.name()) => "a test took it away".to_owned(),
            Some(Answer::Enforced | Answer::Partial(_)) => continue,
            // A test build can go on without one, for the red team to see what the layer holds.
            _ if !crate::weaken::in_force("core-layers") => continue,
            Some(Answer::Unsupported(reason)) => reason.clone(),
            None => "no answer".to_owned(),
        };
        let for_a_list = layer == Layer::Landlock && plan.filesystem.exec.is_some();
        let reason =
            if for_a_list { format!("{reason}; without it `process.exec` cannot be enforced") } else { reason };
        return Err(LaunchError::Layer { layer, reason });
    }
    Ok(())
}

/// The error of an exec that failed in the view, with the line of the policy that would help.
pub(super) fn exec_error(path: &Path, failure: Failure) -> LaunchError {
    let errno = failure.errno.unwrap_or(Errno::EIO);
    let interpreter = Some(failure.detail).filter(|detail| !detail.is_empty());
    let code = super::exec::code(errno, interpreter.is_some());
    let hint = match interpreter {
        Some(wanted) => format!("; its loader or interpreter is missing in the view: filesystem.read: [{wanted}]"),
        None => String::new(),
    };
    LaunchError::Exec { path: path.to_owned(), errno, code, hint }
}

#[cfg(test)]
mod tests {
    use super::super::step::Step;
    use super::*;

    fn all_enforced() -> Vec<LayerReport> {
        Layer::ALL.map(|layer| LayerReport { layer, answer: Answer::Enforced }).into()
    }

    #[test]
    fn a_missing_core_layer_refuses() {
        let plan = crate::sandbox::test_plan();
        assert!(refuse_missing(&all_enforced(), &plan).is_ok());
        let mut silent = all_enforced();
        silent.retain(|report| report.layer != Layer::Seccomp);
        let refused = refuse_missing(&silent, &plan).unwrap_err();
        assert_eq!(refused.to_string(), "layer seccomp is not in force: no answer");
        let mut refusing = all_enforced();
        refusing[0].answer = Answer::Unsupported("shared with the host: user".to_owned());
        assert_eq!(refuse_missing(&refusing, &plan).unwrap_err().exit_code(), 125);
    }

    #[test]
    fn an_extra_layer_refuses_only_when_required() {
        let mut plan = crate::sandbox::test_plan();
        let mut layers = all_enforced();
        layers.retain(|report| report.layer != Layer::Landlock);
        layers.push(LayerReport { layer: Layer::Landlock, answer: Answer::Unsupported("old kernel".to_owned()) });
        assert!(refuse_missing(&layers, &plan).is_ok());
        plan.require.push(Layer::Landlock);
        assert!(refuse_missing(&layers, &plan).is_err());
        plan.filesystem.exec = Some(Vec::new());
        let refused = refuse_missing(&layers, &plan).unwrap_err().to_string();
        assert!(refused.contains("old kernel; without it `process.exec`"), "{refused}");
    }

    #[test]
    fn exec_errors_say_what_would_help() {
        let failure = |errno, detail: &str| Failure { step: Step::Exec, errno: Some(errno), detail: detail.to_owned() };
        let absent = exec_error(Path::new("/no/such/program"), failure(Errno::ENOENT, ""));
        assert_eq!((absent.exit_code(), absent.to_string().contains("filesystem.read")), (127, false));
        let hidden = exec_error(Path::new("/etc/passwd"), failure(Errno::ENOENT, ""));
        assert_eq!(
            (hidden.exit_code(), hidden.to_string().contains("filesystem.read")),
            (127, false),
            "the host's word"
        );
        let script = exec_error(Path::new("/usr/bin/x"), failure(Errno::ENOENT, "/opt/node/bin/node"));
        assert_eq!(script.exit_code(), 126);
        assert!(script.to_string().ends_with("filesystem.read: [/opt/node/bin/node]"), "{script}");
        assert_eq!(exec_error(Path::new("/etc/passwd"), failure(Errno::EACCES, "")).exit_code(), 126);
    }
}
