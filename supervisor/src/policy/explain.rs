//! The decision again, with every rule and condition told.

use super::condition::Clause;
use super::decide::{Required, refused_by_visibility};
use super::model::{Policy, Rule, RuleAction};
use super::trace::ConditionTrace;
use super::verdict::{Allowance, Call, Denial, DenialCode, Limited, PlannedLimit, Verdict, Visibility};
use super::wording;
use crate::limits::{CalendarUnit, Quota};

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
    /// The entry of `conditions`; none for the action and for required arguments.
    pub condition: Option<&'p Clause>,
    /// What is checked, in words.
    pub what: String,
    /// What was found.
    pub found: Found,
    /// For an entry of `conditions`: what it and, in a group, every member found.
    pub tree: Option<ConditionTrace>,
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
                let message = wording::message(rule, || default_message(rule, check, code, call));
                Verdict::Deny(Denial { rule: Some(rule), code, message })
            }
            _ => Verdict::NeedsSchema,
        };
    }
    let mut allowance = Allowance::default();
    for trace in rules {
        allowance.rule = Some(trace.rule);
        trace.rule.owes(&mut allowance);
    }
    Verdict::Allow(allowance)
}

fn default_message(rule: &Rule, check: &CheckTrace<'_>, code: DenialCode, call: &Call<'_>) -> String {
    match (code, check.condition, rule.arguments_required(call)) {
        (DenialCode::ConditionFailed, Some(condition), _) => wording::condition_failed(rule, condition),
        (DenialCode::MissingArgument, _, Required::Missing(name)) => wording::missing_argument(rule, name),
        (DenialCode::SchemaUnavailable, ..) => wording::schema_unavailable(rule),
        _ => wording::denied_by_rule(rule),
    }
}

fn trace<'p>(rule: &'p Rule, call: &Call<'_>) -> RuleTrace<'p> {
    let mut checks = Vec::new();
    let mut check = |condition, what: String, found, tree| checks.push(CheckTrace { condition, what, found, tree });
    if rule.action == RuleAction::Deny {
        check(None, "action: deny".into(), Found::Refuses(DenialCode::DeniedByRule), None);
    }
    if rule.required_args {
        let found = match rule.arguments_required(call) {
            Required::Given => Found::Passes,
            Required::Pending => Found::Pending,
            Required::Unavailable => Found::Refuses(DenialCode::SchemaUnavailable),
            Required::Missing(_) => Found::Refuses(DenialCode::MissingArgument),
        };
        check(None, "every argument that the tool's schema requires is given".into(), found, None);
    }
    for condition in &rule.conditions {
        let tree = ConditionTrace::of(condition, call.arguments);
        let found = match tree.outcome.passes() {
            true => Found::Passes,
            false => Found::Refuses(DenialCode::ConditionFailed),
        };
        check(Some(condition), wording::sentence(condition), found, Some(tree));
    }
    RuleTrace { rule, checks }
}

/// A quota in words: `10 in any 60 s`, `100 a UTC hour`.
pub(super) fn quota_in_words(quota: Quota) -> String {
    match quota {
        Quota::Sliding { max, window_ms } => format!("{max} in any {} s", window_ms / 1000),
        Quota::Calendar { max, unit } => {
            let unit = match unit {
                CalendarUnit::Minute => "minute",
                CalendarUnit::Hour => "hour",
                CalendarUnit::Day => "day",
            };
            format!("{max} a UTC {unit}")
        }
    }
}

impl std::fmt::Display for PlannedLimit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.what {
            Limited::Calls(quota) => write!(f, "{}: at most {}", self.rule.id, quota_in_words(quota)),
            Limited::Counter { tool, counter, amount, at_most, .. } => {
                write!(f, "{}: {tool}.{counter} plus {amount} at most {at_most}", self.rule.id)
            }
        }
    }
}

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
  d: {rules: [{action: deny}]}
  '*': {rules: [{name: all, conditions: [{path: args.z, op: exists, value: false}], rate_limit: 5/day}]}
