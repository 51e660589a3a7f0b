//! `audit show`: one record in full.

use std::io::Write;

use clap::Args;

use super::{Done, Root};
use crate::audit::chain::read_seq;
use crate::audit::read::{self, Cursor};
use crate::audit::text::visible;

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The record: its seq, or SESSION#SEQ as `audit tail` prints it.
    #[arg(value_name = "SEQ", value_parser = record)]
    record: Named,
    /// The session, or the beginning of its name; the one written last if not given.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    #[command(flatten)]
    pub(super) root: Root,
    /// Print the record as it stands in the log.
    #[arg(long)]
    json: bool,
}

/// A record as named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    /// The beginning of the session's name.
    session: Option<String>,
    seq: u64,
}

/// `SEQ` or `SESSION#SEQ`.
fn record(text: &str) -> Result<Named, String> {
    let (session, seq) = match text.split_once('#') {
        Some((session, seq)) => (Some(session), seq),
        None => (None, text),
    };
    let named = session.is_none_or(|session| {
        !session.is_empty() && session.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    match seq.parse() {
        Ok(seq) if named => Ok(Named { session: session.map(str::to_owned), seq }),
        _ => Err("a record is named by its seq, or by SESSION#SEQ as `audit tail` prints it".to_owned()),
    }
}

pub(super) fn run(arguments: &ShowArgs, out: &mut impl Write) -> Done {
    let sessions = read::sessions(&arguments.root.audit_dir)?;
    let Named { session: named, seq } = &arguments.record;
    if let (Some(named), Some(session)) = (named, &arguments.session)
        && !session.starts_with(named.as_str())
        && !named.starts_with(session.as_str())
    {
        return Err(format!("{named}#{seq} is no record of session {session}").into());
    }
    // Of two beginnings the longer one says more.
    let wanted = named.iter().chain(&arguments.session).max_by_key(|name| name.len());
    let is_named = wanted.is_some();
    let wanted = wanted.map_or("", String::as_str);
    let mut matching =
        sessions.iter().filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(wanted)));
    let session =
        matching.next().ok_or_else(|| format!("no session {wanted} in {}", arguments.root.audit_dir.display()))?;
    if is_named && matching.next().is_some() {
        return Err(format!("more than one session begins with {wanted}").into());
    }
    for segment in read::segments(session)? {
        let mut cursor = Cursor::start(segment);
        loop {
            let lines = cursor.take()?;
            if lines.is_empty() {
                break;
            }
            let Some(line) = lines.iter().find(|line| read_seq(&line.bytes) == Some(*seq)) else { continue };
            if arguments.json {
                out.write_all(&line.bytes)?;
                writeln!(out)?;
            } else {
                let record: serde_json::Value = serde_json::from_slice(&line.bytes)?;
                let text = serde_json::to_string_pretty(&record)?;
                for line in text.lines() {
                    writeln!(out, "{}", visible(line))?;
                }
            }
            return Ok(0);
        }
    }
    Err(format!("no record with seq {seq} in {}", session.display()).into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::{Event, Kind, SessionDirectory};
    use crate::clock::Now;
    use crate::policy::Durability;

    fn show(root: &Path, named: &str, session: Option<&str>) -> Result<String, String> {
        let root = Root { audit_dir: root.to_owned() };
        let arguments = ShowArgs { record: record(named)?, session: session.map(str::to_owned), root, json: true };
        let mut out = Vec::new();
        run(&arguments, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_record_is_named_as_tail_prints_it() {
        let root = tempfile::tempdir().unwrap();
        let at = |seconds: u64| Now { wall_ns: seconds * 1_000_000_000, boot_ns: 1 };
        for (name, second) in [("a", 1), ("b", 2)] {
            let name = name.repeat(32);
            let mut journal = SessionDirectory::create(root.path(), &name, Durability::Write, at(1)).unwrap().journal;
            let _ = journal.append(at(second), &Event::new(Kind::SessionEnd)).unwrap();
        }
        let of = |second: u64| format!("1970-01-01T00:00:0{second}");
        assert!(show(root.path(), "aaaaaaaa#1", None).unwrap().contains(&of(1)));
        assert!(show(root.path(), "bbbbbbbb#1", None).unwrap().contains(&of(2)));
        assert!(show(root.path(), "1", Some("aaaaaaaa")).unwrap().contains(&of(1)));
        assert!(show(root.path(), "aaaaaaaa#1", Some("a")).unwrap().contains(&of(1)));
        for (named, session) in [("cccccccc#1", None), ("aaaaaaaa#9", None), ("aaaaaaaa#1", Some("bb"))] {
            assert!(show(root.path(), named, session).is_err(), "{named}");
        }
        for wrong in ["", "#1", "aaaaaaaa#", "a#b", "a#1#2", "../a#1", "-1"] {
            assert!(record(wrong).is_err(), "{wrong}");
        }
    }
}
