//! `rate_limit:` and `pace:` of a rule, and the windows of `state:`.

use super::read::{Fields, Reader, Section, scalar};
use super::suggest::nearest;
use super::units;
use crate::bounds::{PACE_BURST_MAX, PACE_EVERY_MS_MAX, WINDOW_CALLS_MAX, WINDOW_SECONDS_MAX};
use crate::limits::{CalendarUnit, Quota, Window};
use crate::policy::codes::Code;
use crate::policy::model::Pace;
use crate::policy::yaml::{Kind, Node};

pub(super) const RATE_LIMIT: Section = Section { what: "a rate limit", keys: &["max", "window", "align"], later: &[] };
pub(super) const PACE: Section = Section { what: "pace", keys: &["every", "burst"], later: &[] };

pub(super) const UNITS: &[(&str, CalendarUnit)] =
    &[("minute", CalendarUnit::Minute), ("hour", CalendarUnit::Hour), ("day", CalendarUnit::Day)];

/// `align:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Calendar,
    Sliding,
}

/// `{max, window, align}`: sliding where `align` does not say calendar. `N/minute`, `N/hour`, `N/day`: units of the UTC calendar.
pub(super) fn rate_limit(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    match &node.kind {
        Kind::Map(_) => in_window(reader, node),
        Kind::Scalar(_) => calendar(reader, node),
        Kind::List(_) => {
            reader.wrong_type(node, "rate_limit", "{max, window} or N/minute, N/hour, N/day");
            None
        }
    }
}

fn in_window(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    let fields = reader.section(node, &RATE_LIMIT)?;
    let max = fields.require(reader, "max", "a rate limit");
    let max = max.and_then(|node| reader.integer(node, "rate_limit.max", 0..=WINDOW_CALLS_MAX));
    let window = fields.require(reader, "window", "a rate limit").filter(|node| !is_unit(reader, node));
    let seconds = window.and_then(|node| units::seconds(reader, node, "rate_limit.window", 1, WINDOW_SECONDS_MAX));
    let window = aligned(reader, &fields, seconds?, Align::Sliding);
    let max = max?;
    Some(match window? {
        Window::Sliding { window_ms } => Quota::Sliding { max, window_ms },
        Window::Calendar { unit } => Quota::Calendar { max, unit },
    })
}

/// Whether `window` is a unit's name, which it takes in `state` alone; says so.
fn is_unit(reader: &mut Reader<'_>, node: &Node) -> bool {
    let text = scalar(node).map_or("", |scalar| scalar.text.as_str());
    let Some((name, _)) = UNITS.iter().find(|(name, _)| *name == text) else { return false };
    let short = &name[..1];
    reader.error(Code::BadUnit, node.span, format!("`rate_limit.window` must be a time, not \"{name}\"")).help =
        Some(format!("write 1{short}, or rate_limit: N/{name} for the UTC calendar's"));
    true
}

/// `window` and `align` of `state`: `minute`, `hour` and `day` are of the UTC calendar, times such as `60s` slide, unless
/// `align` says otherwise.
pub(super) fn state_window(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Window> {
    let node = fields.require(reader, "window", "state")?;
    let text = reader.text(node, "state.window")?;
    if let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == text) {
        return aligned(reader, fields, unit.seconds(), Align::Calendar);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        let help = match nearest(text, UNITS.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write minute, hour or day of the UTC calendar, or a time such as 60s, 5m, 1h or 1d".into(),
        };
        let message = format!("`state.window` cannot be read: \"{text}\"");
        reader.error(Code::BadRateLimit, node.span, message).help = Some(help);
        return None;
    }
    let seconds = units::seconds(reader, node, "state.window", 1, WINDOW_SECONDS_MAX)?;
    aligned(reader, fields, seconds, Align::Sliding)
}

fn aligned(reader: &mut Reader<'_>, fields: &Fields<'_>, seconds: u64, default: Align) -> Option<Window> {
    const WORDS: &[(&str, Align)] = &[("calendar", Align::Calendar), ("sliding", Align::Sliding)];
    let align = match fields.get("align") {
        Some(node) => reader.choice(node, "align", WORDS, &[])?,
        None => default,
    };
    if align == Align::Sliding {
        return Some(Window::Sliding { window_ms: seconds * 1000 });
    }
    let unit = UNITS.iter().find(|(_, unit)| unit.seconds() == seconds);
    if unit.is_none()
        && let Some(entry) = fields.entry("align")
    {
        let message = "the calendar has minutes, hours and days: this needs a window of exactly 1m, 1h or 1d";
        reader.error(Code::BadRateLimit, entry.value.span, message);
    }
    unit.map(|&(_, unit)| Window::Calendar { unit })
}

/// `{every, burst}`.
pub(super) fn pace(reader: &mut Reader<'_>, node: &Node) -> Option<Pace> {
    let fields = reader.section(node, &PACE)?;
    let every = fields.require(reader, "every", "pace");
    let every = every.and_then(|node| units::milliseconds(reader, node, "pace.every", 1, PACE_EVERY_MS_MAX));
    let burst = match fields.get("burst") {
        Some(node) => reader.integer(node, "pace.burst", 1..=PACE_BURST_MAX)?,
        None => 1,
    };
    Some(Pace { every_ms: every?, burst: u32::try_from(burst).ok()? })
}

fn calendar(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    let text = scalar(node).map_or("", |scalar| scalar.text.as_str());
    let Some((count, unit)) = text.split_once('/') else { return bad(reader, node, text, None) };
    if let Some(plain) = without_spaces(count, unit) {
        reader.error(Code::BadRateLimit, node.span, format!("`rate_limit` cannot be read: \"{text}\"")).help =
            Some(format!("write {plain}"));
        return None;
    }
    let digits = count.bytes().all(|byte| byte.is_ascii_digit()) && (count == "0" || !count.starts_with('0'));
    let Some(&(_, unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return bad(reader, node, text, nearest(unit, UNITS.iter().map(|(name, _)| *name)));
    };
    match count.parse::<u64>() {
        Ok(max) if digits && max <= WINDOW_CALLS_MAX => Some(Quota::Calendar { max, unit }),
        Ok(_) if digits => {
            let message = format!("`rate_limit` allows at most {WINDOW_CALLS_MAX} calls");
            reader.error(Code::OutOfRange, node.span, message);
            None
        }
        _ => bad(reader, node, text, None),
    }
}

/// A rate that only its spaces spoil, without them.
fn without_spaces(count: &str, unit: &str) -> Option<String> {
    let plain = (count.trim(), unit.trim());
    let is_rate = plain.0.parse::<u64>().is_ok() && UNITS.iter().any(|(name, _)| *name == plain.1);
    (is_rate && plain != (count, unit)).then(|| format!("{}/{}", plain.0, plain.1))
}

fn bad(reader: &mut Reader<'_>, node: &Node, text: &str, near: Option<&str>) -> Option<Quota> {
    let message = format!("`rate_limit` cannot be read: \"{text}\"");
    reader.error(Code::BadRateLimit, node.span, message).help = Some(match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write 10/minute, 100/hour or 1000/day, or {max: 10, window: 60} for any 60 seconds".into(),
    });
    None
}
