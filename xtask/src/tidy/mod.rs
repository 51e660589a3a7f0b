//! The repository's rules, checked. Each rule is a function from the sources to findings.

mod arrows;
mod documents;
mod shape;
mod sources;
mod words;

use crate::say;
use crate::shell::Outcome;
pub(crate) use sources::Source;

/// A breach of a rule.
pub(crate) struct Finding {
    /// `FILE:LINE`, or `FILE`.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) text: String,
    /// Worth a look, but no failure.
    pub(crate) is_warning: bool,
}

impl Finding {
    fn at(source: &Source, line: usize, text: impl Into<String>) -> Self {
        Self { place: format!("{}:{line}", source.path), text: text.into(), is_warning: false }
    }

    fn of(place: &str, text: impl Into<String>) -> Self {
        Self { place: place.into(), text: text.into(), is_warning: false }
    }
}

/// A rule: from the sources to the breaches in them.
type Rule = fn(&[Source]) -> Vec<Finding>;

/// `cargo xtask tidy`.
pub(crate) fn run() -> Outcome {
    let sources = sources::tracked()?;
    let rules: [Rule; 10] = [
        shape::file_lengths,
        shape::function_lengths,
        shape::unsafe_code,
        arrows::modules,
        arrows::funnels,
        words::unfinished,
        words::unwraps,
        words::registry_hosts,
        documents::error_codes,
        documents::named_tests,
    ];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(&sources)).collect();
    findings.extend(documents::protections(&sources));
    findings.extend(documents::layers(&sources));
    for finding in &findings {
        let kind = if finding.is_warning { "warning" } else { "error" };
        say::line(&format!("{kind}: {}: {}", finding.place, finding.text));
    }
    let errors = findings.iter().filter(|finding| !finding.is_warning).count();
    say::line(&format!("tidy: {} files, {} rules, {errors} errors", sources.len(), rules.len() + 2));
    if errors == 0 { Ok(()) } else { Err(format!("{errors} breaches of the repository's rules")) }
}
