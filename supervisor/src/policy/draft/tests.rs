//! Hostile lists: whatever a server says of itself, the draft loads, and opens nothing that a person would not see.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::policy::testing::{call, call_with, loaded, value};
use crate::policy::{DefaultEffect, Policy, RuleAction, Verdict};
use crate::report::is_deceptive;

fn drafted(tools: &[Value<'static>]) -> Draft {
    let command = ["node".to_owned(), "/opt/a b/\"x\".js".to_owned()];
    draft(&Scanned { command: &command, read: &["/opt/a b".to_owned()], env: &[], server: "x\n1", tools })
}

fn draft_of(definition: &str) -> Draft {
    drafted(&[value(&definition.replace('\n', " "))])
}

fn verdict_of(definition: &str) -> Proposal {
    draft_of(definition).tools[0].proposal.clone()
}

/// A read-only tool `t` with this inputSchema.
fn tool(schema: &str) -> String {
    format!(r#"{{"name": "t", "annotations": {{"readOnlyHint": true}}, "inputSchema": {schema}}}"#)
}

fn passes(policy: &Policy, arguments: &str) -> bool {
    matches!(policy.judge(&call("t", Some(&value(arguments)))), Verdict::Allow(_))
}

#[test]
fn a_read_only_tool_gets_the_conditions_of_its_schema() {
    let definition = tool(
        r#"{"type": "object", "properties": {
            "sort": {"type": "string", "enum": ["name", "size"]}, "page": {"type": "integer", "minimum": 1, "maximum": 9},
            "text": {"type": "string", "maxLength": 3}, "mode": {"const": 7}, "deep": {"type": "boolean"},
            "below": {"type": "number", "exclusiveMaximum": 1e2}, "any": {"type": "string", "format": "uri"},
            "names": {"type": "array", "items": {"type": "string"}, "maxItems": 2}}}"#,
    );
    let draft = draft_of(&definition);
    assert!(draft.text.contains("# any value: any\n"), "{}", draft.text);
    let policy = loaded(&draft.text);
    let good = [
        "{}",
        r#"{"sort": "size", "page": 9, "text": "abc", "mode": 7, "deep": false, "below": 99.9, "names": ["a", "b"]}"#,
    ];
    for arguments in good {
        assert!(passes(&policy, arguments), "{arguments}");
    }
    let bad = [
        r#"{"sort": "date"}"#,
        r#"{"sort": ["name"]}"#,
        r#"{"page": 0}"#,
        r#"{"page": 10}"#,
        r#"{"page": "5"}"#,
        r#"{"text": "abcd"}"#,
        r#"{"mode": 8}"#,
        r#"{"deep": "yes"}"#,
        r#"{"below": 100}"#,
        r#"{"names": ["a", "b", "c"]}"#,
    ];
    for arguments in bad {
        assert!(!passes(&policy, arguments), "{arguments}");
    }
}

