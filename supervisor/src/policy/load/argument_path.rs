//! `path:` of a condition on arguments.

use super::read::Reader;
use crate::bounds::POLICY_PATH_STEPS_MAX;
use crate::policy::codes::Code;
use crate::policy::condition::Step;
use crate::policy::yaml::Node;

/// `args.a.b` or `args.items[*].price`: the text, and its steps below `args`.
pub(super) fn argument_path(reader: &mut Reader<'_>, node: &Node) -> Option<(String, Vec<Step>)> {
    let text = reader.text(node, "path")?;
    match steps(text) {
        Ok(steps) => Some((text.to_owned(), steps)),
        Err(help) => {
            reader.error(Code::BadArgumentPath, node.span, format!("\"{text}\" names no argument")).help = Some(help);
            None
        }
    }
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let plain = || "write args.NAME, or args.NAME.KEY for a value inside".to_owned();
    let rest = text.strip_prefix("args.").ok_or_else(plain)?;
    let mut steps = Vec::new();
    for part in rest.split('.') {
        let (key, brackets) = part.split_at(part.find(['[', ']']).unwrap_or(part.len()));
        if key.is_empty() || key.trim() != key {
            return Err(plain());
        }
        steps.push(Step::Key(key.to_owned()));
        let arrays = brackets.len() / EACH.len();
        if brackets != EACH.repeat(arrays) {
            return Err(
                "`[*]` after a key stands for every element, as in args.items[*].price; no single one can be named"
                    .to_owned(),
            );
        }
        steps.extend(std::iter::repeat_n(Step::EachItem, arrays));
        if steps.len() > POLICY_PATH_STEPS_MAX {
            return Err(format!("a message is nested {POLICY_PATH_STEPS_MAX} levels deep at most"));
        }
    }
    Ok(steps)
}

const EACH: &str = "[*]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_arrays() {
        let key = |name: &str| Step::Key(name.to_owned());
        assert_eq!(steps("args.a.b"), Ok(vec![key("a"), key("b")]));
        assert_eq!(steps("args.items[*].price"), Ok(vec![key("items"), Step::EachItem, key("price")]));
        assert_eq!(steps("args.m[*][*]"), Ok(vec![key("m"), Step::EachItem, Step::EachItem]));
        assert_eq!(steps("args.a b.ü"), Ok(vec![key("a b"), key("ü")]));
    }

    #[test]
    fn what_names_no_argument_says_what_would() {
        for text in ["", "args", "args.", "arg.a", "args..a", "args.a.", "args. a", "a", "args[*].a", "ARGS.a"] {
            assert!(steps(text).is_err_and(|help| help.contains("args.NAME")), "{text}");
        }
        for text in [
            "args.a[0]",
            "args.a[-1].b",
            "args.a[]",
            "args.a[*",
            "args.a*]",
            "args.a]",
            "args.a[*]b",
            "args.a[**]",
            "args.a[ * ]",
            "args.a['b']",
            "args.a[*].b[1]",
        ] {
            assert!(steps(text).is_err_and(|help| help.contains("every element")), "{text}");
        }
        assert!(steps("args.[*]").is_err());
        let deep = |count: usize| format!("args.{}", vec!["a"; count].join("."));
        assert!(steps(&deep(POLICY_PATH_STEPS_MAX)).is_ok());
        assert!(steps(&deep(POLICY_PATH_STEPS_MAX + 1)).is_err());
        assert!(steps(&format!("args.a{}", EACH.repeat(100_000))).is_err());
    }
}
