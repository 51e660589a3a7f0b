//! How long the server may take for a call: `sandbox.resources.call_timeout`. Nothing that the server sends extends it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::gate::{Asked, Gate, Step, corr, record_id};
use super::outbox::Outbox;
use crate::audit::{AuditError, Effect, Event, Journal, Kind, Mcp, McpResult};
use crate::clock::Now;
use crate::weaken;
use crate::wire::ids::Entry;
use crate::wire::jsonrpc::RequestId;
use crate::wire::reply;

/// Our own JSON-RPC error: the server took too long for a call.
pub(super) const CALL_TIMEOUT: i32 = -31_004;

/// When each call that the server works on was forwarded. As bounded as the table of open requests.
#[derive(Debug, Default)]
pub(super) struct CallClock {
    /// Our id to nanoseconds since boot.
    sent: HashMap<RequestId, u64>,
    /// The same by time; our ids are numbers.
    oldest: BTreeSet<(u64, i64)>,
}

impl CallClock {
    /// A call was forwarded.
    pub(super) fn sent(&mut self, ours: &RequestId, now_ns: u64) {
        if let RequestId::Integer(number) = ours {
            self.sent.insert(ours.clone(), now_ns);
            self.oldest.insert((now_ns, *number));
        }
    }

    /// It was answered, or given up.
    pub(super) fn done(&mut self, ours: &RequestId) {
        if let (RequestId::Integer(number), Some(sent_ns)) = (ours, self.sent.remove(ours)) {
            self.oldest.remove(&(sent_ns, *number));
        }
    }

    /// The call that waits the longest, and since when.
    fn first(&self) -> Option<(RequestId, u64)> {
        self.oldest.first().map(|(sent_ns, number)| (RequestId::Integer(*number), *sent_ns))
    }
}