"#;

    proptest! {
        #[test]
        fn explain_agrees_with_judge(
            default in prop::sample::select(vec!["allow", "deny"]),
            tool in prop::sample::select(vec!["t", "d", "other", "secret", "*"]),
            n in prop::option::of(0_i32..9),
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

    /// A test on a path of the arguments below, any operator.
    fn test(negated: bool) -> impl Strategy<Value = String> {
        let paths: &[&str] = if negated { &["a", "b", "o.k"] } else { &["a", "b", "o.k", "l[*]", "l[*].k", "m[*][*]"] };
        let tests = vec![
            "eq, value: 1",
            "eq, value: a",
            "eq, value: null",
            "neq, value: a",
            "in, value: [a, 1, null]",
            "not_in, value: [a, 2]",
            "lt, value: 2",
            "lte, value: 1.5",
            "gt, value: 1",
            "gte, value: 1",
            "regex, value: '^a'",
            "not_regex, value: b",
            "contains, value: a",
            "not_contains, value: 1",
            "starts_with, value: /",
            "under_path, value: /a",
            "length_lte, value: 1",
            "host_in, value: [a, '*.a.example']",
        ];
        let exists = vec!["exists", "exists, value: false"];
        let judged = (prop::sample::select(tests), any::<bool>())
            .prop_map(|(test, leave)| format!("{test}{}", if leave { ", if_present: true" } else { "" }));
        let op = prop_oneof![4 => judged, 1 => prop::sample::select(exists).prop_map(str::to_owned)];
        (prop::sample::select(paths), op).prop_map(|(path, op)| format!("{{path: 'args.{path}', op: {op}}}"))
    }

    fn clause() -> impl Strategy<Value = String> {
        let grouped = |leaf: BoxedStrategy<String>| {
            leaf.prop_recursive(3, 12, 3, |inner| {
                let many = prop::collection::vec(inner.clone(), 1..4).prop_map(|clauses| clauses.join(", "));
                prop_oneof![
                    many.clone().prop_map(|clauses| format!("{{any: [{clauses}]}}")),
                    many.prop_map(|clauses| format!("{{all: [{clauses}]}}")),
                ]
            })
        };
        let negated = grouped(test(true).boxed()).prop_map(|clause| format!("{{not: {clause}}}"));
        let twice = negated.clone().prop_map(|clause| format!("{{not: {clause}}}"));
        grouped(prop_oneof![4 => test(false), 2 => negated, 1 => twice].boxed())
    }

    fn argument() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "1",
            "1.5",
            "2",
            "\"a\"",
            "\"b\"",
            "\"/a/x\"",
            "\"/a/../x\"",
            "\"http://x.a.example\"",
            "\"\"",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
                prop::option::of(inner).prop_map(|k| k.map_or("{}".to_owned(), |value| format!("{{\"k\": {value}}}"))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn explain_agrees_with_judge_on_groups_arrays_and_every_operator(
            clauses in prop::collection::vec(clause(), 1..4),
            members in prop::collection::btree_map(prop::sample::select(vec!["a", "b", "o", "l", "m"]), argument(), 0..5),
        ) {
            let entries: String = clauses.iter().map(|clause| format!("          - {clause}\n")).collect();
            let policy = loaded(&format!("tools:\n  t:\n    rules:\n      - conditions:\n{entries}"));
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
            let arguments = value(&format!("{{{}}}", members.join(", ")));
            let call = call_with("t", Some(&arguments), 1);
            let explained = policy.explain(&call);
            prop_assert_eq!(format!("{:?}", explained.verdict), format!("{:?}", policy.judge(&call)));
            let rule = &policy.tools["t"].rules[0];
            for (clause, check) in rule.conditions.iter().zip(&explained.rules[0].checks) {
                let told = check.tree.as_ref().map(|tree| tree.outcome);
                prop_assert_eq!(told, Some(clause.check(Some(&arguments))));
            }
            // What is printed decides the same.
            let again = loaded(&policy.normalised());
            let allows = |policy: &Policy| matches!(policy.judge(&call), Verdict::Allow(_));
            prop_assert_eq!(allows(&again), allows(&policy));
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
        assert_eq!(refusing, ["t.rules[0]", "t.rules[1]", "*.all"]);
        let tree = explained.rules[0].checks[0].tree.as_ref().expect("a condition");
        assert_eq!(tree.found, Some(FoundValue::Value("9".into())));
    }
}
