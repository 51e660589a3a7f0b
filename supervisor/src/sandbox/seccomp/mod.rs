//! The system call filters: one for the server, one for each of our own processes.
//!
//! The tables are data ([`workload`], [`ours`]); [`assemble`] turns them into a program before the child exists;
//! [`Filter::install`] is one system call.

mod assemble;
mod ours;
mod refused;
mod ruled;
mod table;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::fault;
use crate::sys::listener;
use crate::sys::seccomp::{Instruction, install};

pub use ours::Who;
pub use table::{Action, Call, Clause, Condition, Group, Rule, Value};

/// Why a filter could not be assembled. Each is a mistake in a table, so none can depend on a run.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A call stands in two groups, so that its rule would depend on their order.
    #[error("the system call {0} stands twice in a seccomp table")]
    Twice(&'static str),
    /// The kernel takes 4096 instructions at most.
    #[error("the seccomp program has {0} instructions; the kernel takes 4096")]
    TooLong(usize),
}

/// An assembled filter.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<Instruction>,
    /// The same, but that a listener is asked about what is recorded.
    telling: Vec<Instruction>,
    allowed: usize,
    protection: &'static str,
}

impl Filter {
    /// The server's filter: allow-list, `ENOSYS` for what is not named, `EPERM` for what is known and refused.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn workload() -> Result<Self, FilterError> {
        Self::over(rules(workload::TABLE)?)
    }

    /// The same for a server whose programs are listed (`process.exec`): no memory files. execveat(2) with `AT_EMPTY_PATH`
    /// stays: with no such file to be had it reaches what execve(2) reaches, and Landlock judges both alike.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn workload_of_listed_programs() -> Result<Self, FilterError> {
        let mut rules = rules(workload::TABLE)?;
        if crate::weaken::in_force("exec-memory-files") {
            for call in workload::MEMORY_FILES.calls {
                rules.insert(call.number, workload::MEMORY_FILES.rule);
            }
        }
        Self::over(rules)
    }

    fn over(mut rules: BTreeMap<u32, table::Rule>) -> Result<Self, FilterError> {
        if !crate::weaken::in_force("seccomp-setid-modes") {
            forgive(&mut rules, &["open", "openat", "creat", "chmod", "fchmod", "fchmodat", "fchmodat2", "mkdir"]);
            forgive(&mut rules, &["mkdirat", "mknod", "mknodat"]);
        }
        if !crate::weaken::in_force("seccomp-socket-families") {
            forgive(&mut rules, &["socket", "socketpair"]);
        }
        if !crate::weaken::in_force("seccomp-namespaces") {
            forgive(&mut rules, &["clone", "unshare", "setns"]);
        }
        if !crate::weaken::in_force("seccomp-fastopen") {
            forgive(&mut rules, &["sendto", "sendmsg", "sendmmsg", "setsockopt"]);
        }
        if !crate::weaken::in_force("seccomp-requests") {
            forgive(&mut rules, &["ioctl", "fcntl"]);
        }
        Self::build(&rules, table::ENOSYS, 0, "seccomp") // no rule of it asks for a pid
    }

    /// relay's filter, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn relay(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Relay, own, "confine-relay-seccomp")
    }

    /// egress's filter, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn egress(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Egress, own, "confine-egress-seccomp")
    }

    /// The dialer's filter, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn dialer(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Dialer, own, "confine-dialer-seccomp")
    }

    /// The filter of the link to a shared limit store, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn link(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Link, own, "confine-link-seccomp")
    }

    /// The janitor's filter, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn janitor(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Janitor, own, "confine-janitor-seccomp")
    }

    /// The meter's filter, for the process `own`.
    ///
    /// # Errors
    /// A mistake in the table.
    pub fn meter(own: Pid) -> Result<Self, FilterError> {
        Self::ours(Who::Meter, own, "confine-meter-seccomp")
    }

    /// Installs the filter on the calling thread, which needs no_new_privs. It cannot be taken off, and holds over exec.
    ///
    /// # Errors
    /// Those of seccomp(2).
    pub fn install(&self) -> Result<(), Errno> {
        if crate::weaken::in_force(self.protection) { install(&self.program) } else { Ok(()) }
    }

    /// Installs the filter so that some of what it refuses ([`Action::Tell`]) is told to a listener, which has to answer: until
    /// then the thread waits. When the listener is gone such a call returns `ENOSYS`, and does as little.
    ///
    /// # Errors
    /// Those of [`listener::install`]. Nothing was installed then; [`Filter::install`] refuses the same calls.
    pub fn install_telling(&self) -> Result<OwnedFd, Errno> {
        if fault::lacks("listener") || !crate::weaken::in_force(self.protection) {
            return Err(Errno::EOPNOTSUPP);
        }
        listener::install(&self.telling)
    }

    /// How many calls may run with some argument or any.
    #[must_use]
    pub const fn allowed(&self) -> usize {
        self.allowed
    }

    /// Length of the program, instructions.
    #[must_use]
    pub const fn instructions(&self) -> usize {
        self.program.len()
    }

    fn ours(who: Who, own: Pid, protection: &'static str) -> Result<Self, FilterError> {
        let rules = rules(who.groups())?;
        Self::build(&rules, ours::VIOLATION, own.as_raw().unsigned_abs(), protection)
    }

    fn build(
        rules: &BTreeMap<u32, table::Rule>,
        otherwise: Action,
        own: u32,
        protection: &'static str,
    ) -> Result<Self, FilterError> {
        let telling = assemble::assemble(rules, otherwise, own);
        let program = assemble::untold(&telling);
        if program.len() > assemble::PROGRAM_INSTRUCTIONS_MAX {
            return Err(FilterError::TooLong(program.len()));
        }
        let allows = |rule: &&table::Rule| {
            rule.last == Action::Allow || rule.clauses.iter().any(|clause| clause.then == Action::Allow)
        };
        Ok(Self { program, telling, allowed: rules.values().filter(allows).count(), protection })
    }
}

