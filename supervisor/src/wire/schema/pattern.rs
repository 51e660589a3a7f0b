//! Regular expressions of a schema: ECMA-262 with its `u` flag (2020-12 Core, 6.4), searched in linear time.
//!
//! Each construct that the two engines read otherwise is written out for ours: classes are ASCII, `.` knows four line ends, `[`,
//! `&&`, `--` and `~~` are no operators in a character class. Look-around and back-references have no linear search, so a pattern with
//! them cannot be judged. Linear is still the pattern's size times the text's: a search costs work by the size it compiles to.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

use super::Unjudgeable;
use crate::bounds::{
    SCHEMA_PATTERN_BYTES_MAX, SCHEMA_PATTERN_PROPERTIES_MAX, SCHEMA_PATTERN_TEXT_BYTES_MAX, SCHEMA_PATTERNS_BYTES_MAX,
    SCHEMA_PATTERNS_MAX,
};

/// Compiled sizes that are tried, bytes, each with the work that a search costs for a byte of text.
const SIZES: [(usize, u64); 4] = [(8 << 10, 1), (32 << 10, 4), (256 << 10, 32), (SCHEMA_PATTERN_BYTES_MAX, 128)];
/// What white space is to ECMA-262 (12.2, 12.3), inside a class.
const SPACE: &str = r"\t\n\x0B\f\r\x20\u{A0}\u{FEFF}\u{2028}\u{2029}\p{Zs}";

/// A pattern that was compiled.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    work_a_byte: u64,
    /// As the schema has it.
    text: String,
}

impl Pattern {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What searching `text` costs.
    pub(super) fn cost(&self, text: &str) -> u64 {
        1 + (text.len() as u64).saturating_mul(self.work_a_byte)
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// The patterns of one server, each compiled once.
#[derive(Debug, Default)]
pub struct Patterns {
    known: HashMap<String, Option<Pattern>>,
    /// Bytes that they compile to, at most, and those that were tried with patterns that do not compile.
    bytes: usize,
}

impl Patterns {
    /// Whether so much is kept that the schemas of another list may find no room.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        2 * self.known.len() > SCHEMA_PATTERNS_MAX || 2 * self.bytes > SCHEMA_PATTERNS_BYTES_MAX
    }

    /// Bytes that were compiled, or tried in vain.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pattern `text`.
    pub(super) fn pattern(&mut self, text: &str) -> Result<Pattern, Unjudgeable> {
        // First of all: the engine's size limit is for what it compiles, not for what it parses the text to.
        if text.len() > SCHEMA_PATTERN_TEXT_BYTES_MAX {
            return Err(Unjudgeable::Pattern);
        }
        if let Some(known) = self.known.get(text) {
            return known.clone().ok_or(Unjudgeable::Pattern);
        }
        if self.known.len() >= SCHEMA_PATTERNS_MAX {
            return Err(Unjudgeable::Pattern);
        }
        let (pattern, tried) = compiled(text, SCHEMA_PATTERNS_BYTES_MAX.saturating_sub(self.bytes));
        // A failure is charged like a success: else a list of patterns that barely do not fit would be compiled to its end.
        self.bytes += tried;
        self.known.insert(text.to_owned(), pattern.clone());
        pattern.ok_or(Unjudgeable::Pattern)
    }
}

/// The pattern `text`, if it fits `room` bytes, and the largest size that was tried: never more than `room`.
fn compiled(text: &str, room: usize) -> (Option<Pattern>, usize) {
    let mut tried = 0;
    let Some(ours) = Translation::of(text) else { return (None, tried) };
    for (bytes, work_a_byte) in SIZES.into_iter().take_while(|(bytes, _)| *bytes <= room) {
        tried = bytes;
        let mut builder = RegexBuilder::new(&ours);
        let builder = builder.size_limit(bytes).dfa_size_limit(SCHEMA_PATTERN_BYTES_MAX).nest_limit(32);
        match builder.build() {
            Ok(regex) => return (Some(Pattern { regex, work_a_byte, text: text.to_owned() }), tried),
            Err(regex::Error::CompiledTooBig(_)) => {}
            // No size mends what does not parse.
            Err(_) => break,
        }
    }
    (None, tried)
}

struct Translation<'t> {
    rest: Peekable<Chars<'t>>,
    out: String,
    /// How many `\p{..}` and `\P{..}` it has had.
    properties: usize,
}

