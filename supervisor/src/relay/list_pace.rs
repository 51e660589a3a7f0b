//! How often the server's list of tools is read: a server may say that it changed whenever it likes, and its schemas are compiled in
//! the process that every call goes through. What reading cost is paid back in time before too much of it is owed.

use super::gate::{Gate, Step};
use super::outbox::Outbox;
use crate::audit::{AuditError, Journal};
use crate::bounds::{LIST_WORK_MAX, LIST_WORK_PAUSE_NS};
use crate::clock::Now;
use crate::weaken;

/// The time that may be owed when another list is asked for, nanoseconds.
const OWED_NS_MAX: u64 = LIST_WORK_MAX * LIST_WORK_PAUSE_NS;

/// What was read, as time. A bucket without fractions: the moment at which all is paid back.
#[derive(Debug, Default)]
pub(super) struct ListPace {
    /// Nanoseconds since boot.
    paid_ns: u64,
    /// A list that waits to be asked for.
    put_off: bool,
}

impl ListPace {
    /// So much was read and compiled, in steps of reading a byte.
    pub(super) fn charge(&mut self, work: u64, now_ns: u64) {
        self.paid_ns = self.paid_ns.max(now_ns).saturating_add(work.saturating_mul(LIST_WORK_PAUSE_NS));
    }

    /// Whether another list may be read now.
    pub(super) fn is_free(&self, now_ns: u64) -> bool {
        now_ns >= self.free_ns() || !weaken::in_force("list-pace")
    }

    /// Whether another page of one that is being read may be: it may owe as much again, and no more.
    pub(super) fn has_page(&self, now_ns: u64) -> bool {
        now_ns >= self.free_ns().saturating_sub(OWED_NS_MAX)
    }

    fn free_ns(&self) -> u64 {
        self.paid_ns.saturating_sub(OWED_NS_MAX)
    }

    /// When the list that waits may be asked for, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.put_off.then(|| self.free_ns())
    }
}

impl Gate {
    /// Whether a list that should be read now has to wait. What was known of the tools no longer counts: calls that need it wait as
    /// for an answer, and are refused when it takes too long.
    pub(super) fn puts_list_off(&mut self, now: Now) -> bool {
        self.list_pace.put_off = !self.list_pace.is_free(now.boot_ns);
        if self.list_pace.put_off {
            self.schemas.put_off(now.boot_ns);
            self.pins.asked();
        }
        self.list_pace.put_off
    }

    /// Asks for the list that was put off, when it may be.
    pub(super) fn list_due(&mut self, now: Now, journal: &mut Journal, outbox: &mut Outbox) -> Result<(), AuditError> {
        if self.list_pace.deadline_ns().is_some_and(|due_ns| now.boot_ns >= due_ns) {
            return self.ask_for_tools(&mut Step { now, line: &[], journal, outbox }, None);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use serde_json::{Value, json};

    use super::*;
    use crate::bounds::SCHEMA_WAIT_MS;
    use crate::relay::stage::{Said, Stage, at, call, stage};

    const SHAPE: &str = "tools: {draw: {rules: [{validate: {schema: true}}]}}\nsandbox: {}";
    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_is_owed_is_paid_back_in_time() {
        let mut pace = ListPace::default();
        pace.charge(LIST_WORK_MAX, 5 * SECOND);
        assert!(pace.is_free(5 * SECOND), "as much as may be owed");
        pace.charge(LIST_WORK_MAX, 5 * SECOND);
        assert!(!pace.is_free(5 * SECOND) && pace.has_page(5 * SECOND));
        assert!(!pace.is_free(5 * SECOND + OWED_NS_MAX - 1) && pace.is_free(5 * SECOND + OWED_NS_MAX));
        pace.charge(1, 5 * SECOND);
        assert!(!pace.has_page(5 * SECOND), "a list without an end has one");
        pace.charge(u64::MAX, 5 * SECOND);
        assert!(!pace.is_free(u64::MAX / 2));
    }

    /// What a hostile server lists: patterns that are dear to compile, others each time.
    fn dear(turn: usize) -> Value {
        let mut properties = serde_json::Map::new();
        for n in 0..12 {
            let mut pattern = format!("{turn}");
            let _ = write!(pattern, r"x{n}\w{{1,900}}");
            properties.insert(format!("p{n}"), json!({"type": "string", "pattern": pattern}));
        }
        json!({"name": "draw", "inputSchema": {"type": "object", "properties": properties}})
    }

    fn changed(stage: &mut Stage, seconds: u64) -> Said {
        stage.answers(seconds, &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
    }

    fn lists(stage: &mut Stage, seconds: u64, said: &Said, tool: &Value) {
        let id = said.0.last().unwrap()["id"].clone();
        stage.answers(seconds, &json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [tool]}}));
    }

    fn code(said: &Said) -> &str {
        said.1[0]["result"]["_meta"]["intercept-sandbox/decision"]["code"].as_str().unwrap_or_default()
    }

    #[test]
    fn a_list_that_does_not_change_is_compiled_once_however_often_it_is_said_to() {
        let mut stage = stage(SHAPE, false);
        for _ in 0..50 {
            let said = changed(&mut stage, 1);
            lists(&mut stage, 1, &said, &dear(0));
        }
        assert_eq!(stage.gate.schemas.compiled(), 1);
    }

    #[test]
    fn a_server_whose_list_changes_all_the_time_is_read_at_a_pace_and_calls_are_never_judged_by_an_old_one() {
        let mut stage = stage(SHAPE, false);
        let mut turn = 0;
        // At once as often as it may be; then it is put off.
        let put_off = loop {
            let said = changed(&mut stage, 1);
            if said.0.is_empty() {
                break said;
            }
            lists(&mut stage, 1, &said, &dear(turn));
            turn += 1;
            assert!(turn < 1000, "it is never put off");
        };
        assert_eq!((put_off.1.len(), stage.gate.schemas.compiled()), (1, turn), "the client is told all the same");
        for _ in 0..100 {
            assert!(changed(&mut stage, 1).0.is_empty());
        }
        assert_eq!(stage.gate.schemas.compiled(), turn);
        // The old schema would have let it through.
        assert_eq!(stage.says(1, &call(1, "draw", json!({"p0": "no"}))), (vec![], vec![]));
        let due_ns = stage.gate.list_pace.deadline_ns().unwrap();
        assert!(due_ns > at(1).boot_ns && stage.gate.deadline_ns().is_some_and(|next_ns| next_ns <= due_ns));
        assert_eq!(code(&stage.ticks(1 + SCHEMA_WAIT_MS / 1000)), "schema_unavailable");
        // It is asked once when the time has come, and holds.
        let due = due_ns.div_ceil(SECOND);
        let said = stage.ticks(due.max(7));
        assert_eq!((said.0.len(), &said.0[0]["method"]), (1, &json!("tools/list")), "{said:?}");
        lists(&mut stage, due.max(7), &said, &dear(turn));
        assert_eq!(stage.says(due.max(7), &call(2, "draw", json!({"p0": "no"}))).1.len(), 1);
        assert_eq!(stage.gate.schemas.compiled(), turn + 1);
    }
}
