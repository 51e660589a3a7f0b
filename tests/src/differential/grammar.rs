//! Hostile tools/call lines. Each aims at something that the policy refuses, or at nothing, in a dress that some reader takes for
//! something else.

use super::draft::{Draft, Member, escaped, quoted};
use super::random::Random;
use super::{bytes, dress};

/// The word that the policy forbids in `text`.
pub const WORD: &str = "forbidden";
/// The largest `n` that the policy allows.
pub const N_MAX: u32 = 100;

/// Every number that a line may have among its arguments: the log's keyed hashes are looked up among these.
pub const NUMBERS: [&str; 40] = [
    "0",
    "1",
    "2",
    "42",
    "100",
    "-1",
    "2.5",
    "99.5",
    "1e1",
    "1E+1",
    "1e2",
    "1E+2",
    "0.1",
    "-0.0",
    "1.0",
    "100.0",
    "10e-1",
    "101",
    "1000",
    "1e3",
    "1E+3",
    "100.5",
    "-0",
    "01",
    "1.",
    ".5",
    "+1",
    "0x10",
    "1_0",
    "1e400",
    "-1e400",
    "1e-400",
    "9007199254740991",
    "9007199254740993",
    "123456789012345678901234567890",
    "100.00000000000000001",
    "0.30000000000000000004",
    "NaN",
    "Infinity",
    "-Infinity",
];

/// A branch of the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Branch {
    /// As a good client writes it.
    Plain,
    /// Letters of keys and values as `\uXXXX`: the same message.
    Escapes,
    /// A key twice, at any level.
    Duplicates,
    /// Keys in another case, beside the right one or in its place.
    KeyCase,
    /// Numbers that readers read differently or not at all.
    Numbers,
    /// Surrogates, bytes that are no UTF-8, byte order marks, look-alikes, line separators.
    Unicode,
    /// Arrays in arrays.
    Nesting,
    /// Carriage returns, NULs, several lines or messages, what is not JSON.
    Framing,
    /// Arrays of messages.
    Batches,
    /// Ids of every kind, and none.
    Ids,
    /// Blanks of every kind between tokens.
    Blanks,
    /// Methods that look like tools/call.
    Methods,
    /// Keys and versions of the envelope.
    Envelope,
    /// `_meta`, `task` and what else stands beside the arguments.
    Meta,
}

impl Branch {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Plain,
        Self::Escapes,
        Self::Duplicates,
        Self::KeyCase,
        Self::Numbers,
        Self::Unicode,
        Self::Nesting,
        Self::Framing,
        Self::Batches,
        Self::Ids,
        Self::Blanks,
        Self::Methods,
        Self::Envelope,
        Self::Meta,
    ];
}

/// What a line is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A call that the policy allows.
    Allowed,
    /// The denied tool.
    Denied,
    /// More than [`N_MAX`].
    Over,
    /// [`WORD`] in `text`.
    Word,
    /// The tool with a rate limit.
    Limited,
}

/// One generated line, or what a reader may take for one or several.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is sent, its LF included.
    pub bytes: Vec<u8>,
    /// The argument by which the server's log tells which line it executed.
    pub tag: String,
    /// Where it is from.
    pub branch: Branch,
    /// What it is after.
    pub aim: Aim,
    /// Whether it is a call that has to pass: written as the specification says, and allowed.
    pub is_good: bool,
}

/// The member that decides whether the policy allows the call: an innocent value and the one aimed at, raw.
pub(super) struct Target {
    pub(super) key: &'static str,
    pub(super) decoy: String,
    pub(super) evil: String,
}

/// A sequence of lines. The same seed gives the same lines.
#[derive(Debug)]
pub struct Grammar {
    random: Random,
    branches: Vec<Branch>,
    count: usize,
}

impl Grammar {
    /// Lines of every branch; a quarter of them plain.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), branches: Branch::ALL.to_vec(), count: 0 }
    }

    /// Lines of one branch, with plain ones in between.
    #[must_use]
    pub fn of(branch: Branch, seed: u64) -> Self {
        Self { random: Random::new(seed), branches: vec![branch], count: 0 }
    }

    fn line(&mut self) -> Line {
        let random = &mut self.random;
        let tag = format!("L{:06}", self.count);
        self.count += 1;
        let branch = match random.percent(20) {
            true => Branch::Plain,
            false => self.branches[random.below(self.branches.len())],
        };
        let aim = match random.below(20) {
            0..6 => Aim::Allowed,
            6..13 => Aim::Denied,
            13..17 => Aim::Over,
            17..19 => Aim::Word,
            _ => Aim::Limited,
        };
        let target = target(aim, random);
        let draft = draft(&target, &tag, random);
        let bytes = written(branch, draft, &target, random);
        let is_good = aim == Aim::Allowed && matches!(branch, Branch::Plain | Branch::Escapes);
        Line { bytes, tag, branch, aim, is_good }
    }
}

