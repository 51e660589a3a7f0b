//! Every code with its exact place, and the loader's bounds.

mod conditions;
mod counting;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::bounds::*;
use crate::policy::testing::{errors, loaded, rendered, warnings};

/// Code, policy, line and column of the first error.
const ERRORS: &[(Code, &str, u32, u32)] = &[
    (Code::Syntax, "tools: [1\n", 1, 8),
    (Code::Syntax, "a: b: c\n", 1, 5),
    (Code::ForbiddenCharacter, "description: a\u{202e}b\n", 1, 15),
    (Code::ForbiddenCharacter, "description: a\rdefault: allow\n", 1, 15),
    (Code::YamlFeature, "tools: {}\nname: !!str p\n", 2, 13),
    (Code::YamlFeature, "tools: {}\n---\ntools: {}\n", 2, 1),
    (Code::DuplicateKey, "tools: {}\ntools: {}\n", 2, 1),
    (Code::DuplicateKey, "tools:\n  t: {}\n  \"t\": {}\n", 3, 3),
    (Code::UnknownKey, "toolz: {}\n", 1, 1),
    (Code::UnknownKey, "tools:\n  t:\n    rules:\n      - conditon: []\n", 4, 9),
    (Code::UnknownKey, "sandbox: {network: {allow: [], allwo: []}}\n", 1, 32),
    (Code::UnknownOperator, "tools: {t: {rules: [{conditions: [{path: args.a, op: lt_e, value: 1}]}]}}\n", 1, 54),
    (Code::WrongType, "tools: [t]\n", 1, 8),
    (Code::WrongType, "tools:\n  t:\n    rules: yes\n", 3, 12),
    (Code::WrongType, "tools: {t: {rules: [{validate: {required_args: yes}}]}}\n", 1, 48),
    (Code::WrongType, "name: null\n", 1, 7),
    (Code::WrongType, "sandbox:\ntools: {}\n", 1, 8),
    (Code::WrongType, "a string\n", 1, 1),
    (Code::WrongType, "server: {command: node x.js}\n", 1, 19),
    (Code::UnknownValue, "default: denied\n", 1, 10),
    (Code::UnknownValue, "version: \"2\"\ndefault: deny\n", 1, 10),
    (Code::UnknownValue, "tools: {t: {rules: [{action: Deny}]}}\n", 1, 30),
    (Code::UnknownValue, "sandbox: {require: [landlok]}\n", 1, 21),
    (Code::UnknownValue, "audit: {capture: plain}\n", 1, 18),
    (Code::MissingKey, "tools: {t: {rules: [{conditions: [{op: exists}]}]}}\n", 1, 35),
    (Code::MissingKey, "tools: {t: {rules: [{conditions: [{path: args.a, op: eq}]}]}}\n", 1, 35),
    (Code::MissingKey, "tools: {t: {rules: [{rate_limit: {max: 1}}]}}\n", 1, 34),
    (Code::MissingKey, "sandbox: {network: {allow: [{ports: [443]}]}}\n", 1, 29),
    (Code::Exclusive, "tools: {t: {rules: [{reason: a, on_deny: b}]}}\n", 1, 33),
    (Code::Exclusive, "tools: {t: {rules: [{conditions: [{path: args.a, op: exists, if_present: true}]}]}}\n", 1, 62),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: {max: 10000001, window: 60}}]}}\n", 1, 40),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: {max: 1.5, window: 60}}]}}\n", 1, 40),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: {max: -1, window: 60}}]}}\n", 1, 40),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: {max: 1, window: 0}}]}}\n", 1, 51),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: {max: 1, window: 367d}}]}}\n", 1, 51),
    (Code::OutOfRange, "tools: {t: {rules: [{rate_limit: 10000001/day}]}}\n", 1, 34),
    (Code::OutOfRange, "sandbox: {network: {allow: [{host: a.b, ports: [65536]}]}}\n", 1, 49),
    (Code::OutOfRange, "sandbox: {network: {allow: [{host: a.b, ports: []}]}}\n", 1, 48),
    (Code::Ambiguous, "tools: {t: {rules: [{conditions: [{path: args.a, op: eq, value: 010}]}]}}\n", 1, 65),
    (Code::Ambiguous, "tools: {t: {rules: [{rate_limit: {max: 0x10, window: 60}}]}}\n", 1, 40),
    (Code::TooMany, "sandbox: {require: [core, core, core, core, core, core, core]}\n", 1, 20),
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: prompt, op: exists}]}]}}\n", 1, 42),
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: args., op: exists}]}]}}\n", 1, 42),
    (Code::BadArgumentPath, "tools: {t: {rules: [{conditions: [{path: args.a..b, op: exists}]}]}}\n", 1, 42),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: lt, value: '5'}]}]}}\n", 1, 65),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: in, value: a}]}]}}\n", 1, 65),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: not_in, value: []}]}]}}\n", 1, 69),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: regex, value: 5}]}]}}\n", 1, 68),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: exists, value: 1}]}]}}\n", 1, 69),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: eq, value: {a: 1}}]}]}}\n", 1, 65),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: length_lte, value: a}]}]}}\n", 1, 73),
    (Code::OperandType, "tools: {t: {rules: [{conditions: [{path: args.a, op: under_path, value: 1}]}]}}\n", 1, 73),
    (Code::BadRegex, "tools: {t: {rules: [{conditions: [{path: args.a, op: regex, value: '('}]}]}}\n", 1, 68),
    (Code::BadRateLimit, "tools: {t: {rules: [{rate_limit: 10/minutes}]}}\n", 1, 34),
    (Code::BadRateLimit, "tools: {t: {rules: [{rate_limit: -1/day}]}}\n", 1, 34),
    (Code::BadRateLimit, "tools: {t: {rules: [{rate_limit: 10}]}}\n", 1, 34),
    (Code::DenyWithChecks, "tools: {t: {rules: [{action: deny, conditions: [{path: args.a, op: exists}]}]}}\n", 1, 36),
    (Code::DenyWithChecks, "tools: {t: {rules: [{action: deny, rate_limit: 1/day}]}}\n", 1, 36),
    (Code::DenyWithChecks, "tools: {t: {rules: [{action: deny, validate: {required_args: true}}]}}\n", 1, 36),
    (Code::DuplicateRule, "tools: {t: {rules: [{name: a}, {name: a}]}}\n", 1, 39),
    (Code::DuplicateRule, "tools: {t: {rules: [{name: 'rules[1]'}, {}]}}\n", 1, 41),
    (Code::DuplicateRule, "tools: {a.b: {rules: [{name: c}]}, a: {rules: [{name: b.c}]}}\n", 1, 55),
    (Code::BadName, "tools: {get_*: {}}\n", 1, 9),
    (Code::BadName, "hide: ['get_*']\n", 1, 8),
    (Code::BadName, "name: ../p\n", 1, 7),
    (Code::BadName, "sandbox: {env: {pass: [A-B]}}\n", 1, 24),
    (Code::BadName, "sandbox: {env: {set: {1A: x}}}\n", 1, 23),
    (Code::BadName, "sandbox: {filesystem: {write: [{path: /srv/a, owner: a b}]}}\n", 1, 54),
    (Code::KeyNotEnforced, "prepare: {}\n", 1, 1),
    (Code::KeyNotEnforced, "prepare: {}\n", 1, 1),
    (Code::KeyNotEnforced, "tools: {t: {network: [a.b]}}\n", 1, 13),
    (Code::OutOfRange, "sandbox: {resources: {client_line: 1023}}\n", 1, 36),
    (Code::OutOfRange, "sandbox: {resources: {client_line: 65M}}\n", 1, 36),
    (Code::OutOfRange, "sandbox: {resources: {server_line: 257M}}\n", 1, 36),
    (Code::BadUnit, "sandbox: {resources: {call_timeout: soon}}\n", 1, 37),
    (Code::KeyNotEnforced, "sandbox: {network: {allow: [{host: a.b, inject: {}}]}}\n", 1, 41),
    (Code::ValueNotEnforced, "sandbox: {network: {allow: [{host: '*.example.com'}]}}\n", 1, 36),
    (Code::ValueNotEnforced, "sandbox: {network: {allow: [{host: a.b, tls: terminate}]}}\n", 1, 46),
    (Code::ValueNotEnforced, "cli: {allow: [upstream-ca]}\n", 1, 15),
    (Code::BadHost, "sandbox: {network: {allow: [{host: 10.0.0.1}]}}\n", 1, 36),
    (Code::DuplicateHost, "sandbox: {network: {allow: [{host: a.b}, {host: a.b, ports: [80]}]}}\n", 1, 42),
    (Code::DuplicateHost, "sandbox: {network: {allow: [{host: a.b, ports: [80, 80]}]}}\n", 1, 53),
    (Code::BadPath, "sandbox: {filesystem: {read: [opt]}}\n", 1, 31),
    (Code::BadPath, "sandbox: {filesystem: {read: [/opt/../etc]}}\n", 1, 31),
    (Code::BadPath, "sandbox: {filesystem: {read: [/opt/]}}\n", 1, 31),
    (Code::ProtectedPath, "sandbox: {filesystem: {read: [/]}}\n", 1, 31),
    (Code::ProtectedPath, "sandbox: {filesystem: {read: [/proc/1]}}\n", 1, 31),
    (Code::ProtectedPath, "sandbox: {filesystem: {write: [/etc/cron.d]}}\n", 1, 32),
    (Code::ProtectedPath, "sandbox: {filesystem: {write: [/var/lib]}}\n", 1, 32),
    (Code::ProtectedPath, "sandbox: {filesystem: {write: [{path: /srv/a, from: /usr}]}}\n", 1, 53),
    (Code::PathConflict, "sandbox: {filesystem: {write: [/srv/a, /srv/a]}}\n", 1, 40),
    (Code::PathConflict, "sandbox: {filesystem: {write: [/srv/a, /srv/a/b]}}\n", 1, 40),
    (Code::PathConflict, "sandbox: {filesystem: {read: [/srv/a], write: [/srv/a]}}\n", 1, 48),
    (Code::PathConflict, "sandbox: {filesystem: {read: [/srv/a/b], write: [/srv/a]}}\n", 1, 31),
    (Code::PathConflict, "sandbox: {filesystem: {write: [/tmp]}}\n", 1, 32),
    (Code::BadUnit, "sandbox: {resources: {memory: 512MB}}\n", 1, 31),
    (Code::BadUnit, "sandbox: {resources: {cpu: 1/2}}\n", 1, 28),
    (Code::BadUnit, "tools: {t: {rules: [{rate_limit: {max: 1, window: 1w}}]}}\n", 1, 51),
    (Code::PlainTcpReason, "sandbox: {network: {allow: [{host: a.b, tls: none}]}}\n", 1, 29),
    (Code::PlainTcpReason, "sandbox: {network: {allow: [{host: a.b, reason: x}]}}\n", 1, 49),
    (Code::VariableConflict, "sandbox: {env: {pass: [A, A]}}\n", 1, 27),
    (Code::VariableConflict, "sandbox: {env: {pass: [A], set: {A: x}}}\n", 1, 24),
    (Code::RootOwner, "sandbox: {filesystem: {write: [{path: /srv/a, owner: root}]}}\n", 1, 54),
    (Code::RootOwner, "sandbox: {filesystem: {write: [{path: /srv/a, owner: 00}]}}\n", 1, 54),
];

