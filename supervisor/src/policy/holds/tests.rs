//! Every operator with values that it holds of, fails and cannot judge; paths; groups.

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{judge_condition as check, loaded, value};
use Outcome::{Absent, Fails, Holds, Unjudged};

/// An operator with a value of the policy, and arguments that hold, fail and cannot be judged.
struct Case(&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    Case("eq", "5", &["5", "5.0", "5e0", "50e-1"], &["5.1"], &["\"5\"", "[5]", "null", "true", "{}"]),
    Case("eq", "\"a\"", &["\"a\"", "\"\\u0061\""], &["\"A\"", "\"ab\""], &["[\"a\"]", "1", "null"]),
    Case("eq", "true", &["true"], &["false"], &["\"true\"", "1", "null"]),
    Case("eq", "null", &["null"], &["0", "\"\"", "false", "[]"], &[]),
    Case(
        "eq",
        "[a, 1]",
        &["[\"a\", 1]", "[\"a\", 1.0]"],
        &["[\"a\"]", "[\"a\", 1, 1]", "[\"b\", \"1\"]"],
        &["[\"a\", \"1\"]", "[[\"a\"], 1]", "\"a\"", "null"],
    ),
    Case("neq", "\"admin\"", &["\"user\"", "\"\""], &["\"admin\""], &["[\"admin\"]", "null", "1", "{}"]),
    Case("neq", "5", &["6", "5.1"], &["5", "5.0"], &["\"6\"", "[6]", "null"]),
    Case("neq", "null", &["0", "\"x\"", "[]"], &["null"], &[]),
    Case("neq", "[admin]", &["[\"user\"]", "[]"], &["[\"admin\"]"], &["[[\"admin\"]]", "\"admin\""]),
    Case("in", "[a, 2]", &["\"a\"", "2", "2.0"], &["\"b\"", "\"2\"", "3"], &["[\"a\"]", "null", "true"]),
    Case("in", "[null]", &["null"], &["1", "\"a\"", "[]"], &[]),
    Case("not_in", "[BTC, ETH]", &["\"USD\""], &["\"BTC\""], &["[\"BTC\"]", "1", "null"]),
    Case("not_in", "[null, 1]", &["2"], &["1", "null"], &["\"a\"", "[]"]),
    Case("lt", "10", &["9.999", "-1"], &["10", "10.0", "11"], &["\"9\"", "[9]", "null", "true"]),
    Case("lte", "100", &["100", "100.0", "1e2"], &["100.99", "100.00000000001"], &["\"100\"", "null"]),
    Case("lt", "9007199254740991.5", &["9007199254740991"], &["9007199254740992.0"], &["\"9007199254740991\""]),
    Case("gt", "0", &["0.0001"], &["0", "-1"], &["\"1\"", "null"]),
    Case("gte", "128", &["128", "2048"], &["127.99", "-128"], &["\"128\"", "[128]", "null"]),
    Case("regex", "\"^a+$\"", &["\"aa\""], &["\"ab\"", "\"\"", "\"a\\na\"", "\"a\\n\""], &["[\"aa\"]", "1", "null"]),
    Case("not_regex", "\"^a+$\"", &["\"ab\"", "\"\"", "\"a\\n\""], &["\"aa\""], &["[\"ab\"]", "1", "null", "{}"]),
    Case(
        "contains",
        "b",
        &["\"abc\"", "[\"a\", \"b\"]", "[1, \"b\"]"],
        &["\"ac\"", "[\"bb\"]", "[]"],
        &["{\"b\": 1}", "null", "1", "[1]"],
    ),
    Case("contains", "2", &["[1, 2.0]"], &["[1, 3]", "[]"], &["\"12\"", "2", "[\"2\"]", "null"]),
    Case(
        "not_contains",
        "admin",
        &["\"user\"", "\"Admin\"", "[\"user\"]", "[]"],
        &["\"the admin\"", "[\"user\", \"admin\"]", "[1, \"admin\"]"],
        &["[[\"admin\"]]", "[\"user\", null]", "{\"admin\": 1}", "null", "1"],
    ),
    Case("not_contains", "[1]", &["[[2]]", "[]"], &["[[1]]"], &["[1]", "\"1\"", "[[[1]]]"]),
    Case(
        "starts_with",
        "\"https://\"",
        &["\"https://a\"", "\"https://\""],
        &["\"http://a\"", "\"\"", "\" https://\"", "\"HTTPS://a\""],
        &["[\"https://a\"]", "null", "1"],
    ),
    Case("exists", "true", &["1", "false", "{}", "[]", "\"\""], &["null"], &[]),
    Case("exists", "false", &["null"], &["1", "false", "[]"], &[]),
    Case(
        "under_path",
        "/images",
        &["\"/images/a.png\"", "\"/images\"", "\"/images/./x//y\"", "\"//images/a\"", "\"/images/..a\""],
        &["\"/imagesx/a\"", "\"/\"", "\"/Images/a\"", "\"/etc/passwd\""],
        &[
            "\"/images/../etc/passwd\"",
            "\"images/a.png\"",
            "\"../images/a\"",
            "\"\"",
            "\".\"",
            "\"/images/a/..\"",
            "\"/images/a\\u0000.png\"",
            "[\"/images/a\"]",
            "null",
            "1",
            "\"~/images\"",
            "\" /images/a\"",
            "\"file:///images/a\"",
        ],
    ),
    Case("under_path", "/", &["\"/\"", "\"/a\""], &[], &["\"a\"", "\"/..\""]),
    Case(
        "length_lte",
        "3",
        &["\"abc\"", "\"äöü\"", "\"\"", "[1, 2, 3]"],
        &["\"abcd\"", "[1, 2, 3, 4]"],
        &["3", "null", "{}"],
    ),
    Case(
        "host_in",
        "[api.example.com, '*.cdn.example']",
        &["\"https://API.example.com:8443/x\"", "\"a.cdn.example\""],
        &["\"https://evil.com/api.example.com\"", "\"cdn.example\""],
        &[
            "\"http://api.example.com@evil.com\"",
            "\"https:///api.example.com\"",
            "\"http://127.0.0.1\"",
            "[\"api.example.com\"]",
            "null",
            "1",
        ],
    ),
];

