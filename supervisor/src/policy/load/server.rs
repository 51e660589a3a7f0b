//! `server:` of a policy: the command, and which definitions of its tools are taken.

use std::path::PathBuf;

use super::hints::example;
use super::paths;
use super::read::{Fields, Reader, Section, scalar};
use crate::policy::codes::Code;
use crate::policy::model::Pins;
use crate::policy::yaml::{Kind, Node};

pub(super) const SERVER: Section = Section { what: "server", keys: &["command", "pins"], later: &["sha256"] };
pub(super) const PINS: Section = Section { what: "pins", keys: &["lock"], later: &[] };

/// The words of `pins`; the fourth way is `{lock: FILE}`.
pub(super) const WORDS: &[(&str, PinWord)] =
    &[("first_use", PinWord::FirstUse), ("session", PinWord::Session), ("off", PinWord::Off)];

/// A word of [`WORDS`].
#[derive(Clone, Copy, Debug)]
pub(super) enum PinWord {
    FirstUse,
    Session,
    Off,
}

/// `server:`; the command when given, and the pins.
pub(super) fn server(reader: &mut Reader<'_>, fields: &Fields<'_>) -> (Option<Vec<String>>, Pins) {
    let Some(section) = fields.get("server").and_then(|node| reader.section(node, &SERVER)) else {
        return (None, Pins::default());
    };
    let command = section.get("command").and_then(|node| command(reader, node));
    let pins = section.get("pins").and_then(|node| pins(reader, node));
    (command, pins.unwrap_or_default())
}

fn command(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.list(node, "server.command", 4096)?;
    if items.is_empty() {
        reader.error(Code::OutOfRange, node.span, "`server.command` names no command");
        return None;
    }
    let mut words = Vec::new();
    for item in items {
        let word = reader.text(item, "server.command")?;
        if word.contains('\0') || (words.is_empty() && word.is_empty()) {
            reader.error(Code::BadName, item.span, "an argument cannot hold a NUL character, nor the command be empty");
            return None;
        }
        words.push(word.to_owned());
    }
    Some(words)
}

fn pins(reader: &mut Reader<'_>, node: &Node) -> Option<Pins> {
    if let Kind::Map(_) = node.kind {
        let section = reader.section(node, &PINS)?;
        return section.require(reader, "lock", "pins").and_then(|node| lock(reader, node)).map(Pins::Lock);
    }
    if scalar(node).is_some_and(|scalar| scalar.text == PINS.keys[0]) {
        reader.error(Code::UnknownValue, node.span, "`server.pins: lock` names no file").help = example(PINS.what);
        return None;
    }
    Some(match reader.choice(node, "server.pins", WORDS, &[])? {
        PinWord::FirstUse => Pins::FirstUse,
        PinWord::Session => Pins::Session,
        PinWord::Off => Pins::Off,
    })
}

/// A file beside the policy, by its plain name, or an absolute path.
fn lock(reader: &mut Reader<'_>, node: &Node) -> Option<PathBuf> {
    let text = reader.text(node, "pins.lock")?;
    if text.starts_with('/') {
        return paths::absolute(reader, node, "pins.lock").map(PathBuf::from);
    }
    let plain = !text.is_empty() && text.len() <= 255 && !text.contains('/') && !text.chars().any(char::is_control);
    if plain && !matches!(text, "." | "..") {
        return Some(PathBuf::from(text));
    }
    reader
        .error(Code::BadPath, node.span, "`pins.lock` is the name of a file beside the policy, or an absolute path")
        .help = Some("for example server: {pins: {lock: tools.lock}}".into());
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::testing::{errors, loaded};

    #[test]
    fn pins_are_one_of_four_ways_and_first_use_is_the_default() {
        for (text, pins) in [
            ("name: p", Pins::FirstUse),
            ("server: {command: [x]}", Pins::FirstUse),
            ("server: {pins: first_use}", Pins::FirstUse),
            ("server: {pins: session}", Pins::Session),
            ("server: {pins: off}", Pins::Off),
            ("server: {pins: {lock: tools.lock}}", Pins::Lock("tools.lock".into())),
            ("server: {pins: {lock: /etc/x/tools.lock}}", Pins::Lock("/etc/x/tools.lock".into())),
        ] {
            assert_eq!(loaded(text).pins, pins, "{text}");
        }
    }

    #[test]
    fn a_lock_is_beside_the_policy_or_absolute() {
        let policy = loaded("server: {pins: {lock: tools.lock}}");
        let beside = policy.path.parent().map(|folder| folder.join("tools.lock"));
        assert_eq!(policy.lock_path(), beside);
        assert_eq!(loaded("server: {pins: {lock: /a/b}}").lock_path().as_deref(), Some(Path::new("/a/b")));
        assert_eq!(loaded("name: p").lock_path(), None);
        for (text, code) in [
            ("server: {pins: {lock: ../tools.lock}}", "ISB-P042"),
            ("server: {pins: {lock: a/tools.lock}}", "ISB-P042"),
            ("server: {pins: {lock: /a/../b}}", "ISB-P042"),
            ("server: {pins: {lock: ''}}", "ISB-P042"),
            ("server: {pins: {lock: ..}}", "ISB-P042"),
            ("server: {pins: {}}", "ISB-P015"),
            ("server: {pins: {lock: a, file: b}}", "ISB-P011"),
            ("server: {pins: on}", "ISB-P014"),
            ("server: {pins: [off]}", "ISB-P013"),
        ] {
            assert_eq!(errors(text).first().map(|error| error.code), Some(code), "{text}");
        }
    }
}