const WARNINGS: &[(Code, &str, u32, u32)] = &[
    (Code::DefaultAllow, "version: \"1\"\nmethods: {}\nsandbox: {}\n", 1, 1),
    (
        Code::BooleanLookingText,
        "sandbox: {}\ntools: {t: {rules: [{conditions: [{path: args.a, op: in, value: [se, no]}]}]}}\n",
        2,
        70,
    ),
    (Code::UnusedApprovals, "sandbox: {}\napprovals: {timeout: 50s}\ntools: {t: {rules: [{}]}}\n", 2, 1),
    (
        Code::OpenAny,
        "sandbox: {}\ntools: {t: {rules: [{conditions: [{any: [{path: args.a, op: exists}, {path: args.b, op: lt, value: 1, if_present: true}]}]}]}}\n",
        2,
        103,
    ),
    (Code::UnjudgedMethods, "version: \"1\"\ndefault: deny\nsandbox: {}\n", 1, 1),
    (Code::NearMethod, "version: \"1\"\ndefault: deny\nsandbox: {}\nmethods: {resource/read: deny}\n", 4, 11),
    (Code::HiddenRules, "sandbox: {}\nhide: [t]\ntools: {t: {rules: [{}]}}\n", 2, 1),
];

fn place(diagnostic: &Diagnostic) -> (&str, u32, u32) {
    let (line, column) = diagnostic.place.as_ref().map_or((0, 0), |place| (place.line, place.column));
    (diagnostic.code, line, column)
}

