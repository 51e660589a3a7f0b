//! The cases of policies/cases, and what a case file may not be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Expect, PolicyFrom, What};
use crate::policy::codes::Code;
use crate::policy::load::{Source, load, read_cases};
use crate::policy::testing::{loaded_at, rendered};
use crate::policy::{CaseFile, Policy, Test};

fn read(text: &str) -> Result<CaseFile, Vec<(&'static str, u32, u32)>> {
    read_cases(&Source { path: Path::new("/c/cases.yaml"), text }).map_err(|errors| {
        let place = |error: &crate::report::Diagnostic| error.place.as_ref().map_or((0, 0), |at| (at.line, at.column));
        errors.iter().map(|error| (error.code, place(error).0, place(error).1)).collect()
    })
}

/// The failures of one case on this policy.
fn failures(policy: &str, cases: &str) -> Vec<String> {
    let file = read(&format!("cases:\n{cases}").replace("cases:\n", "text: x\ncases:\n"));
    let file = file.unwrap_or_else(|errors| panic!("{errors:?}: {cases}"));
    let failures = file.run(Some(&loaded_at("/c/p.yaml", policy))).failures;
    failures.iter().map(ToString::to_string).collect()
}

const POLICY: &str = "hide: [h]
tools:
  t:
    rules:
      - {name: few, rate_limit: {max: 2, window: 10}, validate: {required_args: true}}
      - {name: n, conditions: [{path: args.n, op: lte, value: 4, if_present: true}]}
  h: {rules: [{conditions: [{path: args.n, op: exists}]}]}
  d: {rules: [{rate_limit: 1/day}]}
  z: {rules: [{rate_limit: 0/day}]}
";

#[test]
fn a_case_passes_when_everything_that_it_says_holds() {
    let good = "
  - {name: a, call: {name: t, arguments: {n: 4}}, required: [n], expect: allow}
  - {name: b, call: {name: t}, required: [], at: 1s, expect: allow}
  - {name: c, call: {name: t}, required: [], at: 1s, repeat: 3, expect: {deny: rate_limited, rule: t.few, retry_after: 9s}}
  - {name: d, call: {name: t}, required: [], at: 9999ms, expect: {deny: rate_limited, retry_after: 1ms}}
  - {name: e, call: {name: t}, required: [], at: 10s, expect: allow}
  - {name: f, call: {name: t, arguments: {n: 5}}, required: [n], expect: {deny: condition_failed, rule: t.n}}
  - {name: g, call: {name: t}, required: [n], expect: {deny: missing_argument, rule: t.few}}
  - {name: g2, call: {name: t}, expect: {deny: schema_unavailable}}
  - {name: h, call: {name: h}, expect: hidden}
  - {name: i, call: {name: u}, expect: {deny: not_listed}}
  - {name: j, call: {name: d}, at: 1h, expect: allow}
  - {name: k, call: {name: d}, expect: {deny: rate_limited, rule: 'd.rules[0]', retry_after: 23h}}
  - {name: k2, call: {name: d}, at: 1d, expect: allow}
  - {name: l, call: {name: z}, expect: {deny: rate_limited, retry_after: never}}
  - {name: m, json: '{\"name\": \"t\", \"arguments\": {\"N\": 1}}', required: [], expect: {refused: ambiguous_argument}}
  - {name: m2, json: '{\"name\": \"h\", \"arguments\": {\"N\": 1}}', required: [n], expect: hidden}
  - {name: m3, json: '{\"name\": \"u\", \"arguments\": {\"N\": 1}}', required: [n], expect: {deny: not_listed}}
  - {name: n, json: '{\"name\": \"t\", \"arguments\": {\"n\": 9007199254740993}}', expect: {refused: integer_too_large}}
  - {name: o, json: '{\"name\": 5}', expect: {refused: bad_call}}
  - {name: p, load: 'toolz: {}', expect: {errors: [ISB-P011]}}
  - {name: q, load: 'hide: [t]', expect: {warnings: [ISB-P063]}}
  - {name: r, load: 'hide: [t]', expect: loads}
";
    assert_eq!(failures(POLICY, good), [""; 0]);
}

