//! Case files: what `policy test` runs. Read as strictly as a policy, by the same reader.

use std::sync::Arc;

use super::read::{Fields, Reader, Section, scalar};
use super::{Source, document, too_large, units};
use crate::bounds::{
    CASE_CALLS_MAX, CASES_MAX, METHOD_BYTES_MAX, POLICY_BYTES_MAX, POLICY_NAME_BYTES_MAX, WINDOW_SECONDS_MAX,
};
use crate::policy::cases::{Asked, Case, CaseFile, Expect, PIPE_CODES, PolicyFrom, Retry, What};
use crate::policy::codes::Code;
use crate::policy::verdict::DenialCode;
use crate::policy::yaml::{Kind, Meaning, Node, meaning};
use crate::report::Diagnostic;
use crate::wire::advertised::Advertised;
use crate::wire::json::{self, Value};
use crate::wire::schema::{Patterns, Schema};
use crate::wire::tools::InputSchema;

const FILE: Section = Section { what: "a case file", keys: &["description", "policy", "text", "cases"], later: &[] };
const CASE: Section = Section {
    what: "a case",
    keys: &["name", "call", "json", "method", "load", "required", "schema", "output", "at", "repeat", "expect"],
    later: &[],
};
const CALL: Section = Section { what: "a call", keys: &["name", "arguments"], later: &[] };
const EXPECT: Section = Section {
    what: "an expectation",
    keys: &["deny", "approval", "refused", "errors", "warnings", "rule", "retry_after"],
    later: &[],
};

/// The keys that say what a case does; exactly one of them stands in each.
const ACTS: [&str; 4] = ["call", "json", "method", "load"];
/// The keys that say how a case ends; exactly one of them stands in each expectation that is a mapping.
const ENDS: [&str; 5] = ["deny", "approval", "refused", "errors", "warnings"];

const WORDS: &[(&str, Word)] = &[
    ("allow", Word::Allow),
    ("deny", Word::Deny),
    ("hidden", Word::Hidden),
    ("approval", Word::Approval),
    ("loads", Word::Loads),
];

#[derive(Clone, Copy)]
enum Word {
    Allow,
    Deny,
    Hidden,
    Approval,
    Loads,
}

/// Reads a case file. Bounded as a policy is.
///
/// # Errors
/// Every problem found, in file order.
pub fn read_cases(source: &Source<'_>) -> Result<CaseFile, Vec<Diagnostic>> {
    if source.text.len() as u64 > POLICY_BYTES_MAX {
        return Err(vec![too_large(source.path, source.text.len())]);
    }
    let mut reader = Reader::new(source.path, source.text);
    let root = document(&mut reader, source.text, "the case file is empty");
    let file = root.and_then(|root| file(&mut reader, &root));
    let (errors, _) = reader.finish();
    match file {
        Some((policy, cases)) if errors.is_empty() => Ok(CaseFile { path: source.path.to_owned(), policy, cases }),
        _ => Err(errors),
    }
}

fn file(reader: &mut Reader<'_>, root: &Node) -> Option<(Option<PolicyFrom>, Vec<Case>)> {
    let fields = reader.section(root, &FILE)?;
    let _ = fields.get("description").and_then(|node| reader.text(node, "description"));
    let policy = policy(reader, &fields);
    let node = fields.require(reader, "cases", "a case file")?;
    let items = reader.list(node, "cases", CASES_MAX)?;
    if items.is_empty() {
        reader.error(Code::OutOfRange, node.span, "`cases` holds no case");
    }
    let (mut cases, mut calls, mut now_ms) = (Vec::new(), 0_u64, 0);
    for item in items {
        let Some(case) = case(reader, item, &mut now_ms) else { continue };
        if let What::Call(asked) = &case.what {
            calls = calls.saturating_add(asked.repeat);
        }
        let is_judged = matches!(case.what, What::Call(_) | What::Method(_));
        if is_judged && policy.is_none() && fields.get("policy").or(fields.get("text")).is_none() {
            let message = "this case makes a call, and the file names no policy to judge it";
            reader.error(Code::MissingKey, item.span, message).help =
                Some("add `policy: FILE`, relative to this file, or `text: |` with the policy itself".into());
        }
        cases.push(case);
    }
    if calls > CASE_CALLS_MAX {
        let message = format!("the cases make {calls} calls; at most {CASE_CALLS_MAX}");
        reader.error(Code::TooMany, node.span, message);
    }
    Some((policy, cases))
}

