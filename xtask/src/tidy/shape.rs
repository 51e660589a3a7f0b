//! Sizes, and where unsafe code may stand.

use super::sources::code;
use super::{Finding, Source};

const FILE_LINES_MAX: usize = 500;
const FILE_LINES_NOTICED: usize = 250;
const FUNCTION_LINES_MAX: usize = 70;

/// Where unsafe code may stand: the supervisor's one folder, programs that have no other way, and kernel code.
const UNSAFE_ALLOWED: [&str; 4] = ["supervisor/src/sys/", "supervisor/init/", "tests/src/bin/", "ebpf-probes/"];

pub(super) fn file_lengths(sources: &[Source]) -> Vec<Finding> {
    let rust = sources.iter().filter(|source| source.is_rust());
    let lengths: Vec<(&str, usize)> = rust.map(|source| (source.path.as_str(), source.text.lines().count())).collect();
    let too_long = lengths.iter().filter(|(_, lines)| *lines > FILE_LINES_MAX);
    let mut findings: Vec<Finding> =
        too_long.map(|(path, lines)| Finding::of(path, format!("{lines} lines; {FILE_LINES_MAX} at most"))).collect();
    let noticed = lengths.iter().filter(|(_, lines)| *lines > FILE_LINES_NOTICED).count();
    if noticed > 0 {
        let text = format!("{noticed} of {} files are longer than {FILE_LINES_NOTICED} lines", lengths.len());
        findings.push(Finding { place: "sizes".into(), text, is_warning: true });
    }
    findings
}

/// Relies on rustfmt: a function ends at the first line that closes a brace at the function's own indent.
pub(super) fn function_lengths(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let is_end =
                |line: &&str| line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest.starts_with("};"));
            let Some(length) = lines[start..].iter().position(is_end).map(|end| end + 1) else { continue };
            // A signature without a body ends before the next one starts.
            let has_body = lines[start..start + length].iter().any(|line| code(line).trim_end().ends_with('{'));
            let next = lines[start + 1..start + length].iter().any(|line| {
                line.starts_with(indent) && !line[indent.len()..].starts_with(' ') && function_name(line).is_some()
            });
            if has_body && !next && length > FUNCTION_LINES_MAX {
                findings.push(Finding::at(
                    source,
                    start + 1,
                    format!("{name} has {length} lines; {FUNCTION_LINES_MAX} at most"),
                ));
            }
        }
    }
    findings
}

pub(super) fn unsafe_code(sources: &[Source]) -> Vec<Finding> {
    let elsewhere = sources.iter().filter(|source| source.is_rust());
    let elsewhere = elsewhere.filter(|source| !UNSAFE_ALLOWED.iter().any(|folder| source.path.starts_with(folder)));
    let breaches = elsewhere.flat_map(|source| {
        let marks = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "allow(unsafe_code"];
        let is_breach = move |line: &str| !line.contains('"') && marks.iter().any(|mark| code(line).contains(mark));
        source.lines().filter(move |(_, line)| is_breach(line)).map(|(number, _)| {
            Finding::at(source, number, format!("unsafe code outside {}", UNSAFE_ALLOWED.join(", ")))
        })
    });
    breaches.collect()
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = code(line).split_once("fn ")?;
    let is_qualifier = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern")
            || word.starts_with(['(', '"'])
            || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(is_qualifier) {
        return None;
    }
    after.split(['(', '<']).next().filter(|name| !name.is_empty())
}
