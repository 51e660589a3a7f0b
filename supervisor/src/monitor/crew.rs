//! Janitor, relay, egress and the others: forked from the single-threaded monitor, each confined before its first foreign byte.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{Pid, pipe2};

use super::child::{Child, ForkError, Ready, Role};
use super::janitor;
use super::ledger::RelayLog;
use super::meter::{self, FirstCount, MeterError};
use super::store_link::{self, Dial, LinkError, StoreLink};
use crate::egress::channel::{Channel, ChannelError};
use crate::egress::dialer::{self, DialerError, DialerParts};
use crate::egress::kernel_events::KernelEvents;
use crate::egress::probes::{ProbeError, Probes};
use crate::egress::wall::Listeners;
use crate::egress::{EgressError, EgressParts, dial_link};
use crate::fault::Stage;
use crate::limits::redis::{RedisStore, Source};
use crate::limits::{LateStore, SqliteStore, Store, StoreError};
use crate::policy::Policy;
use crate::relay::messages::FromRelay;
use crate::relay::{self, PinSource, Pipes, RelayError};
use crate::sandbox::cgroup::Leaf;
use crate::sandbox::confine::{self, ConfineError, Terms};
use crate::sandbox::identity::{DIALER, EGRESS, LINK, RELAY};
use crate::sandbox::plan::NetworkPlan;
use crate::sandbox::step::{receive_layers, send_layers};
use crate::sandbox::{Answer, Layer, LayerReport, Plan};
use crate::sys::pidfd;

/// How long the relay may take to confine itself, open the limit store and write `sandbox.applied`.
const APPLIED_TIMEOUT_MS: u16 = 10_000;

