//! Typed reading of the tree. A reader that meets something wrong says so and goes on, so that one run shows all of it.

use std::path::Path;

use super::hints;
use super::suggest::nearest;
use crate::bounds::POLICY_DIAGNOSTICS_MAX;
use crate::policy::codes::Code;
use crate::policy::yaml::{Entry, Kind, Meaning, Node, Scalar, Span, meaning};
use crate::report::{Diagnostic, Place, Severity};

/// The keys of one kind of mapping. Every key that the loader accepts stands in one of these.
#[derive(Debug)]
pub(super) struct Section {
    /// What the mapping is, for messages: "a rule".
    pub(super) what: &'static str,
    /// Keys that are read and enforced.
    pub(super) keys: &'static [&'static str],
    /// Keys of the language that this build does not enforce: refused.
    pub(super) later: &'static [&'static str],
}

/// Collects problems while the tree is read.
pub(super) struct Reader<'s> {
    path: &'s Path,
    lines: Vec<&'s str>,
    found: Vec<Diagnostic>,
    dropped: usize,
    scratch: Diagnostic,
}

/// A problem with the file as a whole.
pub(super) fn whole_file(path: &Path, code: Code, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: code.as_str(),
        message,
        path: path.to_owned(),
        place: None,
        help: None,
    }
}

impl<'s> Reader<'s> {
    pub(super) fn new(path: &'s Path, text: &'s str) -> Self {
        let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        let scratch = whole_file(path, Code::More, String::new());
        Self { path, lines, found: Vec::new(), dropped: 0, scratch }
    }

