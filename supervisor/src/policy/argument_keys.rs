//! The argument keys that a policy reads, and the keys of a call that some server would take for one of them.
//!
//! Several readers match object keys without regard to case (see `wire::fold`). A condition on `args.items[*].price` says
//! nothing of `Price`, so a call that brings it is refused before the policy is asked, at whatever level it stands.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::condition::{Clause, Step};
use super::model::{Increment, Policy, Rule};
use crate::wire::fold;
use crate::wire::json::Value;

/// The code of a call that is refused for such a key, in a record and in case files.
pub const AMBIGUOUS_ARGUMENT: &str = "ambiguous_argument";

/// Most pairs of an argument's key and a property that are compared one by one; past it, both are looked up by their folded
/// form. A call of an honest client stays below.
const COMPARED_IN_PAIRS_MAX: usize = 4096;

/// The keys of one level of the arguments, and what stands below them. Made once, when the policy is loaded.
#[derive(Clone, Debug, Default)]
pub struct ArgumentKeys {
    /// By their case-folded form.
    keys: BTreeMap<String, Vec<Key>>,
    /// Of every element, where the paths go on with `[*]`.
    items: Option<Box<ArgumentKeys>>,
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    below: ArgumentKeys,
}

impl ArgumentKeys {
    /// The keys that `rules` read: in their conditions, and for the amounts of their counters.
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut keys = Self::default();
        for rule in rules {
            for condition in rule.conditions.iter().flat_map(Clause::tests) {
                keys.insert(&condition.steps);
            }
            if let Some(Increment::From(path)) = rule.state.as_ref().map(|counter| &counter.increment) {
                keys.insert(&path.iter().cloned().map(Step::Key).collect::<Vec<_>>());
            }
        }
        keys
    }

    fn insert(&mut self, steps: &[Step]) {
        let mut level = self;
        for step in steps {
            level = match step {
                Step::Key(name) => level.key(name),
                Step::EachItem => level.items.get_or_insert_default(),
            };
        }
    }

    fn key(&mut self, name: &str) -> &mut Self {
        let alike = self.keys.entry(fold::folded(name).into_owned()).or_default();
        let index = alike.iter().position(|key| key.name == name).unwrap_or_else(|| {
            alike.push(Key { name: name.to_owned(), below: Self::default() });
            alike.len() - 1
        });
        &mut alike[index].below
    }

    /// A key of `value`, at any level that a path of the policy reaches, that differs from the policy's only in case; with
    /// the policy's.
    fn ambiguous<'a>(&'a self, value: &'a Value<'_>) -> Option<(&'a str, &'a str)> {
        match value {
            Value::Object(members) => members.iter().find_map(|(key, value)| {
                let alike = self.keys.get(&*fold::folded(key))?;
                let other = alike.iter().find(|known| fold::collides(key, &known.name));
                let same = || alike.iter().find(|known| known.name == *key);
                match other {
                    Some(other) => Some((&**key, other.name.as_str())),
                    None => same().and_then(|known| known.below.ambiguous(value)),
                }
            }),
            Value::Array(items) => {
                let below = self.items.as_deref()?;
                items.iter().find_map(|item| below.ambiguous(item))
            }
            _ => None,
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.values().flatten().map(|key| key.name.as_str())
    }
}