#[test]
fn every_error_names_its_exact_place() {
    let mut wrong = String::new();
    for (code, text, line, column) in ERRORS.iter().chain(conditions::ERRORS) {
        let found = errors(text);
        if found.len() != 1 || place(&found[0]) != (code.as_str(), *line, *column) {
            wrong.push_str(&format!("{text}wanted {} at {line}:{column}\n{}\n", code.as_str(), rendered(&found)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    for (code, text, line, column) in WARNINGS {
        let found = warnings(text);
        assert_eq!(found.len(), 1, "{text}{}", rendered(&found));
        assert_eq!(place(&found[0]), (code.as_str(), *line, *column), "{text}{}", rendered(&found));
    }
    // Each of these has its own test below or in yaml/.
    let elsewhere = [Code::TooLarge, Code::TooDeep, Code::TooManyNodes, Code::Empty, Code::NoSandbox, Code::More];
    for code in Code::ALL {
        let tested = ERRORS
            .iter()
            .chain(conditions::ERRORS)
            .chain(counting::ERRORS)
            .chain(WARNINGS)
            .any(|(tested, ..)| tested == code);
        assert!(tested || elsewhere.contains(code), "{} has no test", code.as_str());
    }
}

#[test]
fn the_misspelt_key_reads_like_a_compilers_error() {
    let shown = rendered(&errors("version: \"1\"\ntoolz:\n  t: {}\n"));
    let expected = "error[ISB-P011]: unknown key \"toolz\" in a policy\n --> /etc/p.yaml:2:1\n  |\n2 | toolz:\n  | ^^^^^\n  = help: did you mean \"tools\"?\n";
    assert_eq!(shown, expected);
    let shown = rendered(&errors(ERRORS.iter().find(|case| case.0 == Code::UnknownOperator).expect("a case").1));
    assert!(shown.contains("unknown operator \"lt_e\"") && shown.contains("did you mean \"lte\"?"), "{shown}");
}

#[test]
fn all_errors_come_at_once_in_file_order() {
    let text = "nam: x\ntools:\n  t:\n    rules:\n      - action: denny\n      - {rate_limit: x, conditions: [{path: a, op: b}]}\nsandbox: {network: {allow: [{host: A.b}]}}\n";
    let found = errors(text);
    let places: Vec<_> = found.iter().map(place).collect();
    assert_eq!(
        places,
        [
            ("ISB-P011", 1, 1),
            ("ISB-P014", 5, 17),
            ("ISB-P023", 6, 22),
            ("ISB-P020", 6, 45),
            ("ISB-P012", 6, 52),
            ("ISB-P040", 7, 36),
        ]
    );
}

#[test]
fn no_more_than_a_hundred_problems_are_listed_and_the_rest_is_counted() {
    let text: String = (0..250).map(|n| format!("key{n}: 1\n")).collect();
    let found = errors(&text);
    assert_eq!(found.len(), POLICY_DIAGNOSTICS_MAX + 1);
    assert_eq!(
        found.last().map(|last| (last.code, last.message.as_str())),
        Some(("ISB-P099", "150 more problems; mend the first ones and check again"))
    );
}

#[test]
fn an_empty_file_is_no_policy_but_empty_tools_are() {
    for text in ["", "# nothing\n", "---\n", "~\n"] {
        assert_eq!(errors(text)[0].code, Code::Empty.as_str(), "{text:?}");
    }
    assert!(loaded("tools: {}").tools.is_empty());
    assert!(loaded("tools:\n  t:\n    rules: []\n").tools["t"].rules.is_empty());
    assert!(loaded("tools:\n  t:\n").tools.contains_key("t"));
}

#[test]
fn a_missing_sandbox_is_said() {
    assert_eq!(warnings("tools: {}")[0].code, Code::NoSandbox.as_str());
    assert!(warnings("tools: {}\nsandbox: {}\n").is_empty());
}

#[test]
fn the_default_depends_on_the_version() {
    use crate::policy::DefaultEffect::{Allow, Deny};
    assert_eq!(loaded("tools: {}").default, Deny);
    assert_eq!(loaded("version: \"1\"").default, Allow);
    assert_eq!(loaded("version: 1").default, Allow);
    assert_eq!(loaded("version: \"1\"\ndefault: deny").default, Deny);
}

#[test]
fn the_catalogue_form_loads_as_written() {
    let policy = loaded(
        "tools:\n  generate_image:\n    rules:\n      - action: allow\n        rate_limit:\n          max: 10\n          window: 60\n        validate:\n          required_args: true\n",
    );
    let rule = &policy.tools["generate_image"].rules[0];
    assert_eq!(rule.id, "generate_image.rules[0]");
    assert_eq!((rule.line, policy.tools["generate_image"].line), (4, 2));
    assert_eq!(rule.rate_limit, Some(crate::limits::Quota::Sliding { max: 10, window_ms: 60_000 }));
    assert!(rule.validate.required_args);
    assert_eq!(policy.name, "p");
}

#[test]
fn windows_take_units_and_quotas_their_largest_value() {
    use crate::limits::{CalendarUnit, Quota};
    let quota = |text: &str| {
        loaded(&format!("tools: {{t: {{rules: [{{rate_limit: {text}}}]}}}}")).tools["t"].rules[0].rate_limit
    };
    for (window, seconds) in [("60", 60), ("60s", 60), ("5m", 300), ("1h", 3600), ("1d", 86_400), ("366d", 31_622_400)]
    {
        let expected = Quota::Sliding { max: 10_000_000, window_ms: seconds * 1000 };
        assert_eq!(quota(&format!("{{max: 10000000, window: {window}}}")), Some(expected), "{window}");
    }
    assert_eq!(quota("0/minute"), Some(Quota::Calendar { max: 0, unit: CalendarUnit::Minute }));
    assert_eq!(quota("10000000/day"), Some(Quota::Calendar { max: 10_000_000, unit: CalendarUnit::Day }));
}

#[test]
fn words_that_other_readers_take_for_booleans_are_text_where_text_is_wanted() {
    let policy = loaded(
        "name: on\ndescription: no\ntools: {yes: {rules: [{name: off, reason: yes}]}}\nsandbox: {env: {set: {A: yes, B: 1.0, C: true}}}\n",
    );
    assert_eq!((policy.name.as_str(), policy.description.as_deref()), ("on", Some("no")));
    assert_eq!(policy.tools["yes"].rules[0].reason.as_deref(), Some("yes"));
    assert_eq!(policy.sandbox.env_set.values().collect::<Vec<_>>(), ["yes", "1.0", "true"]);
}

#[test]
fn hosts_that_no_gateway_can_hold_a_server_to() {
    let long = format!("{}.example", "a".repeat(64));
    for host in [
        "API.example.com",
        "api.example.com.",
        "1.2.3.4",
        "'::1'",
        "'[::1]'",
        "127.1",
        "0x7f.0x1",
        "2130706433",
        "api.example.com:443",
        "https://api.example.com",
        "user@example.com",
        "exämple.com",
        "a..b",
        "'.a'",
        "''",
        "-a.b",
        "a-.b",
        "'a b'",
        "a.b.",
        &long,
    ] {
        let found = errors(&format!("sandbox: {{network: {{allow: [{{host: {host}}}]}}}}"));
        assert_eq!(found[0].code, Code::BadHost.as_str(), "{host}");
        assert!(found[0].help.is_some(), "{host}");
    }
    let good = loaded("sandbox: {network: {allow: [{host: xn--exmple-cua.com}, {host: a_b.c1}, {host: localhost}]}}");
    assert_eq!(good.sandbox.hosts.len(), 3);
    assert_eq!(good.sandbox.hosts[0].ports, [443]);
}

#[test]
fn a_write_folder_inside_a_read_folder_is_fine() {
    let policy = loaded("sandbox: {filesystem: {read: [/opt/a], write: [/opt/a/out]}}");
    assert_eq!((policy.sandbox.read.len(), policy.sandbox.write.len()), (1, 1));
}

#[test]
fn one_over_each_bound_is_refused_in_bounded_time() {
    let started = Instant::now();
    let code = |text: &str| errors(text)[0].code;
    let large = format!("description: \"{}\"\n", "x".repeat(POLICY_BYTES_MAX as usize));
    assert_eq!(code(&large), Code::TooLarge.as_str());
    let tools = |count: usize| format!("tools:\n{}", (0..count).map(|n| format!("  t{n}: {{}}\n")).collect::<String>());
    assert_eq!(loaded(&tools(POLICY_TOOLS_MAX)).tools.len(), POLICY_TOOLS_MAX);
    assert_eq!(code(&tools(POLICY_TOOLS_MAX + 1)), Code::TooMany.as_str());
    let rules = |count: usize| format!("tools:\n  t:\n    rules:\n{}", "      - {}\n".repeat(count));
    assert_eq!(loaded(&rules(POLICY_RULES_MAX)).tools["t"].rules.len(), POLICY_RULES_MAX);
    assert_eq!(code(&rules(POLICY_RULES_MAX + 1)), Code::TooMany.as_str());
    let hosts = |count: usize| {
        let hosts: String = (0..count).map(|n| format!("  - host: h{n}.example\n")).collect();
        format!("sandbox:\n network:\n  allow:\n{hosts}")
    };
    assert_eq!(loaded(&hosts(HOSTS_MAX)).sandbox.hosts.len(), HOSTS_MAX);
    assert_eq!(code(&hosts(HOSTS_MAX + 1)), Code::TooMany.as_str());
    let regexes = |count: usize| {
        let one = "          - {path: args.a, op: regex, value: x}\n";
        format!("tools:\n  t:\n    rules:\n      - conditions:\n{}", one.repeat(count))
    };
    assert_eq!(loaded(&regexes(POLICY_REGEXES_MAX)).tools["t"].rules[0].conditions.len(), POLICY_REGEXES_MAX);
    assert_eq!(code(&regexes(POLICY_REGEXES_MAX + 1)), Code::TooMany.as_str());
    let reason = |length: usize| format!("tools: {{t: {{rules: [{{action: deny, reason: {}}}]}}}}", "x".repeat(length));
    assert_eq!(loaded(&reason(POLICY_REASON_BYTES_MAX)).tools["t"].rules.len(), 1);
    assert_eq!(code(&reason(POLICY_REASON_BYTES_MAX + 1)), Code::OutOfRange.as_str());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn hostile_texts_of_a_mebibyte_end_in_bounded_time() {
    let mebibyte = |unit: &str| unit.repeat(POLICY_BYTES_MAX as usize / unit.len());
    for unit in [
        "[", "{", "- ", "a: ", "? ", "\"", "&a ", "*a ", "!", "#\n", "a\n", ": ", "{a: [", "\n", "- a: 1\n", "|\n",
        "'", "%",
    ] {
        let started = Instant::now();
        let text = mebibyte(unit);
        let _ = load(&Source { path: Path::new("/p"), text: &text });
        assert!(started.elapsed() < Duration::from_secs(10), "{unit:?} took {:?}", started.elapsed());
    }
    let keys: String = (0..90_000).map(|n| format!("k{n}: 1\n")).collect();
    let started = Instant::now();
    assert_eq!(errors(&keys).len(), POLICY_DIAGNOSTICS_MAX + 1);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let path = Path::new("/p");
    assert_eq!(decode(path, b"tools: {}").expect("text"), "tools: {}");
    let found = decode(path, b"a: 1\nb: \xff\n").expect_err("not UTF-8");
    assert!(found[0].message.contains("line 2"), "{}", found[0]);
    assert_eq!(decode(path, &vec![b'a'; POLICY_BYTES_MAX as usize + 1]).expect_err("too large")[0].code, "ISB-P002");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = load(&Source { path: Path::new("/p"), text: &text });
    }

    #[test]
    fn broken_policies_never_panic_and_never_half_load(cut in 0_usize..4000, junk in "[\\[\\]{}:,&*!|>'\"#%\n -]{0,6}") {
        let text = include_str!("../../../../policies/together-ai.yaml");
        let at = text.char_indices().map(|(at, _)| at).nth(cut % text.chars().count()).unwrap_or(0);
        let broken = format!("{}{junk}{}", &text[..at], &text[at..]);
        if let Ok(loaded) = load(&Source { path: Path::new("/p"), text: &broken }) {
            let normal = loaded.policy.normalised();
            let again = load(&Source { path: Path::new("/p"), text: &normal });
            prop_assert_eq!(again.map(|again| again.policy.normalised()).map_err(|errors| rendered(&errors)), Ok(normal));
        }
    }
}
