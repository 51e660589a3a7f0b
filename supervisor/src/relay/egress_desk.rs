//! What egress reports becomes a record; what waits for its record gets its answer.

use super::pump::RelayError;
use crate::audit::{AuditError, Effect, Event, Fs, Gap, Journal, Kind, Proc, Severity};
use crate::clock::Now;
use crate::egress::channel::{Channel, ChannelError, Received, Sent};
use crate::egress::exec_events::ExecStart;
use crate::egress::file_events::FileOpen;
use crate::egress::report::{self, MessageError, NetOp, NetVerdict, Reply, Report};

/// Reports handled in one turn, so that a flood from the server cannot starve the pipe.
const REPORTS_A_TURN: usize = 64;

/// Code and text of a program that was refused.
const UNLISTED: (&str, &str) = ("unlisted_program", "it, or what runs it, is not in process.exec");

/// Why egress is of no more use: the session ends.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The channel broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// Egress sent something that is no report.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Egress does not read its answers.
    #[error("egress does not read its answers")]
    Deaf,
}

/// Whether there is more to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Heard {
    /// Nothing more now.
    Enough,
    /// Egress hung up.
    End,
}

/// The relay's end of the channel to egress.
pub(super) struct EgressDesk {
    channel: Channel,
    buffer: Vec<u8>,
    /// It was told to finish: what it still counts comes at once, hundreds of it.
    finishing: bool,
}

impl EgressDesk {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, buffer: Vec::new(), finishing: false }
    }

    pub(super) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.channel)
    }

    /// Tells egress something.
    pub(super) fn tell(&mut self, reply: Reply) -> Result<(), DeskError> {
        self.finishing |= reply == Reply::Finish;
        report::encode_reply(&reply, &mut self.buffer)?;
        match self.channel.send(&self.buffer)? {
            Sent::Done => Ok(()),
            Sent::WouldBlock => Err(DeskError::Deaf),
        }
    }

    /// Records what egress has to say. `calls` are the calls in flight: a flow belongs to one of them. Each report is on disk then,
    /// until egress is told to finish: from there on with the next record that something waits for, `session.end` at last.
    pub(super) fn hear(&mut self, now: Now, calls: &[String], journal: &mut Journal) -> Result<Heard, RelayError> {
        let corr = calls.join(",");
        for _ in 0..REPORTS_A_TURN {
            match self.channel.recv(&mut self.buffer).map_err(DeskError::from)? {
                Received::WouldBlock => return Ok(Heard::Enough),
                Received::Closed => return Ok(Heard::End),
                Received::Message => {}
            }
            let report = report::decode_report(&self.buffer).map_err(DeskError::from)?;
            if let Some(ticket) = record(&report, now, &corr, journal, self.finishing)? {
                self.tell(Reply::Recorded { ticket })?;
            }
        }
        Ok(Heard::Enough)
    }
}

/// Writes one record; the ticket that waits for it. Where nobody waits for it and it is one of the `last`, it is not synced by itself:
/// on a slow disk the relay would be at it for minutes.
fn record(report: &Report, now: Now, corr: &str, journal: &mut Journal, last: bool) -> Result<Option<u64>, AuditError> {
    match report {
        Report::Lost { count } => lost("ring", *count, now, journal),
        Report::LostExecs { count } => lost("execs", *count, now, journal),
        Report::LostOpens { count } => lost("files", *count, now, journal),
        Report::Open { open } => {
            let mut event = Event::new(Kind::FsOpen).with_effect(Effect::Allowed);
            event.fs = Some(opened(open));
            event.corr = Some(corr).filter(|corr| !corr.is_empty());
            let _written = journal.append_unsynced(now, &event)?; // as for a program: nothing waits for it
            Ok(None)
        }
        Report::Exec { start } => {
            let mut event = match start.denied {
                false => Event::new(Kind::ProcExec).with_effect(Effect::Allowed),
                true => Event::new(Kind::ProcDenied).with_effect(Effect::Denied).with_reason(UNLISTED.0, UNLISTED.1),
            };
            event.proc = Some(started(start));
            event.corr = Some(corr).filter(|corr| !corr.is_empty());
            // Nothing waits for it: the program runs already, or never will. It is on disk with the next record that something
            // waits for.
            let _written = journal.append_unsynced(now, &event)?;
            Ok(None)
        }
        Report::Net { ticket, event: net } => {
            let kind = match net.op {
                NetOp::Connect => Kind::NetConnect,
                NetOp::Dns => Kind::NetDns,
                NetOp::Sni => Kind::NetSni,
                NetOp::Bind => Kind::NetBind,
                NetOp::Flow => Kind::NetFlow,
            };
            let mut event = Event::new(kind).with_effect(match net.verdict {
                NetVerdict::Allowed => Effect::Allowed,
                NetVerdict::Denied => Effect::Denied,
            });
            event.severity = net.self_test.then_some(Severity::Info);
            event.net = Some(net);
            event.corr = Some(corr).filter(|corr| !corr.is_empty());
            let _committed = match ticket {
                None if last => journal.append_unsynced(now, &event)?,
                _ => journal.append(now, &event)?,
            };
            Ok(*ticket)
        }
    }
}

