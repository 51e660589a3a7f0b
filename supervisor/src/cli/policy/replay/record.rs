//! A line of the log as the replay needs it.

use serde_json::Value;

use crate::audit::timestamp::Timestamp;
use crate::policy::{Leaf, Recorded, RecordedLimit, Shape, Was};

/// What stands in a line.
pub(super) enum Read {
    /// A decided tools/call.
    Call(Box<Call>),
    /// A tools/call that the pipe refused.
    NotAsked,
    /// Anything else.
    Other,
}

/// A decided tools/call and where it stands.
pub(super) struct Call {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) session: String,
    pub(super) recorded: Recorded,
}

/// Wall-clock time of the first record, moved on by boot time, which no one sets.
#[derive(Default)]
pub(super) struct Clock {
    start: Option<(u64, u64)>,
    last_ns: u64,
}

impl Clock {
    fn at(&mut self, wall_ns: u64, boot_ns: u64) -> u64 {
        let (wall, boot) = *self.start.get_or_insert((wall_ns, boot_ns));
        self.last_ns = self.last_ns.max(wall.saturating_add(boot_ns.saturating_sub(boot)));
        self.last_ns
    }
}

/// Reads a line; none where it is no record.
pub(super) fn read(line: &[u8], clock: &mut Clock) -> Option<Read> {
    let record: Value = serde_json::from_slice(line).ok()?;
    let (seq, time) = (record["seq"].as_u64()?, record["time"].as_str()?);
    let at_ns = clock.at(Timestamp::parse(time)?.0, record["boot_ns"].as_u64()?);
    let mcp = &record["mcp"];
    if record["type"].as_str()? != "mcp.request" || mcp["method"] != "tools/call" || mcp["dir"] != "c2s" {
        return Some(Read::Other);
    }
    let Some(tool) = mcp["tool"].as_str() else { return Some(Read::NotAsked) };
    let whole = record.get("cut").is_none();
    let recorded = Recorded {
        at_ns,
        tool: tool.to_owned(),
        arguments: arguments(mcp.get("args"), whole)?,
        was: was(&record)?,
        limit: match record.get("limit") {
            Some(limit) => Some(recorded_limit(limit)?),
            None => None,
        },
    };
    let session = record["session"].as_str()?.to_owned();
    Some(Read::Call(Box::new(Call { seq, time: time.to_owned(), session, recorded })))
}

/// An observed call was let through; its reason, where there is one, says that it would have been refused.
fn was(record: &Value) -> Option<Was> {
    let reason = record["reason"]["code"].as_str().map(str::to_owned);
    let rule = record["rule"]["id"].as_str().map(str::to_owned);
    match (record["effect"].as_str()?, reason) {
        ("allowed", _) | ("observed", None) => Some(Was::Allowed),
        ("denied" | "observed", Some(code)) => Some(Was::Denied(code, rule)),
        _ => None,
    }
}

fn recorded_limit(limit: &Value) -> Option<RecordedLimit> {
    let key = limit["key"].as_str()?.to_owned();
    Some(RecordedLimit { key, window_s: limit["window_s"].as_u64()?, used: limit["used"].as_u64()? })
}

/// `whole`: nothing of the record was cut.
fn arguments(args: Option<&Value>, whole: bool) -> Option<Shape> {
    let Some(args) = args else {
        return Some(Shape { all_keys: true, all_leaves: true, ..Shape::default() });
    };
    let keys = args["keys"].as_array()?.iter().map(|key| key.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    let leaves = args["hmac"].as_array()?.iter().map(leaf).collect::<Option<_>>()?;
    Some(Shape {
        keys,
        all_keys: whole && args.get("keys_omitted").is_none(),
        leaves,
        all_leaves: whole && args.get("leaves_omitted").is_none(),
    })
}

fn leaf(leaf: &Value) -> Option<Leaf> {
    let text = |name: &str| leaf[name].as_str().map(str::to_owned);
    let (pointer, kind) = (text("path")?, text("type")?);
    Some(Leaf { pointer, kind, bytes: leaf["bytes"].as_u64()?, hmac: text("hmac")? })
}
