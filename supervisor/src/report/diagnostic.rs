//! One problem in a file a person wrote: a code, a place, what is wrong, what would be right.

use std::fmt;
use std::path::PathBuf;

use super::text::is_deceptive;

/// Characters of a source line that are shown; longer lines are cut around the place.
const SHOWN_CHARS_MAX: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted; the reader should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters meant, at least 1.
    pub width: u32,
    /// The source line, cut where it is very long.
    text: String,
    /// Characters of `text` before the place.
    before: usize,
}

impl Place {
    /// A place in `line_text`, the whole line `line` without its line break. Columns past its end point behind it.
    #[must_use]
    pub fn new(line: u32, column: u32, width: u32, line_text: &str) -> Self {
        let before = (column.max(1) - 1) as usize;
        let skipped = if before > SHOWN_CHARS_MAX * 3 / 4 { before - SHOWN_CHARS_MAX / 2 } else { 0 };
        let mut rest = line_text.chars().skip(skipped);
        let mut text: String = if skipped > 0 { "…".into() } else { String::new() };
        text.extend(rest.by_ref().take(SHOWN_CHARS_MAX));
        if rest.next().is_some() {
            text.push('…');
        }
        Self {
            line,
            column: column.max(1),
            width: width.max(1),
            text,
            before: before - skipped + usize::from(skipped > 0),
        }
    }

    /// The source line as shown and the padding that carries the carets below the place.
    fn shown(&self) -> (String, String, String) {
        let (mut line, mut pad, mut carets) = (String::new(), String::new(), String::new());
        for (index, c) in self.text.chars().enumerate() {
            let start = line.len();
            match c {
                '\t' => line.push_str("    "),
                c if is_deceptive(c) => line.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => line.push(c),
            }
            let columns = line[start..].chars().count();
            if index < self.before {
                pad.extend(std::iter::repeat_n(' ', columns));
            } else if index < self.before + self.width as usize {
                carets.extend(std::iter::repeat_n('^', columns));
            }
        }
        if carets.is_empty() {
            carets.push('^');
        }
        (line, pad, carets)
    }
}

/// One problem, ready to print with `Display`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable code, listed in docs/errors.md.
    pub code: &'static str,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// The file.
    pub path: PathBuf,
    /// Where in it; none when it is about the file as a whole.
    pub place: Option<Place>,
    /// What would be right.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The same problem without a word of the file: only code, line and column. For a caller who may start us as root but
    /// may not read the file himself.
    #[must_use]
    pub fn without_quotes(&self) -> Self {
        let place = self.place.as_ref().map(|place| Place { text: String::new(), before: 0, ..place.clone() });
        Self { message: "a problem that docs/errors.md describes".into(), place, help: None, ..self.clone() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}[{}]: {}", self.severity.as_str(), self.code, super::printable(&self.message))?;
        let path = self.path.to_string_lossy();
        let path = super::printable(&path);
        let gutter = match &self.place {
            Some(place) => {
                let number = place.line.to_string();
                let gutter = " ".repeat(number.len());
                let (line, pad, carets) = place.shown();
                writeln!(f, "{gutter}--> {path}:{}:{}", place.line, place.column)?;
                if !place.text.is_empty() {
                    writeln!(f, "{gutter} |\n{number} | {line}\n{gutter} | {pad}{carets}")?;
                }
                gutter
            }
            None => {
                writeln!(f, " --> {path}")?;
                " ".into()
            }
        };
        match &self.help {
            Some(help) => writeln!(f, "{gutter} = help: {}", super::printable(help)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(place: Option<Place>) -> String {
        Diagnostic {
            severity: Severity::Error,
            code: "ISB-P011",
            message: "unknown key \"toolz\"".into(),
            path: "p.yaml".into(),
            place,
            help: Some("did you mean \"tools\"?".into()),
        }
        .to_string()
    }

    #[test]
    fn reads_like_a_compilers() {
        let shown = sample(Some(Place::new(12, 3, 5, "  toolz: {}")));
        let expected = "error[ISB-P011]: unknown key \"toolz\"\n  --> p.yaml:12:3\n   |\n12 |   toolz: {}\n   |   ^^^^^\n   = help: did you mean \"tools\"?\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn without_a_place_names_the_file() {
        assert!(sample(None).contains("\n --> p.yaml\n  = help"));
    }

    #[test]
    fn tabs_and_hidden_characters_keep_the_carets_in_place() {
        let shown = sample(Some(Place::new(1, 3, 2, "\t\u{202e}ab")));
        assert!(shown.contains("1 |     \\u{202e}ab\n  |             ^^\n"), "{shown}");
    }

    #[test]
    fn a_caller_who_may_not_read_the_file_sees_no_word_of_it() {
        let text = "root:$6$salt$hash:19000";
        let whole = Diagnostic {
            severity: Severity::Error,
            code: "ISB-P013",
            message: format!("not a mapping: {text}"),
            path: "/etc/shadow".into(),
            place: Some(Place::new(1, 1, 4, text)),
            help: Some(text.into()),
        };
        assert!(whole.to_string().contains("$6$"));
        let shown = whole.without_quotes().to_string();
        assert_eq!(shown, "error[ISB-P013]: a problem that docs/errors.md describes\n --> /etc/shadow:1:1\n");
        assert!(!format!("{:?}", whole.without_quotes()).contains("root"));
    }

    #[test]
    fn a_very_long_line_is_cut_around_the_place() {
        let shown = sample(Some(Place::new(1, 5001, 3, &"x".repeat(10_000))));
        assert!(shown.len() < 700 && shown.contains('…') && shown.contains("^^^"), "{shown}");
    }
}
