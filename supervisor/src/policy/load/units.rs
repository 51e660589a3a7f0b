//! Amounts with units: bytes, times, parts of a core.

use std::time::Duration;

use super::read::{Reader, scalar};
use crate::policy::codes::Code;
use crate::policy::yaml::Node;

/// Bytes: digits, then nothing, K, M, G or T (powers of 1024).
pub(super) fn bytes(reader: &mut Reader<'_>, node: &Node, what: &str, max: u64) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];
    let value = amount(reader, node, what, UNITS, "an amount of bytes such as 512M (K, M, G, T; powers of 1024)")?;
    in_range(reader, node, what, value, 1, max)
}

/// Seconds: digits, then nothing, s, m, h or d.
pub(super) fn seconds(reader: &mut Reader<'_>, node: &Node, what: &str, min: u64, max: u64) -> Option<u64> {
    const UNITS: &[(&str, u64)] = &[("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let value = amount(reader, node, what, UNITS, "a time such as 60, 60s, 5m, 1h or 1d")?;
    in_range(reader, node, what, value, min, max)
}

/// Milliseconds: digits, then ms, s, m, h or d; digits alone are seconds, as everywhere.
pub(super) fn milliseconds(reader: &mut Reader<'_>, node: &Node, what: &str, min: u64, max: u64) -> Option<u64> {
    const UNITS: &[(&str, u64)] =
        &[("", 1000), ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let value = amount(reader, node, what, UNITS, "a time such as 6, 6s, 500ms or 1m")?;
    if (min..=max).contains(&value) {
        return Some(value);
    }
    reader.error(Code::OutOfRange, node.span, format!("`{what}` must be from {min} ms to {max} ms, not {value} ms"));
    None
}

/// A time that may be 0 for "no limit".
pub(super) fn duration(reader: &mut Reader<'_>, node: &Node, what: &str, max: u64) -> Option<Option<Duration>> {
    let value = seconds(reader, node, what, 0, max)?;
    Some((value > 0).then(|| Duration::from_secs(value)))
}

/// The smallest part of a core: what the kernel's CPU bandwidth can hold at its shortest period.
const CPU_MILLIS_MIN: u64 = 10;

/// Thousandths of a core from `1`, `1.5` or `0.25`; at most three decimals.
pub(super) fn millicores(reader: &mut Reader<'_>, node: &Node, what: &str, max: u64) -> Option<u64> {
    let text = scalar(node).filter(|scalar| scalar.plain).map_or("", |scalar| scalar.text.as_str());
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = (digits(whole) && digits(part) && part.len() <= 3)
        .then(|| Some(whole.parse::<u64>().ok()?.checked_mul(1000)? + format!("{part:0<3}").parse::<u64>().ok()?))
        .flatten();
    match value {
        Some(value) if (CPU_MILLIS_MIN..=max).contains(&value) => Some(value),
        Some(_) => {
            let message = format!("`{what}` must be from 0.01 to {} cores, not {text}", max / 1000);
            reader.error(Code::OutOfRange, node.span, message);
            None
        }
        None => {
            reader.error(Code::BadUnit, node.span, format!("`{what}` must be cores such as 1.0 or 0.25"));
            None
        }
    }
}

fn amount(reader: &mut Reader<'_>, node: &Node, what: &str, units: &[(&str, u64)], wanted: &str) -> Option<u64> {
    let text = reader.text(node, what)?;
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let zero_led = digits.len() > 1 && digits.starts_with('0');
    match (digits.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) if !zero_led => match number.checked_mul(factor) {
            Some(value) => return Some(value),
            None => reader.error(Code::OutOfRange, node.span, format!("`{what}` is too large to count")),
        },
        _ => {
            let error = reader.error(Code::BadUnit, node.span, format!("`{what}` must be {wanted}, not \"{text}\""));
            error.help = near_unit(digits, unit, units).map(|near| format!("did you mean {near}?"));
            error
        }
    };
    None
}

/// The amount with the unit that another way of writing it begins with: `512MB`, `512mb`, `512MiB`, `5min`.
fn near_unit(digits: &str, unit: &str, units: &[(&str, u64)]) -> Option<String> {
    let letter = unit.get(..1).filter(|_| !digits.is_empty())?;
    let (near, _) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(letter))?;
    Some(format!("{digits}{near}"))
}

fn in_range(reader: &mut Reader<'_>, node: &Node, what: &str, value: u64, min: u64, max: u64) -> Option<u64> {
    if (min..=max).contains(&value) {
        return Some(value);
    }
    reader.error(Code::OutOfRange, node.span, format!("`{what}` must be from {min} to {max}, not {value}"));
    None
}
