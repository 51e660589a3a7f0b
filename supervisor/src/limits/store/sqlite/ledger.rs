//! The rows of `limits.db`, inside one transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use crate::bounds::LIMIT_PRUNE_ROWS_MAX;
use crate::limits::timeline::{Instant, Timeline, signed, unsigned};
use crate::limits::window::{CallLog, Logged, first_standing, kept, longest_reach_ms, stands_until_ns, total_before};
use crate::limits::{Amount, Claim};

pub(super) struct Ledger<'t>(pub(super) &'t Transaction<'t>);

impl<'t> Ledger<'t> {
    pub(super) fn timeline(&self) -> rusqlite::Result<Option<Timeline>> {
        self.0
            .prepare_cached("SELECT boot_id, offset_ns, seen_ns FROM timeline WHERE id = 0")?
            .query_row([], |row| Ok(Timeline { boot_id: row.get(0)?, offset_ns: row.get(1)?, seen_ns: row.get(2)? }))
            .optional()
    }

    pub(super) fn keep_timeline(&self, timeline: &Timeline) -> rusqlite::Result<()> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO timeline (id, boot_id, offset_ns, seen_ns) VALUES (0, ?1, ?2, ?3)")?
            .execute(params![timeline.boot_id, timeline.offset_ns, timeline.seen_ns])?;
        Ok(())
    }

    /// The log of the counter `key`; empty when there is none.
    pub(super) fn log(&self, key: &str) -> rusqlite::Result<StoredLog<'t>> {
        let stored = self
            .0
            .prepare_cached("SELECT id, first, next, base, total, reach_ms FROM counters WHERE key = ?1")?
            .query_row([key], |row| self.stored_log(row))
            .optional()?;
        Ok(stored.unwrap_or(StoredLog {
            transaction: self.0,
            counter: 0,
            first: 0,
            next: 0,
            base: Amount::ZERO,
            total: Amount::ZERO,
            reach_ms: 0,
        }))
    }

    fn stored_log(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredLog<'t>> {
        Ok(StoredLog {
            transaction: self.0,
            counter: row.get(0)?,
            first: unsigned(row.get(1)?),
            next: unsigned(row.get(2)?),
            base: amount_of(row.get(3)?),
            total: amount_of(row.get(4)?),
            reach_ms: unsigned(row.get(5)?),
        })
    }

    /// Logs one call, and forgets some of those that stand in no window any more.
    pub(super) fn charge(&self, claim: &Claim, instant: Instant) -> rusqlite::Result<()> {
        let mut log = self.log(&claim.key)?;
        log.reach_ms = longest_reach_ms(log.reach_ms, claim);
        let expires_ns = signed(stands_until_ns(kept(log.reach_ms), instant.log_ns));
        let total = log.total.saturating_add(claim.amount);
        let seq = log.next;
        if log.counter == 0 {
            self.0
                .prepare_cached(
                    "INSERT INTO counters (key, first, next, base, total, reach_ms, expires_ns) VALUES (?1, 0, 1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![claim.key, blob_of(Amount::ZERO), blob_of(total), signed(log.reach_ms), expires_ns])?;
            log.counter = self.0.last_insert_rowid();
        } else {
            let window = kept(log.reach_ms);
            let standing = first_standing(&mut log, window, instant.log_ns)?;
            self.forget(&mut log, standing)?;
            self.0
                .prepare_cached(
                    "UPDATE counters SET first = ?2, next = ?3, base = ?4, total = ?5, reach_ms = ?6, expires_ns = max(expires_ns, ?7) WHERE id = ?1",
                )?
                .execute(params![
                    log.counter,
                    signed(log.first),
                    signed(seq + 1),
                    blob_of(log.base),
                    blob_of(total),
                    signed(log.reach_ms),
                    expires_ns
                ])?;
        }
        self.0
            .prepare_cached("INSERT INTO calls (counter, seq, at_ns, total) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![log.counter, signed(seq), signed(instant.log_ns), blob_of(total)])?;
        Ok(())
    }

    /// Removes one counter that no call stands in any more (of an ended session, or a rule that is gone), a part at a time. As often as
    /// calls are charged, so that dead counters cannot pile up.
    pub(super) fn sweep(&self, instant: Instant) -> rusqlite::Result<()> {
        let expired = self
            .0
            .prepare_cached(
                "SELECT id, first, next, base, total, reach_ms FROM counters WHERE expires_ns <= ?1 ORDER BY expires_ns LIMIT 1",
            )?
            .query_row([signed(instant.log_ns)], |row| self.stored_log(row))
            .optional()?;
        let Some(mut log) = expired else {
            return Ok(());
        };
        let end = log.next;
        self.forget(&mut log, end)?;
        if log.first == log.next {
            self.0.prepare_cached("DELETE FROM counters WHERE id = ?1")?.execute([log.counter])?;
        } else {
            self.0.prepare_cached("UPDATE counters SET first = ?2, base = ?3 WHERE id = ?1")?.execute(params![
                log.counter,
                signed(log.first),
                blob_of(log.base)
            ])?;
        }
        Ok(())
    }

    /// Forgets calls before `keep_from`, as many as one reservation may. What they added stays in the base.
    fn forget(&self, log: &mut StoredLog<'_>, keep_from: u64) -> rusqlite::Result<()> {
        let keep_from = keep_from.min(log.first.saturating_add(LIMIT_PRUNE_ROWS_MAX));
        if keep_from > log.first {
            log.base = total_before(log, keep_from)?;
            log.first = keep_from;
            self.0
                .prepare_cached("DELETE FROM calls WHERE counter = ?1 AND seq < ?2")?
                .execute(params![log.counter, signed(keep_from)])?;
        }
        Ok(())
    }
}

/// One counter's rows.
pub(super) struct StoredLog<'t> {
    transaction: &'t Transaction<'t>,
    /// 0 when the counter does not exist.
    counter: i64,
    first: u64,
    next: u64,
    base: Amount,
    total: Amount,
    /// The longest window that it was charged under, milliseconds.
    reach_ms: u64,
}

impl CallLog for StoredLog<'_> {
    type Error = rusqlite::Error;

    fn first(&self) -> u64 {
        self.first
    }

    fn next(&self) -> u64 {
        self.next
    }

    fn base(&self) -> Amount {
        self.base
    }

    fn total(&self) -> Amount {
        self.total
    }

    fn call(&mut self, seq: u64) -> rusqlite::Result<Logged> {
        self.transaction
            .prepare_cached("SELECT at_ns, total FROM calls WHERE counter = ?1 AND seq = ?2")?
            .query_row(params![self.counter, signed(seq)], |row| {
                Ok(Logged { at_ns: unsigned(row.get(0)?), total: amount_of(row.get(1)?) })
            })
    }
}

const fn blob_of(amount: Amount) -> [u8; 16] {
    amount.billionths().to_be_bytes()
}

const fn amount_of(blob: [u8; 16]) -> Amount {
    Amount::from_billionths(i128::from_be_bytes(blob))
}
