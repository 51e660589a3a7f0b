//! The decision again, with every rule and condition told.

use super::condition::Clause;
use super::decide::refused_by_visibility;
use super::model::{Increment, Policy, Rule, RuleAction};
use super::trace::{ConditionTrace, shown};
use super::validation::Validated;
use super::verdict::{Allowance, Call, Denial, DenialCode, Verdict, Visibility};
use super::{limit_words, owes, wording};

/// What the policy says of a call, and why.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// Whether the tool can be called at all.
    pub visibility: Visibility,
    /// Every rule that applies, in order, also those after the one that decided. Empty where visibility decides.
    pub rules: Vec<RuleTrace<'p>>,
    /// What `judge` says.
    pub verdict: Verdict<'p>,
}

/// What one rule found.
#[derive(Clone, Debug)]
pub struct RuleTrace<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// Its checks, in the order in which they are made. A limit is no check: it is counted when all rules pass.
    pub checks: Vec<CheckTrace<'p>>,
}

/// What one check found.
#[derive(Clone, Debug)]
pub struct CheckTrace<'p> {
    /// The entry of `conditions`; none for the action and for what the schemas say.
    pub condition: Option<&'p Clause>,
    /// What is checked, in words.
    pub what: String,
    /// What was found.
    pub found: Found,
    /// For an entry of `conditions`: what it and, in a group, every member found.
    pub tree: Option<ConditionTrace>,
    /// For what is judged by the server's schemas, where it refuses: what the agent reads if the rule has no words of its own.
    pub message: Option<String>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Found {
    /// It lets the call pass.
    Passes,
    /// It cannot be said before the server's schema is known.
    Pending,
    /// It refuses the call, with this code.
    Refuses(DenialCode),
}

impl Policy {
    /// Decides as [`Policy::judge`] does and tells every rule and condition.
    #[must_use]
    pub fn explain<'p>(&'p self, call: &Call<'_>) -> Explanation<'p> {
        let visibility = self.visibility(call.tool);
        if let Some(denial) = refused_by_visibility(visibility, call.tool) {
            return Explanation { visibility, rules: Vec::new(), verdict: Verdict::Deny(denial) };
        }
        let rules: Vec<RuleTrace<'p>> = self.rules_for(call.tool).map(|rule| trace(rule, call)).collect();
        let verdict = conclude(&rules, call);
        Explanation { visibility, rules, verdict }
    }
}

/// The verdict from the traces alone: the first check that does not pass decides.
fn conclude<'p>(rules: &[RuleTrace<'p>], call: &Call<'_>) -> Verdict<'p> {
    for trace in rules {
        let Some(check) = trace.checks.iter().find(|check| check.found != Found::Passes) else { continue };
        return match check.found {
            Found::Refuses(code) => {
                let rule = trace.rule;
                let message = wording::message(rule, || default_message(rule, check, code));
                Verdict::Deny(Denial { rule: Some(rule), code, message })
            }
            _ => Verdict::NeedsSchema,
        };
    }
    let mut allowance = Allowance::default();
    for trace in rules {
        allowance.rule = Some(trace.rule);
        if let Err(denial) = trace.rule.owes(call, &mut allowance) {
            return Verdict::Deny(denial);
        }
    }
    allowance.settle();
    Verdict::Allow(allowance)
}

fn default_message(rule: &Rule, check: &CheckTrace<'_>, code: DenialCode) -> String {
    if let (DenialCode::ConditionFailed, None, Some(counter)) = (code, check.condition, &rule.state) {
        return limit_words::uncountable(rule, counter);
    }
    match (code, check.condition, &check.message) {
        (DenialCode::ConditionFailed, Some(condition), _) => wording::condition_failed(rule, condition),
        (.., Some(message)) => message.clone(),
        _ => wording::denied_by_rule(rule),
    }
}

