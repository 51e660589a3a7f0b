//! `audit show`: one record in full.

use std::io::Write;

use clap::Args;

use super::{Done, Root};
use crate::audit::chain::read_seq;
use crate::audit::read::{self, Cursor};
use crate::audit::text::visible;

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The record's seq.
    seq: u64,
    /// The session, or the beginning of its name; the one written last if not given.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    #[command(flatten)]
    root: Root,
    /// Print the record as it stands in the log.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &ShowArgs, out: &mut impl Write) -> Done {
    let sessions = read::sessions(&arguments.root.audit_dir)?;
    let wanted = arguments.session.as_deref().unwrap_or_default();
    let mut matching =
        sessions.iter().filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(wanted)));
    let session =
        matching.next().ok_or_else(|| format!("no session {wanted} in {}", arguments.root.audit_dir.display()))?;
    if arguments.session.is_some() && matching.next().is_some() {
        return Err(format!("more than one session begins with {wanted}").into());
    }
    for segment in read::segments(session)? {
        let mut cursor = Cursor::start(segment);
        loop {
            let lines = cursor.take()?;
            if lines.is_empty() {
                break;
            }
            let Some(line) = lines.iter().find(|line| read_seq(&line.bytes) == Some(arguments.seq)) else { continue };
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
    Err(format!("no record with seq {} in {}", arguments.seq, session.display()).into())
}
