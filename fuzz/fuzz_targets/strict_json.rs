//! Any bytes as one line: what the strict parser takes, serde_json takes too and reads alike; what we write of it is one line for
//! every reader and is read back as the same value.

#![no_main]

use intercept_sandbox::wire::json::{self, Value};
use intercept_sandbox::wire::jsonrpc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let parsed = json::parse(bytes);
    match (&parsed, json::scan(bytes, &["result", "error"])) {
        (Ok(_), Ok(_)) => {}
        (Err(one), Err(other)) => assert_eq!(*one, other, "refused for two reasons"),
        (one, other) => panic!("the parser says {one:?}, the scan {other:?}"),
    }
    let by_scan = jsonrpc::read_server_line(bytes);
    assert_eq!(by_scan.is_ok(), jsonrpc::read_line(bytes).is_ok(), "one reader takes it");
    let Ok(value) = parsed else {
        let refusal = jsonrpc::read_line(bytes).expect_err("no JSON, yet a message");
        assert!(!refusal.text.is_empty(), "refused without a reason");
        return;
    };
    let by_serde: serde_json::Value = serde_json::from_slice(bytes).expect("stricter than serde_json");
    assert!(alike(&value, &by_serde), "{value:?} is not {by_serde:?}");
    let mut written = Vec::new();
    json::write(&value, &mut written);
    let text = std::str::from_utf8(&written).expect("we write UTF-8");
    assert!(!text.contains(|letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')));
    assert_eq!(json::parse(&written).expect("what we write, we read"), value);
    let again: serde_json::Value = serde_json::from_slice(&written).expect("what we write, serde_json reads");
    assert_eq!(again, by_serde);
    if let Ok(line) = jsonrpc::read_line(bytes) {
        let mut out = Vec::new();
        line.message.write(None, &mut out);
        assert_eq!(jsonrpc::read_line(&out).expect("what we forward, we read").message, line.message);
    }
});

fn alike(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::Null, serde_json::Value::Null) => true,
        (Value::Bool(ours), serde_json::Value::Bool(theirs)) => ours == theirs,
        (Value::String(ours), serde_json::Value::String(theirs)) => ours == theirs,
        // The same double; integers are within 2^53-1, so a double holds them.
        (Value::Number(ours), serde_json::Value::Number(theirs)) => ours.text().parse().ok() == theirs.as_f64(),
        (Value::Array(ours), serde_json::Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| alike(ours, theirs))
        }
        (Value::Object(ours), serde_json::Value::Object(theirs)) => {
            let is_alike = |(key, ours): &(_, Value<'_>)| {
                let key: &std::borrow::Cow<'_, str> = key;
                theirs.get(&**key).is_some_and(|theirs| alike(ours, theirs))
            };
            ours.len() == theirs.len() && ours.iter().all(is_alike)
        }
        _ => false,
    }
}
