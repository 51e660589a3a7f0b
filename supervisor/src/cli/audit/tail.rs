//! `audit tail`: the last events of all sessions, and the next ones as they come.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::describe::{Shown, describe};
use super::{Done, Root};
use crate::audit::AuditError;
use crate::audit::read::{self, Cursor, Line};

/// Sessions that are looked at, those written last: the others' last events are older than theirs.
const SESSIONS_MAX: usize = 256;
/// Time between two looks at the files, with `-f`.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    pub(super) root: Root,
    /// Go on with new events as they are written.
    #[arg(short, long)]
    follow: bool,
    /// How many events.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    lines: usize,
    /// Print the records as they stand in the log.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &TailArgs, out: &mut impl Write) -> Done {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut cursors = HashMap::new();
    let mut lines = Vec::new();
    for session in read::sessions(&arguments.root.audit_dir)?.into_iter().take(SESSIONS_MAX) {
        let (last, ends) = read::last_lines(&session, arguments.lines)?;
        lines.extend(last);
        cursors.extend(ends.into_iter().map(|cursor| (cursor.file().to_owned(), cursor)));
    }
    let mut events = in_time(lines);
    events.drain(..events.len().saturating_sub(arguments.lines));
    print(out, &events, arguments.json, colours)?;
    if !arguments.follow {
        return Ok(0);
    }
    loop {
        std::thread::sleep(LOOK_EVERY);
        print(out, &in_time(look(arguments, &mut cursors)?), arguments.json, colours)?;
    }
}

/// What was written since the last look, in sessions and segments known or new.
fn look(arguments: &TailArgs, cursors: &mut HashMap<PathBuf, Cursor>) -> Result<Vec<Line>, AuditError> {
    let mut lines = Vec::new();
    for session in read::sessions(&arguments.root.audit_dir)?.into_iter().take(SESSIONS_MAX) {
        for segment in read::segments(&session)? {
            let cursor = cursors.entry(segment.clone()).or_insert_with(|| Cursor::start(segment));
            lines.extend(cursor.take()?);
        }
    }
    Ok(lines)
}

/// Describes lines and sorts them by time; those of one segment stay in their order.
fn in_time(lines: Vec<Line>) -> Vec<(Shown, Line)> {
    let mut events: Vec<_> = lines.into_iter().map(|line| (describe(&line.bytes), line)).collect();
    events.sort_by(|(left, _), (right, _)| left.time.cmp(&right.time));
    events
}

fn print(out: &mut impl Write, events: &[(Shown, Line)], json: bool, colours: bool) -> std::io::Result<()> {
    for (shown, line) in events {
        if json {
            out.write_all(&line.bytes)?;
            writeln!(out)?;
            continue;
        }
        let colour = match shown.class.as_str() {
            _ if !colours => None,
            "denied" | "critical" | "broken" => Some("31"),
            "allowed" => Some("32"),
            "observed" | "warning" => Some("33"),
            _ => None,
        };
        match colour {
            Some(colour) => writeln!(out, "\x1b[{colour}m{:8}\x1b[0m  {}", shown.class, shown.rest)?,
            None => writeln!(out, "{:8}  {}", shown.class, shown.rest)?,
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::{Effect, Event, Kind, SessionDirectory};
    use crate::clock::Now;
    use crate::policy::Durability;

    fn arguments(root: &Path, lines: usize, json: bool) -> TailArgs {
        TailArgs { root: Root { audit_dir: root.to_owned() }, follow: false, lines, json }
    }

    #[test]
    fn the_last_events_of_all_sessions_stand_in_time() {
        let root = tempfile::tempdir().unwrap();
        let at = |seconds: u64| Now { wall_ns: seconds * 1_000_000_000, boot_ns: 1 };
        let mut one = SessionDirectory::create(root.path(), &"a".repeat(32), Durability::Write, at(1)).unwrap().journal;
        let mut two = SessionDirectory::create(root.path(), &"b".repeat(32), Durability::Write, at(1)).unwrap().journal;
        let call = Event::new(Kind::McpRequest);
        let _ = one.append(at(2), &call.with_effect(Effect::Allowed)).unwrap();
        let _ = two.append(at(3), &call.with_effect(Effect::Denied)).unwrap();
        let _ = one.append(at(4), &Event::new(Kind::SessionEnd)).unwrap();

        let mut out = Vec::new();
        assert_eq!(run(&arguments(root.path(), 2, false), &mut out).unwrap(), 0);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "denied    1970-01-01 00:00:03.000Z  bbbbbbbb#1  mcp.request\n\
             notice    1970-01-01 00:00:04.000Z  aaaaaaaa#2  session.end\n"
        );

        let mut cursors = HashMap::new();
        let follow = arguments(root.path(), 2, true);
        assert_eq!(look(&follow, &mut cursors).unwrap().len(), 3);
        assert_eq!(look(&follow, &mut cursors).unwrap(), []);
        let _ = two.append(at(5), &call).unwrap();
        let lines = look(&follow, &mut cursors).unwrap();
        assert_eq!(lines.len(), 1);
        let mut out = Vec::new();
        print(&mut out, &in_time(lines.clone()), true, true).unwrap();
        assert_eq!(out, [&lines[0].bytes[..], b"\n"].concat());
    }

    #[test]
    fn colours_mark_the_class_alone() {
        let shown = Shown { class: "denied".into(), rest: "x".into(), time: String::new() };
        let line = Line { file: PathBuf::new(), bytes: Vec::new() };
        let mut out = Vec::new();
        print(&mut out, &[(shown, line)], false, true).unwrap();
        assert_eq!(out, b"\x1b[31mdenied  \x1b[0m  x\n");
    }
}
