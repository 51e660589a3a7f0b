//! Runs cases through what the relay runs calls through: the parser of the pipe, the policy, a store of limits.

use super::{Asked, BAD_CALL, Case, CaseFile, Expect, Retry, START_NS, What};
use crate::clock::Now;
use crate::limits::MemoryStore;
use crate::limits::pace::Paces;
use crate::policy::argument_keys::AMBIGUOUS_ARGUMENT;
use crate::policy::charge::{Charged, Tills};
use crate::policy::explain::Found;
use crate::policy::load::{Source, load};
use crate::policy::model::{Policy, Rule};
use crate::policy::verdict::{Call, Denial, DenialCode, SchemaKnowledge, Verdict, Visibility};
use crate::report::{Diagnostic, Severity};
use crate::wire::advertised::Advertised;
use crate::wire::jsonrpc::{self, Message};
use crate::wire::tools::ToolCall;

/// Code of a case that did not end as it must.
const CASE_FAILED: &str = "ISB-T001";
/// The session that the cases are made in.
const SESSION: &str = "cases";

/// What came of a file's cases.
#[derive(Clone, Debug, Default)]
pub struct CasesRun {
    /// Cases that were run.
    pub cases: usize,
    /// One for each case that did not end as it must, in file order.
    pub failures: Vec<Diagnostic>,
}

/// How a call ended.
#[derive(Debug)]
enum End<'p> {
    Allowed,
    Denied {
        denial: Denial<'p>,
        retry: Option<Retry>,
    },
    Approval(&'p Rule),
    Refused {
        code: &'static str,
        text: String,
    },
    /// This program cannot say how it would end.
    Unknown(String),
}

/// What the cases of a file count together.
struct Counts {
    store: MemoryStore,
    paces: Paces,
}

impl CaseFile {
    /// Runs the cases, those that make a call on `policy`. Pure: time is the cases' own.
    #[must_use]
    pub fn run(&self, policy: Option<&Policy>) -> CasesRun {
        let mut counts = Counts { store: MemoryStore::new(), paces: Paces::new() };
        let failures = self.cases.iter().filter_map(|case| {
            let (message, help) = match (&case.what, policy) {
                (What::Call(asked), Some(policy)) => made(policy, asked, &case.expect, &mut counts)?,
                (What::Method(method), Some(policy)) => (named(policy, method, &case.expect)?, None),
                (What::Call(_) | What::Method(_), None) => ("there is no policy to judge it".into(), None),
                (What::Load(text), _) => (loaded(self, text, &case.expect)?, None),
            };
            Some(self.failure(case, &message, help))
        });
        CasesRun { failures: failures.collect(), cases: self.cases.len() }
    }

    fn failure(&self, case: &Case, message: &str, help: Option<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: CASE_FAILED,
            message: format!("{}: {message}", case.name),
            path: self.path.clone(),
            place: Some(case.place.clone()),
            help,
        }
    }
}

/// Judges a method, in the places where MCP has it. None when that ends as expected.
fn named(policy: &Policy, method: &str, expect: &Expect) -> Option<String> {
    let passes = policy.opens_method(method);
    if passes == matches!(expect, Expect::Allow) {
        return None;
    }
    Some(format!("expected {}, and {method} {}", expected(expect), if passes { "passes" } else { "is refused" }))
}

/// Makes the calls of a case. None when all end as expected, else what is wrong with the first that does not, and who
/// decided it.
fn made(policy: &Policy, asked: &Asked, expect: &Expect, counts: &mut Counts) -> Option<(String, Option<String>)> {
    for number in 1..=asked.repeat {
        let end = end_of(policy, asked, counts);
        if !meets(expect, &end) {
            let which = if asked.repeat > 1 { format!(" at call {number} of {}", asked.repeat) } else { String::new() };
            let message = format!("expected {}, got {}{which}", expected(expect), got(&end));
            return Some((message, decider(policy, asked, &end)));
        }
    }
    None
}