/// Says how many events never came.
fn lost(source: &'static str, count: u64, now: Now, journal: &mut Journal) -> Result<Option<u64>, AuditError> {
    let mut event = Event::new(Kind::AuditGap);
    event.gap = Some(Gap { source, count });
    let _on_disk = journal.append(now, &event)?;
    Ok(None)
}

/// A program's start, or what was to be one, as the record shows it.
fn started(start: &ExecStart) -> Proc<'_> {
    Proc {
        op: "exec",
        pid: Some(start.pid),
        ppid: start.ppid,
        comm: Some(&*start.comm).filter(|comm| !comm.is_empty()),
        exe: start.path.as_deref(),
        interpreter: start.interpreter.as_deref(),
        cut: start.cut.then_some(true),
        others: start.others.then_some(true),
        count: Some(start.count),
        ..Proc::default()
    }
}

/// A file that was opened for writing, as the record shows it.
fn opened(open: &FileOpen) -> Fs<'_> {
    Fs {
        op: "open",
        path: open.path.as_deref(),
        errno: None,
        pid: Some(open.pid),
        comm: Some(&*open.comm).filter(|comm| !comm.is_empty()),
        count: Some(open.count),
        others: open.others.then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::SessionDirectory;
    use crate::egress::report::NetEvent;
    use crate::policy::Durability;
    use crate::relay::test_log;

    fn start() -> ExecStart {
        ExecStart {
            path: Some("/srv/\u{1b}[2Jrun.sh".to_owned()),
            interpreter: Some("/bin/sh".to_owned()),
            cut: true,
            pid: 42,
            ppid: Some(41),
            comm: "run.sh".to_owned(),
            count: 7,
            others: true,
            denied: false,
        }
    }

    fn open(path: Option<&str>) -> FileOpen {
        FileOpen { path: path.map(str::to_owned), pid: 42, comm: "cp".to_owned(), count: 7, others: true }
    }

    #[test]
    fn a_start_and_what_was_lost_become_records_and_nobody_waits_for_them() {
        let root = tempfile::tempdir().unwrap();
        let now = Now { wall_ns: 1, boot_ns: 1 };
        let name = "a".repeat(32);
        let mut journal = SessionDirectory::create(root.path(), &name, Durability::Write, now).unwrap().journal;
        let bare = ExecStart {
            path: None,
            interpreter: None,
            cut: false,
            ppid: None,
            comm: String::new(),
            count: 1,
            others: false,
            ..start()
        };
        let reports = [
            Report::Exec { start: start() },
            Report::Exec { start: bare },
            Report::Exec { start: ExecStart { denied: true, ..start() } },
            Report::LostExecs { count: 3 },
            Report::Lost { count: 4 },
            Report::Open { open: open(Some("/out/\u{1b}a")) },
            Report::Open { open: FileOpen { comm: String::new(), others: false, ..open(None) } },
            Report::LostOpens { count: 5 },
        ];
        for (report, corr) in reports.iter().zip(["c1,c2", "", "c3", "", "", "c4", "", ""]) {
            assert_eq!(record(report, now, corr, &mut journal, false).unwrap(), None);
        }
        let records = test_log::records(root.path());
        let [first, second, refused, execs, ring, file, long, files] = &records[..] else { panic!("{records:#?}") };
        assert_eq!((&first["type"], &first["effect"]), (&"proc.exec".into(), &"allowed".into()));
        let wanted = serde_json::json!({
            "op": "exec", "pid": 42, "ppid": 41, "comm": "run.sh", "count": 7, "exe": "/srv/\u{1b}[2Jrun.sh",
            "interpreter": "/bin/sh", "cut": true, "others": true
        });
        assert_eq!((&first["proc"], &first["corr"]), (&wanted, &"c1,c2".into()));
        assert_eq!(second["proc"], serde_json::json!({"op": "exec", "pid": 42, "count": 1}));
        assert!(second["corr"].is_null());
        assert_eq!((&refused["type"], &refused["effect"]), (&"proc.denied".into(), &"denied".into()));
        assert_eq!((&refused["proc"], &refused["corr"]), (&wanted, &"c3".into()));
        assert_eq!(refused["reason"]["code"], "unlisted_program");
        assert_eq!((&execs["gap"]["source"], &execs["gap"]["count"]), (&"execs".into(), &3.into()));
        assert_eq!((&ring["gap"]["source"], &ring["gap"]["count"]), (&"ring".into(), &4.into()));
        assert_eq!((&file["type"], &file["effect"]), (&"fs.open".into(), &"allowed".into()));
        let wanted = serde_json::json!({
            "op": "open", "path": "/out/\u{1b}a", "pid": 42, "comm": "cp", "count": 7, "others": true
        });
        assert_eq!((&file["fs"], &file["corr"]), (&wanted, &"c4".into()));
        assert_eq!(long["fs"], serde_json::json!({"op": "open", "pid": 42, "count": 7}));
        assert_eq!((&files["gap"]["source"], &files["gap"]["count"]), (&"files".into(), &5.into()));
    }

    #[test]
    fn what_is_told_last_is_synced_with_the_next_that_something_waits_for() {
        let root = tempfile::tempdir().unwrap();
        let now = Now { wall_ns: 1, boot_ns: 1 };
        let opened = SessionDirectory::create(root.path(), &"a".repeat(32), Durability::Strict, now).unwrap();
        let mut journal = opened.journal;
        let denied = NetEvent::new(NetOp::Connect, NetVerdict::Denied);
        let mut owes = |ticket, last| {
            let report = Report::Net { ticket, event: denied.clone() };
            assert_eq!(record(&report, now, "", &mut journal, last).unwrap(), ticket);
            journal.owes_sync()
        };
        assert!(!owes(None, false), "while the server runs each is on disk at once");
        assert!(owes(None, true) && owes(None, true), "nothing waits for it");
        assert!(!owes(Some(1), true), "a connection waits for it, and what came before is on disk, too");
    }

    #[test]
    fn egress_that_was_told_to_finish_is_known_to() {
        let root = tempfile::tempdir().unwrap();
        let now = Now { wall_ns: 1, boot_ns: 1 };
        let opened = SessionDirectory::create(root.path(), &"a".repeat(32), Durability::Strict, now).unwrap();
        let mut journal = opened.journal;
        let (ours, theirs) = Channel::pair().unwrap();
        let mut desk = EgressDesk::new(ours);
        let mut datagram = Vec::new();
        let event = NetEvent::new(NetOp::Connect, NetVerdict::Denied);
        report::encode(&Report::Net { ticket: None, event }, &mut datagram).unwrap();
        for (reply, owes) in
            [(Reply::GateOpen { opened_ns: 7 }, false), (Reply::Finish, true), (Reply::Recorded { ticket: 1 }, true)]
        {
            desk.tell(reply).unwrap();
            assert_eq!(theirs.send(&datagram).unwrap(), Sent::Done);
            assert_eq!(desk.hear(now, &[], &mut journal).unwrap(), Heard::Enough);
            assert_eq!(journal.owes_sync(), owes, "{reply:?}");
        }
    }
}
