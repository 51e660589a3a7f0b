//! The tables of `limits.db`, and how a file of an earlier build becomes one of this.

use rusqlite::Transaction;

/// Version of the tables, kept in the file's `user_version`.
const VERSION: i64 = 2;

/// `calls` is the exact log; `counters` says which of its rows are kept (`first <= seq < next`), for how long, and when the last stops
/// to count. `base` is what a counter was charged before row `first`, `total` (of a counter) all that it ever was, `total` (of a call)
/// all up to and including it.
///
/// Totals are billionths as 16 bytes, big-endian: SQLite's integers end at 2^63, which is nine whole 10^9; a BLOB of fixed width
/// needs no parser, takes less room than decimal text, and is ordered as the numbers are.
const TABLES: &str = "
    CREATE TABLE timeline (id INTEGER PRIMARY KEY CHECK (id = 0), boot_id TEXT NOT NULL, offset_ns INTEGER NOT NULL, seen_ns INTEGER NOT NULL) STRICT;
    CREATE TABLE counters (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, first INTEGER NOT NULL, next INTEGER NOT NULL,
        base BLOB NOT NULL CHECK (length(base) = 16), total BLOB NOT NULL CHECK (length(total) = 16),
        reach_ms INTEGER NOT NULL, expires_ns INTEGER NOT NULL) STRICT;
    CREATE INDEX counters_by_expiry ON counters (expires_ns);
    CREATE TABLE calls (counter INTEGER NOT NULL, seq INTEGER NOT NULL, at_ns INTEGER NOT NULL,
        total BLOB NOT NULL CHECK (length(total) = 16), PRIMARY KEY (counter, seq)) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 2;
";

/// Version 1 counted calls, so every row becomes an amount of one. Its reach is that of its latest call; a longer window that its policy
/// still has is known again with the next charge, before which nothing is forgotten.
///
/// The new columns have no defaults: a build of version 1 that has the file open can then no longer charge it, and denies.
/// Products of 10^9 stay integers up to nine billion rows, which no file holds.
const FROM_1: (&str, &str) = (
    "
    DROP INDEX counters_by_expiry;
    ALTER TABLE timeline RENAME TO timeline_1;
    ALTER TABLE counters RENAME TO counters_1;
    ALTER TABLE calls RENAME TO calls_1;
",
    "
    INSERT INTO timeline SELECT id, boot_id, offset_ns, seen_ns FROM timeline_1;
    INSERT INTO counters (id, key, first, next, base, total, reach_ms, expires_ns)
        SELECT id, key, first, next, zeroblob(16), unhex(printf('%032x', (next - first) * 1000000000)),
            coalesce((expires_ns - (SELECT max(at_ns) FROM calls_1 WHERE counter = id) + 999999) / 1000000, 0), expires_ns
        FROM counters_1;
    INSERT INTO calls (counter, seq, at_ns, total)
        SELECT counter, seq, at_ns, unhex(printf('%032x', (seq - first + 1) * 1000000000))
        FROM calls_1 JOIN counters_1 ON counters_1.id = counter WHERE seq >= first AND seq < next;
    DROP TABLE timeline_1;
    DROP TABLE counters_1;
    DROP TABLE calls_1;
",
);

/// Makes the tables, or those of an earlier version into ours, inside the caller's transaction.
pub(super) fn prepare(transaction: &Transaction<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        VERSION => {}
        0 => transaction.execute_batch(TABLES)?,
        1 => {
            let (set_aside, take_over) = FROM_1;
            transaction.execute_batch(set_aside)?;
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(take_over)?;
        }
        other => return Err(format!("schema version {other}, this build knows {VERSION}").into()),
    }
    Ok(())
}