/// Each case is wrong in one thing, and the words name it.
#[test]
fn a_case_fails_when_one_thing_that_it_says_does_not_hold() {
    let bad = [
        ("{name: a, call: {name: t}, required: [], expect: deny}", "expected deny, got allow"),
        ("{name: a, call: {name: t}, required: [], repeat: 3, expect: allow}", "at call 3 of 3"),
        (
            "{name: a, call: {name: t, arguments: {n: 5}}, required: [], expect: allow}",
            "rule t.n (line 6 of the policy): args.n must be at most 4",
        ),
        (
            "{name: a, call: {name: t, arguments: {n: 5}}, required: [], expect: {deny: missing_argument}}",
            "got deny (condition_failed) by t.n",
        ),
        (
            "{name: a, call: {name: t, arguments: {n: 5}}, required: [], expect: {deny: condition_failed, rule: t.few}}",
            "by t.few, got deny (condition_failed) by t.n",
        ),
        (
            "{name: a, call: {name: t, arguments: {n: 5}}, required: [], expect: {deny: condition_failed, retry_after: 1s}}",
            "retry_after 1s, got",
        ),
        ("{name: a, call: {name: z}, expect: {deny: rate_limited, retry_after: 1s}}", "retry_after never"),
        ("{name: a, call: {name: h}, expect: deny}", "expected deny, got hidden"),
        ("{name: a, call: {name: u}, expect: hidden}", "got deny (not_listed)"),
        ("{name: a, call: {name: u}, expect: approval}", "expected approval"),
        ("{name: a, json: '{\"name\": \"t\",,}', expect: allow}", "refused by the pipe (syntax)"),
        ("{name: a, json: '{\"name\": \"d\"}', expect: {refused: syntax}}", "got allow"),
        ("{name: a, load: 'toolz: {}', expect: loads}", "got the errors ISB-P011 (unknown key"),
        (
            "{name: a, load: 'toolz: {}', expect: {errors: [ISB-P011, ISB-P011]}}",
            "expected the errors ISB-P011, ISB-P011",
        ),
        ("{name: a, load: 'hide: [t]', expect: {warnings: [ISB-P060]}}", "got a policy that loads with ISB-P063"),
        ("{name: a, load: 'sandbox: {}', expect: {errors: [ISB-P011]}}", "loads without a warning"),
    ];
    for (case, words) in bad {
        let found = failures(POLICY, &format!("  - {case}\n"));
        assert_eq!(found.len(), 1, "{case}");
        assert!(found[0].starts_with("error[ISB-T001]: a: "), "{}", found[0]);
        assert!(found[0].contains(words), "{case}\n{}", found[0]);
        assert!(found[0].contains("--> /c/cases.yaml:3:12"), "{}", found[0]);
    }
}