/// `policy: FILE` or `text: |`; none where every case loads a text of its own.
fn policy(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<PolicyFrom> {
    match (fields.get("policy"), fields.entry("text")) {
        (Some(_), Some(entry)) => {
            reader.error(Code::Exclusive, entry.key_span, "`policy` and `text` both name the policy; keep one");
            None
        }
        (Some(node), None) => reader.bounded(node, "policy", 4095).map(|path| PolicyFrom::File(path.into())),
        (None, Some(entry)) => reader.text(&entry.value, "text").map(|text| PolicyFrom::Text(text.to_owned())),
        (None, None) => None,
    }
}

fn case(reader: &mut Reader<'_>, node: &Node, now_ms: &mut u64) -> Option<Case> {
    let fields = reader.section(node, &CASE)?;
    let name = fields.require(reader, "name", "a case");
    let name = name.and_then(|node| reader.bounded(node, "name", POLICY_NAME_BYTES_MAX));
    let what = what(reader, &fields, now_ms);
    let expect = fields.require(reader, "expect", "a case").and_then(|node| expect(reader, node));
    let (what, expect) = (what?, expect?);
    let loads = matches!(what, What::Load(_));
    if loads != matches!(expect, Expect::Loads | Expect::Errors(_) | Expect::Warnings(_)) {
        let span = fields.get("expect").map_or(node.span, |node| node.span);
        let message = if loads {
            "a case that loads a policy ends with `loads`, {errors: [...]} or {warnings: [...]}"
        } else {
            "a case that makes a call ends with allow, deny, hidden, approval or {refused: CODE}"
        };
        reader.error(Code::Exclusive, span, message);
        return None;
    }
    let plain = matches!(expect, Expect::Allow | Expect::Deny { code: None, .. });
    if matches!(what, What::Method(_)) && !plain {
        let span = fields.get("expect").map_or(node.span, |node| node.span);
        reader.error(Code::Exclusive, span, "a case of a method ends with allow or deny");
        return None;
    }
    Some(Case { name: name?.to_owned(), place: reader.place(fields.get("name")?.span), what, expect })
}

fn what(reader: &mut Reader<'_>, fields: &Fields<'_>, now_ms: &mut u64) -> Option<What> {
    let acts: Vec<_> = ACTS.iter().filter_map(|key| fields.entry(key)).collect();
    let act = match acts.as_slice() {
        [act] => *act,
        [_, second, ..] => {
            reader.error(Code::Exclusive, second.key_span, "a case does one thing: `call`, `json`, `method` or `load`");
            return None;
        }
        [] => {
            reader.error(Code::MissingKey, fields.span, "a case needs `call`, `json`, `method` or `load`");
            return None;
        }
    };
    if act.key == "load" || act.key == "method" {
        for key in ["required", "schema", "output", "at", "repeat"] {
            if let Some(entry) = fields.entry(key) {
                let message = format!("`{key}` says something of a call, and this case makes none");
                reader.error(Code::Exclusive, entry.key_span, message);
            }
        }
    }
    if act.key == "method" {
        let method = reader.bounded(&act.value, "method", METHOD_BYTES_MAX)?;
        return Some(What::Method(method.to_owned()));
    }
    if act.key == "load" {
        return reader.text(&act.value, "load").map(|text| What::Load(text.to_owned()));
    }
    let params = if act.key == "json" {
        reader.text(&act.value, "json").map(|text| text.trim_end().to_owned())
    } else {
        call(reader, &act.value)
    };
    let tool = advertised(reader, fields);
    let repeat = fields.get("repeat").map_or(Some(1), |node| reader.integer(node, "repeat", 1..=CASE_CALLS_MAX));
    if let Some(node) = fields.get("at") {
        let at_ms = units::milliseconds(reader, node, "at", 0, 2 * WINDOW_SECONDS_MAX * 1000)?;
        if at_ms < *now_ms {
            reader.error(Code::OutOfRange, node.span, format!("`at` goes back: the case before is at {now_ms}ms"));
            return None;
        }
        *now_ms = at_ms;
    }
    Some(What::Call(Asked { params: params?, tool: tool?, at_ms: *now_ms, repeat: repeat? }))
}

/// What the server says of the tool: the names that it requires, or its inputSchema, and whether it has an outputSchema. The outer
/// none is an error that was told.
fn advertised(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<Advertised>> {
    let has_output = match fields.get("output") {
        Some(node) => reader.boolean(node, "output")?,
        None => false,
    };
    let mut tool = match (fields.get("required"), fields.entry("schema")) {
        (Some(_), Some(entry)) => {
            reader.error(Code::Exclusive, entry.key_span, "`schema` says what is required");
            return None;
        }
        // The names of the properties are not told; those that are required are some of them.
        (Some(node), None) => {
            let names = names(reader, node)?;
            Advertised::names(Some(InputSchema { required: names.clone(), properties: names }))
        }
        (None, Some(entry)) => schema(reader, &entry.value)?,
        (None, None) if has_output => Advertised::names(None),
        (None, None) => return Some(None),
    };
    if has_output {
        tool.output = Schema::compile(&Value::Bool(true), &mut Patterns::default()).map(Arc::new);
    }
    Some(Some(tool))
}

/// An inputSchema, written in YAML.
fn schema(reader: &mut Reader<'_>, node: &Node) -> Option<Advertised> {
    let mut text = b"{\"inputSchema\":".to_vec();
    write(reader, node, &mut text)?;
    text.push(b'}');
    let definition = match json::parse(&text) {
        Ok(definition) => definition,
        Err(reject) => {
            reader.error(
                Code::WrongType,
                node.span,
                format!("`schema` is not what a server can send: {}", reject.code.as_str()),
            );
            return None;
        }
    };
    let mut tool = Advertised::names(definition.member("inputSchema").and_then(InputSchema::of));
    tool.read_input(&definition, &mut Patterns::default());
    Some(tool)
}

/// `{name, arguments}` as the JSON text of the pipe.
fn call(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let fields = reader.section(node, &CALL)?;
    let name = fields.require(reader, "name", "a call").and_then(|node| reader.text(node, "name"))?;
    let mut out = b"{\"name\":".to_vec();
    json::write_string(name, &mut out);
    if let Some(node) = fields.get("arguments") {
        out.extend_from_slice(b",\"arguments\":");
        write(reader, node, &mut out)?;
    }
    out.push(b'}');
    String::from_utf8(out).ok()
}

/// A YAML value as JSON. Numbers keep their text: the parser of the pipe has the last word on them.
fn write(reader: &mut Reader<'_>, node: &Node, out: &mut Vec<u8>) -> Option<()> {
    match &node.kind {
        Kind::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                write(reader, item, out)?;
            }
            out.push(b']');
        }
        Kind::Map(entries) => {
            out.push(b'{');
            for (index, entry) in entries.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                json::write_string(&entry.key, out);
                out.push(b':');
                write(reader, &entry.value, out)?;
            }
            out.push(b'}');
        }
        Kind::Scalar(scalar) => match meaning(scalar) {
            Meaning::Null => out.extend_from_slice(b"null"),
            Meaning::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Meaning::Number => out.extend_from_slice(scalar.text.as_bytes()),
            Meaning::Text => json::write_string(&scalar.text, out),
            Meaning::BooleanLookingText | Meaning::Ambiguous(_) => {
                let message = format!("readers disagree on what `{}` is", scalar.text);
                reader.error(Code::Ambiguous, node.span, message).help =
                    Some("quote it, or give the call as `json:`".into());
                return None;
            }
        },
    }
    Some(())
}

