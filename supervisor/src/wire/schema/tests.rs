use super::*;
use crate::wire::json::parse;

pub(super) fn compiled(schema: &str) -> Result<Schema, Unjudgeable> {
    Schema::compile(&parse(schema.as_bytes()).expect(schema), &mut Patterns::default())
}

pub(super) fn checked(schema: &str, value: &str) -> Result<(), Fault> {
    compiled(schema).map_err(Fault::Unjudgeable)?.check(&parse(value.as_bytes()).expect(value), Keys::Folded)
}

fn words(schema: &str, value: &str) -> String {
    match checked(schema, value) {
        Err(Fault::Mismatch(mismatch)) => mismatch.to_string(),
        other => panic!("{schema} on {value}: {other:?}"),
    }
}

/// Schema, values that fit, values that do not. Sorted by keyword, as the official suite is.
const KEYWORDS: &[(&str, &[&str], &[&str])] = &[
    (r#"true"#, &["1", "{}"], &[]),
    (r#"false"#, &[], &["1", "{}"]),
    (r#"{}"#, &["1", "{}", "null"], &[]),
    (r#"{"type":"integer"}"#, &["1", "1.0", "-3", "1e2"], &["1.5", "\"1\"", "true", "null"]),
    (r#"{"type":"number"}"#, &["1", "1.5"], &["\"1\"", "null", "{}"]),
    (r#"{"type":["string","null"]}"#, &["\"\"", "null"], &["1", "[]", "{}", "false"]),
    (r#"{"type":"boolean"}"#, &["true", "false"], &["0", "\"true\"", "null"]),
    (r#"{"type":"object"}"#, &["{}"], &["[]", "\"\""]),
    (r#"{"type":"array"}"#, &["[]"], &["{}", "\"\""]),
    (
        r#"{"enum":[6,"foo",[],true,{"foo":false}]}"#,
        &["6.0", "[]", "{\"foo\":false}"],
        &["1", "null", "{\"foo\":0}", "[false]"],
    ),
    (r#"{"enum":[null]}"#, &["null"], &["0", "\"\""]),
    (r#"{"const":{"a":[1,{"b":2}]}}"#, &["{\"a\":[1.0,{\"b\":2}]}"], &["{\"a\":[1]}", "{}"]),
    (r#"{"const":false}"#, &["false"], &["0", "null"]),
    (r#"{"minimum":1.1,"maximum":3}"#, &["1.1", "3.0", "\"x\""], &["1", "3.1", "-5"]),
    (r#"{"exclusiveMinimum":0,"exclusiveMaximum":3}"#, &["0.1", "2.9"], &["0", "3", "-0.0"]),
    (r#"{"multipleOf":0.0001}"#, &["0.0075", "0", "\"x\""], &["0.00751"]),
    (r#"{"multipleOf":0.5}"#, &["1", "1e20"], &["0.7"]),
    (r#"{"minLength":2.0,"maxLength":3}"#, &["\"fo\"", "\"😀😀\"", "1"], &["\"f\"", "\"😀\"", "\"abcd\""]),
    (r#"{"pattern":"^a*$"}"#, &["\"aaa\"", "\"\"", "1"], &["\"ab\""]),
    (r#"{"pattern":"a+"}"#, &["\"xxaayy\""], &["\"b\""]),
    (r#"{"format":"email"}"#, &["\"no address\"", "1"], &[]),
    (r#"{"contentEncoding":"base64","default":1,"x-more":{"type":3}}"#, &["\"%\"", "1"], &[]),
    (r#"{"minItems":1,"maxItems":2}"#, &["[1]", "[1,2]", "\"\""], &["[]", "[1,2,3]"]),
    (
        r#"{"uniqueItems":true}"#,
        &["[1,\"1\",true,[1],{\"a\":1}]", "[]", "{}"],
        &["[1,1.0]", "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]"],
    ),
    (r#"{"items":{"type":"integer"}}"#, &["[1,2]", "[]", "{\"0\":\"x\"}"], &["[1,\"x\"]"]),
    (r#"{"items":false}"#, &["[]"], &["[1]"]),
    (
        r#"{"prefixItems":[{"type":"integer"},{"type":"string"}],"items":false}"#,
        &["[1,\"a\"]", "[1]", "[]"],
        &["[\"a\"]", "[1,\"a\",1]"],
    ),
    (r#"{"prefixItems":[{"type":"integer"}],"items":{"type":"string"}}"#, &["[1,\"a\",\"b\"]"], &["[1,2]"]),
    (r#"{"contains":{"minimum":5}}"#, &["[3,5]", "{}"], &["[]", "[1]"]),
    (r#"{"contains":{"const":1},"minContains":2,"maxContains":3}"#, &["[1,1]", "[1,2,1,1]"], &["[1]", "[1,1,1,1]"]),
    (r#"{"contains":{"const":1},"minContains":0}"#, &["[]", "[2]"], &[]),
    (r#"{"minProperties":1,"maxProperties":2}"#, &["{\"a\":1}", "[]"], &["{}", "{\"a\":1,\"b\":1,\"c\":1}"]),
    (r#"{"required":["a"]}"#, &["{\"a\":null}", "[]"], &["{}", "{\"b\":1}"]),
    (r#"{"required":["__proto__","constructor"]}"#, &["{\"__proto__\":1,\"constructor\":2}"], &["{}"]),
    (
        r#"{"properties":{"a":{"type":"integer"},"b":false}}"#,
        &["{\"a\":1,\"c\":true}", "{}", "[]"],
        &["{\"a\":\"x\"}", "{\"b\":1}"],
    ),
    (
        r#"{"properties":{"a":{}},"patternProperties":{"^v":{"type":"string"}},"additionalProperties":false}"#,
        &["{\"a\":1,\"vroom\":\"x\"}", "[]"],
        &["{\"b\":1}", "{\"vroom\":2}"],
    ),
    (r#"{"additionalProperties":{"type":"boolean"}}"#, &["{\"a\":true}"], &["{\"a\":1}"]),
    (
        r#"{"patternProperties":{"f.*o":{"type":"integer"},"^f":{"minimum":2}}}"#,
        &["{\"foo\":2,\"b\":\"x\"}"],
        &["{\"foo\":1}", "{\"foo\":\"x\"}"],
    ),
    (r#"{"propertyNames":{"maxLength":3}}"#, &["{\"foo\":1}", "[]"], &["{\"foobar\":1}"]),
    (
        r#"{"dependentRequired":{"a":["b","c"]}}"#,
        &["{}", "{\"a\":1,\"b\":1,\"c\":1}", "{\"b\":1}"],
        &["{\"a\":1,\"b\":1}"],
    ),
    (r#"{"dependentSchemas":{"a":{"minProperties":2}}}"#, &["{\"b\":1}", "{\"a\":1,\"b\":1}"], &["{\"a\":1}"]),
    (r#"{"allOf":[{"minimum":1},{"maximum":2}]}"#, &["1", "2"], &["0", "3"]),
    (r#"{"anyOf":[{"type":"integer"},{"minimum":2}]}"#, &["1", "2.5"], &["1.5"]),
    (r#"{"oneOf":[{"type":"integer"},{"minimum":2}]}"#, &["1", "2.5"], &["3", "1.5"]),
    (r#"{"not":{"type":["integer","boolean"]}}"#, &["\"a\""], &["1", "true"]),
    (r#"{"not":{}}"#, &[], &["1", "null"]),
    (r#"{"if":{"exclusiveMaximum":0},"then":{"minimum":-10},"else":{"multipleOf":2}}"#, &["-1", "4"], &["-100", "3"]),
    (r#"{"then":{"const":0},"else":{"const":0}}"#, &["1"], &[]),
    (r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}},"maximum":5}"##, &["5"], &["6", "\"a\""]),
    (
        r##"{"properties":{"next":{"$ref":"#"}},"additionalProperties":false}"##,
        &["{\"next\":{\"next\":{}}}"],
        &["{\"next\":{\"prev\":{}}}"],
    ),
    (
        r##"{"$defs":{"a~b":{"type":"integer"},"c/d":{"type":"string"},"e%f":{"type":"null"}},"prefixItems":[{"$ref":"#/$defs/a~0b"},{"$ref":"#/$defs/c~1d"},{"$ref":"#/$defs/e%25f"},{"$ref":"#/prefixItems/0"}]}"##,
        &["[1,\"a\",null,2]"],
        &["[\"a\"]", "[1,1]", "[1,\"a\",1]", "[1,\"a\",null,\"b\"]"],
    ),
    (
        r##"{"$id":"https://example.com/t","$ref":"https://example.com/t#/$defs/a","$defs":{"a":{"type":"null"}}}"##,
        &["null"],
        &["1"],
    ),
    (
        r#"{"properties":{"$ref":{"type":"string"},"$id":{"type":"integer"}}}"#,
        &["{\"$ref\":\"x\",\"$id\":1}"],
        &["{\"$ref\":2}", "{\"$id\":\"x\"}"],
    ),
    // Words of the other dialect mean nothing.
    (r#"{"dependencies":{"a":["b"]},"additionalItems":false}"#, &["{\"a\":1}", "[1]"], &[]),
];

#[test]
fn every_keyword_judges_as_the_2020_12_draft_says() {
    for (schema, fits, not) in KEYWORDS {
        for value in *fits {
            assert_eq!(checked(schema, value), Ok(()), "{schema} on {value}");
        }
        for value in *not {
            assert!(matches!(checked(schema, value), Err(Fault::Mismatch(_))), "{schema} on {value}");
        }
    }
}

#[test]
fn draft_07_reads_its_own_words_and_no_later_ones() {
    for (schema, fits, not) in [
        (r#""items":[{"type":"integer"}],"additionalItems":{"type":"string"}"#, "[1,\"a\"]", "[1,2]"),
        (r#""items":[{"type":"integer"}]"#, "[1,\"a\",null]", "[\"a\"]"),
        (r#""items":{"type":"integer"},"additionalItems":false"#, "[1,2]", "[\"a\"]"),
        (r#""dependencies":{"a":["b"],"c":{"minProperties":2}}"#, "{\"a\":1,\"b\":2}", "{\"c\":1}"),
        (r#""dependencies":{"a":["b"]}"#, "{\"b\":2}", "{\"a\":1}"),
        (
            r##""definitions":{"a":{"type":"integer"}},"properties":{"x":{"$ref":"#/definitions/a","maximum":1}}"##,
            "{\"x\":5}",
            "{\"x\":\"a\"}",
        ),
        (r#""if":{"const":1},"then":false"#, "2", "1"),
        (r#""contains":{"const":1},"maxContains":1"#, "[1,1]", "[]"),
        (r#""prefixItems":[false],"dependentRequired":{"a":["b"]},"type":["array","object"]"#, "{\"a\":1}", "1"),
    ] {
        for id in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft-07/schema"] {
            let schema = format!(r#"{{"$schema":"{id}",{schema}}}"#);
            assert_eq!(checked(&schema, fits), Ok(()), "{schema} on {fits}");
            assert!(matches!(checked(&schema, not), Err(Fault::Mismatch(_))), "{schema} on {not}");
        }
    }
}

#[test]
fn what_is_not_known_for_certain_is_not_judged() {
    for (schema, why) in [
        (r#"{"$schema":"http://json-schema.org/draft-04/schema#"}"#, Unjudgeable::Dialect),
        (r#"{"$schema":"https://json-schema.org/draft/2019-09/schema"}"#, Unjudgeable::Dialect),
        (r#"{"$schema":7}"#, Unjudgeable::Dialect),
        (r#"{"$ref":"https://evil.example/s"}"#, Unjudgeable::Reference),
        (r#"{"$ref":"file:///etc/shadow"}"#, Unjudgeable::Reference),
        (r#"{"$ref":"other.json#/a"}"#, Unjudgeable::Reference),
        (r##"{"$ref":"#/$defs/none"}"##, Unjudgeable::Reference),
        (r##"{"$ref":"#anchor","$defs":{"a":{"$anchor":"anchor"}}}"##, Unjudgeable::Reference),
        (r##"{"$ref":"#/%zz"}"##, Unjudgeable::Reference),
        (r#"{"$ref":7}"#, Unjudgeable::Malformed("$ref")),
        (r#"{"properties":{"a":{"$ref":"urn:x"}}}"#, Unjudgeable::Reference),
        (r#"{"properties":{"a":{"$id":"https://a.b/c"}}}"#, Unjudgeable::Keyword("$id")),
        (
            r##"{"$ref":"#/$defs/a/$defs/b","$defs":{"a":{"$id":"https://a.b/c","$defs":{"b":{}}}}}"##,
            Unjudgeable::Keyword("$id"),
        ),
        (r##"{"$dynamicRef":"#a"}"##, Unjudgeable::Keyword("$dynamicRef")),
        (r#"{"unevaluatedProperties":false}"#, Unjudgeable::Keyword("unevaluatedProperties")),
        (r#"{"allOf":[{"unevaluatedItems":false}]}"#, Unjudgeable::Keyword("unevaluatedItems")),
        (r#"{"type":"text"}"#, Unjudgeable::Malformed("type")),
        (r#"{"type":[]}"#, Unjudgeable::Malformed("type")),
        (r#"{"minimum":"1"}"#, Unjudgeable::Malformed("minimum")),
        (r#"{"exclusiveMinimum":true}"#, Unjudgeable::Malformed("exclusiveMinimum")),
        (r#"{"minLength":-1}"#, Unjudgeable::Malformed("minLength")),
        (r#"{"multipleOf":0}"#, Unjudgeable::Malformed("multipleOf")),
        (r#"{"required":"a"}"#, Unjudgeable::Malformed("required")),
        (r#"{"items":[{}]}"#, Unjudgeable::Malformed("items")),
        (r#"{"anyOf":[]}"#, Unjudgeable::Malformed("anyOf")),
        (r#"{"properties":{"a":3}}"#, Unjudgeable::Malformed("schema")),
        (r#"{"pattern":"(?=a)"}"#, Unjudgeable::Pattern),
        (r#"[]"#, Unjudgeable::Malformed("schema")),
    ] {
        assert_eq!(compiled(schema).map(|_| ()), Err(why), "{schema}");
    }
}

#[test]
fn a_mismatch_says_where_and_what_was_expected_and_not_what_was_given() {
    let schema = &r##"{"type":"object","required":["to"],"additionalProperties":false,"properties":{
        "to":{"type":"string","pattern":"^[a-z]+$"},
        "width":{"type":"integer","maximum":2048},
        "size":{"enum":["small","large"]},
        "images":{"type":"array","items":{"type":"object","properties":{"url":{"type":"string"}}}},
        "model":{"anyOf":[{"type":"string"},{"type":"null"}]},
        "pay":{"oneOf":[{"type":"object","properties":{"card":{"type":"string"}},"required":["card"]},{"type":"null"}]},
        "odd key":{"type":"null"}}}"##
        .replace('\n', "");
    for (value, text) in [
        ("7", " must be an object, not number"),
        ("{}", " must have the key \"to\""),
        (r#"{"to":7}"#, ".to must be a string, not number"),
        (r#"{"to":"SECRET"}"#, ".to must match the pattern ^[a-z]+$"),
        (r#"{"to":"a","width":4096}"#, ".width must be at most 2048"),
        (r#"{"to":"a","size":"SECRET"}"#, r#".size must be one of "small", "large""#),
        (r#"{"to":"a","images":[{"url":"x"},{"url":5}]}"#, ".images[1].url must be a string, not number"),
        (r#"{"to":"a","model":5}"#, ".model must be a string, not number; or must be null, not number"),
        (r#"{"to":"a","pay":{"card":5}}"#, ".pay.card must be a string, not number"),
        (r#"{"to":"a","odd key":5}"#, ".[\"odd key\"] must be null, not number"),
        (
            r#"{"to":"a","More":5}"#,
            r#" must not have the key "More"; it takes "images", "model", "odd key", "pay", "size", "to", "width""#,
        ),
    ] {
        assert_eq!(words(schema, value), text.replace(".[", "["));
    }
    let long = format!(r#"{{"{}":1}}"#, "k".repeat(100_000));
    assert!(words(r#"{"additionalProperties":false}"#, &long).len() < 400, "what is shown is cut");
    assert!(words(r#"{"additionalProperties":false}"#, "{\"a\u{202e}b\":1}").contains("\\u{202e}"));
}

#[test]
fn a_key_that_differs_only_in_case_is_refused_at_every_depth_and_cannot_be_made_up_for() {
    let nested = r#"{"properties":{"pay":{"properties":{"price":{"maximum":5}}}}}"#;
    assert_eq!(
        words(nested, r#"{"pay":{"Price":100}}"#),
        r#".pay has the key "Price", which differs from "price" only in case"#
    );
    for schema in [
        r#"{"not":{"properties":{"price":{}}}}"#,
        r#"{"anyOf":[{"properties":{"price":{"maximum":5}}},true]}"#,
        r#"{"if":{"properties":{"price":{"maximum":5}}},"else":true}"#,
    ] {
        assert!(words(schema, "{\"PRICE\":1}").contains("only in case"), "{schema}");
        let value = parse(b"{\"PRICE\":1}").unwrap();
        let exact = compiled(schema).unwrap().check(&value, Keys::Exact);
        assert_eq!(exact.is_ok(), !schema.contains("not"), "a result's keys are its own: {schema}");
    }
    assert_eq!(checked(nested, r#"{"Other":{"Price":1}}"#), Ok(()));
}