impl Gate {
    /// The timeout in force, nanoseconds. Asked anew each time: a changed policy holds for calls under way.
    fn call_timeout_ns(&self) -> Option<u64> {
        let timeout = self.policy.sandbox.resources.call_timeout.filter(|timeout| !timeout.is_zero())?;
        weaken::in_force("call-timeout").then(|| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
    }

    /// When the next call is overdue, nanoseconds since boot.
    pub(super) fn call_deadline_ns(&self) -> Option<u64> {
        let timeout_ns = self.call_timeout_ns()?;
        self.call_clock.first().map(|(_, sent_ns)| sent_ns.saturating_add(timeout_ns))
    }

    /// Ends the calls that are overdue: the client gets an error, the server a cancellation. What was charged stays charged, for the
    /// server may have done the work; its late answer is dropped as one to a cancelled call.
    pub(super) fn calls_overdue(
        &mut self,
        now: Now,
        journal: &mut Journal,
        outbox: &mut Outbox,
    ) -> Result<(), AuditError> {
        while let Some(timeout_ns) = self.call_timeout_ns()
            && let Some((ours, sent_ns)) = self.call_clock.first()
            && now.boot_ns >= sent_ns.saturating_add(timeout_ns)
        {
            self.call_clock.done(&ours);
            self.time_out(&ours, Duration::from_nanos(timeout_ns), &mut Step { now, line: &[], journal, outbox })?;
        }
        Ok(())
    }

    fn time_out(&mut self, ours: &RequestId, timeout: Duration, step: &mut Step<'_, '_>) -> Result<(), AuditError> {
        let Some(Entry { origin: Some(origin), payload: Asked::Call { tool, since_ns, .. }, .. }) =
            self.asked.get_mut(ours)
        else {
            return Ok(());
        };
        let (origin, tool, since_ns) = (origin.clone(), tool.clone(), *since_ns);
        let _remembered = self.asked.cancel(&origin);
        let text = format!("The server did not answer within {} s; the call was cancelled.", timeout.as_secs());
        reply::error_reply(Some(&origin), CALL_TIMEOUT, &text, step.outbox.client());
        step.outbox.client().push(b'\n');
        reply::own_cancellation(ours, "timeout", step.outbox.server());
        step.outbox.server().push(b'\n');

        let corr = corr(ours);
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Denied).with_reason("call_timeout", &text);
        event.corr = Some(&corr);
        let latency_ms = step.now.boot_ns.saturating_sub(since_ns) / 1_000_000;
        event.mcp = Some(Mcp {
            dir: "s2c",
            method: Some("tools/call"),
            id: Some(record_id(&origin)),
            kind: Some("own"),
            tool: Some(&tool),
            result: Some(McpResult { is_error: true, code: Some(i64::from(CALL_TIMEOUT)), bytes: 0, latency_ms }),
            ..Mcp::default()
        });
        let recorded = step.record(&event);
        if recorded.is_err() {
            self.unanswered = Some(origin);
        }
        recorded
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::relay::stage::{at, call, stage};

    const POLICY: &str =
        "tools: {t: {rules: [{rate_limit: {max: 2, window: 60}}]}}\nsandbox: {resources: {call_timeout: 10s}}";

    fn answer(id: u64) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}})
    }

    #[test]
    fn a_call_that_is_not_answered_ends_with_an_error_a_cancellation_and_a_record() {
        let mut stage = stage(POLICY, false);
        let (server, client) = stage.says(5, &call(7, "t", json!({})));
        assert_eq!((server.len(), client.len()), (1, 0));
        let ours = server[0]["id"].clone();
        assert_eq!(stage.gate.deadline_ns(), Some(at(15).boot_ns));
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
        stage.answers(14, &progress);
        assert_eq!(stage.ticks(14), (vec![], vec![]), "not yet");
        let (server, client) = stage.ticks(15);
        let text = "The server did not answer within 10 s; the call was cancelled.";
        assert_eq!(client, [json!({"jsonrpc": "2.0", "id": 7, "error": {"code": CALL_TIMEOUT, "message": text}})]);
        let params = json!({"requestId": ours, "reason": "timeout"});
        assert_eq!(server, [json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})]);
        let record = stage.records().pop().unwrap();
        assert_eq!((&record["type"], &record["effect"]), (&json!("mcp.response"), &json!("denied")), "{record}");
        assert_eq!(record["reason"], json!({"code": "call_timeout", "text": text}));
        assert_eq!(record["mcp"]["result"]["latency_ms"], 10_000);
        assert_eq!(stage.gate.deadline_ns(), None);

        assert_eq!(stage.answers(16, &answer(ours.as_u64().unwrap())), (vec![], vec![]), "a late answer is dropped");
        assert_eq!(stage.records().pop().unwrap()["reason"]["code"], "cancelled");
        assert_eq!(stage.says(17, &call(7, "t", json!({}))).0.len(), 1, "its id is free, and one call is left");
        let denied = stage.says(18, &call(8, "t", json!({}))).1;
        assert_eq!(denied[0]["result"]["isError"], true, "what was charged stays charged");
    }

    #[test]
    fn each_call_has_a_time_of_its_own_and_an_answer_or_a_cancellation_stops_it() {
        let mut stage = stage(&POLICY.replace("max: 2", "max: 9"), false);
        for (seconds, id) in [(1, 1), (2, 2), (3, 3)] {
            stage.says(seconds, &call(id, "t", json!({})));
        }
        stage.answers(4, &answer(1));
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
        stage.says(5, &cancel);
        assert_eq!(stage.gate.deadline_ns(), Some(at(13).boot_ns), "only the third is left");
        assert_eq!(stage.ticks(12), (vec![], vec![]));
        let (server, client) = stage.ticks(60);
        assert_eq!((client.len(), &client[0]["id"]), (1, &json!(3)));
        assert_eq!(server[0]["params"]["requestId"], 3);
    }

    #[test]
    fn what_waits_here_is_not_timed_and_other_requests_are_not_calls() {
        let mut stage =
            stage("tools: {t: {rules: [{action: require_approval}]}}\nsandbox: {resources: {call_timeout: 1s}}", false);
        stage.says(1, &call(1, "t", json!({})));
        stage.says(1, &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
        assert_eq!(stage.ticks(40), (vec![], vec![]));
    }

    #[test]
    fn a_timeout_that_a_policy_takes_away_or_brings_holds_at_once() {
        let mut stage = stage(&POLICY.replace("10s", "0"), false);
        stage.says(1, &call(1, "t", json!({})));
        assert_eq!(stage.gate.deadline_ns(), None);
        stage.gate.policy = std::rc::Rc::new(crate::relay::stage::loaded(POLICY));
        assert_eq!(stage.gate.deadline_ns(), Some(at(11).boot_ns));
        assert_eq!(stage.ticks(11).1.len(), 1);
    }
}
