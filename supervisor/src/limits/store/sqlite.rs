//! Counts that outlive the process: one SQLite file that any number of supervisors share.
//!
//! Every reservation is one `BEGIN IMMEDIATE` transaction, so reservations of all supervisors stand in one order and two of them can
//! never both take the last call. It is on disk before it is granted: WAL with `synchronous=FULL` syncs the log at each commit
//! (<https://www.sqlite.org/pragma.html#pragma_synchronous>), one `fsync` where a rollback journal needs three and an unlink.
//! A refusal writes nothing. The file system must be local: WAL shares memory between processes.
//!
//! For the confinement of the process that uses it:
//! - Open the store in that process, after its last fork: record locks belong to the process (fcntl(2), Advisory record locking).
//! - [`SqliteStore::open`] needs the directory: create, read and write `limits.db`, `-wal`, `-shm` and (the first time) `-journal`,
//!   remove the journal, and, as root, fchown them to the owner of `limits.db`.
//! - [`Store::reserve`] opens nothing. Traced over 3,000 of them, checkpoints and a busy wait included: pread64, pwrite64, fsync,
//!   ftruncate, fcntl (F_SETLK), newfstatat (path and descriptor), clock_nanosleep; mmap (shared, of `-shm`) when another supervisor
//!   lets the log grow past 4,096 pages; besides what malloc needs.
//! - Dropping the store checkpoints and unlinks `-wal` and `-shm` when it was the last user. Not dropping it is safe.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{quota_of, weigh};
use crate::bounds::{LIMIT_PRUNE_ROWS_MAX, LIMIT_STORE_WAIT_MS};
use crate::clock::Now;
use crate::limits::timeline::{Instant, Timeline, signed, unsigned};
use crate::limits::window::{CallLog, first_standing, stands_until_ns};
use crate::limits::{Claim, Reservation, Store, StoreError};

/// Name of the file inside the state directory.
const FILE_NAME: &str = "limits.db";

/// Version of [`SCHEMA`], kept in the file's `user_version`.
const SCHEMA_VERSION: i64 = 1;

/// `calls` is the exact log; `counters` says which of its rows are kept (`first <= seq < next`) and when the last stops to count.
const SCHEMA: &str = "
    CREATE TABLE timeline (id INTEGER PRIMARY KEY CHECK (id = 0), boot_id TEXT NOT NULL, offset_ns INTEGER NOT NULL, seen_ns INTEGER NOT NULL) STRICT;
    CREATE TABLE counters (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, first INTEGER NOT NULL, next INTEGER NOT NULL, expires_ns INTEGER NOT NULL) STRICT;
    CREATE INDEX counters_by_expiry ON counters (expires_ns);
    CREATE TABLE calls (counter INTEGER NOT NULL, seq INTEGER NOT NULL, at_ns INTEGER NOT NULL, PRIMARY KEY (counter, seq)) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// Counts in `limits.db`.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    boot_id: String,
}

impl SqliteStore {
    /// Opens or creates `limits.db` in `directory`, readable by its owner alone. `boot_id` is this boot's
    /// `/proc/sys/kernel/random/boot_id`.
    ///
    /// # Errors
    /// When the file cannot be opened, is a symbolic link, is not a limit store, or is one of another version.
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
        let is_granted = matches!(answer, Reservation::Granted { .. });
        if is_granted {
            for claim in claims {
                ledger.charge(claim, instant)?;
                ledger.sweep(instant)?;
            }
        }
        if is_granted || is_new_boot {
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
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        SCHEMA_VERSION => {}
        0 => transaction.execute_batch(SCHEMA)?,
        other => return Err(format!("schema version {other}, this build knows {SCHEMA_VERSION}").into()),
    }
    transaction.commit()?;
    Ok(connection)
}

/// The tables, inside one transaction.
struct Ledger<'t>(&'t Transaction<'t>);

impl<'t> Ledger<'t> {
    fn timeline(&self) -> rusqlite::Result<Option<Timeline>> {
        self.0
            .prepare_cached("SELECT boot_id, offset_ns, seen_ns FROM timeline WHERE id = 0")?
            .query_row([], |row| Ok(Timeline { boot_id: row.get(0)?, offset_ns: row.get(1)?, seen_ns: row.get(2)? }))
            .optional()
    }

