//! The meter counts writable folders that have a `max`. When one holds more it freezes the server and ends; the monitor kills.
//!
//! A process of its own, because a walk over a large tree takes time that the monitor does not have, and because it looks at
//! what the server made: names, and nothing behind them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use super::child::{Child, ForkError, Ready, Role};
use crate::clock;
use crate::fault::Stage;
use crate::sandbox::cgroup::{CgroupError, Leaf};
use crate::sandbox::confine::{self, ConfineError, Terms};
use crate::sandbox::identity::METER;
use crate::sandbox::plan::{FilesystemPlan, WritableFolder};
use crate::sandbox::rootfs::{self, RootfsError};
use crate::sandbox::usage::{self, Usage};

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
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// One folder under count.
struct Folder {
    /// On the host, for messages.
    path: PathBuf,
    bytes_max: u64,
    mount: OwnedFd,
}

/// What the meter holds.
struct Meter {
    folders: Vec<Folder>,
    /// File systems on which nameless files count: none where some folder has no bound, for the same file could stand there.
    devices: HashSet<u64>,
    freeze: File,
    threads: File,
    proc: File,
}

/// Forks the meter where a folder has a `max`, after it was found to hold no more than that. It confines itself meanwhile.
///
/// # Errors
/// [`MeterError`].
pub fn fork(plan: &FilesystemPlan, leaf: &Leaf) -> Result<Option<Child>, MeterError> {
    let Some(mut meter) = Meter::open(plan, leaf)? else { return Ok(None) };
    for folder in &meter.folders {
        let count = |source| MeterError::Count { path: folder.path.clone(), source };
        if let Usage::Over(excess) = usage::measure(folder.mount.as_fd(), folder.bytes_max).map_err(count)? {
            return Err(MeterError::Full { path: folder.path.clone(), excess });
        }
    }
    let monitor = Pid::this();
    let child = Child::start(Role::Meter, move |ready| match meter.watch(monitor, ready) {
        Ok(()) => OVER,
        Err(error) => {
            tracing::error!("meter: {}", crate::report::chain(&error));
            1
        }
    })?;
    Ok(Some(child))
}

impl Meter {
    fn open(plan: &FilesystemPlan, leaf: &Leaf) -> Result<Option<Self>, MeterError> {
        let bounded = |folder: &WritableFolder| {
            let bytes_max = folder.max_bytes?;
            let mount = rootfs::countable(folder);
            Some(mount.map(|mount| Folder { path: folder.source.clone(), bytes_max, mount }))
        };
        let folders: Vec<Folder> = plan.write.iter().filter_map(bounded).collect::<Result<_, _>>()?;
        if folders.is_empty() {
            return Ok(None);
        }
        let mut devices = HashSet::new();
        if folders.len() == plan.write.len() {
            for folder in &folders {
                let count = |source| MeterError::Count { path: folder.path.clone(), source };
                devices.insert(fstat(&folder.mount).map_err(count)?.st_dev);
            }
        }
        let (freeze, threads) = (leaf.freeze_fd()?, leaf.threads_fd()?);
        Ok(Some(Self { folders, devices, freeze, threads, proc: File::open("/proc")? }))
    }

    /// Confined, then counting until something is over.
    fn watch(&mut self, monitor: Pid, ready: Ready) -> Result<(), CountError> {
        let mut keep: Vec<RawFd> = self.folders.iter().map(|folder| folder.mount.as_raw_fd()).collect();
        keep.extend([self.freeze.as_raw_fd(), self.threads.as_raw_fd(), self.proc.as_raw_fd()]);
        keep.extend([ready.fd().as_raw_fd(), libc::STDERR_FILENO]);
        confine::meter(&Terms { uid: METER, gid: METER, parent: monitor, keep: &keep })?;
        Stage::Meter.passed_io()?;
        ready.say().map_err(std::io::Error::from)?;
        loop {
            let start_ns = clock::now().boot_ns;
            let Some(room_bytes) = self.room()? else { break };
            let took_ms = clock::now().boot_ns.saturating_sub(start_ns) / 1_000_000;
            std::thread::sleep(Duration::from_millis(usage::pause_ms(room_bytes, took_ms)));
        }
        // Nothing more is written from here on. The monitor sees our end, records it and kills.
        Ok(self.freeze.write_all(b"1")?)
    }

    /// The least number of bytes that some folder may still take; `None` when one holds too much.
    fn room(&mut self) -> Result<Option<u64>, CountError> {
        let mut least = u64::MAX;
        let (mut used, mut allowed) = (0_u64, 0_u64);
        for Folder { path, bytes_max, mount } in &self.folders {
            let count = |source| CountError::Count { path: path.clone(), source };
            match usage::measure(mount.as_fd(), *bytes_max).map_err(count)? {
                Usage::Within(bytes) => {
                    used = used.saturating_add(bytes);
                    allowed = allowed.saturating_add(*bytes_max);
                    least = least.min(bytes_max.saturating_sub(bytes));
                }
                Usage::Over(excess) => {
                    tracing::error!("{} holds {excess}; the session is ended", path.display());
                    return Ok(None);
                }
            }
        }
        if self.devices.is_empty() {
            return Ok(Some(least));
        }
        // Of a file without a name nobody can say in which of the folders it stood.
        let held = self.held()?;
        match allowed.checked_sub(used.saturating_add(held)) {
            Some(room) => Ok(Some(least.min(room))),
            None => {
                tracing::error!(
                    "the server keeps {held} bytes in removed files, too much for its folders; the session is ended"
                );
                Ok(None)
            }
        }
    }

    fn held(&mut self) -> Result<u64, CountError> {
        let mut threads = String::new();
        self.threads.rewind()?;
        self.threads.read_to_string(&mut threads)?;
        // 0 stands for a process of an outer pid namespace: not one of the run's.
        let threads = threads.lines().filter(|line| *line != "0");
        usage::held_without_name(self.proc.as_fd(), threads, &self.devices).map_err(CountError::Held)
    }
}
