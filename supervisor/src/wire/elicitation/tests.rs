use std::time::{Duration, Instant};

use super::*;
use crate::wire::json;

fn value(text: &str) -> Value<'static> {
    json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}")).into_owned()
}

fn cleaned_params(text: &str) -> Result<(String, u64), Misleading> {
    let mut params = value(text);
    let changed = clean(&mut params)?;
    let mut out = Vec::new();
    json::write(&params, &mut out);
    Ok((String::from_utf8(out).unwrap(), changed))
}

fn said(text: &str) -> String {
    cleaned(text).unwrap_or_else(|| text.to_owned())
}

#[test]
fn what_steers_a_screen_is_taken_out_and_nothing_else() {
    for (text, clean) in [
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("red \u{1b}[31;1mword\u{1b}[0m", "red word"),
        ("\u{9b}2Jcleared", "cleared"),
        ("title \u{1b}]0;evil\u{7}after", "title after"),
        ("link \u{1b}]8;;https://evil.example\u{1b}\\shown\u{1b}]8;;\u{1b}\\", "link shown"),
        ("\u{1b}Pq\u{9c}\u{1b}(Bset\u{1b}c", "set"),
        ("\u{9d}0;evil\u{9c}.", "."),
        ("an end that never comes \u{1b}]0;stays readable", "an end that never comes ]0;stays readable"),
        ("cut \u{1b}[31", "cut [31"),
        ("cut \u{1b}", "cut "),
        ("\u{1b}\u{1b}[31mx", "x"),
        ("\u{1b}é\u{1b}[é", "é[é"),
        ("ab\u{8}\r\0\u{7f}\u{85}c", "abc"),
        ("\u{202e}drow\u{202c} \u{2066}x\u{2069}\u{200f}", "drow x"),
        ("se\u{200b}cret\u{feff}\u{e0041}\u{2028}", "secret"),
        ("👩\u{200d}🔬 ❤\u{fe0f} می\u{200c}خواهم", "👩\u{200d}🔬 ❤\u{fe0f} می\u{200c}خواهم"),
    ] {
        assert_eq!(said(text), clean, "{text:?}");
        assert!(!said(text).chars().any(is_unfit));
    }
}

#[test]
fn cleaning_takes_time_linear_in_the_text() {
    const STARTS: usize = 500_000;
    let soon = |text: &str, clean: &str| {
        let begun = Instant::now();
        let said = said(text);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:.8?}: {:?}", text, begun.elapsed());
        assert!(said == clean, "{text:.8?}");
    };
    for start in ["\u{1b}]", "\u{1b}P", "\u{1b}X", "\u{1b}^", "\u{1b}_", "\u{1b}[1", "\u{1b} "] {
        soon(&start.repeat(STARTS), &start[1..].repeat(STARTS));
    }
    soon(&"\u{9d}".repeat(STARTS), "");
    // Each has an end, of one kind; the other two kinds are nowhere.
    for whole in ["\u{1b}]\u{7}", "\u{1b}]\u{1b}\\", "\u{1b}]\u{9c}"] {
        soon(&whole.repeat(STARTS), "");
    }
    // What ends is taken out though others never end, and other sequences are behind them.
    let mixed = format!("a\u{1b}]x\u{7}b{}c\u{1b}[0m", "\u{1b}]".repeat(STARTS));
    soon(&mixed, &format!("ab{}c", "]".repeat(STARTS)));
}

#[test]
fn a_form_is_cleaned_where_a_person_reads_it() {
    let form = concat!(
        r#"{"message":"Your\u001b[2J name?","requestedSchema":{"type":"object","properties":{"#,
        r#""name":{"type":"string","title":"Na\u202eme","description":"d\u0007","default":"x\u200b"},"#,
        r#""title":{"type":"string","description":"\u0085y"},"#,
        r#""size":{"enum":["s","l"],"enumNames":["small\u001b[0m","large"],"oneOf":[{"const":"s","title":"S\u0000"}]}},"#,
        r#""required":["name"]},"_meta":{"x":"\u001b"}}"#
    );
    let clean = concat!(
        r#"{"message":"Your name?","requestedSchema":{"type":"object","properties":{"#,
        r#""name":{"type":"string","title":"Name","description":"d","default":"x"},"#,
        r#""title":{"type":"string","description":"y"},"#,
        r#""size":{"enum":["s","l"],"enumNames":["small","large"],"oneOf":[{"const":"s","title":"S"}]}},"#,
        r#""required":["name"]},"_meta":{"x":"\u001b"}}"#
    );
    assert_eq!(cleaned_params(form), Ok((clean.to_owned(), 7)));
    assert_eq!(cleaned_params(clean), Ok((clean.to_owned(), 0)));
}

