//! The words of denials and explanations. They name what the policy wants, never what the call brought.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::condition::{Clause, Condition, Literal, Test};
use super::limit_words::{Standing, whole_span};
use super::model::Rule;
use super::verdict::{Limited, PlannedLimit};
use crate::bounds::CONDITION_TEXT_BYTES_MAX;
use crate::limits::Window;
use crate::report::printable;
use crate::wire::schema::{Mismatch, Unjudgeable};

/// Characters of a name from elsewhere that a message repeats.
const NAME_CHARS_MAX: usize = 128;

/// `"name"`, cut and escaped: it comes from the client or the server.
pub(super) fn quoted(name: &str) -> String {
    let cut = name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(end, _)| &name[..end]);
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("\"{}{dots}\"", printable(cut))
}

/// A policy's own words with a full stop where they end without one, so that another sentence can follow.
pub(crate) fn as_sentence(text: &str) -> Cow<'_, str> {
    let text = text.trim_end();
    let said = text.trim_end_matches(['"', '\'', '”', '’', '»', ')', ']']);
    if text.is_empty() || said.ends_with(['.', '!', '?', '…', ':', ';', '。', '！', '？']) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}."))
    }
}

/// A wait for people, never too short: seconds, from two minutes on minutes, from two hours on hours.
pub(super) fn wait(wait_ms: u64) -> String {
    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    match wait_ms {
        0..=119_999 => format!("{} s", wait_ms.div_ceil(1000)),
        120_000..=7_199_999 => format!("{} min", wait_ms.div_ceil(MINUTE_MS)),
        _ => format!("{} h", wait_ms.div_ceil(HOUR_MS)),
    }
}

/// What the agent reads when a rule denies: the rule's own message, or this one.
pub(super) fn message(rule: &Rule, default: impl FnOnce() -> String) -> String {
    rule.reason.clone().unwrap_or_else(default)
}

pub(super) fn condition_failed(rule: &Rule, clause: &Clause) -> String {
    format!("{} (rule {}).", sentence(clause), rule.id)
}

/// What a condition wants, in at most `CONDITION_TEXT_BYTES_MAX` bytes.
pub(super) fn sentence(clause: &Clause) -> String {
    let mut text = Shortened(String::new());
    match write!(text, "{clause}") {
        Ok(()) => text.0,
        Err(fmt::Error) => text.0 + "…", // it is full
    }
}

/// Takes as much as fits, and refuses the rest.
struct Shortened(String);

impl fmt::Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = CONDITION_TEXT_BYTES_MAX - '…'.len_utf8() - self.0.len();
        let cut = (0..=left.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        self.0.push_str(&text[..cut]);
        if cut < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

pub(super) fn denied_by_rule(rule: &Rule) -> String {
    format!("Every call of this tool is denied (rule {}).", rule.id)
}

pub(super) fn missing_argument(rule: &Rule, name: &str) -> String {
    format!("The required argument {} is missing (rule {}).", quoted(name), rule.id)
}

pub(super) fn schema_unavailable(rule: &Rule) -> String {
    format!("The tool's input schema could not be had, and rule {} needs it.", rule.id)
}

pub(super) fn schema_unjudgeable(rule: &Rule, which: &str, why: &Unjudgeable) -> String {
    format!("The tool's {which} schema cannot be judged, and rule {} needs it: {why}.", rule.id)
}

pub(super) fn schema_mismatch(rule: &Rule, mismatch: &Mismatch) -> String {
    format!("args{mismatch} (rule {}).", rule.id)
}

impl fmt::Display for Clause {
    /// The condition as a sentence; groups inside groups in brackets. Not bounded: see `sentence`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(condition) => write!(f, "{condition}"),
            Self::Any(clauses, _) => joined(f, clauses, " or "),
            Self::All(clauses, _) => joined(f, clauses, " and "),
            Self::Not(clause, _) => write!(f, "this must not hold: {clause}"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, clauses: &[Clause], between: &str) -> fmt::Result {
    for (index, clause) in clauses.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        match clause {
            Clause::Test(condition) => write!(f, "{condition}")?,
            group => write!(f, "({group})")?,
        }
    }
    Ok(())
}

impl fmt::Display for Condition {
    /// The condition as a sentence: `args.width must be at most 2048, if present`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.test)?;
        if self.if_present { f.write_str(", if present") } else { Ok(()) }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eq(literal) => write!(f, "must be {literal}"),
            Self::Neq(literal) => write!(f, "must not be {literal}"),
            Self::In(literals) => write!(f, "must be one of {}", Listed(literals)),
            Self::NotIn(literals) => write!(f, "must be none of {}", Listed(literals)),
            Self::Lt(number) => write!(f, "must be less than {}", number.text()),
            Self::Lte(number) => write!(f, "must be at most {}", number.text()),
            Self::Gt(number) => write!(f, "must be more than {}", number.text()),
            Self::Gte(number) => write!(f, "must be at least {}", number.text()),
            Self::Regex(_, pattern) => write!(f, "must match the regular expression {}", quoted(pattern)),
            Self::NotRegex(_, pattern) => write!(f, "must not match the regular expression {}", quoted(pattern)),
            Self::Contains(literal) => write!(f, "must contain {literal}"),
            Self::NotContains(literal) => write!(f, "must not contain {literal}"),
            Self::StartsWith(prefix) => write!(f, "must start with {}", quoted(prefix)),
            Self::Exists(true) => f.write_str("must be given"),
            Self::Exists(false) => f.write_str("must not be given"),
            Self::UnderPath(folder) => write!(f, "must be an absolute path in {folder}, without .."),
            Self::LengthLte(max) => write!(f, "must have a length of at most {max}"),
            Self::HostIn(hosts) => write!(f, "must name one of the hosts {}", Listed(hosts)),
        }
    }
}

