//! The meter counts writable folders that have a `max`. When one holds more it freezes the server and ends; the monitor kills.
//!
//! A process of its own, because a walk over a large tree takes time that the monitor does not have, and because it looks at
//! what the server made: names, and nothing behind them.
//!
//! It counts while the server runs. A count during which something moved proves nothing, so the server is stopped and counted
//! again, at a [`pace`], and for a while some counts begin with a stop; so it is now and then for its descriptors, which move
//! without a trace. Descriptors are many and names are few, so a server that runs is asked for some of the former only before its
//! names are counted again, and names alone may stop it whatever the pace says. Whatever ends the count, the server is frozen
//! before a word is said of it.

mod first;
mod pace;
mod scale;

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use self::first::{First, Teller};
use self::pace::Pace;
use self::scale::{Finding, Names, Scale, Sight};
use super::child::{Child, ForkError, Ready, Role};
use crate::bounds::{FREEZE_OVER_WAIT_MS, FREEZE_WAIT_MS};
use crate::clock;
use crate::fault::Stage;
use crate::sandbox::cgroup::{CgroupError, Freezer, Leaf};
use crate::sandbox::confine::{self, ConfineError, Terms};
use crate::sandbox::identity::METER;
use crate::sandbox::plan::FilesystemPlan;
use crate::sandbox::rootfs::RootfsError;
use crate::sandbox::usage::{self, Held};

pub use self::first::FirstCount;

/// Exit code of a meter that found a folder over its `max`; any other end is a failure.
pub const OVER: u8 = 3;

