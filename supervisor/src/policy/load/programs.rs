//! `process.exec`: which programs a server may execute.

use std::collections::BTreeSet;

use super::paths;
use super::read::Reader;
use crate::bounds::{POLICY_NAME_BYTES_MAX, POLICY_PROGRAMS_MAX};
use crate::policy::codes::Code;
use crate::policy::yaml::Node;

/// The list; empty, nothing but the command itself. `None` where it is no list, which is an error by then.
pub(super) fn programs(reader: &mut Reader<'_>, node: &Node) -> Option<BTreeSet<String>> {
    let mut programs = BTreeSet::new();
    for item in reader.list(node, "process.exec", POLICY_PROGRAMS_MAX)? {
        let Some(program) = program(reader, item) else { continue };
        if programs.contains(&program) {
            reader.error(Code::DuplicateEntry, item.span, format!("{program} stands twice"));
        }
        programs.insert(program);
    }
    Some(programs)
}

/// A bare name, looked up as the command is, or an absolute path. Nothing is relative: whoever could choose the directory
/// would choose the program.
fn program(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "process.exec")?;
    if text.contains('/') {
        return paths::absolute(reader, node, "process.exec");
    }
    let name = !text.is_empty()
        && text.len() <= POLICY_NAME_BYTES_MAX
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if !name {
        reader.error(Code::BadName, node.span, format!("\"{text}\" is not the name of a program")).help =
            Some("a name that stands in /usr/local/bin, /usr/bin or /bin, or an absolute path".into());
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{errors, loaded};

    #[test]
    fn names_and_absolute_paths_in_any_order() {
        let exec = |list: &str| loaded(&format!("sandbox: {{process: {{exec: {list}}}}}")).sandbox.exec;
        let some = exec("[node, /opt/a/b, git]").unwrap();
        assert_eq!(some.into_iter().collect::<Vec<_>>(), ["/opt/a/b", "git", "node"]);
        assert_eq!(exec("[]").map(|list| list.len()), Some(0), "an empty list is a list");
        assert_eq!(loaded("sandbox: {process: {max: 2}}").sandbox.exec, None);
    }

    #[test]
    fn what_names_no_program_is_refused() {
        for (list, code) in [
            ("[./node]", "ISB-P042"),
            ("[bin/node]", "ISB-P042"),
            ("[/opt/../bin/sh]", "ISB-P042"),
            ("['']", "ISB-P026"),
            ("['..']", "ISB-P026"),
            ("['node --flag']", "ISB-P026"),
            ("[node, node]", "ISB-P033"),
            ("node", "ISB-P013"),
            ("[[node]]", "ISB-P013"),
        ] {
            let found = errors(&format!("sandbox: {{process: {{exec: {list}}}}}"));
            assert!(found.iter().any(|error| error.code == code), "{list}: {found:?}");
        }
    }
}