/// What a case file says wrongly, and where.
#[test]
fn a_case_that_asserts_nothing_is_an_error() {
    let case = |case: &str| format!("text: x\ncases:\n  - {case}\n");
    let bad = [
        ("", ("ISB-P007", 0, 0)),
        ("cases: []\n", ("ISB-P017", 1, 8)),
        ("text: x\n", ("ISB-P015", 1, 1)),
        ("text: x\npolicy: y\ncases: [{name: a, call: {name: t}, expect: allow}]\n", ("ISB-P016", 1, 1)),
        ("cases: [{name: a, call: {name: t}, expect: allow}]\n", ("ISB-P015", 1, 9)),
        (&case("{name: a, call: {name: t}}"), ("ISB-P015", 3, 5)),
        (&case("{name: a, call: {name: t}, expect: {}}"), ("ISB-P015", 3, 40)),
        (&case("{name: a, call: {name: t}, expect: {rule: r}}"), ("ISB-P015", 3, 40)),
        (&case("{name: a, call: {name: t}, expect: alow}"), ("ISB-P014", 3, 40)),
        (&case("{name: a, call: {name: t}, expect: {deny: rate_limit}}"), ("ISB-P014", 3, 47)),
        (&case("{name: a, call: {name: t}, expect: {approval: r, rule: s}}"), ("ISB-P016", 3, 54)),
        (&case("{name: a, call: {name: t}, expect: {deny: rate_limited, refused: syntax}}"), ("ISB-P016", 3, 61)),
        (&case("{name: a, call: {name: t}, expects: allow, expect: allow}"), ("ISB-P011", 3, 32)),
        (&case("{name: a, call: {name: t}, repeat: 0, expect: allow}"), ("ISB-P017", 3, 40)),
        (&case("{name: a, call: {name: t}, json: '{}', expect: allow}"), ("ISB-P016", 3, 32)),
        (&case("{name: a, expect: allow}"), ("ISB-P015", 3, 5)),
        (&case("{name: a, load: x, at: 1s, expect: loads}"), ("ISB-P016", 3, 24)),
        (&case("{name: a, load: x, expect: allow}"), ("ISB-P016", 3, 32)),
        (&case("{name: a, call: {name: t}, expect: loads}"), ("ISB-P016", 3, 40)),
        (&case("{name: a, load: x, expect: {errors: []}}"), ("ISB-P017", 3, 41)),
        (&case("{name: a, load: x, expect: {errors: [ISB-P999]}}"), ("ISB-P014", 3, 42)),
        (&case("{name: a, call: {name: t, arguments: {a: no}}, expect: allow}"), ("ISB-P018", 3, 46)),
        (&case("{name: a, call: {name: t, argument: {}}, expect: allow}"), ("ISB-P011", 3, 31)),
        (&case("{name: a, call: {name: t}, at: 1y, expect: allow}"), ("ISB-P045", 3, 36)),
        (&case("{name: a, call: {name: t}, repeat: 1000001, expect: allow}"), ("ISB-P017", 3, 40)),
        (
            &case(
                "{name: a, call: {name: t}, at: 2s, expect: allow}\n  - {name: b, call: {name: t}, at: 1s, expect: allow}",
            ),
            ("ISB-P017", 4, 36),
        ),
    ];
    for (text, place) in bad {
        let errors = read(text).expect_err(text);
        assert_eq!(errors[0], place, "{text}: {errors:?}");
    }
}

#[test]
fn the_calls_of_all_cases_are_bounded() {
    let case = "  - {name: a, call: {name: t}, repeat: 600000, expect: allow}\n";
    assert!(read(&format!("text: x\ncases:\n{case}")).is_ok());
    assert_eq!(read(&format!("text: x\ncases:\n{case}{case}")).expect_err("too many")[0].0, "ISB-P019");
    let many = |count| "  - {name: a, call: {name: t}, expect: allow}\n".repeat(count);
    assert!(read(&format!("text: x\ncases:\n{}", many(crate::bounds::CASES_MAX))).is_ok());
    let over = read(&format!("text: x\ncases:\n{}", many(crate::bounds::CASES_MAX + 1)));
    assert_eq!(over.expect_err("too many")[0].0, "ISB-P019");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/cases")
}

/// Every file of policies/cases, with the policy that it names.
fn shipped() -> Vec<(CaseFile, Option<Policy>)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder()).expect("there").map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.iter().map(|path| with_policy(path)).collect()
}

fn with_policy(path: &Path) -> (CaseFile, Option<Policy>) {
    let text = std::fs::read_to_string(path).expect("readable");
    let cases = read_cases(&Source { path, text: &text }).unwrap_or_else(|errors| panic!("{}", rendered(&errors)));
    let (path, text) = match &cases.policy {
        None => return (cases, None),
        Some(PolicyFrom::File(name)) => {
            let path = folder().join(name);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, text)
        }
        Some(PolicyFrom::Text(text)) => (path.to_owned(), text.clone()),
    };
    let policy = load(&Source { path: &path, text: &text }).unwrap_or_else(|errors| panic!("{}", rendered(&errors)));
    (cases, Some(policy.policy))
}