    /// Adds an error; the caller may add its help.
    pub(super) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, code, Some(span), message.into())
    }

    /// Adds a warning; the caller may add its help.
    pub(super) fn warning(&mut self, code: Code, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, code, Some(span), message.into())
    }

    /// Adds an error about the whole file.
    pub(super) fn whole(&mut self, code: Code, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, code, None, message.into())
    }

    /// Adds a warning about the whole file.
    pub(super) fn whole_warning(&mut self, code: Code, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, code, None, message.into())
    }

    fn add(&mut self, severity: Severity, code: Code, span: Option<Span>, message: String) -> &mut Diagnostic {
        if self.is_full(severity) {
            self.dropped += usize::from(severity == Severity::Error);
            return &mut self.scratch;
        }
        let place = span.map(|span| self.place(span));
        self.found.push(Diagnostic {
            severity,
            code: code.as_str(),
            message,
            path: self.path.to_owned(),
            place,
            help: None,
        });
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// A place of the file with its source line.
    pub(super) fn place(&self, span: Span) -> Place {
        let text = self.lines.get(span.line as usize - 1).copied().unwrap_or("");
        Place::new(span.line, span.column, span.width, text)
    }

    fn is_full(&self, severity: Severity) -> bool {
        let max = match severity {
            Severity::Error => POLICY_DIAGNOSTICS_MAX,
            Severity::Warning => POLICY_DIAGNOSTICS_MAX / 2,
        };
        self.found.iter().filter(|known| known.severity == severity).count() >= max
    }

    /// Errors and warnings, each in file order.
    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.found.sort_by_key(|one| one.place.as_ref().map_or((0, 0), |place| (place.line, place.column)));
        let (mut errors, warnings): (Vec<_>, Vec<_>) =
            self.found.into_iter().partition(|one| one.severity == Severity::Error);
        if self.dropped > 0 {
            let message = format!("{} more problems; mend the first ones and check again", self.dropped);
            errors.push(whole_file(self.path, Code::More, message));
        }
        (errors, warnings)
    }

    /// A value of the wrong type.
    pub(super) fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) -> &mut Diagnostic {
        // "a tool" is not written so in the file.
        let named = if what.contains(' ') { what.to_owned() } else { format!("`{what}`") };
        self.error(Code::WrongType, node.span, format!("{named} must be {wanted}, not {}", node.describe()))
    }

    /// A value of the language that is not enforced yet.
    pub(super) fn not_enforced(&mut self, node: &Node, what: &str) {
        self.error(
            Code::ValueNotEnforced,
            node.span,
            format!("{what} is not enforced yet by this build, so it is refused"),
        );
    }

    /// A mapping of known keys. Unknown and not yet enforced keys are errors; the known ones can be asked for.
    pub(super) fn section<'n>(&mut self, node: &'n Node, section: &Section) -> Option<Fields<'n>> {
        let Kind::Map(entries) = &node.kind else {
            self.wrong_type(node, section.what, "a mapping").help = hints::example(section.what);
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if section.keys.contains(&key) {
                continue;
            }
            if section.later.contains(&key) {
                let message =
                    format!("`{key}` of {} is not enforced yet by this build, so it is refused", section.what);
                self.error(Code::KeyNotEnforced, entry.key_span, message);
            } else if crate::weaken::in_force("policy-unknown-keys") {
                self.unknown_key(entry, section);
            }
        }
        Some(Fields { entries, span: node.span })
    }

    fn unknown_key(&mut self, entry: &Entry, section: &Section) {
        if self.is_full(Severity::Error) {
            self.dropped += 1; // without the search for a suggestion that nobody would read
            return;
        }
        let known = section.keys.iter().chain(section.later).copied();
        let help = hints::belongs(section.what, &entry.key).unwrap_or_else(|| match nearest(&entry.key, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known here: {}", section.keys.join(", ")),
        });
        self.error(Code::UnknownKey, entry.key_span, format!("unknown key \"{}\" in {}", entry.key, section.what))
            .help = Some(help);
    }

    /// A mapping whose keys are names.
    pub(super) fn named_entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        match &node.kind {
            Kind::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(node, what, "a mapping").help = hints::example(what);
                None
            }
        }
    }

    /// A list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str, max: usize) -> Option<&'n [Node]> {
        let Kind::List(items) = &node.kind else {
            self.wrong_type(node, what, "a list").help = hints::example(what);
            return None;
        };
        if items.len() > max {
            self.error(Code::TooMany, node.span, format!("`{what}` holds {} entries; at most {max}", items.len()));
            return None;
        }
        Some(items)
    }

    /// A scalar other than null, for its text. `on`, `yes`, `1.0` are the text that stands there.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar(scalar) if !node.is_null() => Some(&scalar.text),
            _ => {
                self.wrong_type(node, what, "a string");
                None
            }
        }
    }

    /// Text of at least one and at most `max` bytes.
    pub(super) fn bounded<'n>(&mut self, node: &'n Node, what: &str, max: usize) -> Option<&'n str> {
        let text = self.text(node, what)?;
        if text.is_empty() || text.len() > max {
            self.error(Code::OutOfRange, node.span, format!("`{what}` must have 1 to {max} bytes, not {}", text.len()));
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match scalar(node).map(meaning) {
            Some(Meaning::Bool(value)) => Some(value),
            Some(Meaning::BooleanLookingText) => {
                self.wrong_type(node, what, "true or false").help =
                    Some("YAML readers disagree on yes, no, on and off; write true or false".into());
                None
            }
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    /// A whole number in `range`, written in decimal digits.
    pub(super) fn integer(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let plain_number = scalar(node).filter(|scalar| match meaning(scalar) {
            Meaning::Number => true,
            Meaning::Ambiguous(why) => {
                self.error(Code::Ambiguous, node.span, format!("`{what}`: readers disagree on this number")).help =
                    Some(why.into());
                false
            }
            _ => {
                self.wrong_type(node, what, "a whole number");
                false
            }
        });
        let Some(number) = plain_number else {
            if scalar(node).is_none() {
                self.wrong_type(node, what, "a whole number");
            }
            return None;
        };
        match number.text.parse::<u64>() {
            Ok(value) if range.contains(&value) && !number.text.starts_with('+') => Some(value),
            _ => {
                let (low, high) = range.into_inner();
                let message = format!("`{what}` must be a whole number from {low} to {high}");
                self.error(Code::OutOfRange, node.span, message);
                None
            }
        }
    }

    /// One word of a closed list. Words in `later` belong to the language but are not enforced yet.
    pub(super) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        words: &[(&'static str, T)],
        later: &[&'static str],
    ) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            self.not_enforced(node, &format!("`{what}: {text}`"));
            return None;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(text, known.iter().copied().chain(later.iter().copied())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("one of {}", known.join(", ")),
        };
        self.error(Code::UnknownValue, node.span, format!("unknown `{what}` \"{text}\"")).help = Some(help);
        None
    }
}

/// The scalar of a node, if it is one.
pub(super) fn scalar(node: &Node) -> Option<&Scalar> {
    match &node.kind {
        Kind::Scalar(scalar) => Some(scalar),
        _ => None,
    }
}

/// The entries of a mapping whose keys were checked.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    /// Where the mapping starts.
    pub(super) span: Span,
}

impl<'n> Fields<'n> {
    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry of `key`.
    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, reader: &mut Reader<'_>, key: &str, what: &str) -> Option<&'n Node> {
        let value = self.get(key);
        if value.is_none() {
            reader.error(Code::MissingKey, self.span, format!("{what} needs `{key}`"));
        }
        value
    }
}
