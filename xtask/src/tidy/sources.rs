//! The tracked text files.

use std::fs;

use crate::shell::{Outcome, command, output, workspace};

/// One text file.
pub(crate) struct Source {
    /// Path from the workspace's root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines with their numbers, up to the unit tests at its bottom; none for a file of tests.
    pub(super) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_tests =
            self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.starts_with("tests/");
        let end =
            if is_tests { 0 } else { self.text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(usize::MAX) };
        self.lines().take(end)
    }

    /// Its lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// A line without its trailing comment. Strings that hold `//` lose their rest: good enough for rules about code.
pub(super) fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Every tracked or new text file.
pub(super) fn tracked() -> Outcome<Vec<Source>> {
    let listed = output(command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    if !listed.status.success() {
        return Err("git ls-files failed".into());
    }
    let names = String::from_utf8(listed.stdout).map_err(|error| error.to_string())?;
    let read = |path: &str| {
        // A file that git still lists but that is gone, or one that is no text, has no lines to judge.
        let text = fs::read_to_string(workspace().join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    Ok(names.split_terminator('\0').filter_map(read).collect())
}
