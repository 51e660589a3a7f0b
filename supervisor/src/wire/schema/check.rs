//! A value against the nodes of a schema. Every step is paid for; who cannot pay is not judged.

use std::collections::HashSet;

use super::canonical::{canonical, cost};
use super::keywords::{Bound, Check, Count, Members, Node, NodeId, type_name};
use super::mismatch::{Mismatch, Path, clipped, named, quoted};
use super::number::double;
use super::{Fault, Keys, Unjudgeable};
use crate::bounds::{SCHEMA_NESTING_MAX, SCHEMA_WORK_MAX};
use crate::wire::fold;
use crate::wire::json::Value;

/// What telling a mismatch costs: many alternatives make many.
const MISMATCH_WORK: u64 = 32;
/// What each value costs that is compared with others: it is written out and hashed.
const COMPARED_WORK: u64 = 8;
/// Members up to which required names are searched one by one.
const SEARCHED_MAX: usize = 16;

pub(super) fn check(nodes: &[Node], value: &Value<'_>, keys: Keys) -> Result<(), Fault> {
    let mut run = Run { nodes, keys, work_left: SCHEMA_WORK_MAX, nesting: 0 };
    match run.visit(0, value, &Path::Root) {
        Ok(()) => Ok(()),
        Err(Stop::Mismatch(mismatch) | Stop::Ambiguous(mismatch)) => Err(Fault::Mismatch(mismatch)),
        Err(Stop::Unjudgeable) => Err(Fault::Unjudgeable(Unjudgeable::Work)),
    }
}

/// Why a check does not hold. Only a mismatch may be made up for by another branch of the schema.
enum Stop {
    Mismatch(Mismatch),
    /// A key that some reader takes for another one: whatever the schema says, what is judged is not what is read.
    Ambiguous(Mismatch),
    Unjudgeable,
}

struct Run<'s> {
    nodes: &'s [Node],
    keys: Keys,
    work_left: u64,
    nesting: usize,
}