/// Why the crew is not complete.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// A process could not be forked or confined.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// The channel between relay and egress.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The kernel's events.
    #[error(transparent)]
    Probes(#[from] ProbeError),
    /// The link between egress and the dialer.
    #[error("cannot set up the link between egress and the dialer")]
    DialLink(#[source] Errno),
    /// The shared limit store.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The shared limit store cannot be used as it is.
    #[error("the limit store {place} cannot be used; see the message above")]
    Store {
        /// The store, without its password.
        place: String,
    },
    /// The writable folders cannot be counted, or hold too much already.
    #[error(transparent)]
    Meter(#[from] MeterError),
    /// The control socket.
    #[error("the control socket failed")]
    Control(#[source] std::io::Error),
    /// The relay did not say that `sandbox.applied` is on disk.
    #[error("the relay did not record the sandbox; see its message above")]
    NotApplied,
    /// Nor that it could not.
    #[error("the relay did not record the sandbox within {} s; is the disk or the machine overloaded?", APPLIED_TIMEOUT_MS / 1000)]
    AppliedLate,
}

/// Our own processes. Dropped, each is killed.
#[derive(Debug)]
pub struct Crew {
    children: Vec<Child>,
    /// Its closing by our death wakes the janitor.
    alive: OwnedFd,
    /// The relay's end of the channel to egress, until the relay is forked.
    channel: Option<Channel>,
    /// The dialer's end of the link to egress, until the dialer is forked.
    dialing: Option<OwnedFd>,
    /// The relay's end of the link to a shared limit store, likewise.
    link: Option<StoreLink>,
    /// Our ends of the relay's control socket and of the pipe that tells it the layers' answers, until it has them.
    relay: Option<(OwnedFd, OwnedFd)>,
    /// What the meter will say of the folders that it counts, until it has.
    first_count: Option<FirstCount>,
}

/// What the relay is forked with.
pub struct RelayBrief {
    /// The open log.
    pub log: RelayLog,
    /// The loaded policy.
    pub policy: Policy,
    /// What its pins begin with.
    pub pins: PinSource,
    /// The folder of the counts, where they are kept on this host.
    pub limits_dir: Option<PathBuf>,
    /// The five streams.
    pub pipes: Pipes,
    /// The control socket, listening.
    pub people: UnixListener,
    /// The server's pid 1.
    pub server_pid: Pid,
}

/// Why one of our processes ended early; it is printed by that process.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error(transparent)]
    Dialer(#[from] DialerError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the relay has no limit store")]
    NoStore,
    #[error(transparent)]
    System(#[from] Errno),
}

impl Crew {
    /// Forks the janitor, the first of ours: from here on a killed monitor leaves nothing for the next start. It removes the session's directory, too.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn begin(leaf: &Leaf, session_dir: &Path) -> Result<Self, CrewError> {
        let janitor = janitor::fork(leaf, session_dir)?;
        Stage::JanitorForked.passed().map_err(unforked(Role::Janitor))?;
        let (children, alive) = (vec![janitor.child], janitor.alive);
        Ok(Self { children, alive, channel: None, dialing: None, link: None, relay: None, first_count: None })
    }

    /// Forks egress and, for a shared limit store, the link. The wall's listeners go with egress; the monitor keeps none of
    /// them. The probes' links stay with the monitor.
    ///
    /// # Errors
    /// [`CrewError`]; what was forked is killed with the crew.
    pub fn fork_egress(&mut self, plan: &Plan, listeners: Listeners, probes: &mut Probes) -> Result<(), CrewError> {
        let dialing =
            (!plan.network.hosts.is_empty()).then(dial_link::pair).transpose().map_err(CrewError::DialLink)?;
        let (asking, dialing) = dialing.unzip();
        let (relays, egresses) = Channel::pair()?;
        let monitor = Pid::this();
        let parts = EgressParts {
            listeners,
            events: probes.take_kernel_events(&plan.network)?,
            network: plan.network.clone(),
            report: egresses.into_fd(),
            dialer: asking,
        };
        let child = Child::start(Role::Egress, move |ready| exit(Role::Egress, egress(parts, monitor, ready)))?;
        self.children.push(child);
        Stage::EgressForked.passed().map_err(unforked(Role::Egress))?;
        self.channel = Some(relays);
        self.dialing = dialing;
        self.fork_link(plan)
    }

    /// Forks the dialer, where the policy allows a host. Nothing asks it before the gate is open, so this comes when the monitor waits
    /// for the server's child anyway.
    ///
    /// # Errors
    /// [`CrewError::Fork`].
    pub fn fork_dialer(&mut self, plan: &Plan) -> Result<(), CrewError> {
        if let Some(link) = self.dialing.take() {
            let (network, monitor) = (plan.network.clone(), Pid::this());
            let body = move |ready| exit(Role::Dialer, dialer(network, link, monitor, ready));
            self.children.push(Child::start(Role::Dialer, body)?);
        }
        Ok(Stage::DialerForked.passed().map_err(unforked(Role::Dialer))?)
    }

    /// Forks the meter, where a writable folder has a `max`.
    ///
    /// # Errors
    /// [`CrewError::Meter`].
    pub fn fork_meter(&mut self, plan: &Plan, leaf: &Leaf) -> Result<(), CrewError> {
        if let Some((child, first)) = meter::fork(&plan.filesystem, leaf)? {
            self.children.push(child);
            self.first_count = Some(first);
        }
        Ok(Stage::MeterForked.passed().map_err(unforked(Role::Meter))?)
    }

    /// Waits until every one of them is confined; the gateway then serves, the relay has its limit store, and the folders have been
    /// counted once.
    ///
    /// # Errors
    /// [`CrewError::Fork`], [`CrewError::Meter`].
    pub fn await_confined(&mut self) -> Result<(), CrewError> {
        self.children.iter_mut().try_for_each(Child::await_confined)?;
        Ok(self.first_count.take().map_or(Ok(()), FirstCount::wait)?)
    }

    /// Forks the link to the shared limit store that the plan names. It is there when it has connected once.
    fn fork_link(&mut self, plan: &Plan) -> Result<(), CrewError> {
        let Some(source) = &plan.state_dsn else { return Ok(()) };
        let (link, other_end) = store_link::pair()?;
        let monitor = Pid::this();
        let mut child = Child::start(Role::Link, move |ready| {
            // Not dropped before its failure is told: the monitor takes the end of this pipe for the end of the process.
            let mut ready = Some(ready);
            exit(Role::Link, self::link(source, other_end, monitor, &mut ready))
        })?;
        Stage::LinkForked.passed().map_err(unforked(Role::Link))?;
        child.await_confined().map_err(|error| match error {
            ForkError::Unconfined { .. } => CrewError::Store { place: source.to_string() },
            start => start.into(),
        })?;
        self.children.push(child);
        self.link = Some(link);
        Ok(())
    }

    /// Forks the relay. It confines itself, opens the limit store, and waits for the layers' answers.
    ///
    /// # Errors
    /// [`CrewError`].
    pub fn fork_relay(&mut self, plan: &Plan, brief: RelayBrief) -> Result<(), CrewError> {
        let control = |errno: Errno| CrewError::Control(errno.into());
        let kind = SockType::SeqPacket;
        let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).map_err(control)?;
        let (layers, tell) = pipe2(OFlag::O_CLOEXEC).map_err(control)?;
        let channel = self.channel.take().ok_or(CrewError::NotApplied)?;
        let link = self.link.take();
        let monitor = Pid::this();
        let plan = plan.clone();
        let child = Child::start(Role::Relay, move |ready| {
            let ends = RelayEnds { control: theirs, channel, link, layers };
            exit(Role::Relay, self::relay(&plan, brief, ends, monitor, ready))
        })?;
        self.children.push(child);
        Stage::RelayForked.passed().map_err(unforked(Role::Relay))?;
        self.relay = Some((ours, tell));
        Ok(())
    }

    /// Tells the relay what each layer answered, and waits until `sandbox.applied` is on disk. Gives its control socket.
    ///
    /// # Errors
    /// [`CrewError`]; the relay's own message is on stderr.
    pub fn record_layers(&mut self, answers: &[LayerReport]) -> Result<OwnedFd, CrewError> {
        let control = |errno: Errno| CrewError::Control(errno.into());
        let (ours, tell) = self.relay.take().ok_or(CrewError::NotApplied)?;
        // One that is gone does not say that it has recorded them.
        send_layers(tell, answers).or_else(|errno| if errno == Errno::EPIPE { Ok(()) } else { Err(control(errno)) })?;
        let timeout = PollTimeout::from(APPLIED_TIMEOUT_MS);
        if !pidfd::readable(ours.as_fd(), timeout).map_err(control)? {
            return Err(CrewError::AppliedLate);
        }
        match FromRelay::receive(ours.as_fd()).map_err(CrewError::Control)? {
            Some((FromRelay::Applied, _)) => {}
            _ => return Err(CrewError::NotApplied),
        }
        Stage::Recorded.passed().map_err(unforked(Role::Relay))?;
        Ok(ours)
    }

    /// The gateway's answer: egress serves, confined, or there is no crew. The self-test has asked its stub a name.
    #[must_use]
    pub fn answers(&self) -> Vec<LayerReport> {
        vec![LayerReport { layer: Layer::Gateway, answer: Answer::Enforced }]
    }

    /// Gives up the children to the watch, and the pipe that keeps the janitor asleep.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Child>, OwnedFd) {
        (self.children, self.alive)
    }
}

fn unforked(role: Role) -> impl FnOnce(Errno) -> ForkError {
    move |source| ForkError::Start { role: role.name(), source }
}

/// The egress process: confined, then serving until the relay hangs up.
fn egress(parts: EgressParts<KernelEvents>, monitor: Pid, ready: Ready) -> Result<(), ServeError> {
    let mut keep = parts.descriptors(KernelEvents::descriptors);
    keep.extend([ready.fd().as_raw_fd(), libc::STDERR_FILENO]);
    let _ = confine::egress(&Terms { uid: EGRESS, gid: EGRESS, parent: monitor, keep: &keep })?;
    Stage::Egress.passed()?;
    ready.say()?;
    crate::egress::serve(parts)?;
    Ok(())
}

/// The dialer: confined, then connecting to what egress asks for.
fn dialer(network: NetworkPlan, link: OwnedFd, monitor: Pid, ready: Ready) -> Result<(), ServeError> {
    let parts = DialerParts::prepare(network, link)?;
    let keep = [parts.fd().as_raw_fd(), ready.fd().as_raw_fd(), libc::STDERR_FILENO];
    let _ = confine::dialer(&Terms { uid: DIALER, gid: DIALER, parent: monitor, keep: &keep })?;
    Stage::Dialer.passed()?;
    ready.say()?;
    dialer::serve(parts)?;
    Ok(())
}

/// The link: confined, then connecting whenever the relay asks.
fn link(source: &Source, fd: OwnedFd, monitor: Pid, ready: &mut Option<Ready>) -> Result<(), ServeError> {
    let dial = Dial::prepare(source, fd)?;
    let mut keep = vec![dial.fd().as_raw_fd(), libc::STDERR_FILENO];
    keep.extend(ready.iter().map(|ready| ready.fd().as_raw_fd()));
    let _ = confine::link(&Terms { uid: LINK, gid: dial.gid(), parent: monitor, keep: &keep })?;
    Stage::Link.passed()?;
    dial.serve(|| ready.take().map_or(Ok(()), Ready::say))?;
    Ok(())
}

/// The relay's ends of what it is connected by.
struct RelayEnds {
    control: OwnedFd,
    channel: Channel,
    link: Option<StoreLink>,
    layers: OwnedFd,
}

/// The relay process: confined, then pumping until the monitor ends the session.
fn relay(plan: &Plan, brief: RelayBrief, ends: RelayEnds, monitor: Pid, ready: Ready) -> Result<(), ServeError> {
    let RelayEnds { control, channel, link, layers } = ends;
    let boot_id = boot_id()?;
    let mut keep: Vec<RawFd> = brief.pipes.descriptors();
    keep.extend([
        layers.as_raw_fd(),
        control.as_raw_fd(),
        brief.people.as_raw_fd(),
        channel.as_fd().as_raw_fd(),
        brief.log.journal.fd().as_raw_fd(),
    ]);
    keep.extend([ready.fd().as_raw_fd(), libc::STDERR_FILENO]);
    keep.extend(link.iter().map(|link| link.fd().as_raw_fd()));
    let terms = Terms { uid: RELAY, gid: RELAY, parent: monitor, keep: &keep };
    // As the session starts: a later policy that says otherwise is refused.
    let lines = &brief.policy.sandbox.resources;
    let (client_line_bytes_max, server_line_bytes_max) = (lines.client_line_max(), lines.server_line_max());
    let lines_bytes = client_line_bytes_max.saturating_add(server_line_bytes_max) as u64;
    let store: Box<dyn Store> = match (link, &plan.state_dsn, &brief.limits_dir) {
        (Some(link), Some(_), None) => {
            let _ = confine::relay_without_files(&terms, lines_bytes)?;
            Box::new(RedisStore::new(Box::new(link)))
        }
        (None, None, Some(limits_dir)) => {
            let _ = confine::relay(&terms, lines_bytes, limits_dir)?;
            let limits_dir = limits_dir.clone();
            let open = move || SqliteStore::open(&limits_dir, &boot_id);
            // A policy that counts does not start without its counts; one that counts nothing has no use for them, until it is replaced.
            if brief.policy.counts() { Box::new(open()?) } else { Box::new(LateStore::new(open)) }
        }
        _ => return Err(ServeError::NoStore),
    };
    Stage::Relay.passed()?;
    ready.say()?;
    let answers = receive_layers(&layers)?;
    drop(layers);
    relay::serve(relay::Parts {
        session: plan.session.clone(),
        journal: brief.log.journal,
        redactor: brief.log.redactor,
        policy: brief.policy,
        pins: brief.pins,
        observe: plan.observe,
        store,
        pipes: brief.pipes,
        control,
        people: brief.people,
        egress: channel,
        secrets: plan.secrets.clone(),
        layers: answers,
        server_pid: brief.server_pid.as_raw().unsigned_abs(),
        client_line_bytes_max,
        server_line_bytes_max,
    })?;
    Ok(())
}

/// The kernel's name for this boot (random(4)): counts are kept by time since boot within one.
fn boot_id() -> Result<String, Errno> {
    let read = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"));
    read.map(|text| text.trim().to_owned()).map_err(|error| crate::sys::process::errno_of(&error))
}

/// A failure is told on stderr; the exit code is for the monitor's log alone.
fn exit(role: Role, ended: Result<(), ServeError>) -> u8 {
    match ended {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{}: {}", role.name(), crate::report::chain(&error));
            if matches!(error, ServeError::Dialer(DialerError::Overstepped(_))) { dialer::OVERSTEPPED } else { 1 }
        }
    }
}
