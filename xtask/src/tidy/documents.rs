//! Documents that must agree with the code.

use std::collections::BTreeSet;

use super::{Finding, Source};
use crate::{mutate, opened};

const ERRORS: &str = "docs/errors.md";
const WEAKEN: &str = "supervisor/src/weaken.rs";
const THREATS: &str = "docs/threat-model.md";

fn document<'a>(sources: &'a [Source], path: &str) -> Result<&'a Source, Vec<Finding>> {
    sources.iter().find(|source| source.path == path).ok_or_else(|| vec![Finding::of(path, "is missing")])
}

/// Every `ISB-X000` in the product stands in docs/errors.md, and every one there is given by the product.
pub(super) fn error_codes(sources: &[Source]) -> Vec<Finding> {
    let errors = match document(sources, ERRORS) {
        Ok(errors) => errors,
        Err(findings) => return findings,
    };
    let rows = errors.lines().filter(|(_, line)| line.starts_with("| ISB-"));
    let documented: BTreeSet<String> = rows.filter_map(|(_, line)| codes(line).into_iter().next()).collect();
    let given: BTreeSet<String> = sources
        .iter()
        .filter(|source| source.path.starts_with("supervisor/src/") && source.is_rust())
        .flat_map(|source| source.product_lines().into_iter().flat_map(|(_, line)| codes(line)))
        .collect();
    let missing =
        given.difference(&documented).map(|code| Finding::of(ERRORS, format!("{code} is given but not documented")));
    let stale =
        documented.difference(&given).map(|code| Finding::of(ERRORS, format!("{code} is documented but never given")));
    missing.chain(stale).collect()
}

fn codes(text: &str) -> BTreeSet<String> {
    let code = |rest: &str| {
        let code: String = rest.chars().take(4).collect();
        let mut characters = code.chars();
        let is_code =
            characters.next().is_some_and(|c| c.is_ascii_uppercase()) && characters.all(|c| c.is_ascii_digit());
        (is_code && code.len() == 4).then(|| format!("ISB-{code}"))
    };
    text.split("ISB-").skip(1).filter_map(code).collect()
}

/// Every test that docs/threat-model.md names exists: `suite::test` in backquotes.
pub(super) fn named_tests(sources: &[Source]) -> Vec<Finding> {
    let threats = match document(sources, THREATS) {
        Ok(threats) => threats,
        Err(findings) => return findings,
    };
    let known = tests(sources);
    let mut findings = Vec::new();
    for (number, line) in threats.lines() {
        let quoted = line.split('`').skip(1).step_by(2).filter(|text| text.contains("::"));
        let unknown = quoted.filter(|text| !known.contains(text.rsplit("::").next().unwrap_or_default()));
        findings.extend(unknown.map(|text| Finding::at(threats, number, format!("there is no test {text}"))));
    }
    findings
}

/// Every protection that can be dropped has its row in the table of mutations, and its test exists.
pub(super) fn protections(sources: &[Source]) -> Vec<Finding> {
    let known = tests(sources);
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("supervisor/src/") && source.path != WEAKEN) {
        for (number, line) in source.lines().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for name in line
                .split("in_force(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
                .filter(|name| !name.is_empty())
            {
                if mutate::row(name).is_none() {
                    findings.push(Finding::at(
                        source,
                        number,
                        format!("{name} has no row in xtask/src/mutate/table.rs"),
                    ));
                }
            }
        }
    }
    for row in mutate::TABLE {
        let test = row.test.rsplit("::").next().unwrap_or_default();
        let asked = format!("\"{}\"", row.protection);
        let is_asked = |source: &Source| source.path.starts_with("supervisor/src/") && source.text.contains(&asked);
        if !sources.iter().any(is_asked) {
            findings.push(Finding::of("xtask/src/mutate/table.rs", format!("nothing asks for {}", row.protection)));
        }
        if !known.contains(test) {
            findings.push(Finding::of(
                "xtask/src/mutate/table.rs",
                format!("{}: there is no test {}", row.protection, row.test),
            ));
        }
    }
    findings
}

/// Every protection of the server's sandbox and network stands in the table of layers, and docs/threat-model.md says what each holds.
pub(super) fn layers(sources: &[Source]) -> Vec<Finding> {
    let threats = match document(sources, THREATS) {
        Ok(threats) => threats,
        Err(findings) => return findings,
    };
    let mut findings = Vec::new();
    if !opened::is_written(&threats.text) {
        findings
            .push(Finding::of(THREATS, "says nothing of some layer: `cargo xtask redteam --without all` writes it"));
    }
    let tried = opened::dropped();
    let of_the_server = ["supervisor/src/sandbox/", "supervisor/src/egress/"];
    for source in sources.iter().filter(|source| of_the_server.iter().any(|folder| source.path.starts_with(folder))) {
        let named = mutate::TABLE.iter().map(|row| row.protection).filter(|name| !name.starts_with("confine-"));
        for name in named.filter(|name| source.text.contains(&format!("\"{name}\"")) && !tried.contains(name)) {
            findings.push(Finding::of(&source.path, format!("{name} is no layer in xtask/src/opened/table.rs")));
        }
    }
    findings
}

/// Names of all test functions, and of the cases of the programs that are their own harness.
fn tests(sources: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources.iter().filter(|source| source.path.starts_with("supervisor/tests/")) {
        let cases = source.lines().filter_map(|(_, line)| line.trim().strip_prefix("(\"")?.split('"').next());
        names.extend(cases.map(str::to_owned));
    }
    for source in sources.iter().filter(|source| source.is_rust()) {
        let mut is_test = false;
        for (_, line) in source.lines().map(|(number, line)| (number, line.trim())) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, name)) =
                line.split_once("fn ").filter(|_| is_test || source.text.contains("proptest!"))
            {
                names.insert(name.split('(').next().unwrap_or_default().to_owned());
                is_test = false;
            }
        }
    }
    names
}