#[test]
fn choices_that_cannot_be_cleaned_are_refused() {
    for schema in [
        r#"{"properties":{"na\u202eme":{"type":"string"}}}"#,
        r#"{"properties":{"a":{"enum":["yes","n\u200bo"]}}}"#,
        r#"{"properties":{"a":{"oneOf":[{"const":"\u001b[8mno","title":"yes"}]}}}"#,
        r#"{"required":["\u0007"]}"#,
    ] {
        let params = format!(r#"{{"message":"m","requestedSchema":{schema}}}"#);
        assert_eq!(cleaned_params(&params), Err(Misleading::Choice), "{schema}");
    }
    assert_eq!(cleaned_params(r#"{"message":["\u001b"]}"#), Err(Misleading::Form));
    assert_eq!(cleaned_params(r#"{"message":"m","url":7}"#), Err(Misleading::Form));
    assert_eq!(cleaned_params("[]"), Err(Misleading::Form));
}

#[test]
fn addresses_that_mislead_are_refused() {
    for url in
        ["https://a.example", "HTTP://a.example:8080/p?q=a@b#f@", "https://[2001:db8::1]/", "https://a.example/@x"]
    {
        assert_eq!(judge_url(url), Ok(()), "{url}");
    }
    for (url, why) in [
        ("https://good.example@evil.example/", Misleading::UserInfo),
        ("https://good.example:443@evil.example", Misleading::UserInfo),
        ("javascript:alert(1)", Misleading::Scheme),
        ("file:///etc/passwd", Misleading::Scheme),
        ("data:text/html,x", Misleading::Scheme),
        ("/relative", Misleading::Scheme),
        ("", Misleading::Scheme),
        ("httpss://a.example", Misleading::Scheme),
        ("https:a.example", Misleading::NotPlain),
        ("https:///a.example", Misleading::NotPlain),
        ("https://:443/", Misleading::NotPlain),
        ("https://good.example\\@evil.example", Misleading::NotPlain),
        ("https://evil.example%2f.good.example/", Misleading::NotPlain),
        ("https://a.example/ b", Misleading::NotPlain),
        (" https://a.example", Misleading::NotPlain),
        ("https://a.example/\u{202e}", Misleading::NotPlain),
        ("https://a.example/\n", Misleading::NotPlain),
        ("https://\u{430}pple.example/", Misleading::NotPlain),
    ] {
        assert_eq!(judge_url(url), Err(why), "{url}");
        let params = Value::Object(vec![
            ("mode".into(), Value::String("url".into())),
            ("url".into(), Value::String(url.to_owned().into())),
        ]);
        assert_eq!(clean(&mut params.clone()), Err(why));
        let requests = Value::Object(vec![(
            "q".into(),
            Value::Object(vec![
                ("method".into(), Value::String("elicitation/create".into())),
                ("params".into(), params),
            ]),
        )]);
        let mut outcome = Outcome::Result(Value::Object(vec![("inputRequests".into(), requests)]));
        assert!(asks(&outcome));
        assert_eq!(clean_answer(&mut outcome), Err(why));
    }
}

#[test]
fn questions_inside_answers_are_cleaned_too() {
    let one = r#"{"mode":"url","elicitationId":"e","url":"https://a.example","message":"go\u001b[2J"}"#;
    let mut error =
        Outcome::Error(value(&format!(r#"{{"code":-32042,"message":"m","data":{{"elicitations":[{one}]}}}}"#)));
    assert!(asks(&error));
    assert_eq!(clean_answer(&mut error), Ok(1));
    let requests = format!(
        r#"{{"inputRequests":{{"a":{{"method":"elicitation/create","params":{one}}},"b":{{"method":"roots/list"}}}}}}"#
    );
    assert_eq!(clean_answer(&mut Outcome::Result(value(&requests))), Ok(1));
    let mut other = Outcome::Result(value(r#"{"content":[{"type":"text","text":"\u001b[31m"}]}"#));
    assert!(!asks(&other));
    assert_eq!(clean_answer(&mut other), Ok(0));
    for bad in [
        r#"{"inputRequests":7}"#,
        r#"{"inputRequests":{"a":{"params":{}}}}"#,
        r#"{"inputRequests":{"a":{"method":"elicitation/create"}}}"#,
    ] {
        assert_eq!(clean_answer(&mut Outcome::Result(value(bad))), Err(Misleading::Form), "{bad}");
    }
}
