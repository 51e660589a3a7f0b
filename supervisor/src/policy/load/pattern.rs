//! Regular expressions of the `regex` operator.
//!
//! Intercept compiles them with Go's regexp, whose `\d`, `\w`, `\s` and `\b` are ASCII; the regex crate's are Unicode, so
//! `^\d+$` would let Arabic digits pass. The classes are therefore spelled out before compiling. Everything else the two
//! engines share is left as written: both search in linear time and know no back-references.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use crate::bounds::POLICY_REGEX_BYTES_MAX;

/// Compiles within `POLICY_REGEX_BYTES_MAX`, or says in one line why not.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&ascii_classes(pattern))
        .size_limit(POLICY_REGEX_BYTES_MAX)
        .dfa_size_limit(POLICY_REGEX_BYTES_MAX)
        .nest_limit(64)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the pattern compiles to more than {} KiB", POLICY_REGEX_BYTES_MAX >> 10)
            }
            error => {
                let text = error.to_string();
                text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            }
        })
}

/// The pattern with Perl classes and word boundaries limited to ASCII.
fn ascii_classes(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains('\\') {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 32);
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\f\r\x20]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        compile(pattern).expect(pattern).is_match(text)
    }

    #[test]
    fn perl_classes_are_ascii_as_in_go() {
        assert!(matches(r"^\d+$", "0159"));
        assert!(!matches(r"^\d+$", "٠١"));
        assert!(!matches(r"^[\w.]+$", "naïve"));
        assert!(matches(r"^[\w.]+$", "na.ve_1"));
        assert!(!matches(r"^\w+$", "\u{212a}"));
        assert!(matches(r"^\D$", "é"));
        assert!(matches(r"a\sb", "a b") && !matches(r"a\sb", "a\u{a0}b"));
        assert!(matches(r"\bcat\b", "a cat!") && matches(r"\bcat\b", "écaté".replace("é", "é ").trim()));
        assert!(matches(r"\\d", r"\d") && !matches(r"\\d", "5"));
        assert!(matches("cat", "concatenate"), "unanchored, as in Go");
    }

    #[test]
    fn too_large_and_malformed_patterns_are_refused() {
        assert!(compile(r"(?:\p{L}{1000}){1000}").expect_err("size").contains("512 KiB"));
        assert!(compile("a(").expect_err("syntax").contains("unclosed group"));
        assert!(compile(r"(a)\1").is_err());
        assert!(compile(&"(".repeat(100_000)).is_err());
    }
}