/// Why the folders are not counted; nothing was started then.
#[derive(Debug, thiserror::Error)]
pub enum MeterError {
    /// A folder cannot be opened.
    #[error("filesystem.write: a folder cannot be counted")]
    Folder(#[from] RootfsError),
    /// A folder cannot be counted.
    #[error("filesystem.write: {} cannot be counted", path.display())]
    Count {
        /// The folder on the host.
        path: PathBuf,
        /// Why.
        source: Errno,
    },
    /// A folder holds too much before the server has started.
    #[error("filesystem.write: {} holds {excess} already; empty it or raise its `max`", path.display())]
    Full {
        /// The folder on the host.
        path: PathBuf,
        /// Of what.
        excess: usage::Excess,
    },
    /// A file of the cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// /proc, or the process.
    #[error("the writable folders cannot be watched")]
    System(#[from] std::io::Error),
    /// The process.
    #[error(transparent)]
    Fork(#[from] ForkError),
}

/// Why the meter ended early; it prints it.
#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("{} cannot be counted", path.display())]
    Count { path: PathBuf, source: Errno },
    #[error("the descriptors of the server cannot be counted")]
    Held(#[source] Errno),
    #[error("the server does not stand still to be counted, for {FREEZE_WAIT_MS} ms")]
    Restless,
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What the meter holds.
struct Meter<S = Scale> {
    scale: S,
    freezer: Freezer,
    pace: Pace,
}

/// Forks the meter where a folder has a `max`. It confines itself and counts meanwhile: nothing starts before
/// [`FirstCount::wait`] has said that no folder holds too much.
///
/// # Errors
/// [`MeterError`].
pub fn fork(plan: &FilesystemPlan, leaf: &Leaf) -> Result<Option<(Child, FirstCount)>, MeterError> {
    let Some(scale) = Scale::open(plan, leaf)? else { return Ok(None) };
    let (first, teller) = first::pair(scale.paths())?;
    let pace = Pace::begin(clock::now().boot_ns, chance()?);
    let mut meter = Meter { scale, freezer: Freezer::open(leaf)?, pace };
    let monitor = Pid::this();
    let child = Child::start(Role::Meter, move |ready| match meter.watch(monitor, ready, teller) {
        Ok(excess) => {
            if let Some(excess) = excess {
                say(&format!("{excess}; the session is ended"));
            }
            OVER
        }
        Err(error) => {
            say(&format!("meter: {}", crate::report::chain(&error)));
            1
        }
    })?;
    Ok(Some((child, first)))
}

/// What a count came to.
enum Turn {
    /// So many bytes may still be written, and whether that is certain; for so long it stood still to be counted whole.
    Room { bytes: u64, settled: bool, stood_ns: u64 },
    /// Too much, and what to say of it.
    Over(String),
}

impl Meter {
    /// Confined, then counting until something is over: what to say of it, or nothing where the monitor says it.
    fn watch(&mut self, monitor: Pid, ready: Ready, teller: Teller) -> Result<Option<String>, CountError> {
        let mut keep = self.scale.descriptors();
        keep.extend(self.freezer.descriptors());
        keep.extend([ready.fd().as_raw_fd(), teller.0.as_raw_fd(), libc::STDERR_FILENO]);
        confine::meter(&Terms { uid: METER, gid: METER, parent: monitor, keep: &keep })?;
        Stage::Meter.passed_io()?;
        ready.say().map_err(std::io::Error::from)?;
        let first = self.scale.first();
        teller.say(first)?;
        if first != First::Fine {
            return Ok(None);
        }
        let ended = self.count_on();
        // Nothing more is written from here on, whatever ended the count. The monitor sees our end, records it and kills.
        let shut = self.freezer.freeze(0);
        let excess = ended?;
        shut?;
        Ok(Some(excess))
    }
}

impl<S: Sight> Meter<S> {
    /// Counts until there is too much.
    fn count_on(&mut self) -> Result<String, CountError> {
        loop {
            let start_ns = clock::now().boot_ns;
            let (room_bytes, settled, stood_ns) = match self.turn(start_ns)? {
                Turn::Room { bytes, settled, stood_ns } => (bytes, settled, stood_ns),
                Turn::Over(text) => return Ok(text),
            };
            let now_ns = clock::now().boot_ns;
            // The server tells by the clock how long it stood: a pause as long would be a time in which nobody looks.
            let took_ms = now_ns.saturating_sub(start_ns).saturating_sub(stood_ns) / 1_000_000;
            let longest_ms = usage::pause_ms(room_bytes, took_ms);
            let pause_ms = self.pace.pause_ms(now_ns, longest_ms, took_ms, settled, chance()?);
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
    }

    /// One count, and another one of a server that is stopped where the first proves nothing.
    fn turn(&mut self, now_ns: u64) -> Result<Turn, CountError> {
        let stops = crate::weaken::in_force("write-max-still");
        if stops && self.pace.surprises(now_ns, chance()?) {
            return self.count_stopped(now_ns);
        }
        let surprised = stops && self.pace.surprises_names(now_ns, chance()?);
        let names = match if surprised { self.names_stopped()? } else { self.names()? } {
            ControlFlow::Continue(names) => names,
            ControlFlow::Break(text) => return Ok(Turn::Over(text)),
        };
        let held = self.scale.held_lately()?;
        let found = self.scale.judge(&names, &held);
        let now_ns = clock::now().boot_ns;
        if !found.is_settled() {
            self.pace.doubt(now_ns);
        }
        match found {
            Finding::Over { text, settled: true } => Ok(Turn::Over(text)),
            Finding::Over { text, settled: false } if self.pace.takes_doubts(now_ns) => self.confirm(text, now_ns),
            Finding::Over { settled: false, .. } => self.again(&held),
            Finding::Room { settled, .. } if stops && self.wants_a_stop(settled, now_ns) => self.count_stopped(now_ns),
            Finding::Room { bytes, settled } => Ok(Turn::Room { bytes, settled, stood_ns: 0 }),
        }
    }

    /// The names of a server that runs, or what to say where they alone are too much. Two counts in a row that say so, neither of
    /// them certain, need neither a look at descriptors nor the end of a rest: either would be a time in which it has too much.
    /// A server of which that is not so loses a sixth of its time, for the pause is as long as all three; half, if it makes the third
    /// the longest by far.
    fn names(&mut self) -> Result<ControlFlow<String, Names>, CountError> {
        let mut names = self.scale.names()?;
        if matches!(self.alone(&names), Finding::Over { settled: false, .. }) {
            // Also where the second finds room and no doubt: what was too much may have been put away between them.
            self.pace.doubt(clock::now().boot_ns);
            names = self.scale.names()?;
        }
        match self.alone(&names) {
            Finding::Room { .. } => Ok(ControlFlow::Continue(names)),
            Finding::Over { text, settled: true } => Ok(ControlFlow::Break(text)),
            Finding::Over { text, settled: false } if !self.freezer.freeze(FREEZE_OVER_WAIT_MS)? => {
                Ok(ControlFlow::Break(text))
            }
            // What made both counts doubtful may hide more among the descriptors: it is a doubt still.
            Finding::Over { settled: false, .. } => {
                Ok(self.names_still()?.map_continue(|names| Names { settled: false, ..names }))
            }
        }
    }

    /// The names of a server that is stopped for them, or what to say where they are too much.
    fn names_stopped(&mut self) -> Result<ControlFlow<String, Names>, CountError> {
        if self.freezer.freeze(FREEZE_WAIT_MS)? { self.names_still() } else { Err(CountError::Restless) }
    }

    /// The names of a server that stands still and is let go on unless they are too much.
    fn names_still(&mut self) -> Result<ControlFlow<String, Names>, CountError> {
        let names = self.scale.names()?;
        match self.alone(&names) {
            Finding::Over { text, .. } => Ok(ControlFlow::Break(text)),
            Finding::Room { .. } => {
                self.freezer.thaw()?;
                Ok(ControlFlow::Continue(Names { settled: true, ..names }))
            }
        }
    }

    /// What names come to without a descriptor.
    fn alone(&self, names: &Names) -> Finding {
        self.scale.judge(names, &Held::default())
    }

    /// Whether room by a count of a server that ran is no answer yet: something moved meanwhile, or it is time to look at what
    /// moves without a trace.
    fn wants_a_stop(&self, settled: bool, now_ns: u64) -> bool {
        if settled {
            self.pace.is_due(now_ns) && self.scale.counts_removed_files()
        } else {
            self.pace.takes_doubts(now_ns)
        }
    }

    /// Too much by a count that is not certain, of a server that was stopped a moment ago. What was removed between names and
    /// descriptors was in both, and is not among the names that are taken now. Too much again may stop it sooner than a doubt.
    fn again(&mut self, held: &Held) -> Result<Turn, CountError> {
        let names = match self.names()? {
            ControlFlow::Continue(names) => names,
            ControlFlow::Break(text) => return Ok(Turn::Over(text)),
        };
        let found = self.scale.judge(&names, held);
        let now_ns = clock::now().boot_ns;
        match found {
            Finding::Over { text, settled: true } => Ok(Turn::Over(text)),
            Finding::Over { text, settled: false } if self.pace.takes_excess(now_ns) => self.confirm(text, now_ns),
            Finding::Over { settled: false, .. } => Ok(Turn::Room { bytes: 0, settled: false, stood_ns: 0 }),
            Finding::Room { bytes, .. } => Ok(Turn::Room { bytes, settled: false, stood_ns: 0 }),
        }
    }

    /// Too much by a count that is not certain: by one of a server that stands still, or that does not in time.
    fn confirm(&mut self, text: String, since_ns: u64) -> Result<Turn, CountError> {
        if self.freezer.freeze(FREEZE_OVER_WAIT_MS)? { self.count_still(since_ns) } else { Ok(Turn::Over(text)) }
    }

    /// A count of a server that is stopped for it.
    fn count_stopped(&mut self, since_ns: u64) -> Result<Turn, CountError> {
        if self.freezer.freeze(FREEZE_WAIT_MS)? { self.count_still(since_ns) } else { Err(CountError::Restless) }
    }

    /// A count of a server that was stopped at `since_ns`, and is let go on unless there is too much. What still moves then is not
    /// the server's. Names are counted anew: a file linked in between an earlier count of them and the stop would be in neither.
    fn count_still(&mut self, since_ns: u64) -> Result<Turn, CountError> {
        let held = self.scale.held()?;
        match self.scale.judge(&self.scale.names()?, &held) {
            Finding::Over { text, .. } => Ok(Turn::Over(text)),
            Finding::Room { bytes, .. } => {
                self.freezer.thaw()?;
                let now_ns = clock::now().boot_ns;
                self.pace.stood_still(since_ns, now_ns, chance()?);
                Ok(Turn::Room { bytes, settled: true, stood_ns: now_ns.saturating_sub(since_ns) })
            }
        }
    }
}

/// A number that nobody foresees.
fn chance() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// The last thing that the meter says, after the freeze. Not said where stderr takes nothing now: the monitor waits for our end.
/// Most streams do not make us wait any more (`session::stdio`); a terminal that could not be opened again does, once somebody has
/// stopped it (Ctrl-S), and is why stderr is still asked. ppoll(2) and not poll(2), which the meter may not call.
fn say(text: &str) {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if matches!(ppoll(&mut fds, Some(TimeSpec::new(0, 0)), None), Ok(1)) {
        tracing::error!("{text}");
    }
}

#[cfg(test)]
mod tests;