impl Policy {
    /// A key of a call's arguments that some servers would take for one that the rules of `tool` read, because the two
    /// differ only in case: the key and the policy's. Such a call must be refused before the policy is asked.
    #[must_use]
    pub fn ambiguous_argument<'a>(&'a self, tool: &str, arguments: &'a Value<'_>) -> Option<(&'a str, &'a str)> {
        self.governing(tool).find_map(|tool| tool.keys.ambiguous(arguments))
    }

    /// Why a call must be refused before the policy is asked, if it must: [`Policy::ambiguous_argument`], or a key that
    /// differs only in case from one of `properties`, those of the tool's inputSchema.
    #[must_use]
    pub fn ambiguity(&self, tool: &str, arguments: Option<&Value<'_>>, properties: &[String]) -> Option<String> {
        let arguments = arguments?;
        let property = || {
            let members = arguments.as_object()?;
            if members.len().saturating_mul(properties.len()) <= COMPARED_IN_PAIRS_MAX {
                return members.iter().find_map(|(key, _)| {
                    fold::collision(key, properties.iter().map(String::as_str)).map(|known| (&**key, known))
                });
            }
            // Client and server together could make each of many keys be compared with each of many properties.
            let mut folded: HashMap<Cow<'_, str>, Vec<&str>> = HashMap::with_capacity(properties.len());
            for known in properties {
                folded.entry(fold::folded(known)).or_default().push(known);
            }
            members.iter().find_map(|(key, _)| {
                let alike = folded.get(&fold::folded(key))?;
                alike.iter().find(|known| fold::collides(key, known)).map(|known| (&**key, *known))
            })
        };
        let (key, known) = self.ambiguous_argument(tool, arguments).or_else(property)?;
        Some(format!("argument \"{key}\" differs from \"{known}\" only in case"))
    }

    /// The arguments that the rules of `tool` read, those of its own rules first.
    pub fn argument_names<'p>(&'p self, tool: &str) -> impl Iterator<Item = &'p str> + use<'p> {
        self.governing(tool).flat_map(|tool| tool.keys.names())
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{loaded, value};

    const POLICY: &str = r#"
default: allow
tools:
  t:
    rules:
      - conditions:
          - {path: args.to.name, op: exists}
          - {path: 'args.items[*].price', op: gt, value: 0}
          - any: [{path: 'args.m[*][*].k', op: exists}, {not: {path: args.deep.er, op: exists}}]
  '*': {rules: [{conditions: [{path: args.z, op: exists, value: false}]}]}
"#;

    #[test]
    fn many_keys_against_many_properties_end_in_bounded_time() {
        let policy = loaded("default: allow");
        let properties: Vec<String> = (0..20_000).map(|number| format!("property_{number}")).collect();
        let keys: Vec<String> = (0..20_000).map(|number| format!("\"key_{number}\": 1")).collect();
        let begun = std::time::Instant::now();
        let arguments = value(&format!("{{{}}}", keys.join(",")));
        assert_eq!(policy.ambiguity("t", Some(&arguments), &properties), None);
        let other = value(&format!("{{{}, \"Property_7\": 1}}", keys.join(",")));
        let text = policy.ambiguity("t", Some(&other), &properties).expect("ambiguous");
        assert_eq!(text, "argument \"Property_7\" differs from \"property_7\" only in case");
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn keys_that_differ_only_in_case_are_found_at_every_level_of_a_path() {
        let policy = loaded(POLICY);
        for (arguments, found) in [
            (r#"{"To": 1}"#, ("To", "to")),
            (r#"{"to": {"NAME": 1}}"#, ("NAME", "name")),
            (r#"{"items": [{"price": 1}, {"Price": -1}]}"#, ("Price", "price")),
            (r#"{"item\u017f": []}"#, ("item\u{17f}", "items")),
            (r#"{"m": [[], [{"k": 1}, {"\u212a": 1}]]}"#, ("\u{212a}", "k")),
            (r#"{"deep": {"ER": 1}}"#, ("ER", "er")),
            (r#"{"Z": 1}"#, ("Z", "z")),
        ] {
            assert_eq!(policy.ambiguous_argument("t", &value(arguments)), Some(found), "{arguments}");
        }
        assert_eq!(policy.ambiguous_argument("other", &value(r#"{"Z": 1}"#)), Some(("Z", "z")));
        assert_eq!(policy.ambiguous_argument("other", &value(r#"{"To": 1}"#)), None);
    }

    #[test]
    fn keys_beside_the_paths_are_left_alone() {
        let policy = loaded(POLICY);
        for arguments in [
            r#"{"to": {"name": 1}, "items": [{"price": 1}]}"#,
            r#"{"NAME": 1, "Price": 1}"#,
            r#"{"to": [{"NAME": 1}], "items": {"Price": 1}}"#,
            r#"{"items": [[{"Price": 1}]]}"#,
            r#"{"other": {"To": 1}}"#,
            "[]",
            "\"To\"",
        ] {
            assert_eq!(policy.ambiguous_argument("t", &value(arguments)), None, "{arguments}");
        }
    }

    #[test]
    fn two_paths_that_differ_only_in_case_let_neither_pass() {
        let policy =
            loaded("tools: {t: {rules: [{conditions: [{path: args.a.x, op: exists}, {path: args.A.y, op: exists}]}]}}");
        assert_eq!(policy.ambiguous_argument("t", &value(r#"{"a": {"x": 1}}"#)), Some(("a", "A")));
        assert_eq!(policy.ambiguous_argument("t", &value(r#"{"A": {"y": 1}}"#)), Some(("A", "a")));
    }

    #[test]
    fn names_are_those_of_the_first_level() {
        let policy = loaded(POLICY);
        assert_eq!(policy.argument_names("t").collect::<Vec<_>>(), ["deep", "items", "m", "to", "z"]);
        assert_eq!(policy.argument_names("other").collect::<Vec<_>>(), ["z"]);
    }
}
