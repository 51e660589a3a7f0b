//! Regular expressions of the operators `regex` and `not_regex`.
//!
//! Intercept compiles them with Go's regexp, whose `\d`, `\w`, `\s` and `\b` are ASCII; the regex crate's are Unicode, so
//! `^\d+$` would let Arabic digits pass. The classes are therefore spelled out before compiling, and what the two engines would
//! read differently is refused. Everything else that they share is left as written: both search in linear time and know no
//! back-references.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use crate::bounds::POLICY_REGEX_BYTES_MAX;

/// Classes that both engines know as `[:name:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Compiles within `POLICY_REGEX_BYTES_MAX`, or says in one line why not.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if let Some(what) = read_otherwise_in_go(pattern) {
        return Err(format!(
            "engines disagree on `{what}` inside a character class; write each of them with a backslash"
        ));
    }
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

/// What stands in a character class that the regex crate takes for an operation on sets, and Go for characters.
fn read_otherwise_in_go(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let escaped = rest.chars().next().map_or(0, char::len_utf8);
                rest = &rest[escaped..];
            }
            '[' if !in_class => {
                in_class = true;
                rest = rest.strip_prefix('^').unwrap_or(rest);
                rest = rest.strip_prefix(']').unwrap_or(rest); // the first one is a letter
            }
            '[' => {
                let named = rest.strip_prefix(':').and_then(|name| name.split_once(":]"));
                let known = named.filter(|(name, _)| POSIX.contains(&name.strip_prefix('^').unwrap_or(name)));
                let Some((_, after)) = known else { return Some("[") };
                rest = after;
            }
            ']' => in_class = false,
            '&' if in_class && rest.starts_with('&') => return Some("&&"),
            '-' if in_class && rest.starts_with('-') => return Some("--"),
            '~' if in_class && rest.starts_with('~') => return Some("~~"),
            _ => {}
        }
    }
    None
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
            Some('B') => out.push_str(r"(?-u:\B)"),
            // Letters to Go, edges of words to the regex crate.
            Some(letter @ ('<' | '>')) => out.push(letter),
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
        assert!(!matches(r"a\Bé", "aé") && matches(r"a\Bb", "ab"), "é is no letter of a word in Go");
        assert!(matches(r"^\<b\>$", "<b>"));
        assert!(matches(r"(?i)^k$", "\u{212a}"), "both engines fold case by Unicode");
        assert!(!matches("^a$", "a\n") && !matches("^a.b$", "a\nb"));
    }

    #[test]
    fn what_go_reads_otherwise_inside_a_class_is_refused() {
        for pattern in [
            "[a-z&&[^b]]",
            "[a[b]]",
            "[[]",
            "[a-c--b]",
            "[+--]",
            "[a~~b]",
            "[^]&&]",
            "[[:alfa:]]",
            "[[.a.]]",
            r"x[\]&&]",
        ] {
            assert!(compile(pattern).is_err_and(|why| why.contains("disagree")), "{pattern}");
        }
        for pattern in [
            r"[a&&b]".replace("&&", r"\&\&"),
            r"[\[\]]".into(),
            "[[:alpha:]_[:^digit:]]+".into(),
            "a&&b--c~~d".into(),
            "[]a]".into(),
            "[^]]".into(),
            "[a-]".into(),
            "[&]&[&]".into(),
            r"\[&&".into(),
        ] {
            assert!(compile(&pattern).is_ok(), "{pattern}");
        }
        assert!(matches(r"^[\&\&a]+$", "&a&"));
    }

    #[test]
    fn too_large_and_malformed_patterns_are_refused() {
        assert!(compile(r"(?:\p{L}{1000}){1000}").expect_err("size").contains("512 KiB"));
        assert!(compile("a(").expect_err("syntax").contains("unclosed group"));
        assert!(compile(r"(a)\1").is_err());
        assert!(compile(&"(".repeat(100_000)).is_err());
    }
}
