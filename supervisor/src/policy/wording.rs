//! The words of denials and explanations. They name what the policy wants, never what the call brought.

use std::fmt::{self, Write as _};

use super::condition::{Clause, Condition, Literal, Test};
use super::limit_words::Standing;
use super::model::Rule;
use super::verdict::{Limited, PlannedLimit};
use crate::limits::Window;
use crate::report::printable;

/// Characters of a name from elsewhere that a message repeats.
const NAME_CHARS_MAX: usize = 128;

/// `"name"`, cut and escaped: it comes from the client or the server.
pub(super) fn quoted(name: &str) -> String {
    let cut = name.char_indices().nth(NAME_CHARS_MAX).map_or(name, |(end, _)| &name[..end]);
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("\"{}{dots}\"", printable(cut))
}

/// What the agent reads when a rule denies: the rule's own message, or this one.
pub(super) fn message(rule: &Rule, default: impl FnOnce() -> String) -> String {
    rule.reason.clone().unwrap_or_else(default)
}

pub(super) fn condition_failed(rule: &Rule, clause: &Clause) -> String {
    format!("{clause} (rule {}).", rule.id)
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

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = |f: &mut fmt::Formatter<'_>, clauses: &[Clause], between: &str| {
            for (index, clause) in clauses.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                write!(f, "{clause}")?;
            }
            Ok(())
        };
        match self {
            Self::Test(condition) => write!(f, "{condition}"),
            Self::Any(clauses, _) => group(f, clauses, " or "),
            Self::All(clauses, _) => group(f, clauses, " and "),
            Self::Not(clause, _) => write!(f, "it must not be that {clause}"),
        }
    }
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
            Self::Contains(literal) => write!(f, "must contain {literal}"),
            Self::Exists(true) => f.write_str("must be given"),
            Self::Exists(false) => f.write_str("must not be given"),
            Self::UnderPath(folder) => write!(f, "must be an absolute path in {folder}, without .."),
            Self::LengthLte(max) => write!(f, "must have a length of at most {max}"),
        }
    }
}

/// Literals with commas; long lists are cut.
struct Listed<'a>(&'a [Literal]);

impl fmt::Display for Listed<'_> {
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

/// `60 s` or `hour`.
struct Span(Window);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Window::Sliding { window_ms } => write!(f, "{} s", window_ms / 1000),
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