fn names(reader: &mut Reader<'_>, node: &Node) -> Option<Vec<String>> {
    let items = reader.list(node, "required", CASES_MAX)?;
    items.iter().map(|item| reader.text(item, "required").map(str::to_owned)).collect()
}

fn expect(reader: &mut Reader<'_>, node: &Node) -> Option<Expect> {
    if scalar(node).is_some() {
        return Some(match reader.choice(node, "expect", WORDS, &[])? {
            Word::Allow => Expect::Allow,
            Word::Deny => Expect::Deny { code: None, rule: None, retry_after: None },
            Word::Hidden => Expect::Hidden,
            Word::Approval => Expect::Approval { rule: None },
            Word::Loads => Expect::Loads,
        });
    }
    let fields = reader.section(node, &EXPECT)?;
    let ends: Vec<_> = ENDS.iter().filter_map(|key| fields.entry(key)).collect();
    let end = match ends.as_slice() {
        [end] => *end,
        [_, second, ..] => {
            reader.error(Code::Exclusive, second.key_span, "a case ends in one way");
            return None;
        }
        [] => {
            let message = "the expectation says nothing: `deny`, `approval`, `refused`, `errors` or `warnings`";
            reader.error(Code::MissingKey, node.span, message);
            return None;
        }
    };
    let rule = fields.entry("rule").filter(|entry| said_of(reader, entry.key_span, "rule", &end.key, &["deny"]));
    let rule = rule.map(|entry| reader.text(&entry.value, "rule").map(str::to_owned));
    let retry = fields.entry("retry_after");
    let retry = retry.filter(|entry| said_of(reader, entry.key_span, "retry_after", &end.key, &["deny"]));
    let retry = retry.map(|entry| retry_after(reader, &entry.value));
    match end.key.as_str() {
        "deny" => {
            let code = denial_code(reader, &end.value)?;
            let rule = rule.map_or(Some(None), |rule| rule.map(Some))?;
            let retry_after = retry.map_or(Some(None), |retry| retry.map(Some))?;
            Some(Expect::Deny { code: Some(code), rule, retry_after })
        }
        "approval" => reader.text(&end.value, "approval").map(|rule| Expect::Approval { rule: Some(rule.to_owned()) }),
        "refused" => {
            let codes: Vec<(&'static str, &'static str)> = PIPE_CODES.iter().map(|code| (*code, *code)).collect();
            reader.choice(&end.value, "refused", &codes, &[]).map(Expect::Refused)
        }
        "errors" => codes(reader, &end.value, "errors").map(Expect::Errors),
        _ => codes(reader, &end.value, "warnings").map(Expect::Warnings),
    }
}