/// As the relay does it: line, call, visibility, keys, policy, limits.
fn end_of<'p>(policy: &'p Policy, asked: &Asked, counts: &mut Counts) -> End<'p> {
    let refused = |code, text: &dyn ToString| End::Refused { code, text: text.to_string() };
    let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{}}}", asked.params);
    let read = match jsonrpc::read_line(line.as_bytes()) {
        Ok(read) => read,
        Err(refusal) => return refused(refusal.code.as_str(), &refusal.text),
    };
    let Message::Request(request) = &read.message else { return refused(BAD_CALL, &"it is no request") };
    let call = match ToolCall::of(request.params.as_ref()) {
        Ok(call) => call,
        Err(error) => return refused(BAD_CALL, &error),
    };
    let properties = asked.tool.as_ref().map_or(&[][..], Advertised::properties);
    // A tool that may not be called does not show what its arguments are called: the policy refuses it below.
    let is_listed = policy.visibility(call.name) == Visibility::Listed;
    if is_listed && let Some(text) = policy.ambiguity(call.name, call.arguments, properties) {
        return refused(AMBIGUOUS_ARGUMENT, &text);
    }
    let schema = schema_of(asked);
    let allowance = match policy.judge(&Call { tool: call.name, arguments: call.arguments, schema }) {
        Verdict::Deny(denial) => return End::Denied { denial, retry: None },
        Verdict::NeedsSchema => return End::Unknown("the schema is neither known nor unavailable".into()),
        Verdict::Allow(allowance) => allowance,
    };
    if let Some(rule) = allowance.approval {
        return End::Approval(rule);
    }
    let at_ns = asked.at_ms * 1_000_000;
    let now = Now { wall_ns: START_NS + at_ns, boot_ns: at_ns };
    match allowance.charge(policy, Tills { store: &mut counts.store, paces: &mut counts.paces, session: SESSION }, now)
    {
        Ok(Charged::Granted(_)) => End::Allowed,
        Ok(Charged::Refused { denial, retry_after_ms, .. }) => {
            End::Denied { denial, retry: Some(retry_after_ms.map_or(Retry::Never, Retry::Ms)) }
        }
        Err(error) => End::Unknown(error.to_string()),
    }
}

fn schema_of(asked: &Asked) -> SchemaKnowledge<'_> {
    asked.tool.as_ref().map_or(SchemaKnowledge::Unavailable, |tool| SchemaKnowledge::Known(tool.into()))
}

fn meets(expect: &Expect, end: &End<'_>) -> bool {
    match (expect, end) {
        (Expect::Allow, End::Allowed) => true,
        (Expect::Hidden, End::Denied { denial, .. }) => denial.code == DenialCode::Hidden,
        (Expect::Deny { code, rule, retry_after }, End::Denied { denial, retry }) => {
            denial.code != DenialCode::Hidden
                && code.is_none_or(|code| code == denial.code)
                && rule.as_deref().is_none_or(|rule| denial.rule.is_some_and(|by| by.id == rule))
                && retry_after.is_none_or(|wanted| *retry == Some(wanted))
        }
        (Expect::Approval { rule }, End::Approval(by)) => rule.as_deref().is_none_or(|rule| by.id == rule),
        (Expect::Refused(wanted), End::Refused { code, .. }) => wanted == code,
        _ => false,
    }
}

fn expected(expect: &Expect) -> String {
    match expect {
        Expect::Allow => "allow".into(),
        Expect::Hidden => "hidden".into(),
        Expect::Deny { code, rule, retry_after } => {
            let code = code.map(|code| format!(" ({})", code.as_str())).unwrap_or_default();
            let rule = rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
            format!("deny{code}{rule}{}", retry_after.map(retry_in_words).unwrap_or_default())
        }
        Expect::Approval { rule } => {
            format!("approval{}", rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default())
        }
        Expect::Refused(code) => format!("refused by the pipe ({code})"),
        Expect::Loads => "a policy that loads".into(),
        Expect::Errors(codes) => format!("the errors {}", listed(codes.iter().map(|code| code.as_str()))),
        Expect::Warnings(codes) => format!("the warnings {}", listed(codes.iter().map(|code| code.as_str()))),
    }
}

