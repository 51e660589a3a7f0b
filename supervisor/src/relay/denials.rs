//! What the server's filter refused, in the log.

use crate::audit::{AuditError, Effect, Event, Journal, Kind, Proc};
use crate::clock::Now;
use crate::relay::messages::Denied;
use crate::sandbox::seccomp;

/// Writes one record. `calls` are the calls that were in flight when it was made: what a server does that it should not, it does for
/// one of them.
///
/// # Errors
/// Only when it cannot be recorded.
pub(super) fn record(denied: &Denied, calls: &[String], now: Now, journal: &mut Journal) -> Result<(), AuditError> {
    let number = format!("system call {}", denied.call);
    let (call, why) = seccomp::refusal_of(denied.call).unwrap_or((&number, "not in the list of calls"));
    let comm = String::from_utf8_lossy(denied.comm.split(|byte| *byte == 0).next().unwrap_or_default());
    let corr = calls.join(",");
    let mut event = Event::new(Kind::ProcDenied).with_effect(Effect::Denied).with_reason("refused_call", why);
    event.proc = Some(Proc {
        op: "call",
        call: Some(call),
        tid: Some(denied.tid).filter(|tid| *tid != 0),
        comm: Some(&*comm).filter(|comm| !comm.is_empty()),
        count: Some(denied.count),
        ..Proc::default()
    });
    event.corr = Some(corr.as_str()).filter(|corr| !corr.is_empty());
    let _on_disk = journal.append(now, &event)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::SessionDirectory;
    use crate::policy::Durability;
    use crate::relay::{stage, test_log};

    #[test]
    fn a_record_names_the_call_the_thread_the_count_and_the_calls_in_flight() {
        let root = tempfile::tempdir().unwrap();
        let ptrace = u32::try_from(libc::SYS_ptrace).unwrap();
        let mut comm = [0; 16];
        comm[..9].copy_from_slice(b"evil\x1b[2J\xff");
        let denied = Denied { call: ptrace, count: 7, tid: 4711, comm, since_ns: None };
        let now = Now { wall_ns: 1, boot_ns: 1 };
        let name = "a".repeat(32);
        let mut journal = SessionDirectory::create(root.path(), &name, Durability::Write, now).unwrap().journal;
        record(&denied, &["c1".to_owned(), "c2".to_owned()], now, &mut journal).unwrap();
        let unknown = Denied { call: 100_000, count: 1, tid: 0, comm: [0; 16], since_ns: None };
        record(&unknown, &[], now, &mut journal).unwrap();
        let records = test_log::records(root.path());
        let [first, second] = &records[..] else { panic!("{records:#?}") };
        assert_eq!((&first["type"], &first["effect"]), (&"proc.denied".into(), &"denied".into()));
        let wanted = serde_json::json!({
            "op": "call", "call": "ptrace", "tid": 4711, "comm": "evil\u{1b}[2J\u{fffd}", "count": 7
        });
        assert_eq!((&first["proc"], &first["corr"]), (&wanted, &"c1,c2".into()));
        assert_eq!(first["reason"]["code"], "refused_call");
        assert_eq!(second["proc"], serde_json::json!({"op": "call", "call": "system call 100000", "count": 1}));
        assert!(second["corr"].is_null());
    }

    #[test]
    fn calls_that_came_after_it_are_not_named() {
        let mut stage = stage::stage("name: p\ntools: {t: {}}\n", false);
        for (id, seconds) in [(1, 3), (2, 7)] {
            let (server, _) = stage.says(seconds, &stage::call(id, "t", serde_json::json!({})));
            assert_eq!(server.len(), 1);
        }
        let names = [2, 3, 6, 7].map(|seconds| stage.gate.calls_in_flight(stage::at(seconds).boot_ns).len());
        assert_eq!(names, [0, 1, 1, 2]);
    }
}
