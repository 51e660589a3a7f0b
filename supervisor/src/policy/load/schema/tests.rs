//! The schema against the loader: what loads validates, what is misspelt does not, and no key is without its entry.

use jsonschema::Validator;
use serde_json::Value;

use super::*;
use crate::policy::load::inert;
use crate::policy::yaml::{self, Kind, Meaning, Node, meaning};

fn validator() -> Validator {
    jsonschema::draft202012::new(&json_schema()).expect("a schema")
}

/// YAML as an editor hands it to a validator.
fn tree(text: &str) -> Value {
    fn value(node: &Node) -> Value {
        match &node.kind {
            Kind::List(items) => items.iter().map(value).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), value(&entry.value))).collect())
            }
            Kind::Scalar(scalar) => match meaning(scalar) {
                Meaning::Null => Value::Null,
                Meaning::Bool(truth) => Value::Bool(truth),
                Meaning::Number => serde_json::from_str(&scalar.text).expect("a number that JSON has"),
                Meaning::Text | Meaning::BooleanLookingText | Meaning::Ambiguous(_) => {
                    Value::String(scalar.text.clone())
                }
            },
        }
    }
    value(&yaml::parse(text, &mut Vec::new()).unwrap_or_else(|| panic!("{text}: no YAML")))
}

fn fault(validator: &Validator, text: &str) -> Option<String> {
    validator.iter_errors(&tree(text)).next().map(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn it_is_a_schema_of_2020_12_without_dangling_references() {
    let schema = json_schema();
    jsonschema::meta::validate(&schema).expect("valid under its own dialect");
    let text = schema.to_string();
    for rest in text.split("\"#/$defs/").skip(1) {
        let name = rest.split('"').next().expect("split gives one part");
        assert!(schema["$defs"][name].is_object(), "{name} is not defined");
    }
}

#[test]
fn every_section_and_key_of_the_loader_has_its_entry_and_refused_keys_are_left_out() {
    let schema = json_schema();
    for section in SECTIONS {
        let definition = &schema["$defs"][slug(section.what)];
        for key in section.keys {
            assert!(entries::of(section.what, key).is_some(), "{}: {key} has no entry", section.what);
            assert!(definition["properties"][key].is_object(), "{}: {key} is missing", section.what);
        }
        for key in section.later {
            assert!(definition["properties"].get(key).is_none(), "{}: {key} is refused by the loader", section.what);
        }
    }
    for operator in Test::OPERATORS {
        assert!(entries::operand(operator).is_some(), "{operator} has no operand");
    }
}

#[test]
fn the_ready_policies_validate() {
    let validator = validator();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the repository has policies") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("text");
            assert_eq!(fault(&validator, &text), None, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 1);
}

#[test]
fn the_example_of_every_key_validates_and_its_misspelling_does_not() {
    let validator = validator();
    for (section, key, text, entry) in inert::KEYS {
        let with = text.replace('@', entry);
        assert_eq!(fault(&validator, &with), None, "{section}: {with}");
        let misspelt = text.replace('@', &entry.replacen(&format!("{key}:"), &format!("{key}x:"), 1));
        assert!(fault(&validator, &misspelt).is_some(), "{section}: {misspelt}");
    }
}

#[test]
fn what_the_loader_refuses_by_form_the_schema_refuses() {
    let validator = validator();
    for text in [
        "tools: []",
        "default: maybe",
        "tools: {t: {rules: [{action: permit}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: lt_e, value: 1}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: lte, value: '1'}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: lte}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: in, value: []}]}]}}",
        "tools: {t: {rules: [{conditions: [{path: args.a, op: eq, value: {a: 1}}]}]}}",
        "tools: {t: {rules: [{conditions: [{op: exists}]}]}}",
        "tools: {t: {rules: [{rate_limit: 10/second}]}}",
        "tools: {t: {rules: [{rate_limit: {max: 1}}]}}",
        "tools: {t: {rules: [{reason: a, on_deny: b}]}}",
        "tools: {'a*': {}}",
        "name: ../p",
        "sandbox: {network: {}}",
        "sandbox: {network: {allow: [{host: 'https://a.b'}]}}",
        "sandbox: {network: {allow: [{host: a.b, ports: [0]}]}}",
        "sandbox: {filesystem: {write: [{from: /a}]}}",
        "sandbox: {filesystem: {read: [a]}}",
        "sandbox: {resources: {memory: 1Q}}",
        "sandbox: {env: {pass: [1A]}}",
        "sandbox: {require: [bpf]}",
        "cli: {allow: [all]}",
    ] {
        assert!(fault(&validator, text).is_some(), "{text}");
        let path = std::path::Path::new("/p.yaml");
        assert!(crate::policy::load(&crate::policy::Source { path, text }).is_err(), "{text}: the loader takes it");
    }
}

#[test]
fn both_forms_of_what_has_two_validate() {
    let validator = validator();
    for text in [
        "version: 1\ntools:\n  t:\n  u: {rules: }\nhide:",
        "tools: {t: {rules: [{rate_limit: 10/minute}, {rate_limit: {max: 1, window: 5m}}]}}",
        "sandbox: {filesystem: {write: [/opt/a, {path: /b, from: /opt/b, owner: 1000}]}, env: {pass: [A, {name: B}]}}",
        "sandbox: {resources: {memory: 1024, tmp: '64M', wall: 0, cpu: 2}}",
    ] {
        assert_eq!(fault(&validator, text), None, "{text}");
        let path = std::path::Path::new("/p.yaml");
        assert!(crate::policy::load(&crate::policy::Source { path, text }).is_ok(), "{text}: the loader refuses it");
    }
}
