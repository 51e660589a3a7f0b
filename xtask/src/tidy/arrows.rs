//! Which module may use which, and the funnels that danger goes through.

use super::sources::code;
use super::{Finding, Source};

const LIBRARY: &str = "supervisor/src/lib.rs";
const SOURCES: &str = "supervisor/src/";

/// A module uses only what stands below it in lib.rs.
pub(super) fn modules(sources: &[Source]) -> Vec<Finding> {
    let Some(library) = sources.iter().find(|source| source.path == LIBRARY) else {
        return vec![Finding::of(LIBRARY, "is missing")];
    };
    let declared = library.lines().filter_map(|(_, line)| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let order: Vec<&str> = declared.collect();
    let rank = |module: &str| order.iter().position(|known| *known == module);
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let Some(own) = source.path.strip_prefix(SOURCES).and_then(|path| path.split(['/', '.']).next()) else {
            continue;
        };
        let Some(own_rank) = rank(own) else { continue };
        for (number, line) in source.product_lines() {
            for used in code(line).split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if rank(used).is_some_and(|used_rank| used_rank < own_rank) {
                    findings.push(Finding::at(
                        source,
                        number,
                        format!("{own} uses {used}, which stands above it in lib.rs"),
                    ));
                }
            }
        }
    }
    findings
}

/// One funnel for each danger: (what, where it may stand).
const FUNNELS: [(&str, &[&str]); 4] = [
    ("SystemTime::now", &["supervisor/src/clock.rs"]),
    ("process::Command", &["supervisor/src/sandbox/launch"]),
    ("Command::new(", &["supervisor/src/sandbox/launch", "supervisor/src/cli/"]),
    ("io::stdout", &["supervisor/src/cli/", "supervisor/src/report/", "supervisor/src/relay/"]),
];

pub(super) fn funnels(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(SOURCES) && source.is_rust()) {
        for (number, line) in source.product_lines() {
            for (danger, places) in FUNNELS {
                let allowed = places.iter().any(|place| source.path.starts_with(place));
                if !allowed && code(line).contains(danger) {
                    findings.push(Finding::at(source, number, format!("{danger} belongs in {}", places.join(", "))));
                }
            }
        }
    }
    findings
}