    fn keep_timeline(&self, timeline: &Timeline) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO timeline (id, boot_id, offset_ns, seen_ns) VALUES (0, ?1, ?2, ?3)")?
            .execute(params![timeline.boot_id, timeline.offset_ns, timeline.seen_ns])?;
        Ok(())
    }

    /// The log of the counter `key`; empty when there is none.
    fn log(&self, key: &str) -> rusqlite::Result<StoredLog<'t>> {
        let row = self
            .0
            .prepare_cached("SELECT id, first, next FROM counters WHERE key = ?1")?
            .query_row([key], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
            .optional()?;
        let (counter, first, next) = row.unwrap_or((0, 0, 0));
        Ok(StoredLog { transaction: self.0, counter, first: unsigned(first), next: unsigned(next) })
    }

    /// Logs one call, and forgets some of those that no longer stand.
    fn charge(&self, claim: &Claim, instant: Instant) -> rusqlite::Result<()> {
        let expires_ns = signed(stands_until_ns(quota_of(claim), instant.log_ns));
        let mut log = self.log(&claim.key)?;
        if log.counter == 0 {
            self.0
                .prepare_cached("INSERT INTO counters (key, first, next, expires_ns) VALUES (?1, 0, 1, ?2)")?
                .execute(params![claim.key, expires_ns])?;
            log.counter = self.0.last_insert_rowid();
        } else {
            let standing = first_standing(&mut log, quota_of(claim), instant.log_ns)?;
            let keep_from = standing.min(log.first + LIMIT_PRUNE_ROWS_MAX);
            self.forget(log.counter, log.first, keep_from)?;
            self.0
                .prepare_cached(
                    "UPDATE counters SET first = ?2, next = ?3, expires_ns = max(expires_ns, ?4) WHERE id = ?1",
                )?
                .execute(params![log.counter, signed(keep_from), signed(log.next + 1), expires_ns])?;
        }
        self.0.prepare_cached("INSERT INTO calls (counter, seq, at_ns) VALUES (?1, ?2, ?3)")?.execute(params![
            log.counter,
            signed(log.next),
            signed(instant.log_ns)
        ])?;
        Ok(())
    }

    /// Removes one counter that no call stands in any more (of an ended session, or a rule that is gone), a part at a time. As often as
    /// calls are charged, so that dead counters cannot pile up.
    fn sweep(&self, instant: Instant) -> rusqlite::Result<()> {
        let expired = self
            .0
            .prepare_cached("SELECT id, first, next FROM counters WHERE expires_ns <= ?1 ORDER BY expires_ns LIMIT 1")?
            .query_row([signed(instant.log_ns)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((counter, first, next)): Option<(i64, i64, i64)> = expired else {
            return Ok(());
        };
        let keep_from = next.min(first + signed(LIMIT_PRUNE_ROWS_MAX));
        self.forget(counter, unsigned(first), unsigned(keep_from))?;
        let sql = if keep_from == next {
            "DELETE FROM counters WHERE id = ?1 AND next = ?2"
        } else {
            "UPDATE counters SET first = ?2 WHERE id = ?1"
        };
        self.0.prepare_cached(sql)?.execute(params![counter, keep_from])?;
        Ok(())
    }

    fn forget(&self, counter: i64, first: u64, keep_from: u64) -> rusqlite::Result<()> {
        if keep_from > first {
            self.0
                .prepare_cached("DELETE FROM calls WHERE counter = ?1 AND seq < ?2")?
                .execute(params![counter, signed(keep_from)])?;
        }
        Ok(())
    }
}

/// One counter's rows.
struct StoredLog<'t> {
    transaction: &'t Transaction<'t>,
    /// 0 when the counter does not exist.
    counter: i64,
    first: u64,
    next: u64,
}

impl CallLog for StoredLog<'_> {
    type Error = rusqlite::Error;

    fn first(&self) -> u64 {
        self.first
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn at_ns(&mut self, seq: u64) -> rusqlite::Result<u64> {
        self.transaction
            .prepare_cached("SELECT at_ns FROM calls WHERE counter = ?1 AND seq = ?2")?
            .query_row(params![self.counter, signed(seq)], |row| row.get(0).map(unsigned))
    }
}
