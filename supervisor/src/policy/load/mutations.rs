//! Valid policies, broken at random: the loader never panics, and what it accepts it prints and reads again alike.

use std::path::Path;

use proptest::prelude::*;

use super::{Source, load};
use crate::policy::testing::{loaded, rendered};

const CONDITIONS: &str = r#"version: "1"
default: deny
hide: [secret]
tools:
  charge:
    rules:
      - name: bounds
        conditions:
          - {path: args.amount, op: lte, value: 100.50}
          - path: args.items[*].price
            op: gt
            value: 0
            if_present: true
          - any:
              - {path: args.to, op: host_in, value: [api.example.com, "*.example.org", 192.0.2.1]}
              - all:
                  - {path: args.file, op: under_path, value: /srv/data}
                  - not: {path: args.file, op: starts_with, value: /srv/data/private}
              - not: {any: [{path: args.note, op: not_regex, value: '^[a-z]+$'}, {path: args.tags, op: contains, value: x}]}
          - {path: "args.matrix[*][*]", op: not_in, value: [1, null, "a"]}
        on_deny: "no"
"#;

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "any",
    "all",
    "not",
    "path",
    "op",
    "value",
    "[*]",
    "[0]",
    "args.",
    "state.t.c",
    "exists",
    "host_in",
    "regex",
    "'('",
    "null",
    "true",
    "1e9999",
    "[]",
    "{}",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "- ",
    "\n",
    " ",
    "\"",
    "'",
    "*",
    "&a ",
    "*a",
    "#",
    "|",
    "\u{e9}",
    "\\",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mutated_conditions_never_panic_and_never_half_load(
        edits in prop::collection::vec((0_usize..4000, 0_usize..12, prop::sample::select(WORDS)), 1..5),
    ) {
        let mut text = CONDITIONS.to_owned();
        for (at, cut, word) in edits {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let start = places[at % places.len()];
            let end = places.get(at % places.len() + cut).copied().unwrap_or(text.len());
            text.replace_range(start..end, word);
        }
        if let Ok(loaded) = load(&Source { path: Path::new("/p"), text: &text }) {
            let normal = loaded.policy.normalised();
            let again = load(&Source { path: Path::new("/p"), text: &normal });
            prop_assert_eq!(again.map(|again| again.policy.normalised()).map_err(|errors| rendered(&errors)), Ok(normal));
        }
    }

    #[test]
    fn any_single_value_in_a_condition_never_panics(
        value in "\\PC{0,40}", key in prop::sample::select(vec!["path", "op", "value", "any", "all", "not"]),
    ) {
        let text = format!("tools: {{t: {{rules: [{{conditions: [{{path: args.a, {key}: {value}}}]}}]}}}}");
        let _ = load(&Source { path: Path::new("/p"), text: &text });
    }
}

#[test]
fn the_policy_that_is_mutated_loads() {
    assert_eq!(loaded(CONDITIONS).tools["charge"].rules[0].conditions.len(), 4);
}