impl Iterator for Grammar {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        Some(self.line())
    }
}

fn target(aim: Aim, random: &mut Random) -> Target {
    let (key, decoy, evil) = match aim {
        Aim::Denied => ("name", quoted("allowed"), quoted("denied")),
        Aim::Limited => ("name", quoted("allowed"), quoted("limited")),
        Aim::Over => ("n", "1".into(), random.pick(&["101", "1000", "1e3"]).into()),
        Aim::Word => ("text", quoted("fruit"), quoted(WORD)),
        Aim::Allowed if random.percent(50) => ("n", "1".into(), "42".into()),
        Aim::Allowed => ("text", quoted("fruit"), quoted("other fruit")),
    };
    Target { key, decoy, evil }
}

fn draft(target: &Target, tag: &str, random: &mut Random) -> Draft {
    let raw = |key: &str, value: &str| -> Member { (quoted(key), value.to_owned()) };
    let tool = if target.key == "name" { target.evil.trim_matches('"') } else { "allowed" };
    let mut arguments = Vec::new();
    if target.key != "name" {
        arguments.push(raw(target.key, &target.evil));
    }
    for (key, values) in [
        ("n", &["0", "1", "99.5", "1e1", "-1"][..]),
        ("text", &["\"fruit\"", "\"\"", "\"déjà vu\"", "\"a\\nb\"", "\"\u{1f347}\""]),
        ("flag", &["true", "false"]),
        ("nested", &["{}", "{\"a\":[1,\"x\",null]}", "{\"n\":1000}"]),
    ] {
        if key != target.key && random.percent(30) {
            arguments.push(raw(key, random.pick(values)));
        }
    }
    Draft::of(tool, tag, arguments)
}

/// The line of `draft` in the dress of `branch`.
fn written(branch: Branch, mut draft: Draft, target: &Target, random: &mut Random) -> Vec<u8> {
    match branch {
        Branch::Plain => {}
        Branch::Escapes => dress::escapes(&mut draft, random),
        Branch::Duplicates => dress::twice(&mut draft, target, escape_sometimes, random),
        Branch::KeyCase => dress::key_case(&mut draft, target, random),
        Branch::Numbers => dress::numbers(&mut draft, random),
        Branch::Ids => dress::ids(&mut draft, random),
        Branch::Blanks => dress::blanks(&mut draft, random),
        Branch::Methods => dress::methods(&mut draft, random),
        Branch::Envelope => dress::envelope(&mut draft, random),
        Branch::Meta => dress::meta(&mut draft, random),
        Branch::Nesting => dress::nesting(&mut draft, random),
        Branch::Unicode => return bytes::unicode(&mut draft, target, random),
        Branch::Framing => return bytes::framing(&draft, random),
        Branch::Batches => return bytes::batches(&draft, random),
    }
    bytes::ended(draft.written())
}

fn escape_sometimes(raw: &str, random: &mut Random) -> String {
    if random.percent(40) { escaped(raw, random) } else { raw.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_gives_its_lines_again_and_every_branch() {
        let lines: Vec<Line> = Grammar::new(3).take(2_000).collect();
        let again: Vec<Line> = Grammar::new(3).take(2_000).collect();
        assert!(lines.iter().zip(&again).all(|(one, other)| one.bytes == other.bytes));
        let branches: BTreeSet<Branch> = lines.iter().map(|line| line.branch).collect();
        assert_eq!(branches.into_iter().collect::<Vec<_>>(), Branch::ALL);
        assert!(lines.iter().all(|line| line.bytes.ends_with(b"\n")));
    }

    #[test]
    fn a_good_line_is_json_and_says_what_it_aims_at() {
        let good: Vec<Line> = Grammar::new(5).take(2_000).filter(|line| line.is_good).collect();
        assert!(good.len() > 100, "{}", good.len());
        for line in good {
            let message: serde_json::Value = serde_json::from_slice(&line.bytes).expect("a good line is JSON");
            assert_eq!(message["params"]["arguments"]["tag"], line.tag);
            assert_eq!(message["params"]["name"], "allowed");
        }
    }
}
