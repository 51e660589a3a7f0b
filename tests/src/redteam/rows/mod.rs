//! The rows, by group: what is tried, where it shows, and which layers hold it.

mod files;
mod kernel;
mod life;
mod network;
mod process;
mod resources;

use super::eyes::Judge;

/// What rows plant outside the arena's own folders, in a bare run.
pub(super) const PLANTED: &[&str] = files::PLANTED;
/// What rows leave elsewhere, in a bare run.
pub(super) const LEFT_BEHIND: &[&str] = resources::LEFT_BEHIND;

/// A part of the threat model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Roads out.
    Network,
    /// Files that are none of its business.
    Files,
    /// Other processes, ids, namespaces.
    Process,
    /// Calls and devices of the kernel.
    Kernel,
    /// More than its share.
    Resources,
    /// What stays when the session ends.
    Lifecycle,
}

impl Group {
    /// All of them, in the table's order.
    pub const ALL: [Self; 6] =
        [Self::Network, Self::Files, Self::Process, Self::Kernel, Self::Resources, Self::Lifecycle];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Files => "files",
            Self::Process => "process",
            Self::Kernel => "kernel",
            Self::Resources => "resources",
            Self::Lifecycle => "lifecycle",
        }
    }
}

/// What the program is told besides the probe's name.
#[derive(Clone, Copy, Debug)]
pub enum Argument {
    /// Nothing.
    None,
    /// This.
    Text(&'static str),
    /// The stand's number on the host.
    Stand,
    /// A file of the stand's folder in /proc.
    StandFile(&'static str),
    /// The stand's number and the address of its secret.
    StandMemory,
    /// The stand's System V segment.
    StandSegment,
    /// The stand's System V queue.
    StandQueue,
    /// The handle of a file that the server is not shown.
    Handle,
}

/// One attack.
pub struct Row {
    /// Its name.
    pub id: &'static str,
    /// Its part of the threat model.
    pub group: Group,
    /// What it is, for people.
    pub what: &'static str,
    /// Name of the program's probe.
    pub probe: &'static str,
    /// What the probe is told.
    pub argument: Argument,
    /// Where a success shows.
    pub judge: Judge,
    /// The layer that stops it.
    pub layer: &'static str,
    /// The layer that would, without the first; empty where there is one alone.
    pub second: &'static str,
    /// Whether it needs a session of its own.
    pub alone: bool,
    /// Whether the kernel may load modules for it, which stay: where there are any, the bare run does not try.
    pub loads_modules: bool,
    /// A capability (its number and name) that a bare run needs, and that root may be without in a container.
    pub needs: Option<(u32, &'static str)>,
    /// An answer of a bare run that says why this machine cannot run it.
    pub not_here: Option<(&'static str, &'static str)>,
    /// Looks at the machine for a reason why a bare run cannot succeed; asked only where one did not.
    pub lacks: Option<fn() -> Option<String>>,
}

impl Row {
    /// A row whose probe has its own name.
    const fn new(group: Group, id: &'static str, what: &'static str, judge: Judge, layers: [&'static str; 2]) -> Self {
        let [layer, second] = layers;
        Self {
            id,
            group,
            what,
            probe: id,
            argument: Argument::None,
            judge,
            layer,
            second,
            alone: false,
            loads_modules: false,
            needs: None,
            not_here: None,
            lacks: None,
        }
    }

    /// With another probe and its argument.
    const fn by(mut self, probe: &'static str, argument: Argument) -> Self {
        self.probe = probe;
        self.argument = argument;
        self
    }

    /// With an argument.
    const fn told(mut self, argument: Argument) -> Self {
        self.argument = argument;
        self
    }

    /// With another judge.
    const fn judged(mut self, judge: Judge) -> Self {
        self.judge = judge;
        self
    }

    /// In a session of its own.
    const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Not in a bare run where there are modules to load.
    const fn loads_modules(mut self) -> Self {
        self.loads_modules = true;
        self
    }

    /// Only where root has this capability.
    const fn needs(mut self, number: u32, name: &'static str) -> Self {
        self.needs = Some((number, name));
        self
    }

    /// Not to be had where a bare run is told this.
    const fn unless(mut self, errno: &'static str, why: &'static str) -> Self {
        self.not_here = Some((errno, why));
        self
    }

    /// Not to be had where this finds a reason.
    const fn unless_lacking(mut self, look: fn() -> Option<String>) -> Self {
        self.lacks = Some(look);
        self
    }
}

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Row> {
    [network::ROWS, files::ROWS, process::ROWS, kernel::ROWS, resources::ROWS, life::ROWS].into_iter().flatten()
}
