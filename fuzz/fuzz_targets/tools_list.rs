//! Any value as the result of a tools/list: what is left after filtering holds only tools that were kept, each once and each as it
//! came, and reading a page finds what filtering leaves.

#![no_main]

use std::collections::HashSet;

use intercept_sandbox::wire::json::{self, Value};
use intercept_sandbox::wire::tools;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&seed, text)) = bytes.split_first() else { return };
    let Ok(before) = json::parse(text) else { return };
    let is_kept = |name: &str| name.bytes().fold(seed, u8::wrapping_add) % 3 != 0;
    let mut after = before.clone();
    let dropped = tools::filter(&mut after, |name, _| is_kept(name));
    let page = tools::read_page(&before);
    let Ok(dropped) = dropped else {
        assert!(page.is_err(), "a page of what is no list");
        return;
    };
    let entries = |value: &'_ Value<'_>| -> Vec<String> {
        let tools = value.member("tools").and_then(Value::as_array).expect("filtering kept the list");
        tools.iter().map(written).collect()
    };
    let (all, left) = (entries(&before), entries(&after));
    assert_eq!(all.len(), left.len() + dropped);
    let mut rest = all.iter();
    assert!(left.iter().all(|entry| rest.any(|one| one == entry)), "changed or moved");
    let names: Vec<&str> = after
        .member("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|tool| tool.member("name").and_then(Value::as_str).expect("a tool without a name was left"))
        .collect();
    assert!(names.iter().all(|name| is_kept(name)));
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "two tools of one name");
    for (key, value) in before.as_object().unwrap_or_default() {
        assert!(key == "tools" || after.member(key) == Some(value), "another field changed");
    }
    if let Ok(page) = page {
        let wanted: Vec<&str> = page.tools.iter().map(|tool| tool.name.as_str()).filter(|name| is_kept(name)).collect();
        assert_eq!(wanted, names);
    }
});

fn written(value: &Value<'_>) -> String {
    let mut out = Vec::new();
    json::write(value, &mut out);
    String::from_utf8(out).expect("we write UTF-8")
}