fn trace<'p>(rule: &'p Rule, call: &Call<'_>) -> RuleTrace<'p> {
    let mut checks = Vec::new();
    if rule.action == RuleAction::Deny {
        let (what, found) = ("action: deny".to_owned(), Found::Refuses(DenialCode::DeniedByRule));
        checks.push(CheckTrace { condition: None, what, found, tree: None, message: None });
    }
    checks.extend(rule.validations().map(|validation| {
        let (found, message) = match rule.validated(validation, call) {
            Validated::Passes => (Found::Passes, None),
            Validated::Pending => (Found::Pending, None),
            Validated::Refuses(code, message) => (Found::Refuses(code), Some(message)),
        };
        CheckTrace { condition: None, what: validation.what().to_owned(), found, tree: None, message }
    }));
    let mut check =
        |condition, what: String, found, tree| checks.push(CheckTrace { condition, what, found, tree, message: None });
    for condition in &rule.conditions {
        let tree = ConditionTrace::of(condition, call.arguments);
        let found = match tree.outcome.passes() {
            true => Found::Passes,
            false => Found::Refuses(DenialCode::ConditionFailed),
        };
        check(Some(condition), wording::sentence(condition), found, Some(tree));
    }
    if let Some(Increment::From(keys)) = rule.state.as_ref().map(|counter| &counter.increment) {
        let counts = rule.state.as_ref().is_some_and(|counter| counter.amount(call.arguments).is_some());
        let found = if counts { Found::Passes } else { Found::Refuses(DenialCode::ConditionFailed) };
        let value = owes::find(keys, call.arguments).map_or_else(|| "absent".into(), shown);
        check(None, format!("{} (is {value})", limit_words::countable(keys)), found, None);
    }
    RuleTrace { rule, checks }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::FoundValue;
    use crate::policy::testing::{call_with, loaded, value};

    const POLICY: &str = r#"
default: allow
hide: [secret]
tools:
  t:
    rules:
      - {conditions: [{path: args.n, op: lte, value: 4, if_present: true}], rate_limit: {max: 1, window: 1}}
      - {validate: {required_args: true}, conditions: [{path: args.p, op: length_lte, value: 3}], reason: short}
      - {validate: {required_args: true, schema: true}}
  o: {rules: [{validate: {schema: true, output: true}}]}
  d: {rules: [{action: deny}]}
  counted:
    rules:
      - {name: ask, action: require_approval, pace: {every: 6s, burst: 3}}
      - {name: cap, conditions: [{path: state.counted.sum, op: lte, value: 9}, {path: args.z, op: exists, value: false}], state: {counter: sum, window: day, increment_from: args.n}}
      - {conditions: [{path: state._global.all, op: lt, value: 5}]}
  '*': {rules: [{name: all, conditions: [{path: args.z, op: exists, value: false}], rate_limit: 5/day, state: {counter: all, window: 1h, increment: 0.5}}]}
"#;

    proptest! {
        #[test]
        fn explain_agrees_with_judge(
            default in prop::sample::select(vec!["allow", "deny"]),
            tool in prop::sample::select(vec!["t", "d", "o", "counted", "other", "secret", "*"]),
            n in prop::option::of(prop::sample::select(vec!["-1", "0", "0.5", "3", "5", "1e19", "1e-10", "\"3\"", "null"])),
            p in prop::option::of("[a-z]{0,5}"),
            z in any::<bool>(),
            schema in 0_usize..3,
        ) {
            let policy = loaded(&POLICY.replace("default: allow", &format!("default: {default}")));
            let mut members = Vec::new();
            members.extend(n.map(|n| format!("\"n\": {n}")));
            members.extend(p.map(|p| format!("\"p\": \"{p}\"")));
            members.extend(z.then(|| "\"z\": null".to_owned()));
            let arguments = value(&format!("{{{}}}", members.join(", ")));
            let call = call_with(tool, Some(&arguments), schema);
            let explained = policy.explain(&call);
            prop_assert_eq!(format!("{:?}", explained.verdict), format!("{:?}", policy.judge(&call)));
        }
    }

    #[test]
    fn rules_after_the_deciding_one_are_told_too() {
        let policy = loaded(POLICY);
        let arguments = value("{\"n\": 9, \"p\": \"longer\", \"z\": 1}");
        let explained = policy.explain(&call_with("t", Some(&arguments), 2));
        let refusing: Vec<&str> = explained
            .rules
            .iter()
            .filter(|trace| trace.checks.iter().any(|check| check.found != Found::Passes))
            .map(|trace| trace.rule.id.as_str())
            .collect();
        assert_eq!(refusing, ["t.rules[0]", "t.rules[1]", "t.rules[2]", "*.all"]);
        let tree = explained.rules[0].checks[0].tree.as_ref().expect("a condition");
        assert_eq!(tree.found, Some(FoundValue::Value("9".into())));
    }

    #[test]
    fn what_a_call_adds_is_a_check_where_an_argument_says_it() {
        let policy = loaded(POLICY);
        let told = |arguments: &str| {
            let arguments = value(arguments);
            let explained = policy.explain(&call_with("counted", Some(&arguments), 2));
            let check = explained.rules[1].checks.last().expect("a check").clone();
            (check.what, check.found, format!("{:?}", explained.verdict))
        };
        let (what, found, _) = told("{\"n\": 3}");
        assert_eq!(what, "args.n must be a number from 0 to 10^18 with at most nine decimals (is 3)");
        assert_eq!(found, Found::Passes);
        let (what, found, verdict) = told("{\"n\": -3}");
        assert!(what.ends_with("(is -3)"), "{what}");
        assert_eq!(found, Found::Refuses(DenialCode::ConditionFailed));
        assert!(!verdict.contains("-3"), "the agent is not told what it sent: {verdict}");
        assert!(told("{}").0.ends_with("(is absent)"));
    }
}