fn got(end: &End<'_>) -> String {
    match end {
        End::Allowed => "allow".into(),
        End::Denied { denial, .. } if denial.code == DenialCode::Hidden => "hidden".into(),
        End::Denied { denial, retry } => {
            let rule = denial.rule.map(|rule| format!(" by {}", rule.id)).unwrap_or_default();
            format!("deny ({}){rule}{}", denial.code.as_str(), retry.map(retry_in_words).unwrap_or_default())
        }
        End::Approval(rule) => format!("approval by {}", rule.id),
        End::Refused { code, text } => format!("refused by the pipe ({code}): {text}"),
        End::Unknown(why) => format!("no answer: {why}"),
    }
}

fn retry_in_words(retry: Retry) -> String {
    match retry {
        Retry::Never => ", retry_after never".into(),
        Retry::Ms(ms) if ms % 1000 == 0 => format!(", retry_after {}s", ms / 1000),
        Retry::Ms(ms) => format!(", retry_after {ms}ms"),
    }
}

/// The rule that decided, its line in the policy and the check that did it.
fn decider(policy: &Policy, asked: &Asked, end: &End<'_>) -> Option<String> {
    match end {
        End::Allowed => Some("every rule passes".into()),
        End::Approval(rule) => Some(format!("rule {} (line {} of the policy)", rule.id, rule.line)),
        End::Denied { denial, .. } => {
            let Some(rule) = denial.rule else { return Some(denial.message.clone()) };
            let check = failed_check(policy, asked).unwrap_or_else(|| denial.message.clone());
            Some(format!("rule {} (line {} of the policy): {check}", rule.id, rule.line))
        }
        End::Refused { .. } | End::Unknown(_) => None,
    }
}

/// The first check that does not pass, in words; none where a limit decided.
fn failed_check(policy: &Policy, asked: &Asked) -> Option<String> {
    let params = crate::wire::json::parse(asked.params.as_bytes()).ok()?;
    let call = ToolCall::of(Some(&params)).ok()?;
    let schema = schema_of(asked);
    let explained = policy.explain(&Call { tool: call.name, arguments: call.arguments, schema });
    let checks = explained.rules.into_iter().flat_map(|trace| trace.checks);
    checks.into_iter().find(|check| check.found != Found::Passes).map(|check| check.what)
}

/// Loads a text. None when that ends as expected.
fn loaded(file: &CaseFile, text: &str, expect: &Expect) -> Option<String> {
    let codes = |found: &[Diagnostic]| found.iter().map(|one| one.code).collect::<Vec<_>>();
    let wanted = |codes: &[super::Code]| codes.iter().map(|code| code.as_str()).collect::<Vec<_>>();
    let outcome = load(&Source { path: &file.path, text });
    let meets = match (expect, &outcome) {
        (Expect::Loads, Ok(_)) => true,
        (Expect::Warnings(wants), Ok(loaded)) => wanted(wants) == codes(&loaded.warnings),
        (Expect::Errors(wants), Err(errors)) => wanted(wants) == codes(errors),
        _ => false,
    };
    if meets {
        return None;
    }
    let got = match &outcome {
        Ok(loaded) if loaded.warnings.is_empty() => "a policy that loads without a warning".to_owned(),
        Ok(loaded) => format!("a policy that loads with {}", listed(codes(&loaded.warnings).into_iter())),
        Err(errors) => {
            let first = errors.first().map(|error| error.message.as_str()).unwrap_or_default();
            format!("the errors {} ({first})", listed(codes(errors).into_iter()))
        }
    };
    Some(format!("expected {}, got {got}", expected(expect)))
}

fn listed<'a>(codes: impl Iterator<Item = &'a str>) -> String {
    codes.collect::<Vec<_>>().join(", ")
}