#[test]
fn every_shipped_case_passes() {
    let mut failures = String::new();
    for (cases, policy) in shipped() {
        failures.push_str(&rendered(&cases.run(policy.as_ref()).failures));
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_example_of_the_reference_passes() {
    let reference = include_str!("../../../../docs/policy.md");
    let example: Vec<&str> = reference
        .lines()
        .skip_while(|line| !line.starts_with("    policy: ../together-ai.yaml"))
        .take_while(|line| line.starts_with("    "))
        .map(|line| &line[4..])
        .collect();
    let path = folder().join("example.yaml");
    let cases = read_cases(&Source { path: &path, text: &example.join("\n") });
    let cases = cases.unwrap_or_else(|errors| panic!("{}", rendered(&errors)));
    let (_, policy) = with_policy(&folder().join("together-ai.yaml"));
    let done = cases.run(policy.as_ref());
    assert_eq!((done.cases, rendered(&done.failures)), (3, String::new()));
}

/// Codes that no case file can bring about, and why.
const NO_CASE: &[(Code, &str)] = &[
    (Code::TooLarge, "a text over 1 MiB does not fit into a case file, which has the same bound"),
    (Code::More, "a hundred problems are a page; load/tests.rs makes them"),
];

#[test]
fn every_code_of_the_loader_has_a_case() {
    let mut shown = BTreeSet::new();
    for (file, _) in shipped() {
        for case in &file.cases {
            if let Expect::Errors(codes) | Expect::Warnings(codes) = &case.expect {
                shown.extend(codes.iter().copied());
            }
        }
    }
    for code in Code::ALL {
        let exempt = NO_CASE.iter().any(|(known, _)| known == code);
        assert_ne!(shown.contains(code), exempt, "{}: a case in policies/cases, or a reason in NO_CASE", code.as_str());
    }
}

#[test]
fn every_operator_has_a_case_that_passes_and_one_that_fails() {
    let (cases, policy) = with_policy(&folder().join("operators.yaml"));
    let policy = policy.expect("operators.yaml has a policy");
    for operator in Test::OPERATORS {
        let tool = &policy.tools.get(operator).unwrap_or_else(|| panic!("operators.yaml has no tool {operator}"));
        let tests = tool.rules.iter().flat_map(|rule| &rule.conditions).flat_map(super::super::Clause::tests);
        assert!(tests.into_iter().any(|test| test.test.operator() == operator), "the tool {operator} does not use it");
        let named = format!("{{\"name\":\"{operator}\"");
        let ends = |wanted: fn(&Expect) -> bool| {
            cases.cases.iter().any(|case| match &case.what {
                What::Call(asked) => asked.params.starts_with(&named) && wanted(&case.expect),
                What::Method(_) | What::Load(_) => false,
            })
        };
        assert!(ends(|expect| matches!(expect, Expect::Allow)), "{operator}: no case passes");
        assert!(ends(|expect| matches!(expect, Expect::Deny { .. })), "{operator}: no case fails");
    }
}

/// The first cells of the tables below "Differences from Intercept".
fn differences() -> BTreeSet<String> {
    let reference = include_str!("../../../../docs/policy.md");
    let below = reference.split_once("\n## Differences from Intercept\n").expect("the section").1;
    let section = below.split("\n## ").next().expect("the text before");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.filter(|cell| *cell != "Intercept").map(str::to_owned).collect()
}

#[test]
fn every_difference_from_intercept_has_cases() {
    let mut shown = BTreeSet::new();
    for (file, _) in shipped() {
        let text = std::fs::read_to_string(&file.path).expect("readable");
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for pair in lines.windows(2) {
            let Some(row) = pair[0].strip_prefix("# row: ") else { continue };
            assert!(pair[1].starts_with("- "), "{}: no case follows {row}", file.path.display());
            assert!(shown.insert(row.to_owned()), "{row}: in two places");
        }
    }
    let rows = differences();
    assert!(rows.len() > 20, "{rows:?}");
    assert_eq!(
        rows.difference(&shown).collect::<Vec<_>>(),
        [""; 0],
        "rows of docs/policy.md without `# row:` in policies/cases"
    );
    assert_eq!(shown.difference(&rows).collect::<Vec<_>>(), [""; 0], "`# row:` that docs/policy.md does not have");
}
