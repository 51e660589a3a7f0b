//! Any arguments against fixed policies: `explain` decides what `judge` decides, a refusal has its reason, and the same value
//! written again is judged the same.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use intercept_sandbox::policy::{Call, Found, KnownTool, Policy, SchemaKnowledge, Source, Verdict, load};
use intercept_sandbox::wire::json::{self, Value};
use libfuzzer_sys::fuzz_target;

/// Name and text. The one of groups holds what builds without groups refuse; then it is left out.
const TEXTS: [(&str, &str); 3] = [
    ("together-ai", include_str!("../../policies/together-ai.yaml")),
    ("operators", include_str!("../policies/operators.yaml")),
    ("groups", include_str!("../policies/groups.yaml")),
];

static POLICIES: LazyLock<Vec<Policy>> = LazyLock::new(|| {
    let read = |(name, text): (&str, &str)| match load(&Source { path: Path::new(name), text }) {
        Ok(loaded) => Some(loaded.policy),
        Err(problems) if problems.iter().all(|problem| matches!(problem.code, "ISB-P030" | "ISB-P031")) => None,
        Err(problems) => panic!("{name}: {}", problems.iter().map(ToString::to_string).collect::<String>()),
    };
    TEXTS.into_iter().filter_map(read).collect()
});

static REQUIRED: LazyLock<Vec<String>> = LazyLock::new(|| vec!["prompt".to_owned(), "x".to_owned()]);

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let policy = &POLICIES[usize::from(choice) % POLICIES.len()];
    let tools: Vec<&str> = policy.tools.keys().map(String::as_str).collect();
    let tool = tools[usize::from(choice >> 2 & 7) % tools.len()];
    let text = if choice & 0x80 == 0 { bytes.to_vec() } else { Generator::of(policy, tool, bytes).object() };
    let Ok(arguments @ Value::Object(_)) = json::parse(&text) else { return };
    for schema in [
        SchemaKnowledge::Pending,
        SchemaKnowledge::Unavailable,
        SchemaKnowledge::Known(KnownTool::requiring(&REQUIRED)),
    ] {
        check(policy, &Call { tool, arguments: Some(&arguments), schema });
    }
    let mut written = Vec::new();
    json::write(&arguments, &mut written);
    let again = json::parse(&written).expect("what we write, we read");
    let call = |arguments| Call { tool, arguments: Some(arguments), schema: SchemaKnowledge::Unavailable };
    assert_eq!(shown(&policy.judge(&call(&arguments))), shown(&policy.judge(&call(&again))));
});

fn check(policy: &Policy, call: &Call<'_>) {
    let verdict = policy.judge(call);
    let explanation = policy.explain(call);
    assert_eq!(shown(&verdict), shown(&explanation.verdict), "judge and explain differ");
    let checks = || explanation.rules.iter().flat_map(|rule| &rule.checks);
    match verdict {
        Verdict::Allow(_) => assert!(checks().all(|check| check.found == Found::Passes), "allowed against a check"),
        Verdict::NeedsSchema => assert!(checks().any(|check| check.found == Found::Pending)),
        Verdict::Deny(denial) => {
            assert!(!denial.message.is_empty());
            if denial.rule.is_some() {
                assert!(
                    checks().any(|check| check.found == Found::Refuses(denial.code)),
                    "refused against every check"
                );
            }
        }
    }
}

fn shown(verdict: &Verdict<'_>) -> String {
    format!("{verdict:?}")
}

/// Texts around what the policies look for.
const WORDS: [&str; 11] =
    ["", "a", "abc", "\u{e9}", "/data/x", "/data/../etc", "/data", "api.example.com", "A", "2048", "null"];

/// JSON by the choices of the fuzzer's bytes: names and words that the policy knows come up often.
struct Generator<'a> {
    names: Vec<String>,
    bytes: &'a [u8],
}

impl<'a> Generator<'a> {
    fn of(policy: &Policy, tool: &str, bytes: &'a [u8]) -> Self {
        let names = policy.argument_names(tool).map(str::to_owned).chain(["x", "y"].map(str::to_owned)).collect();
        Self { names, bytes }
    }

    fn byte(&mut self) -> usize {
        let Some((&byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(byte)
    }

    fn object(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.members(0, &mut out);
        out
    }

    fn members(&mut self, depth: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut used = Vec::new();
        for _ in 0..self.byte() % 6 {
            let name = self.byte() % self.names.len();
            if used.contains(&name) {
                continue;
            }
            out.extend(if used.is_empty() { &b""[..] } else { b"," });
            used.push(name);
            json::write_string(&self.names[name], out);
            out.push(b':');
            self.value(depth + 1, out);
        }
        out.push(b'}');
    }

    fn value(&mut self, depth: usize, out: &mut Vec<u8>) {
        match self.byte() % if depth < 5 { 10 } else { 8 } {
            0 => out.extend(b"null"),
            1 => out.extend(b"true"),
            2 => out.extend(b"false"),
            3 => out.extend(self.byte().to_string().bytes()),
            4 => {
                let (whole, part) = (self.byte() * self.byte(), self.byte());
                let sign = if part % 2 == 0 { "" } else { "-" };
                out.extend(format!("{sign}{whole}.{part}").bytes());
            }
            5 => out.extend([b"9007199254740991".as_slice(), b"1e3", b"-0", b"0.1", b"100.99"][self.byte() % 5]),
            6 => {
                let word = self.byte() % WORDS.len();
                json::write_string(WORDS[word], out);
            }
            7 => {
                let length = self.byte() % 24;
                let (text, rest) = self.bytes.split_at(length.min(self.bytes.len()));
                self.bytes = rest;
                json::write_string(&String::from_utf8_lossy(text), out);
            }
            8 => self.members(depth, out),
            _ => {
                out.push(b'[');
                for index in 0..self.byte() % 4 {
                    out.extend(if index == 0 { &b""[..] } else { b"," });
                    self.value(depth + 1, out);
                }
                out.push(b']');
            }
        }
    }
}
