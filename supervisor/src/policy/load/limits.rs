//! `rate_limit:` of a rule.

use super::read::{Reader, Section, scalar};
use super::suggest::nearest;
use super::units;
use crate::bounds::{WINDOW_CALLS_MAX, WINDOW_SECONDS_MAX};
use crate::limits::{CalendarUnit, Quota};
use crate::policy::codes::Code;
use crate::policy::yaml::{Kind, Node};

pub(super) const RATE_LIMIT: Section = Section { what: "a rate limit", keys: &["max", "window"], later: &["align"] };

pub(super) const UNITS: &[(&str, CalendarUnit)] =
    &[("minute", CalendarUnit::Minute), ("hour", CalendarUnit::Hour), ("day", CalendarUnit::Day)];

/// `{max, window}`: sliding. `N/minute`, `N/hour`, `N/day`: units of the UTC calendar.
pub(super) fn rate_limit(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    match &node.kind {
        Kind::Map(_) => sliding(reader, node),
        Kind::Scalar(_) => calendar(reader, node),
        Kind::List(_) => {
            reader.wrong_type(node, "rate_limit", "{max, window} or N/minute, N/hour, N/day");
            None
        }
    }
}

fn sliding(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    let fields = reader.section(node, &RATE_LIMIT)?;
    let max = fields.require(reader, "max", "a rate limit");
    let max = max.and_then(|node| reader.integer(node, "rate_limit.max", 0..=WINDOW_CALLS_MAX));
    let window = fields.require(reader, "window", "a rate limit");
    let window = window.and_then(|node| units::seconds(reader, node, "rate_limit.window", 1, WINDOW_SECONDS_MAX));
    Some(Quota::Sliding { max: max?, window_ms: window? * 1000 })
}

fn calendar(reader: &mut Reader<'_>, node: &Node) -> Option<Quota> {
    let text = scalar(node).map_or("", |scalar| scalar.text.as_str());
    let Some((count, unit)) = text.split_once('/') else { return bad(reader, node, text, None) };
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

fn bad(reader: &mut Reader<'_>, node: &Node, text: &str, near: Option<&str>) -> Option<Quota> {
    let message = format!("`rate_limit` cannot be read: \"{text}\"");
    reader.error(Code::BadRateLimit, node.span, message).help = Some(match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write 10/minute, 100/hour or 1000/day, or {max: 10, window: 60} for any 60 seconds".into(),
    });
    None
}
