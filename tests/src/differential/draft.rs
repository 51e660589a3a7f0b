//! A tools/call before it is written: every key and value is raw JSON text, so that each can be spoilt by itself.

use super::random::Random;

/// A member of an object, key and value as they are written.
pub(super) type Member = (String, String);

/// One call in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// The envelope without `params`.
    pub(super) envelope: Vec<Member>,
    /// `params` without `arguments`.
    pub(super) params: Vec<Member>,
    /// The members of `arguments`.
    pub(super) arguments: Vec<Member>,
    /// The key of `params` in the envelope, and that of `arguments` in `params`, quotes included.
    pub(super) keys: [String; 2],
    /// Members that stand in the envelope before `params`, of the ones above: the rest follow it.
    pub(super) before: usize,
    /// What stands between two tokens.
    pub(super) space: String,
}

/// `text` as a JSON string without any escape that is not needed. For text without quotes, backslashes and controls.
#[must_use]
pub(super) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

impl Draft {
    /// A call of `tool` with these arguments, under the id `tag`, which is an argument as well.
    #[must_use]
    pub(super) fn of(tool: &str, tag: &str, arguments: Vec<Member>) -> Self {
        let member = |key: &str, value: &str| (quoted(key), quoted(value));
        let mut all = vec![member("tag", tag)];
        all.extend(arguments);
        Self {
            envelope: vec![member("jsonrpc", "2.0"), member("id", tag), member("method", "tools/call")],
            params: vec![member("name", tool)],
            arguments: all,
            keys: [quoted("params"), quoted("arguments")],
            before: 3,
            space: String::new(),
        }
    }

    /// The place of `key` in the envelope.
    ///
    /// # Panics
    /// When it is not there.
    pub(super) fn in_envelope(&mut self, key: &str) -> &mut Member {
        let wanted = quoted(key);
        self.envelope.iter_mut().find(|(key, _)| *key == wanted).expect("a draft has it")
    }

    /// `params` as it is written.
    #[must_use]
    pub(super) fn written_params(&self) -> String {
        let mut members = self.params.clone();
        members.push((self.keys[1].clone(), self.object(&self.arguments)));
        self.object(&members)
    }

    /// The line without its LF.
    #[must_use]
    pub(super) fn written(&self) -> String {
        let mut members = self.envelope.clone();
        members.insert(self.before.min(members.len()), (self.keys[0].clone(), self.written_params()));
        self.object(&members)
    }

    fn object(&self, members: &[Member]) -> String {
        let space = &self.space;
        let written: Vec<String> = members.iter().map(|(key, value)| format!("{key}{space}:{space}{value}")).collect();
        format!("{{{space}{}{space}}}", written.join(&format!("{space},{space}")))
    }
}

/// A raw string with some or all of its letters as `\uXXXX`, in either case. What is escaped already stays.
#[must_use]
pub(super) fn escaped(raw: &str, random: &mut Random) -> String {
    let Some(inner) = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return raw.to_owned() };
    if inner.contains('\\') {
        return raw.to_owned();
    }
    let share = if random.percent(30) { 100 } else { 25 };
    let upper = random.percent(50);
    let mut out = String::from("\"");
    for letter in inner.chars() {
        if letter == '/' && random.percent(40) {
            out.push_str("\\/");
        } else if letter.is_ascii() && random.percent(share) {
            let code = u32::from(letter);
            out += &if upper { format!("\\u{code:04X}") } else { format!("\\u{code:04x}") };
        } else {
            out.push(letter);
        }
    }
    out + "\""
}

/// A key with some letter in another case, also in the two that only Unicode folds (U+017F, U+212A).
#[must_use]
pub(super) fn other_case(raw: &str, random: &mut Random) -> String {
    let letters: Vec<char> = raw.chars().collect();
    let places: Vec<usize> = (0..letters.len()).filter(|at| letters[*at].is_ascii_alphabetic()).collect();
    if places.is_empty() {
        return raw.to_owned();
    }
    if random.percent(25) {
        return raw.to_ascii_uppercase();
    }
    let place = if random.percent(50) { places[0] } else { places[random.below(places.len())] };
    let swap = |(at, letter): (usize, &char)| match letter {
        's' if at == place && random.percent(50) => '\u{17f}',
        'k' if at == place && random.percent(50) => '\u{212a}',
        _ if at == place => letter.to_ascii_uppercase(),
        _ => *letter,
    };
    letters.iter().enumerate().map(swap).collect()
}
