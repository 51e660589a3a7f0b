//! The same verdicts as an implementation that passes the official suite: the jsonschema crate, which the product does not carry.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::tests::checked;
use super::*;

/// Values that keywords tell apart.
fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-4_i64..9).prop_map(Json::from),
        prop::sample::select(vec![0.5, 1.0, 2.5, 0.01, 1e20, -0.0]).prop_map(Json::from),
        prop::sample::select(vec!["", "a", "ab", "abc", "é", "😀b", "A1", "x-y", " "]).prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c", "foo"]), inner, 0..4)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Json>()),
        ]
    })
}

fn keyword(schema: impl Strategy<Value = Json> + Clone + 'static) -> impl Strategy<Value = (String, Json)> {
    let list = prop::collection::vec(schema.clone(), 1..3).prop_map(Json::from);
    let names =
        prop::collection::btree_set(prop::sample::select(vec!["a", "b", "c"]), 0..3).prop_map(|names| json!(names));
    let map = |inner: BoxedStrategy<Json>| {
        prop::collection::btree_map(prop::sample::select(vec!["a", "b", "foo"]), inner, 0..3).prop_map(|map| json!(map))
    };
    let by_pattern =
        prop::collection::btree_map(prop::sample::select(vec!["^a", "o+", "^[bc]$"]), schema.clone(), 0..2);
    let types = vec!["null", "boolean", "integer", "number", "string", "array", "object"];
    let entry = |names: &'static [&'static str], values: BoxedStrategy<Json>| {
        (prop::sample::select(names.to_vec()).prop_map(str::to_owned), values)
    };
    prop_oneof![
        entry(&["type"], prop::sample::subsequence(types, 1..4).prop_map(|types| json!(types)).boxed()),
        entry(&["enum"], prop::collection::vec(value(), 1..4).prop_map(Json::from).boxed()),
        entry(&["const"], value().boxed()),
        entry(
            &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
            (-2_i64..6).prop_map(Json::from).boxed()
        ),
        entry(&["multipleOf"], prop::sample::select(vec![0.01, 0.5, 2.0, 3.0]).prop_map(Json::from).boxed()),
        entry(
            &["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"],
            (0_u64..4).prop_map(Json::from).boxed()
        ),
        entry(
            &["pattern"],
            prop::sample::select(vec!["^a", "b$", "^[^a]*$", r"^\w+$", r"\d", "^.{2}$", r"^[a-c\-]+$"])
                .prop_map(Json::from)
                .boxed()
        ),
        entry(&["uniqueItems"], any::<bool>().prop_map(Json::from).boxed()),
        entry(&["required"], names.clone().boxed()),
        entry(&["properties", "dependentSchemas", "$defs"], map(schema.clone().boxed()).boxed()),
        entry(&["dependentRequired"], map(names.boxed()).boxed()),
        entry(&["patternProperties"], by_pattern.prop_map(|map| json!(map)).boxed()),
        entry(
            &["additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"],
            schema.boxed()
        ),
        entry(&["minContains", "maxContains"], (0_u64..3).prop_map(Json::from).boxed()),
        entry(&["allOf", "anyOf", "oneOf", "prefixItems"], list.boxed()),
        entry(&["format"], Just(json!("email")).boxed()),
    ]
}

fn schema() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => Just(json!({})),
        1 => any::<bool>().prop_map(Json::from),
        2 => Just(json!({"type": "string"})),
        1 => Just(json!({"$ref": "#/$defs/a"})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::vec(keyword(inner), 0..5)
            .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn verdicts_are_those_of_an_implementation_of_the_whole_draft(schema in schema(), values in prop::collection::vec(value(), 8)) {
        let mut schema = schema;
        // Where references of the leaves lead. It refers to nothing, so that nothing goes in a circle.
        if let Json::Object(members) = &mut schema {
            members.insert("$defs".into(), json!({"a": {"type": ["integer", "array"]}}));
        }
        let whole = match &schema {
            Json::Object(_) => schema.clone(),
            other => json!({"allOf": [other]}),
        };
        let Ok(theirs) = jsonschema::validator_for(&whole) else { return Ok(()) };
        for value in values {
            let ours = checked(&whole.to_string(), &value.to_string());
            prop_assert!(!matches!(ours, Err(Fault::Unjudgeable(_))), "{whole} on {value}: {ours:?}");
            prop_assert_eq!(ours.is_ok(), theirs.is_valid(&value), "{} on {}", whole, value);
        }
    }
}