/// With commas; long lists are cut.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        for (index, literal) in self.0.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{literal}")?;
        }
        if self.0.len() > SHOWN { write!(f, " and {} more", self.0.len() - SHOWN) } else { Ok(()) }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(number.text()),
            Self::String(text) => f.write_str(&quoted(text)),
            Self::List(items) => {
                f.write_char('[')?;
                write!(f, "{}", Listed(items))?;
                f.write_char(']')
            }
        }
    }
}

impl PlannedLimit<'_> {
    /// What the agent reads when the limit is reached: `Rate limit of 10 per 60 s reached.`
    #[must_use]
    pub fn reached(&self) -> String {
        match self.what {
            Limited::Calls(quota) => format!("Rate limit of {} per {} reached.", quota.max(), Span(quota.window())),
            Limited::Counter { .. } => format!("{} (rule {}).", Standing(self), self.rule.id),
        }
    }
}

/// `60 s`, `24 h` or `hour`.
struct Span(Window);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Window::Sliding { window_ms } => f.write_str(&whole_span(window_ms)),
            Window::Calendar { unit } => f.write_str(unit.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Verdict;
    use crate::policy::testing::{call, loaded};

    #[test]
    fn names_from_elsewhere_are_cut_and_escaped() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "\"a\\u{1b}[2Jb\"");
        assert_eq!(quoted(&"x".repeat(500)).chars().count(), NAME_CHARS_MAX + 3);
    }

    #[test]
    fn groups_are_sentences_and_never_longer_than_their_bound() {
        let said = |condition: &str| {
            let policy = loaded(&format!("tools: {{t: {{rules: [{{conditions: [{condition}]}}]}}}}"));
            sentence(&policy.tools["t"].rules[0].conditions[0])
        };
        let (a, b) =
            ("{path: args.a, op: eq, value: 1}", "{path: args.b, op: host_in, value: [x.example, '*.y.example']}");
        assert_eq!(
            said(&format!("{{any: [{a}, {{all: [{b}, {{not: {a}}}]}}]}}")),
            "args.a must be 1 or (args.b must name one of the hosts x.example, *.y.example and (this must not hold: args.a must be 1))"
        );
        let many = said(&format!("{{any: [{}]}}", vec![a; 10_000].join(", ")));
        assert!(many.len() <= CONDITION_TEXT_BYTES_MAX && many.ends_with('…'), "{}", many.len());
        let wide = said(&format!("{{path: args.a, op: starts_with, value: '{}'}}", "é".repeat(5000)));
        assert!(wide.len() <= CONDITION_TEXT_BYTES_MAX, "{}", wide.len());
    }

    #[test]
    fn the_policys_words_end_before_ours_begin() {
        for (text, sentence) in [
            ("Ten a minute", "Ten a minute."),
            ("Ten a minute ", "Ten a minute."),
            ("Ten (a minute)", "Ten (a minute)."),
            ("Ten a minute.", "Ten a minute."),
            ("Why so many?", "Why so many?"),
            ("\"Slow down!\"", "\"Slow down!\""),
            ("(Slow down.)", "(Slow down.)"),
            ("", ""),
        ] {
            assert_eq!(as_sentence(text), sentence);
        }
    }

    #[test]
    fn a_wait_is_said_in_a_unit_that_people_use_and_never_too_short() {
        for (wait_ms, said) in [
            (1, "1 s"),
            (42_000, "42 s"),
            (119_001, "120 s"),
            (120_000, "2 min"),
            (120_001, "3 min"),
            (1_080_000, "18 min"),
            (7_199_999, "120 min"),
            (7_200_000, "2 h"),
            (7_200_001, "3 h"),
            (86_400_000, "24 h"),
        ] {
            assert_eq!(wait(wait_ms), said);
        }
    }

    #[test]
    fn a_rules_own_words_and_the_time_are_two_sentences() {
        use crate::clock::Now;
        use crate::limits::MemoryStore;
        use crate::limits::pace::Paces;
        use crate::policy::{Charged, Tills};
        let policy = loaded("tools: {t: {rules: [{reason: Ten an hour, rate_limit: {max: 1, window: 1h}}]}}");
        let (mut store, mut paces) = (MemoryStore::new(), Paces::new());
        let mut message = String::new();
        for minute in [0, 42] {
            let now = Now { wall_ns: minute * 60_000_000_000, boot_ns: minute * 60_000_000_000 };
            let Verdict::Allow(allowance) = policy.judge(&call("t", None)) else { panic!("denied") };
            let tills = Tills { store: &mut store, paces: &mut paces, session: "s" };
            if let Charged::Refused { denial, retry_after_ms, .. } = allowance.charge(&policy, tills, now).unwrap() {
                assert_eq!(retry_after_ms, Some(18 * 60_000), "the exact time is told too");
                message = denial.message;
            }
        }
        assert_eq!(message, "Ten an hour. Try again in 18 min.");
    }

    #[test]
    fn limit_text_is_the_catalogues() {
        let reached = |limit: &str| {
            let policy = loaded(&format!("tools: {{t: {{rules: [{{rate_limit: {limit}}}]}}}}"));
            let Verdict::Allow(allowance) = policy.judge(&call("t", None)) else { panic!("denied") };
            allowance.limits[0].reached()
        };
        assert_eq!(reached("{max: 10, window: 60}"), "Rate limit of 10 per 60 s reached.");
        assert_eq!(reached("5/hour"), "Rate limit of 5 per hour reached.");
    }
}