#[test]
fn every_operator_holds_fails_and_cannot_judge() {
    for Case(op, operand, good, bad, unjudged) in CASES {
        for (arguments, expected) in [(good, Holds), (bad, Fails), (unjudged, Unjudged)] {
            for argument in *arguments {
                let arguments = format!("{{\"x\": {argument}}}");
                assert_eq!(check(op, operand, false, &arguments), expected, "{op} {operand}: {argument}");
            }
        }
    }
    for op in Test::OPERATORS {
        assert!(CASES.iter().any(|Case(tested, ..)| *tested == op), "{op} has no case");
    }
}

#[test]
fn only_what_holds_or_is_absent_by_leave_passes() {
    assert!(Holds.passes() && Absent.passes());
    assert!(!Fails.passes() && !Unjudged.passes());
}

#[test]
fn two_to_the_53_plus_one_differs_from_two_to_the_53() {
    use crate::policy::condition::{Literal, Number};
    let literal = |text: &str| Literal::Number(Number::parse(text).expect("a number"));
    assert_ne!(literal("9007199254740993"), literal("9007199254740992"));
    // Of the two only a decimal gets past the parser of the pipe, and it is not taken for its neighbour.
    assert_eq!(check("eq", "9007199254740993", false, "{\"x\": 9007199254740992.0}"), Fails);
    assert_eq!(check("lt", "9007199254740993", false, "{\"x\": 9007199254740992.0}"), Holds);
    assert_eq!(check("gte", "9007199254740992", false, "{\"x\": 9007199254740992.0}"), Holds);
    assert!(crate::wire::json::parse(b"9007199254740993").is_err(), "no two servers read it alike");
}

#[test]
fn a_hundred_and_99_hundredths_exceeds_a_hundred() {
    for (op, expected) in [("lte", Fails), ("lt", Fails), ("gt", Holds), ("gte", Holds), ("eq", Fails), ("neq", Holds)]
    {
        assert_eq!(check(op, "100", false, "{\"x\": 100.99}"), expected, "{op}");
    }
}

#[test]
fn an_absent_path_passes_no_operator_but_exists() {
    for Case(op, operand, ..) in CASES {
        for arguments in ["{}", "{\"y\": 1}", "{\"X\": 5}"] {
            let expected = match (*op, *operand) {
                ("exists", "false") => Holds,
                ("exists", _) => Fails,
                _ => Unjudged,
            };
            assert_eq!(check(op, operand, false, arguments), expected, "{op} {arguments}");
            if *op != "exists" {
                assert_eq!(check(op, operand, true, arguments), Absent, "{op} {arguments}");
            }
        }
    }
}

#[test]
fn if_present_judges_what_is_there_null_included() {
    assert_eq!(check("lte", "4", true, "{\"x\": 5}"), Fails);
    assert_eq!(check("lte", "4", true, "{\"x\": null}"), Unjudged);
    assert_eq!(check("lte", "4", true, "{\"x\": 4}"), Holds);
}