/// One element of a character class.
enum Element {
    One(char),
    /// Already in our syntax.
    Set(String),
}

impl<'t> Translation<'t> {
    /// The pattern in our engine's syntax; none where that cannot say it.
    fn of(text: &'t str) -> Option<String> {
        let mut this =
            Self { rest: text.chars().peekable(), out: String::with_capacity(text.len() + 16), properties: 0 };
        // How many quantifiers stand behind the last atom: one, or a lazy one.
        let mut quantifiers = 0;
        while let Some(c) = this.rest.next() {
            quantifiers = match c {
                '*' | '+' | '?' | '{' if quantifiers == 0 => 1,
                '?' if quantifiers == 1 => 2,
                // Possessive and doubled ones mean different things elsewhere.
                '*' | '+' | '?' | '{' => return None,
                _ => 0,
            };
            match c {
                '\\' => this.escape()?,
                '[' => this.class()?,
                '.' => this.out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
                '(' => this.group()?,
                '{' => this.count()?,
                // The flag `u` takes it for a syntax error.
                '}' => return None,
                ']' => this.literal(']'),
                c => this.out.push(c),
            }
        }
        Some(this.out)
    }

    /// Groups are captured, named or plain. Look-around, flags and anything else behind `(?` are refused.
    fn group(&mut self) -> Option<()> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Some(());
        }
        match self.rest.next()? {
            ':' => self.out.push_str("?:"),
            '<' if !matches!(self.rest.peek(), Some('=' | '!')) => self.out.push_str("?<"),
            _ => return None,
        }
        Some(())
    }

    /// Behind `{`: `2}`, `2,}` or `2,5}`.
    fn count(&mut self) -> Option<()> {
        let count: String = self.rest.clone().take_while(|c| *c != '}').take(16).collect();
        if self.rest.nth(count.chars().count()) != Some('}') {
            return None;
        }
        let (least, most) = count.split_once(',').unwrap_or((&count, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let _ = write!(self.out, "{{{count}}}"); // writing to a String cannot fail
        (!least.is_empty() && digits(least) && digits(most)).then_some(())
    }

    fn escape(&mut self) -> Option<()> {
        let c = self.rest.next()?;
        match c {
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            // Back-references.
            'k' | '1'..='9' => return None,
            c => match self.escaped(c)? {
                Element::One(c) => self.literal(c),
                Element::Set(set) => {
                    let _ = write!(self.out, "[{set}]"); // writing to a String cannot fail
                }
            },
        }
        Some(())
    }

    /// What `\c` is, in a class and outside.
    fn escaped(&mut self, c: char) -> Option<Element> {
        let set = |text: &str| Some(Element::Set(text.to_owned()));
        let one = |c: char| Some(Element::One(c));
        match c {
            'd' => set("0-9"),
            'D' => set("[^0-9]"),
            'w' => set("A-Za-z0-9_"),
            'W' => set("[^A-Za-z0-9_]"),
            's' => set(SPACE),
            'S' => Some(Element::Set(format!("[^{SPACE}]"))),
            'p' | 'P' => self.property(c),
            't' => one('\t'),
            'n' => one('\n'),
            'r' => one('\r'),
            'f' => one('\u{c}'),
            'v' => one('\u{b}'),
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => one('\0'),
            'c' => self.rest.next().filter(char::is_ascii_alphabetic).and_then(|c| one((c as u8 & 0x1f) as char)),
            'x' => self.hex(2).and_then(char::from_u32).and_then(one),
            'u' => self.code_point().and_then(one),
            // The characters of the syntax itself, and what patterns escape without need.
            c if c.is_ascii_punctuation() => one(c),
            _ => None,
        }
    }

    /// `\p{..}`: the engine's own list of properties decides. They are counted: no other class is hundreds of ranges in a few
    /// bytes, for ours are ASCII, none ignores case, and a negated one has one range more than what it negates.
    fn property(&mut self, c: char) -> Option<Element> {
        self.properties += 1;
        if self.properties > SCHEMA_PATTERN_PROPERTIES_MAX {
            return None;
        }
        self.rest.next_if_eq(&'{')?;
        let name: String = self.rest.by_ref().take_while(|c| *c != '}').take(64).collect();
        let known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'='));
        (known && !name.is_empty()).then(|| Element::Set(format!(r"\{c}{{{name}}}")))
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let text: String = self.rest.by_ref().take(digits).collect();
        let whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        whole.then(|| u32::from_str_radix(&text, 16).ok()).flatten()
    }

    /// Behind `\u`: four digits, two such for a surrogate pair, or braces.
    fn code_point(&mut self) -> Option<char> {
        if self.rest.next_if_eq(&'{').is_some() {
            let digits: String = self.rest.by_ref().take_while(|c| *c != '}').take(8).collect();
            return u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        }
        let first = self.hex(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.rest.next_if_eq(&'\\')?;
        self.rest.next_if_eq(&'u')?;
        let second = self.hex(4).filter(|unit| (0xdc00..0xe000).contains(unit))?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    }

    /// A class: elements and ranges, each written so that our engine sees no operator.
    fn class(&mut self) -> Option<()> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut elements = String::new();
        loop {
            let element = match self.rest.next()? {
                ']' => break,
                c => self.element(c)?,
            };
            let Element::One(from) = element else {
                let Element::Set(set) = element else { return None };
                elements.push_str(&set);
                continue;
            };
            let mut ahead = self.rest.clone();
            let is_range = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
            if is_range {
                self.rest.next();
                let c = self.rest.next()?;
                let Element::One(to) = self.element(c)? else { return None };
                let _ = write!(elements, r"\x{{{:x}}}-\x{{{:x}}}", u32::from(from), u32::from(to));
            } else {
                let _ = write!(elements, r"\x{{{:x}}}", u32::from(from));
            }
        }
        match (negated, elements.is_empty()) {
            (false, true) => self.out.push_str(r"[^\x{0}-\x{10ffff}]"),
            (true, true) => self.out.push_str(r"[\x{0}-\x{10ffff}]"),
            (false, false) => {
                let _ = write!(self.out, "[{elements}]");
            }
            (true, false) => {
                let _ = write!(self.out, "[^{elements}]");
            }
        }
        Some(())
    }

    fn element(&mut self, c: char) -> Option<Element> {
        match c {
            '\\' => match self.rest.next()? {
                'b' => Some(Element::One('\u{8}')),
                c => self.escaped(c),
            },
            c => Some(Element::One(c)),
        }
    }

    fn literal(&mut self, c: char) {
        let _ = write!(self.out, r"\x{{{:x}}}", u32::from(c));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Patterns::default().pattern(pattern).expect(pattern).is_match(text)
    }

    #[test]
    fn patterns_read_as_ecma_262() {
        for (pattern, fits, not) in [
            ("^[a-z]{1,3}$", "abc", "abcd"),
            (r"^\d+$", "09", "٠"),
            (r"^\w+$", "a_Z9", "é"),
            (r"^\W$", "é", "a"),
            (r"^\s$", "\u{feff}", "\u{180e}"),
            (r"^[\s\d]+$", "1 2\u{2003}", "a"),
            (r"^[^\s]+$", "ab", "a b"),
            ("^a.b$", "a\u{85}b", "a\u{2028}b"),
            ("^abc$", "abc", "abc\n"),
            (r"\bcat\b", "a cat", "concat"),
            (r"^[[]$", "[", "x"),
            (r"^[a&&b]+$", "a&b", "&&x"),
            (r"^[+--]+$", "+,-", "."),
            (r"^[a~~b]$", "~", "c"),
            (r"^[]a]$|^[^]$", "\n", "a]"),
            (r"^[a-]$", "-", "b"),
            (r"^[\w-]+$", "a-b", "a.b"),
            (r"^[\w-.]+$", "a-b.c", "a/b"),
            (r"^[\]\\^]+$", "]\\^", "a"),
            (r"^\/api\/\-$", "/api/-", "api"),
            (r"^\u0041\x42\u{43}$", "ABC", "abc"),
            (r"^\ud83d\ude00$", "😀", "x"),
            (r"^[\u{1F600}-\u{1F64F}]$", "😀", "x"),
            (r"^\p{Lu}\P{L}$", "É1", "éa"),
            (r"^\p{Script=Greek}+$", "αβγ", "abc"),
            (r"^(?:a|b)(?<n>c)$", "ac", "cc"),
            (r"^[\b]$", "\u{8}", "b"),
            (r"^\cJ$", "\n", "J"),
            (r"^a+?b{2,}?]$", "aabb]", "ab]"),
            (r"^#x y$", "#x y", "#xy"),
            (r"^(\([0-9]{3}\))?[0-9]{3}-[0-9]{4}$", "(888)555-1212", "(800)FLOWERS"),
        ] {
            assert!(matches(pattern, fits), "{pattern} on {fits:?}");
            assert!(!matches(pattern, not), "{pattern} on {not:?}");
        }
        assert!(matches("es", "expression"), "not anchored");
    }

    #[test]
    fn what_no_linear_engine_reads_is_not_judged() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?<!a)b",
            r"(a)\1",
            r"(?<n>a)\k<n>",
            "(?i)a",
            "(?P<n>a)",
            "a(",
            "[a",
            "a{",
            "a}",
            r"\e",
            r"\z",
            r"\A",
            r"\u12",
            r"\ud83d",
            r"\p{Nonsense}",
            "a**",
            "a++",
            "a{2}{3}",
            "a{,3}",
            "a{2",
            "[z-a]",
            "a{2,1}",
        ] {
            let judged = Patterns::default().pattern(pattern);
            assert_eq!(judged.err(), Some(Unjudgeable::Pattern), "{pattern}");
        }
    }

    #[test]
    fn size_and_number_are_bounded() {
        let mut patterns = Patterns::default();
        assert!(patterns.pattern(r"(?:\p{L}{1000}){1000}").is_err(), "it compiles to megabytes");
        assert!(patterns.pattern(&"(".repeat(100_000)).is_err());
        assert!(patterns.pattern(&"(a".repeat(1000)).is_err());
        for number in patterns.known.len()..SCHEMA_PATTERNS_MAX {
            assert!(patterns.pattern(&format!("^{number}$")).is_ok());
        }
        assert!(patterns.pattern("^one more$").is_err());
        assert!(patterns.pattern("^7$").is_ok(), "a pattern that is known costs nothing");
        let mut patterns = Patterns::default();
        let large = (0..32).filter(|number| patterns.pattern(&format!("^.{{0,500}}{number}$")).is_ok()).count();
        assert_eq!(large, SCHEMA_PATTERNS_BYTES_MAX / SCHEMA_PATTERN_BYTES_MAX);
    }

    #[test]
    fn hostile_patterns_are_refused_quickly() {
        let refused = |pattern: &str| {
            let begun = Instant::now();
            assert!(Patterns::default().pattern(pattern).is_err(), "{:.40}", pattern);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:.40}: {:?}", pattern, begun.elapsed());
        };
        refused(&r"\p{L}".repeat(20_000));
        refused(&r"\p{L}".repeat(SCHEMA_PATTERN_PROPERTIES_MAX + 1));
        refused(&r"\P{L}".repeat(SCHEMA_PATTERN_PROPERTIES_MAX + 1));
        refused(&format!("[{}]", r"\p{L}".repeat(SCHEMA_PATTERN_PROPERTIES_MAX + 1)));
        refused(&format!("{}{{1000}}", r"\p{L}".repeat(SCHEMA_PATTERN_PROPERTIES_MAX)));
        refused(&"a".repeat(SCHEMA_PATTERN_TEXT_BYTES_MAX + 1));
        assert!(Patterns::default().pattern(&"a".repeat(SCHEMA_PATTERN_TEXT_BYTES_MAX)).is_ok());
        assert!(Patterns::default().pattern(&r"\p{Lu}".repeat(SCHEMA_PATTERN_PROPERTIES_MAX)).is_ok());
    }

    #[test]
    fn the_dearest_patterns_that_are_tried_end_soon() {
        // As long as may be, of what the fewest bytes of text become the most of.
        for piece in [".", r"\s", r"\S", r"[^\s]", r"[^]", "[^a]", "[]", r"\W", "a?", "(a)", "(|)", "a{999}", "(?:)"] {
            let begun = Instant::now();
            // Or as few as nest: a repetition of nothing, too, is what no size limit may overlook.
            let nested = format!("{}{piece}{}", "(?:".repeat(8), "){999}".repeat(8));
            let _compiled_or_not = Patterns::default().pattern(&nested);
            let pattern = piece.repeat(SCHEMA_PATTERN_TEXT_BYTES_MAX / piece.len());
            let _compiled_or_not = Patterns::default().pattern(&pattern);
            assert!(begun.elapsed() < Duration::from_secs(5), "{piece}: {:?}", begun.elapsed());
        }
    }

    #[test]
    fn patterns_that_fail_use_up_the_room_too() {
        let mut patterns = Patterns::default();
        assert!(patterns.pattern("^small$").is_ok());
        for number in 0..SCHEMA_PATTERNS_BYTES_MAX / SCHEMA_PATTERN_BYTES_MAX {
            assert!(patterns.pattern(&format!(r"{number}(?:\p{{L}}{{1000}}){{1000}}")).is_err());
        }
        // What room is left is used up in smaller sizes; then nothing is compiled any more.
        let begun = Instant::now();
        for number in 0..SCHEMA_PATTERNS_MAX {
            assert!(patterns.pattern(&format!(r"(?:\p{{L}}{{1000}}){{1000}}{number}")).is_err());
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(patterns.bytes <= SCHEMA_PATTERNS_BYTES_MAX);
        assert!(patterns.is_crowded());
        assert!(patterns.pattern("^small$").is_ok(), "what is known stays");
        // What is refused before it is compiled costs no room: honest servers have look-ahead.
        let mut patterns = Patterns::default();
        assert!(patterns.pattern("(?=a)").is_err());
        assert!(patterns.pattern(&"a".repeat(SCHEMA_PATTERN_TEXT_BYTES_MAX + 1)).is_err());
        assert_eq!(patterns.bytes, 0);
    }

    #[test]
    fn patterns_of_real_servers_are_judged() {
        for (pattern, fits) in [
            (r"^\d{4}-\d{2}-\d{2}$", "2026-01-31"),
            (r"^\d{4}-(0[1-9]|1[0-2])-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$", "2026-01-31T10:00:00.5Z"),
            (
                "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
                "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            ),
            (r"^https?:\/\/[^\s/$.?#].[^\s]*$", "https://a.example/b?c"),
            (
                r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$",
                "1.2.3-rc.1+b7",
            ),
            ("^[a-z0-9]+(?:-[a-z0-9]+)*$", "a-slug-7"),
            (r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$", "a.b@c.example"),
            (r"^[\p{L}\p{M}\p{N}\p{Pd}' .]+$", "Anne-Marie O'Neill"),
            ("^.{1,255}$", "a title"),
        ] {
            assert!(matches(pattern, fits), "{pattern} on {fits:?}");
        }
    }

    #[test]
    fn larger_patterns_cost_more() {
        let mut patterns = Patterns::default();
        let mut cost = |pattern: &str| patterns.pattern(pattern).expect(pattern).cost(&"a".repeat(1000));
        assert_eq!(cost("^[A-Za-z0-9+/=]*$"), 1001);
        assert!(cost("^.{0,500}$") > 10_000);
    }
}