impl Run<'_> {
    fn pay(&mut self, work: u64) -> Result<(), Stop> {
        self.work_left = self.work_left.checked_sub(work).ok_or(Stop::Unjudgeable)?;
        Ok(())
    }

    fn mismatch<T>(&mut self, at: &Path<'_>, want: impl FnOnce() -> String) -> Result<T, Stop> {
        self.pay(MISMATCH_WORK)?;
        Err(Stop::Mismatch(Mismatch::new(at, want())))
    }

    fn visit(&mut self, node: NodeId, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        if self.nesting >= SCHEMA_NESTING_MAX {
            return Err(Stop::Unjudgeable);
        }
        self.nesting += 1;
        let nodes = self.nodes;
        let checks = &nodes[node].checks;
        self.pay(1 + checks.len() as u64)?;
        for check in checks {
            self.one(check, value, at)?;
        }
        self.nesting -= 1;
        Ok(())
    }

    /// A branch that may fail: whether it held, or why not.
    fn branch(&mut self, node: NodeId, value: &Value<'_>, at: &Path<'_>) -> Result<Option<Mismatch>, Stop> {
        let nesting = self.nesting;
        match self.visit(node, value, at) {
            Ok(()) => Ok(None),
            Err(Stop::Mismatch(mismatch)) => {
                self.nesting = nesting;
                Ok(Some(mismatch))
            }
            Err(stop) => Err(stop),
        }
    }

    fn one(&mut self, check: &Check, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        match check {
            Check::Never => self.mismatch(at, || "must not be given".to_owned()),
            Check::Type(types) if types.hold(value) => Ok(()),
            Check::Type(types) => {
                self.mismatch(at, || format!("must be {}, not {}", types.in_words(), type_name(value)))
            }
            Check::OneOfValues { values, shown } => {
                self.pay(COMPARED_WORK * cost(value))?;
                if values.contains(&canonical(value)) {
                    return Ok(());
                }
                self.mismatch(at, || {
                    if values.len() == 1 { format!("must be {shown}") } else { format!("must be one of {shown}") }
                })
            }
            Check::Bound(..) | Check::MultipleOf(_) => self.number(check, value, at),
            Check::Count(count, limit) => self.count(*count, *limit, value, at),
            Check::Pattern(pattern) => {
                let Value::String(text) = value else { return Ok(()) };
                self.pay(pattern.cost(text))?;
                if pattern.is_match(text) {
                    return Ok(());
                }
                self.mismatch(at, || format!("must match the pattern {}", clipped(pattern.text())))
            }
            Check::UniqueItems | Check::Items { .. } | Check::Contains { .. } => self.array(check, value, at),
            Check::Required(_)
            | Check::DependentRequired(_)
            | Check::DependentSchemas(_)
            | Check::Members(_)
            | Check::PropertyNames(_) => self.object(check, value, at),
            Check::Also(node) => self.visit(*node, value, at),
            Check::AnyOf(_) | Check::OneOf(_) | Check::Not(_) | Check::If { .. } => self.logic(check, value, at),
        }
    }

    fn number(&mut self, check: &Check, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        let Value::Number(number) = value else { return Ok(()) };
        let number = double(number);
        match check {
            Check::Bound(bound, limit) => {
                let (holds, words) = match bound {
                    Bound::Minimum => (number >= *limit, "at least"),
                    Bound::ExclusiveMinimum => (number > *limit, "more than"),
                    Bound::Maximum => (number <= *limit, "at most"),
                    Bound::ExclusiveMaximum => (number < *limit, "less than"),
                };
                if holds { Ok(()) } else { self.mismatch(at, || format!("must be {words} {limit}")) }
            }
            Check::MultipleOf(divisor) => {
                if divisor.divides(number) {
                    return Ok(());
                }
                self.mismatch(at, || format!("must be a multiple of {divisor}"))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, count: Count, limit: u64, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        let (length, what) = match (count, value) {
            (Count::MinLength | Count::MaxLength, Value::String(text)) => {
                self.pay(text.len() as u64 / 16)?;
                (text.chars().count(), "characters")
            }
            (Count::MinItems | Count::MaxItems, Value::Array(items)) => (items.len(), "items"),
            (Count::MinProperties | Count::MaxProperties, Value::Object(members)) => (members.len(), "keys"),
            _ => return Ok(()),
        };
        let at_least = matches!(count, Count::MinLength | Count::MinItems | Count::MinProperties);
        let length = length as u64;
        if if at_least { length >= limit } else { length <= limit } {
            return Ok(());
        }
        let words = if at_least { "at least" } else { "at most" };
        self.mismatch(at, || format!("must have {words} {limit} {what}, not {length}"))
    }

    fn array(&mut self, check: &Check, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        let Value::Array(items) = value else { return Ok(()) };
        match check {
            Check::UniqueItems => {
                self.pay(COMPARED_WORK * cost(value))?;
                let mut seen = HashSet::with_capacity(items.len());
                match items.iter().position(|item| !seen.insert(canonical(item))) {
                    None => Ok(()),
                    Some(index) => {
                        self.mismatch(&Path::Index(at, index), || "must not repeat an earlier item".to_owned())
                    }
                }
            }
            Check::Items { prefix, rest } => {
                let nodes = prefix.iter().map(|node| Some(*node)).chain(std::iter::repeat(*rest));
                for (index, (item, node)) in items.iter().zip(nodes).enumerate() {
                    let Some(node) = node else { break };
                    self.visit(node, item, &Path::Index(at, index))?;
                }
                Ok(())
            }
            Check::Contains { node, min, max } => {
                let mut found = 0;
                for (index, item) in items.iter().enumerate() {
                    found += u64::from(self.branch(*node, item, &Path::Index(at, index))?.is_none());
                }
                if found < *min || max.is_some_and(|max| found > max) {
                    let most = max.map(|max| format!(" and at most {max}")).unwrap_or_default();
                    return self
                        .mismatch(at, || format!("must have at least {min}{most} items of a kind, not {found}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn object(&mut self, check: &Check, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        let Value::Object(members) = value else { return Ok(()) };
        match check {
            Check::Required(names) => {
                let missing = self.missing(value, names)?;
                missing.map_or(Ok(()), |name| self.mismatch(at, || format!("must have the key {}", quoted(name))))
            }
            Check::DependentRequired(rules) => {
                for (key, names) in rules {
                    self.pay(members.len() as u64)?;
                    if value.member(key).is_none() {
                        continue;
                    }
                    if let Some(name) = self.missing(value, names)? {
                        let want = || format!("must have the key {}, since it has {}", quoted(name), quoted(key));
                        return self.mismatch(at, want);
                    }
                }
                Ok(())
            }
            Check::DependentSchemas(rules) => {
                for (key, node) in rules {
                    self.pay(members.len() as u64)?;
                    if value.member(key).is_some() {
                        self.visit(*node, value, at)?;
                    }
                }
                Ok(())
            }
            Check::Members(known) => self.members(known, members, at),
            Check::PropertyNames(node) => {
                for (key, _) in members {
                    let name = Value::String(key.as_ref().into());
                    if let Some(mismatch) = self.branch(*node, &name, &Path::Root)? {
                        return self.mismatch(at, || format!("has the key {}, which {}", quoted(key), mismatch.want));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The first of `names` that is no key of `value`. Server and client can each name thousands, so many are looked up, not
    /// searched for.
    fn missing<'n>(&mut self, value: &Value<'_>, names: &'n [String]) -> Result<Option<&'n str>, Stop> {
        let members = value.as_object().unwrap_or_default();
        self.pay(names.len() as u64)?;
        let few = members.len() <= SEARCHED_MAX;
        self.pay(members.len() as u64)?;
        let many: HashSet<&str> = if few { HashSet::new() } else { members.iter().map(|(key, _)| &**key).collect() };
        let is_there = |name: &str| if few { value.member(name).is_some() } else { many.contains(name) };
        Ok(names.iter().map(String::as_str).find(|name| !is_there(name)))
    }

    fn members(
        &mut self,
        known: &Members,
        members: &[(std::borrow::Cow<'_, str>, Value<'_>)],
        at: &Path<'_>,
    ) -> Result<(), Stop> {
        for (key, value) in members {
            self.pay(1 + key.len() as u64 / 16)?;
            let below = Path::Key(at, key);
            let mut is_known = false;
            if let Some(node) = known.properties.get(&**key) {
                self.visit(*node, value, &below)?;
                is_known = true;
            } else if self.keys == Keys::Folded && !known.folded.is_empty() {
                self.unfolded(known, key, at)?;
            }
            for (pattern, node) in &known.patterns {
                self.pay(pattern.cost(key))?;
                if pattern.is_match(key) {
                    self.visit(*node, value, &below)?;
                    is_known = true;
                }
            }
            let Some(node) = known.additional.filter(|_| !is_known) else { continue };
            if matches!(self.nodes[node].checks.as_slice(), [Check::Never]) {
                let mut names: Vec<&str> = known.properties.keys().map(String::as_str).collect();
                names.sort_unstable();
                self.pay(names.len() as u64)?;
                let takes = if names.is_empty() { "none".to_owned() } else { named(names.into_iter()) };
                return self.mismatch(at, || format!("must not have the key {}; it takes {takes}", quoted(key)));
            }
            self.visit(node, value, &below)?;
        }
        Ok(())
    }

    /// Refuses a key that differs only in case from a property.
    fn unfolded(&mut self, known: &Members, key: &str, at: &Path<'_>) -> Result<(), Stop> {
        let alike = known.folded.get(&*fold::folded(key));
        match alike.and_then(|names| fold::collision(key, names.iter().map(String::as_str))) {
            None => Ok(()),
            Some(name) => {
                let want = format!("has the key {}, which differs from {} only in case", quoted(key), quoted(name));
                Err(Stop::Ambiguous(Mismatch::new(at, want)))
            }
        }
    }

    fn logic(&mut self, check: &Check, value: &Value<'_>, at: &Path<'_>) -> Result<(), Stop> {
        match check {
            Check::AnyOf(nodes) => {
                let mut failed = Vec::new();
                for node in nodes {
                    match self.branch(*node, value, at)? {
                        None => return Ok(()),
                        Some(mismatch) => failed.push(mismatch),
                    }
                }
                Err(Stop::Mismatch(Mismatch::of_alternatives(at, failed)))
            }
            Check::OneOf(nodes) => {
                let mut failed = Vec::new();
                for node in nodes {
                    failed.extend(self.branch(*node, value, at)?);
                }
                match nodes.len() - failed.len() {
                    0 => Err(Stop::Mismatch(Mismatch::of_alternatives(at, failed))),
                    1 => Ok(()),
                    fit => {
                        self.mismatch(at, || format!("must fit exactly one of {} forms, and fits {fit}", nodes.len()))
                    }
                }
            }
            Check::Not(node) => match self.branch(*node, value, at)? {
                Some(_) => Ok(()),
                None => self.mismatch(at, || "must not fit a form that the schema excludes".to_owned()),
            },
            Check::If { condition, then, otherwise } => {
                let holds = self.branch(*condition, value, at)?.is_none();
                let next = if holds { then } else { otherwise };
                next.map_or(Ok(()), |node| self.visit(node, value, at))
            }
            _ => Ok(()),
        }
    }
}
