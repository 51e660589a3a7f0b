//! Counts that outlive the process: one SQLite file that any number of supervisors share.
//!
//! Every reservation is one `BEGIN IMMEDIATE` transaction, so reservations of all supervisors stand in one order and two of them can
//! never both take the last call. It is on disk before it is granted: WAL with `synchronous=FULL` syncs the log at each commit
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>), one `fsync` where a rollback journal needs three and an unlink.
//! A refusal writes nothing, nor do claims that only read. The file system must be local: WAL shares memory between processes.
//!
//! For the confinement of the process that uses it:
//! - Open the store in that process, after its last fork: record locks belong to the process (fcntl(2), Advisory record locking).
//! - [`SqliteStore::open`] needs the directory: create, read and write `limits.db`, `-wal`, `-shm` and (the first time) `-journal`,
//!   remove the journal, and, as root, fchown them to the owner of `limits.db`.
//! - [`Store::reserve`] opens nothing. Traced over 3,000 of them, checkpoints and a busy wait included: pread64, pwrite64, fsync,
//!   ftruncate, fcntl (F_SETLK), newfstatat (path and descriptor), clock_nanosleep; mmap (shared, of `-shm`) when another supervisor
//!   lets the log grow past 4,096 pages; besides what malloc needs.
//! - Dropping the store checkpoints and unlinks `-wal` and `-shm` when it was the last user. Not dropping it is safe.

mod ledger;
mod schema;

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use self::ledger::Ledger;
use super::weigh;
use crate::bounds::LIMIT_STORE_WAIT_MS;
use crate::clock::Now;
use crate::limits::timeline::Timeline;
use crate::limits::{Amount, Claim, Reservation, Store, StoreError};

/// Name of the file inside the state directory.
const FILE_NAME: &str = "limits.db";

/// Counts in `limits.db`.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    boot_id: String,
}

impl SqliteStore {
    /// Opens or creates `limits.db` in `directory`, readable by its owner alone; a file of an earlier build is taken over, counts and
    /// all. `boot_id` is this boot's `/proc/sys/kernel/random/boot_id`.
    ///
    /// # Errors
    /// When the file cannot be opened, is a symbolic link, is not a limit store, or is one of a later version.
    pub fn open(directory: &Path, boot_id: &str) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let connection = connect(directory).map_err(|what| error_at(&path, what))?;
        Ok(Self { connection, path, boot_id: boot_id.to_owned() })
    }

    fn try_reserve(&mut self, now: Now, claims: &[Claim]) -> rusqlite::Result<Reservation> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let ledger = Ledger(&transaction);
        let stored = ledger.timeline()?;
        let mut timeline = stored.unwrap_or_else(|| Timeline::begin(&self.boot_id, now));
        let is_new_boot = timeline.adopt(&self.boot_id, now);
        let instant = timeline.instant(now);
        let answer = weigh(claims, instant, |claim| ledger.log(&claim.key))?;
        let charges = || claims.iter().filter(|claim| claim.amount != Amount::ZERO);
        let is_granted = matches!(answer, Reservation::Granted { .. });
        if is_granted {
            for claim in charges() {
                ledger.charge(claim, instant)?;
                ledger.sweep(instant)?;
            }
        }
        if (is_granted && charges().next().is_some()) || is_new_boot {
            ledger.keep_timeline(&timeline)?;
            transaction.commit()?;
        }
        Ok(answer)
    }
}

impl Store for SqliteStore {
    fn reserve(&mut self, now: Now, claims: &[Claim]) -> Result<Reservation, StoreError> {
        self.try_reserve(now, claims).map_err(|error| error_at(&self.path, error))
    }
}

fn error_at(path: &Path, what: impl Display) -> StoreError {
    StoreError::Database { path: path.display().to_string(), what: what.to_string() }
}

fn connect(directory: &Path) -> Result<Connection, Box<dyn std::error::Error>> {
    // SQLITE_OPEN_NOFOLLOW refuses a link anywhere in the path; only the last part is ours to refuse.
    let path = directory.canonicalize()?.join(FILE_NAME);
    // SQLite gives its side files the mode of the file, and would create that one readable to all.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(_) => File::open(directory)?.sync_all()?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(Duration::from_millis(LIMIT_STORE_WAIT_MS))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;",
    )?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::prepare(&transaction)?;
    transaction.commit()?;
    Ok(connection)
}
