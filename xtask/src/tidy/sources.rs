//! The tracked text files.

use std::collections::BTreeSet;
use std::fs;

use crate::shell::{Outcome, command, output, workspace};

/// One text file.
pub(crate) struct Source {
    /// Path from the workspace's root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// Whether all of it is tests: it lies in a folder of tests, or its parent declares it under `cfg(test)`.
    is_tests: bool,
}

impl Source {
    /// Whether it is Rust.
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines with their numbers, without what is compiled for tests alone; none for a file of tests.
    pub(super) fn product_lines(&self) -> Vec<(usize, &str)> {
        let mut lines = if self.is_tests { "" } else { self.text.as_str() }.lines().enumerate();
        let mut product = Vec::new();
        while let Some((index, line)) = lines.next() {
            if line != "#[cfg(test)]" {
                product.push((index + 1, line));
                continue;
            }
            // The item that follows: rustfmt closes a braced one with a brace at the margin.
            let item = lines.by_ref().map(|(_, line)| line).find(|line| !line.starts_with("#["));
            if item.is_some_and(|line| line.ends_with('{')) {
                lines.by_ref().find(|(_, line)| *line == "}");
            }
        }
        product
    }

    /// Its lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Paths of the modules that it declares under `cfg(test)`, in both places where a module's file may be.
    fn test_modules(&self) -> Vec<String> {
        let lines: Vec<&str> = self.text.lines().collect();
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = self.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let mut found = Vec::new();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| **line == "#[cfg(test)]") {
            let path = lines.get(at + 1).and_then(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"));
            let module = lines.get(at + 1).and_then(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
            found.extend(path.map(|path| format!("{folder}/{path}")));
            found.extend(
                module.into_iter().flat_map(|name| [format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")]),
            );
        }
        found
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
        let is_tests = path.starts_with("tests/") || path.contains("/tests/");
        Some(Source { path: path.to_owned(), text, is_tests })
    };
    let mut sources: Vec<Source> = names.split_terminator('\0').filter_map(read).collect();
    let test_modules: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        source.is_tests |= test_modules.contains(&source.path);
    }
    Ok(sources)
}