/// One entry of `conditions` in YAML, judged.
fn judged(entry: &str, arguments: &str) -> Outcome {
    let policy = loaded(&format!("tools:\n  t:\n    rules:\n      - conditions:\n          - {entry}\n"));
    policy.tools["t"].rules[0].conditions[0].check(Some(&value(arguments)))
}

#[test]
fn paths_go_through_objects_only() {
    let exists = "{path: args.a.b, op: exists}";
    assert_eq!(judged(exists, r#"{"a": {"b": 0}}"#), Holds);
    for (arguments, outcome) in [
        (r#"{"b": 0}"#, Fails),
        (r#"{"a.b": 1}"#, Fails),
        (r#"{"a": null}"#, Fails),
        (r#"{"a": [{"b": 0}]}"#, Unjudged),
        (r#"{"a": "{\"b\": 0}"}"#, Unjudged),
        ("[]", Unjudged),
        ("\"args\"", Unjudged),
    ] {
        assert_eq!(judged(exists, arguments), outcome, "{arguments}");
        assert!(!judged("{path: args.a.b, op: neq, value: 5}", arguments).passes(), "{arguments}");
    }
    let policy = loaded("tools: {t: {rules: [{conditions: [{path: args.a, op: exists}]}]}}");
    assert_eq!(policy.tools["t"].rules[0].conditions[0].check(None), Fails);
}

#[test]
fn something_of_the_wrong_type_in_the_way_is_no_absence() {
    for (path, arguments) in [
        ("args.a.b", r#"{"a": "{\"b\": 9}"}"#),
        ("args.a.b", r#"{"a": null}"#),
        ("args.a.b", r#"{"a": [{"b": 9}]}"#),
        ("'args.a[*]'", r#"{"a": "evil"}"#),
        ("'args.a[*]'", r#"{"a": {"0": "evil"}}"#),
        ("'args.a[*].b'", r#"{"a": [{"b": 1}, "evil"]}"#),
        ("'args.a[*][*]'", r#"{"a": [["x"], "evil"]}"#),
        ("args.a", "[\"evil\"]"),
    ] {
        let entry = format!("{{path: {path}, op: lte, value: 4, if_present: true}}");
        assert_eq!(judged(&entry, arguments), Unjudged, "{path} {arguments}");
    }
}

#[test]
fn an_array_path_holds_of_every_element() {
    for (entry, arguments, expected) in [
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": [{"p": 1}, {"p": 5}]}"#, Holds),
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": [{"p": 1}, {"p": 6}]}"#, Fails),
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": [{"p": 6}, {"p": "1"}]}"#, Fails),
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": [{"p": 1}, {"p": "1"}]}"#, Unjudged),
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": [{"p": 1}, {"q": 1}]}"#, Unjudged),
        ("{path: 'args.i[*].p', op: lte, value: 5}", r#"{"i": []}"#, Unjudged),
        ("{path: 'args.i[*].p', op: lte, value: 5, if_present: true}", r#"{"i": []}"#, Absent),
        ("{path: 'args.i[*].p', op: lte, value: 5, if_present: true}", "{}", Absent),
        ("{path: 'args.i[*].p', op: lte, value: 5, if_present: true}", r#"{"i": [{}, {"p": 5}]}"#, Holds),
        ("{path: 'args.i[*].p', op: lte, value: 5, if_present: true}", r#"{"i": [{}, {"p": 6}]}"#, Fails),
        ("{path: 'args.i[*].p', op: lte, value: 5, if_present: true}", r#"{"i": [{}, {}]}"#, Absent),
        ("{path: 'args.m[*][*]', op: gt, value: 0}", r#"{"m": [[1, 2], [3]]}"#, Holds),
        ("{path: 'args.m[*][*]', op: gt, value: 0}", r#"{"m": [[1, 2], [0]]}"#, Fails),
        ("{path: 'args.m[*][*]', op: gt, value: 0}", r#"{"m": [[1, 2], []]}"#, Unjudged),
        ("{path: 'args.t[*]', op: not_in, value: [admin]}", r#"{"t": ["user", "admin"]}"#, Fails),
        ("{path: 'args.t[*]', op: not_in, value: [admin]}", r#"{"t": ["user", ["admin"]]}"#, Unjudged),
        ("{path: 'args.t[*]', op: not_contains, value: x}", r#"{"t": ["abc"]}"#, Holds),
    ] {
        assert_eq!(judged(entry, arguments), expected, "{entry} {arguments}");
    }
}

#[test]
fn exists_on_an_array_path_asks_all_elements_or_none() {
    for (arguments, all, none) in [
        (r#"{"i": [{"p": 1}, {"p": 2}]}"#, Holds, Fails),
        (r#"{"i": [{"p": 1}, {}]}"#, Fails, Fails),
        (r#"{"i": [{"p": 1}, {"p": null}]}"#, Fails, Fails),
        (r#"{"i": [{}, {"p": null}]}"#, Fails, Holds),
        (r#"{"i": []}"#, Fails, Holds),
        ("{}", Fails, Holds),
        (r#"{"i": null}"#, Fails, Holds),
        // Some servers read these as the array or object that they are not.
        (r#"{"i": {"p": 1}}"#, Unjudged, Unjudged),
        (r#"{"i": "[{\"p\": 1}]"}"#, Unjudged, Unjudged),
        (r#"{"i": [{}, "{\"p\": 1}"]}"#, Fails, Unjudged),
        (r#"{"i": [{"p": 1}, "{\"p\": 1}"]}"#, Unjudged, Fails),
    ] {
        assert_eq!(judged("{path: 'args.i[*].p', op: exists}", arguments), all, "{arguments}");
        assert_eq!(judged("{path: 'args.i[*].p', op: exists, value: false}", arguments), none, "{arguments}");
    }
}

#[test]
fn what_cannot_be_judged_passes_neither_itself_nor_negated() {
    for (entry, arguments) in [
        ("{path: args.p, op: starts_with, value: /etc}", r#"{"p": ["/etc/x"]}"#),
        ("{path: args.p, op: under_path, value: /etc}", r#"{"p": "../etc/shadow"}"#),
        ("{path: args.p, op: under_path, value: /etc}", r#"{"p": "/srv/../etc/shadow"}"#),
        ("{path: args.p, op: under_path, value: /etc}", r#"{"p": "etc/shadow"}"#),
        ("{path: args.p, op: host_in, value: [evil.com]}", r#"{"p": "http://api.example.com@evil.com"}"#),
        ("{path: args.p, op: host_in, value: [evil.com]}", r#"{"p": "http:evil.com"}"#),
        ("{path: args.p, op: eq, value: admin}", r#"{"p": ["admin"]}"#),
        ("{path: args.p, op: gt, value: 100}", r#"{"p": "101"}"#),
        ("{path: args.p, op: regex, value: secret}", "{}"),
        ("{path: args.p, op: contains, value: a}", r#"{"p": [["a"]]}"#),
    ] {
        assert_eq!(judged(entry, arguments), Unjudged, "{entry}");
        for negated in [
            format!("{{not: {entry}}}"),
            format!("{{not: {{any: [{entry}, {{path: args.q, op: exists}}]}}}}"),
            format!("{{not: {{all: [{entry}, {{path: args.q, op: exists, value: false}}]}}}}"),
            format!("{{not: {{not: {entry}}}}}"),
        ] {
            assert!(!judged(&negated, arguments).passes(), "{negated}");
        }
    }
    assert_eq!(judged("{not: {path: args.p, op: under_path, value: /etc}}", r#"{"p": "/srv/x"}"#), Holds);
    assert_eq!(judged("{not: {path: args.p, op: under_path, value: /etc}}", r#"{"p": "//etc/./x"}"#), Fails);
}

#[test]
fn groups_follow_kleene() {
    // By the value at args.x with `eq 1`: 1 holds, 2 fails, "1" cannot be judged; args.n is absent by leave.
    let (h, f, u) =
        ("{path: args.h, op: eq, value: 1}", "{path: args.f, op: eq, value: 1}", "{path: args.u, op: eq, value: 1}");
    let n = "{path: args.n, op: eq, value: 1, if_present: true}";
    let arguments = r#"{"h": 1, "f": 2, "u": "1"}"#;
    for (group, members, expected) in [
        ("any", vec![h, f], Holds),
        ("any", vec![u, h], Holds),
        ("any", vec![f, u], Unjudged),
        ("any", vec![u, f], Unjudged),
        ("any", vec![f, f], Fails),
        ("any", vec![f, n], Holds),
        ("any", vec![u, n], Holds),
        ("all", vec![h, h], Holds),
        ("all", vec![h, f], Fails),
        ("all", vec![u, f], Fails),
        ("all", vec![f, u], Fails),
        ("all", vec![h, u], Unjudged),
        ("all", vec![n, u], Unjudged),
        ("all", vec![n, h], Holds),
        ("all", vec![n, f], Fails),
        ("all", vec![n, n], Holds),
        ("any", vec![n, n], Holds),
    ] {
        let entry = format!("{{{group}: [{}]}}", members.join(", "));
        assert_eq!(judged(&entry, arguments), expected, "{entry}");
        let negated = match expected {
            Holds => Fails,
            Fails => Holds,
            other => other,
        };
        assert_eq!(judged(&format!("{{not: {entry}}}"), arguments), negated, "not {entry}");
    }
    assert_eq!(judged(&format!("{{not: {n}}}"), arguments), Absent);
    assert_eq!(judged(&format!("{{not: {{not: {h}}}}}"), arguments), Holds);
}

/// Patterns that kill a backtracking engine, on texts as long as a message can carry.
#[test]
fn catastrophic_patterns_end_in_bounded_time() {
    let started = std::time::Instant::now();
    let text = format!("{{\"x\": \"{}!\"}}", "a".repeat(1 << 20));
    for pattern in ["^(a+)+$", "^(a|aa)+$", "^(a*)*b$", "(.*a){12}b", "^(([a-z])+.)+[A-Z]([a-z])+$"] {
        assert_eq!(check("regex", &format!("'{pattern}'"), false, &text), Fails, "{pattern}");
        assert_eq!(check("not_regex", &format!("'{pattern}'"), false, &text), Holds, "{pattern}");
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

fn argument() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        proptest::bool::ANY.prop_map(|value| value.to_string()),
        (-3_i32..4).prop_map(|value| value.to_string()),
        prop::sample::select(vec!["a", "b", "ab", "/a", "/a/../b", "a.example", "http://a.example@b"])
            .prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(", ")))
    })
}

proptest! {
    #[test]
    fn each_negative_operator_is_the_negation_of_its_positive_one(
        argument in prop::option::of(argument()),
        (positive, negative, operand) in prop::sample::select(vec![
            ("eq", "neq", "a"), ("eq", "neq", "1"), ("eq", "neq", "null"), ("eq", "neq", "[a, 1]"), ("in", "not_in", "[a, 1]"),
            ("in", "not_in", "[null, b]"), ("regex", "not_regex", "'^a'"), ("contains", "not_contains", "a"),
            ("contains", "not_contains", "1"), ("contains", "not_contains", "null"),
        ]),
        if_present: bool,
    ) {
        let arguments = argument.map_or("{}".to_owned(), |argument| format!("{{\"x\": {argument}}}"));
        let positive = check(positive, operand, if_present, &arguments);
        let negative = check(negative, operand, if_present, &arguments);
        prop_assert_eq!(positive.not(), negative);
        prop_assert!(!(positive == Unjudged && negative.passes()));
    }
}

#[test]
fn a_list_judges_lists_of_its_own_types_alone() {
    for (op, operand, argument, expected) in [
        ("not_in", "[[admin], [x, y]]", r#"[["admin"]]"#, Unjudged),
        ("not_in", "[[admin], [x, y]]", r#"["x", ["admin"]]"#, Unjudged),
        ("not_in", "[[admin], [x, y]]", r#"[{"0": "admin"}]"#, Unjudged),
        ("not_in", "[[admin], [x, y]]", "[1, 2, 3]", Unjudged),
        ("not_in", "[[admin], [x, y]]", "[null]", Unjudged),
        ("not_in", "[[admin], [x, y]]", r#"["user", "x", "y"]"#, Holds),
        ("not_in", "[[admin], [x, y]]", "[]", Holds),
        ("not_in", "[[admin], [x, y]]", r#"["x", "y"]"#, Fails),
        ("not_in", "[[admin], [1]]", "[2]", Holds),
        ("neq", "[x, y]", r#"["a", ["x", "y"]]"#, Unjudged),
        ("neq", "[x, y]", r#"[["x", "y"]]"#, Unjudged),
        ("neq", "[x, y]", r#"["x"]"#, Holds),
        ("neq", "[[x]]", r#"[["y"], ["z"]]"#, Holds),
        ("neq", "[[x]]", r#"[[["x"]]]"#, Unjudged),
        ("neq", "[]", r#"["x", 1]"#, Holds),
        ("neq", "[]", "[[]]", Unjudged),
        ("eq", "[x, y]", r#"[["x", "y"]]"#, Unjudged),
    ] {
        assert_eq!(
            check(op, operand, false, &format!("{{\"x\": {argument}}}")),
            expected,
            "{op} {operand}: {argument}"
        );
    }
}