/// Whether `key` may stand beside the expectation `end`; else it would say nothing.
fn said_of(reader: &mut Reader<'_>, span: crate::policy::yaml::Span, key: &str, end: &str, allowed: &[&str]) -> bool {
    let fits = allowed.contains(&end);
    if !fits {
        reader.error(Code::Exclusive, span, format!("`{key}` says nothing beside `{end}`"));
    }
    fits
}

fn denial_code(reader: &mut Reader<'_>, node: &Node) -> Option<DenialCode> {
    let words: Vec<(&'static str, DenialCode)> =
        DenialCode::ALL.iter().map(|code| (code.as_str(), *code)).filter(|(word, _)| *word != "hidden").collect();
    reader.choice(node, "deny", &words, &[])
}

fn retry_after(reader: &mut Reader<'_>, node: &Node) -> Option<Retry> {
    if scalar(node).is_some_and(|scalar| scalar.text == "never") {
        return Some(Retry::Never);
    }
    units::milliseconds(reader, node, "retry_after", 0, WINDOW_SECONDS_MAX * 1000).map(Retry::Ms)
}

/// Codes of the loader, at least one, each known.
fn codes(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Vec<Code>> {
    let items = reader.list(node, what, CASES_MAX)?;
    if items.is_empty() {
        reader.error(Code::OutOfRange, node.span, format!("`{what}` names no code"));
        return None;
    }
    let words: Vec<(&'static str, Code)> = Code::ALL.iter().map(|code| (code.as_str(), *code)).collect();
    items.iter().map(|item| reader.choice(item, what, &words, &[])).collect()
}