/// The server's table, for documentation and `doctor`.
pub fn workload_groups() -> impl Iterator<Item = &'static Group> {
    workload::TABLE.iter().flat_map(|groups| groups.iter())
}

/// The name of a call that the server was refused, and why, by its number on this architecture.
#[must_use]
pub fn refusal_of(number: u32) -> Option<(&'static str, &'static str)> {
    let mut groups = workload_groups();
    groups.find_map(|group| group.calls.iter().find(|call| call.number == number).map(|call| (call.name, group.reason)))
}

/// The name of a call by its number on this architecture, as far as the tables know it.
#[must_use]
pub fn name_of(number: u32) -> Option<&'static str> {
    let ours = [Who::Relay, Who::Egress, Who::Dialer, Who::Link, Who::Janitor, Who::Meter];
    let ours = ours.into_iter().flat_map(|who| who.groups().iter());
    workload::TABLE
        .iter()
        .chain(ours)
        .flat_map(|groups| groups.iter())
        .flat_map(|group| group.calls)
        .find(|call| call.number == number)
        .map(|call| call.name)
}

fn rules(table: &[&[Group]]) -> Result<BTreeMap<u32, table::Rule>, FilterError> {
    let mut rules = BTreeMap::new();
    for group in table.iter().flat_map(|groups| groups.iter()) {
        for call in group.calls {
            if rules.insert(call.number, group.rule).is_some() {
                return Err(FilterError::Twice(call.name));
            }
        }
    }
    Ok(rules)
}

/// Lets the named calls run whatever their arguments (mutation testing only).
fn forgive(rules: &mut BTreeMap<u32, table::Rule>, names: &[&str]) {
    for call in workload_groups().flat_map(|group| group.calls) {
        if names.contains(&call.name) {
            rules.insert(call.number, table::ALLOW);
        }
    }
}