#[test]
fn required_arguments_are_required_and_bound_without_if_present() {
    let definition = tool(r#"{"type": "object", "properties": {"p": {"enum": ["a"]}}, "required": ["p"]}"#);
    let policy = loaded(&draft_of(&definition).text);
    assert!(policy.needs_schema("t"));
    let judge =
        |arguments: &str| matches!(policy.judge(&call_with("t", Some(&value(arguments)), 2)), Verdict::Allow(_));
    assert!(judge(r#"{"p": "a"}"#));
    assert!(!judge("{}"));
    assert!(!policy.tools["t"].rules[1].conditions[0].tests().any(|condition| condition.if_present));
}

#[test]
fn what_cannot_be_judged_is_denied_and_says_why() {
    let cases = [
        (r#"{"name": "t", "inputSchema": {"type": "object", "properties": {}}}"#.to_owned(), "read-only"),
        (
            r#"{"name": "t", "annotations": {"readOnlyHint": "true"}, "inputSchema": {"type": "object", "properties": {}}}"#
                .to_owned(),
            "read-only",
        ),
        (
            r#"{"name": "t", "annotations": {"readOnlyHint": true, "destructiveHint": true}}"#.to_owned(),
            "destructive",
        ),
        (r#"{"name": "t", "annotations": {"readOnlyHint": true}}"#.to_owned(), "no inputSchema"),
        (tool("true"), "not an object"),
        (tool(r#"{"type": "object"}"#), "names no arguments"),
        (tool(r#"{"properties": {}}"#), "type: object"),
        (tool(r#"{"type": "object", "properties": {}, "additionalProperties": true}"#), "further argument"),
        (tool(r#"{"type": "object", "properties": {}, "anyOf": []}"#), "uses `anyOf`"),
        (tool(r#"{"type": "object", "properties": {}, "required": ["x"]}"#), "does not describe"),
        (tool(r#"{"type": "object", "properties": {"a": {"type": "object"}}}"#), "a is an object"),
        (tool(r#"{"type": "object", "properties": {"a": {}}}"#), "no type"),
        (tool(r#"{"type": "object", "properties": {"a": {"type": ["string", "null"]}}}"#), "several types"),
        (tool(r##"{"type": "object", "properties": {"a": {"$ref": "#/x"}}}"##), "uses `$ref`"),
        (tool(r#"{"type": "object", "properties": {"a.b": {"type": "string"}}}"#), "no path can hold"),
        (tool(r#"{"type": "object", "properties": {"a": {"type": "string", "minimum": 1}}}"#), "`minimum`"),
        (tool(r#"{"type": "object", "properties": {"a": {"enum": []}}}"#), "`enum`"),
        (tool(r#"{"type": "object", "properties": {"a": {"type": "array", "items": {"enum": [1]}}}}"#), "a list of"),
        (
            r#"{"name": "réad", "annotations": {"readOnlyHint": true}, "inputSchema": {"type": "object", "properties": {}}}"#
                .to_owned(),
            "unusual characters",
        ),
    ];
    for (definition, why) in cases {
        let draft = draft_of(&definition);
        let Proposal::Deny(said) = &draft.tools[0].proposal else { panic!("{definition} is allowed") };
        assert!(said.contains(why), "{definition}: {said}");
        let policy = loaded(&draft.text);
        let verdict = policy.judge(&call(&draft.tools[0].name, Some(&value("{}"))));
        let Verdict::Deny(denial) = verdict else { panic!("{definition} passes") };
        assert_eq!(denial.message, format!("not judged: {said}"));
    }
}

#[test]
fn a_name_or_description_cannot_leave_its_place() {
    let injected = r#"{"name": "t\": {}\n  evil: {rules: []}\n  \"u", "description": "x\n  evil: {rules: []}\r\u0085  evil:\u2028  evil: {}",
        "annotations": {"readOnlyHint": true}, "inputSchema": {"type": "object", "properties": {"a": {"enum": ["\"]}]\n  evil: {}"]}}}}"#;
    let named = injected.replace("t\\\": {}\\n  evil: {rules: []}\\n  \\\"u", "t");
    for definition in [injected, &named] {
        let draft = draft_of(definition);
        assert!(!draft.text.lines().any(|line| line.trim_start().starts_with("evil")), "{}", draft.text);
        assert!(!loaded(&draft.text).tools.contains_key("evil"));
        assert!(draft.text.lines().all(|line| !line.chars().any(is_deceptive)), "{}", draft.text);
    }
    let policy = loaded(&draft_of(&named).text);
    assert!(passes(&policy, r#"{"a": "\"]}]\n  evil: {}"}"#));
    assert!(!passes(&policy, r#"{"a": "x"}"#));
}

#[test]
fn names_that_the_language_refuses_stand_in_a_comment_alone() {
    for name in ["*", "a*", "a\\nb", "\\u0007", &"n".repeat(257)] {
        let draft = draft_of(&format!(r#"{{"name": "{name}", "annotations": {{"readOnlyHint": true}}}}"#));
        assert_eq!((draft.tools.len(), draft.refused.len()), (0, 1), "{name}");
        assert!(draft.text.contains("\n# refused: "), "{}", draft.text);
        assert!(loaded(&draft.text).tools.is_empty());
    }
    assert_eq!(drafted(&[value("{}"), value("7"), value(r#"{"name": ""}"#)]).refused.len(), 3);
}

#[test]
fn a_name_listed_twice_is_denied_whatever_either_says() {
    let good = value(&tool(r#"{"type": "object", "properties": {}}"#));
    let draft = drafted(&[good.clone(), good]);
    assert_eq!(draft.tools.len(), 1);
    assert_eq!(draft.tools[0].proposal, Proposal::deny("it is listed twice"));
    assert_eq!(loaded(&draft.text).tools["t"].rules[0].action, RuleAction::Deny);
}

#[test]
fn the_draft_ends_before_the_bounds_of_a_policy() {
    let tools: Vec<_> =
        (0..12_000).map(|n| value(&format!(r#"{{"name": "tool_{n}", "description": "\u00e9é{n}"}}"#))).collect();
    let draft = drafted(&tools);
    assert!(draft.left_out > 0 && draft.tools.len() + draft.left_out == 12_000);
    assert!(draft.text.contains("more tools are left out"));
    assert_eq!(loaded(&draft.text).tools.len(), draft.tools.len());
}

#[test]
fn the_pin_is_of_the_definition_whatever_its_order() {
    let one = draft_of(r#"{"name": "t", "description": "d", "inputSchema": {"a": [1, {"c": 1, "b": 2}], "b": 1.0}}"#);
    let two = draft_of(r#"{"inputSchema": {"b": 1.0, "a": [1, {"b": 2, "c": 1}]}, "name": "t", "description": "d"}"#);
    let changed =
        draft_of(r#"{"inputSchema": {"b": 1.0, "a": [1, {"b": 2, "c": 1}]}, "name": "t", "description": "e"}"#);
    assert_eq!(one.tools[0].sha256, two.tools[0].sha256);
    assert_ne!(one.tools[0].sha256, changed.tools[0].sha256);
    // printf '%s' '{"name":"t"}' | sha256sum
    assert_eq!(
        draft_of(r#"{ "name" : "t" }"#).tools[0].sha256,
        "3647a67649228b62fe3d139c47f7a3c673c31ce57da824082b6654fc0b15751f"
    );
}

#[test]
fn the_policy_of_the_scan_itself_lists_everything_and_gives_nothing() {
    let policy = loaded(&strictest(&["/opt/x".to_owned()], &["LANG".to_owned()], 30));
    assert_eq!(policy.default, DefaultEffect::Allow);
    assert!(policy.sandbox.hosts.is_empty() && policy.sandbox.write.is_empty());
    assert_eq!(policy.sandbox.resources.wall, Some(std::time::Duration::from_secs(30)));
    assert!(loaded(&strictest(&[], &[], 1)).sandbox.read.is_empty());
}

#[test]
fn the_verdict_and_the_claims_are_told() {
    assert!(matches!(verdict_of(&tool(r#"{"type": "object", "properties": {}}"#)), Proposal::Allow(_)));
    let draft = draft_of(r#"{"name": "t", "annotations": {"readOnlyHint": false, "openWorldHint": "\n"}}"#);
    assert!(
        draft.text.contains("# the server claims: readOnlyHint false, openWorldHint (unreadable)\n"),
        "{}",
        draft.text
    );
}

/// Text that somebody would choose who wants YAML to say something else, or that nobody would.
fn hostile_text() -> impl Strategy<Value = String> {
    let chosen = prop::sample::select(vec![
        "t",
        "read_file",
        "*",
        "<<",
        "~",
        "null",
        "true",
        "- a",
        "? a",
        ": ",
        "#",
        " #x",
        "---",
        "...",
        "&a",
        "*a",
        "!t",
        "a: b",
        "\"",
        "'",
        "\\",
        "\\n",
        "\n  evil: {}\n",
        "\r",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "\u{feff}",
        "\0",
        "{",
        "}",
        "]",
        ",",
        "%",
        "@",
        "`",
        "0x1f",
        "1:2",
        "\u{fffe}",
        "\u{10ffff}",
        "é",
        "\t",
    ]);
    let pieces = prop_oneof![3 => chosen.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

fn json_value() -> impl Strategy<Value = Value<'static>> {
    let text = || hostile_text().prop_map(|text| Value::String(Cow::Owned(text)));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop::sample::select(vec!["0", "-1", "1e2", "1.5", "-0.0", "9007199254740991"]).prop_map(value),
        text(),
        prop::sample::select(vec!["string", "number", "boolean", "object", "array"])
            .prop_map(|kind| Value::String(Cow::Borrowed(kind))),
    ];
    let keywords = prop::sample::select(vec![
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "maxLength",
        "items",
        "properties",
        "required",
        "$ref",
        "anyOf",
    ]);
    leaf.prop_recursive(3, 24, 5, move |inner| {
        let key = prop_oneof![4 => keywords.clone().prop_map(str::to_owned), 1 => hostile_text()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().map(|(k, v)| (Cow::Owned(k), v)).collect())),
        ]
    })
}

/// A definition in which the parts that open a tool are likely.
fn definition() -> impl Strategy<Value = Value<'static>> {
    let properties =
        prop::collection::btree_map(prop_oneof![3 => Just("a".to_owned()), 1 => hostile_text()], json_value(), 0..3)
            .prop_map(|members| Value::Object(members.into_iter().map(|(k, v)| (Cow::Owned(k), v)).collect()));
    let schema = prop_oneof![
        1 => json_value(),
        3 => properties.prop_map(|properties| Value::Object(vec![
            ("type".into(), Value::String("object".into())),
            ("properties".into(), properties),
        ])),
    ];
    let hints = prop_oneof![
        3 => Just(value(r#"{"readOnlyHint": true}"#)),
        1 => Just(value(r#"{"readOnlyHint": false}"#)),
        1 => json_value(),
    ];
    let string = |text: String| Value::String(Cow::Owned(text));
    (hostile_text(), hostile_text(), hints, schema).prop_map(move |(name, description, hints, schema)| {
        Value::Object(vec![
            ("name".into(), string(name)),
            ("description".into(), string(description)),
            ("annotations".into(), hints),
            ("inputSchema".into(), schema),
        ])
    })
}

proptest! {
    #[test]
    fn any_list_gives_a_policy_that_loads_and_opens_no_more_than_it_says(
        tools in prop::collection::vec(definition(), 0..6), server in hostile_text(), word in hostile_text(),
    ) {
        prop_assume!(!word.contains('\0'));
        let command = ["c".to_owned(), word];
        let draft = draft(&Scanned { command: &command, read: &[], env: &[], server: &server, tools: &tools });
        let policy = loaded(&draft.text);
        prop_assert_eq!(policy.default, DefaultEffect::Deny);
        prop_assert!(policy.hide.is_empty() && policy.cli_allow.is_empty() && policy.name == "scan-draft");
        prop_assert!(policy.sandbox.hosts.is_empty() && policy.sandbox.write.is_empty() && policy.sandbox.read.is_empty());
        prop_assert!(policy.sandbox.env_pass.is_empty() && policy.sandbox.env_set.is_empty());
        prop_assert_eq!(policy.server_command.as_deref(), Some(&command[..]));
        let said: Vec<&str> = draft.tools.iter().map(|tool| tool.name.as_str()).collect();
        prop_assert_eq!(said.len(), policy.tools.len());
        for (name, rules) in &policy.tools {
            let listed: Vec<_> = tools.iter().filter(|tool| name_of(tool) == Some(name)).collect();
            prop_assert!(!listed.is_empty() && name != "*");
            let open = rules.rules.iter().all(|rule| rule.action != RuleAction::Deny);
            let read_only = |tool: &&Value<'_>| {
                tool.member("annotations").and_then(|hints| hints.member("readOnlyHint")) == Some(&Value::Bool(true))
            };
            prop_assert!(!open || (listed.len() == 1 && listed.iter().all(read_only)), "{} is open", name);
            prop_assert!(!open || rules.rules[0].rate_limit.is_some());
        }
        prop_assert!(draft.text.chars().all(|c| !is_deceptive(c)));
    }
}
