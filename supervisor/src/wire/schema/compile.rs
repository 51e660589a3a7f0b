//! From a schema's text to nodes. No recursion: each subschema is a place in the document that is read once.

use std::collections::{HashMap, VecDeque};

use super::canonical::{canonical, cost};
use super::keywords::{Bound, Check, Count, Members, Node, NodeId, Types};
use super::mismatch::clipped;
use super::number::{Divisor, double};
use super::pattern::Patterns;
use super::{Schema, Unjudgeable};
use crate::bounds::{SCHEMA_NODES_MAX, SCHEMA_VALUE_COST_MAX};
use crate::wire::fold;
use crate::wire::json::{self, Value};

/// Keywords that would be judged if this were another validator. With them a value could be refused that passes here.
const NOT_JUDGED: [&str; 4] = ["unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"];

/// The reading of keywords that changed between the drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Draft7,
    Draft2020,
}

impl Dialect {
    /// What `$schema` says; absent, 2020-12 (MCP 2025-11-25, "JSON Schema Usage").
    fn of(schema: &Value<'_>) -> Result<Self, Unjudgeable> {
        let Some(named) = schema.member("$schema") else { return Ok(Self::Draft2020) };
        let name = named.as_str().ok_or(Unjudgeable::Dialect)?;
        let name = name.strip_suffix('#').unwrap_or(name);
        let name =
            name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).ok_or(Unjudgeable::Dialect)?;
        match name {
            "json-schema.org/draft/2020-12/schema" => Ok(Self::Draft2020),
            "json-schema.org/draft-07/schema" => Ok(Self::Draft7),
            _ => Err(Unjudgeable::Dialect),
        }
    }
}

pub(super) fn compile(schema: &Value<'_>, patterns: &mut Patterns) -> Result<Schema, Unjudgeable> {
    if cost(schema) > SCHEMA_VALUE_COST_MAX {
        return Err(Unjudgeable::TooLarge);
    }
    let mut compiler = Compiler {
        dialect: Dialect::of(schema)?,
        document: schema,
        own_id: schema.member("$id").and_then(Value::as_str),
        patterns,
        places: HashMap::new(),
        waiting: VecDeque::new(),
    };
    compiler.node(schema)?;
    let mut nodes = Vec::new();
    while let Some(place) = compiler.waiting.pop_front() {
        nodes.push(compiler.read(place)?);
    }
    let bytes = usize::try_from(cost(schema)).unwrap_or(usize::MAX).saturating_mul(64);
    Ok(Schema { nodes, bytes })
}

struct Compiler<'s, 'p> {
    dialect: Dialect,
    document: &'s Value<'s>,
    own_id: Option<&'s str>,
    patterns: &'p mut Patterns,
    /// The node of each subschema, by the address of its value in the document, which does not move.
    places: HashMap<*const Value<'s>, NodeId>,
    /// Places with a number whose nodes are not read yet, in the order of their numbers.
    waiting: VecDeque<&'s Value<'s>>,
}

type Found<'s> = Option<&'s Value<'s>>;

impl<'s> Compiler<'s, '_> {
    /// The number of the node of `place`.
    fn node(&mut self, place: &'s Value<'s>) -> Result<NodeId, Unjudgeable> {
        let next = self.places.len();
        if let Some(known) = self.places.get(&std::ptr::from_ref(place)) {
            return Ok(*known);
        }
        if next >= SCHEMA_NODES_MAX {
            return Err(Unjudgeable::TooLarge);
        }
        self.places.insert(place, next);
        self.waiting.push_back(place);
        Ok(next)
    }

    fn read(&mut self, place: &'s Value<'s>) -> Result<Node, Unjudgeable> {
        match place {
            Value::Bool(true) => return Ok(Node::default()),
            Value::Bool(false) => return Ok(Node { checks: vec![Check::Never] }),
            Value::Object(_) => {}
            _ => return Err(Unjudgeable::Malformed("schema")),
        }
        if place.member("$id").is_some() && !std::ptr::eq(place, self.document) {
            return Err(Unjudgeable::Keyword("$id")); // references below it are not to this document
        }
        if let Some(keyword) = NOT_JUDGED.iter().find(|keyword| place.member(keyword).is_some()) {
            return Err(Unjudgeable::Keyword(keyword));
        }
        let mut checks = Vec::new();
        if let Some(reference) = place.member("$ref") {
            let target = self.resolve(reference.as_str().ok_or(Unjudgeable::Malformed("$ref"))?)?;
            checks.push(Check::Also(self.node(target)?));
            if self.dialect == Dialect::Draft7 {
                return Ok(Node { checks }); // what stands beside it is not read (draft-07 Core, 8.3)
            }
        }
        self.values(place, &mut checks)?;
        self.numbers(place, &mut checks)?;
        self.strings(place, &mut checks)?;
        self.objects(place, &mut checks)?;
        self.arrays(place, &mut checks)?;
        self.logic(place, &mut checks)?;
        Ok(Node { checks })
    }

    fn values(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        if let Some(types) = place.member("type") {
            let one = std::slice::from_ref(types);
            let mut names = types.as_array().unwrap_or(one).iter();
            let types = names.try_fold(Types::default(), |types, name| types.with(name.as_str()?));
            checks.push(Check::Type(
                types.filter(|types| *types != Types::default()).ok_or(Unjudgeable::Malformed("type"))?,
            ));
        }
        if let Some(values) = place.member("enum") {
            let values = values.as_array().ok_or(Unjudgeable::Malformed("enum"))?;
            checks.push(one_of(values));
        }
        if let Some(value) = place.member("const") {
            checks.push(one_of(std::slice::from_ref(value)));
        }
        Ok(())
    }

    fn numbers(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        for (keyword, bound) in [
            ("minimum", Bound::Minimum),
            ("exclusiveMinimum", Bound::ExclusiveMinimum),
            ("maximum", Bound::Maximum),
            ("exclusiveMaximum", Bound::ExclusiveMaximum),
        ] {
            if let Some(limit) = number(place, keyword)? {
                checks.push(Check::Bound(bound, limit));
            }
        }
        if let Some(divisor) = number(place, "multipleOf")? {
            checks.push(Check::MultipleOf(Divisor::of(divisor).ok_or(Unjudgeable::Malformed("multipleOf"))?));
        }
        for (keyword, count) in [
            ("minLength", Count::MinLength),
            ("maxLength", Count::MaxLength),
            ("minItems", Count::MinItems),
            ("maxItems", Count::MaxItems),
            ("minProperties", Count::MinProperties),
            ("maxProperties", Count::MaxProperties),
        ] {
            if let Some(limit) = whole(place, keyword)? {
                checks.push(Check::Count(count, limit));
            }
        }
        Ok(())
    }

    fn strings(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        let Some(pattern) = place.member("pattern") else { return Ok(()) };
        let pattern = pattern.as_str().ok_or(Unjudgeable::Malformed("pattern"))?;
        checks.push(Check::Pattern(self.patterns.pattern(pattern)?));
        Ok(())
    }

    fn objects(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        if let Some(names) = place.member("required") {
            checks.push(Check::Required(texts(names, "required")?));
        }
        let mut members = Members::default();
        for (name, schema) in entries(place, "properties")? {
            members.properties.insert(name.to_string(), self.node(schema)?);
            members.folded.entry(fold::folded(name).into_owned()).or_default().push(name.to_string());
        }
        for (pattern, schema) in entries(place, "patternProperties")? {
            members.patterns.push((self.patterns.pattern(pattern)?, self.node(schema)?));
        }
        members.additional = self.subschema(place, "additionalProperties")?;
        if !members.properties.is_empty() || !members.patterns.is_empty() || members.additional.is_some() {
            checks.push(Check::Members(Box::new(members)));
        }
        if let Some(node) = self.subschema(place, "propertyNames")? {
            checks.push(Check::PropertyNames(node));
        }
        self.dependencies(place, checks)
    }

    /// `dependencies` was split in two after draft-07.
    fn dependencies(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        let (lists, schemas) = match self.dialect {
            Dialect::Draft7 => ("dependencies", "dependencies"),
            Dialect::Draft2020 => ("dependentRequired", "dependentSchemas"),
        };
        let old = self.dialect == Dialect::Draft7;
        let mut required = Vec::new();
        for (name, names) in entries(place, lists)? {
            if !old || names.as_array().is_some() {
                required.push((name.to_string(), texts(names, lists)?));
            }
        }
        let mut also = Vec::new();
        for (name, schema) in entries(place, schemas)? {
            if !old || schema.as_array().is_none() {
                also.push((name.to_string(), self.node(schema)?));
            }
        }
        if !required.is_empty() {
            checks.push(Check::DependentRequired(required));
        }
        if !also.is_empty() {
            checks.push(Check::DependentSchemas(also));
        }
        Ok(())
    }

    fn arrays(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        let listed = place.member("items").filter(|items| items.as_array().is_some());
        let (prefix, rest) = match (self.dialect, listed) {
            (Dialect::Draft2020, _) => (self.list(place, "prefixItems")?, self.subschema(place, "items")?),
            (Dialect::Draft7, None) => (Vec::new(), self.subschema(place, "items")?),
            (Dialect::Draft7, Some(_)) => (self.list(place, "items")?, self.subschema(place, "additionalItems")?),
        };
        if !prefix.is_empty() || rest.is_some() {
            checks.push(Check::Items { prefix, rest });
        }
        match place.member("uniqueItems") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => checks.push(Check::UniqueItems),
            Some(_) => return Err(Unjudgeable::Malformed("uniqueItems")),
        }
        if let Some(node) = self.subschema(place, "contains")? {
            let (min, max) = match self.dialect {
                Dialect::Draft7 => (None, None),
                Dialect::Draft2020 => (whole(place, "minContains")?, whole(place, "maxContains")?),
            };
            checks.push(Check::Contains { node, min: min.unwrap_or(1), max });
        }
        Ok(())
    }

    fn logic(&mut self, place: &'s Value<'s>, checks: &mut Vec<Check>) -> Result<(), Unjudgeable> {
        checks.extend(self.list(place, "allOf")?.into_iter().map(Check::Also));
        for (keyword, check) in [("anyOf", Check::AnyOf as fn(_) -> _), ("oneOf", Check::OneOf)] {
            let nodes = self.list(place, keyword)?;
            if !nodes.is_empty() {
                checks.push(check(nodes));
            }
        }
        if let Some(node) = self.subschema(place, "not")? {
            checks.push(Check::Not(node));
        }
        if let Some(condition) = self.subschema(place, "if")? {
            let (then, otherwise) = (self.subschema(place, "then")?, self.subschema(place, "else")?);
            checks.push(Check::If { condition, then, otherwise });
        }
        Ok(())
    }

    fn subschema(&mut self, place: &'s Value<'s>, keyword: &'static str) -> Result<Option<NodeId>, Unjudgeable> {
        match place.member(keyword) {
            None => Ok(None),
            Some(schema @ (Value::Object(_) | Value::Bool(_))) => self.node(schema).map(Some),
            Some(_) => Err(Unjudgeable::Malformed(keyword)),
        }
    }

    /// A list of subschemas; present, it has at least one.
    fn list(&mut self, place: &'s Value<'s>, keyword: &'static str) -> Result<Vec<NodeId>, Unjudgeable> {
        let Some(schemas) = place.member(keyword) else { return Ok(Vec::new()) };
        let schemas =
            schemas.as_array().filter(|schemas| !schemas.is_empty()).ok_or(Unjudgeable::Malformed(keyword))?;
        schemas.iter().map(|schema| self.node(schema)).collect()
    }

    /// Where a reference leads: to the document itself, by a JSON pointer (RFC 6901) in its fragment.
    fn resolve(&self, reference: &str) -> Result<&'s Value<'s>, Unjudgeable> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let own = base.is_empty() || self.own_id.is_some_and(|id| id.strip_suffix('#').unwrap_or(id) == base);
        if !own || (reference.is_empty()) {
            return Err(Unjudgeable::Reference);
        }
        let pointer = percent_decoded(fragment).ok_or(Unjudgeable::Reference)?;
        let mut place = self.document;
        let mut tokens = pointer.split('/');
        if tokens.next() != Some("") {
            return Err(Unjudgeable::Reference); // an anchor
        }
        for token in tokens {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next: Found<'s> = match place {
                Value::Object(_) => place.member(&token),
                Value::Array(items) => token.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            place = next.ok_or(Unjudgeable::Reference)?;
            if place.member("$id").is_some_and(|id| id.as_str().is_some()) {
                return Err(Unjudgeable::Keyword("$id"));
            }
        }
        Ok(place)
    }
}

fn one_of(values: &[Value<'_>]) -> Check {
    const SHOWN_MAX: usize = 12;
    let text = |value: &Value<'_>| {
        let mut out = Vec::new();
        json::write(value, &mut out);
        clipped(&String::from_utf8_lossy(&out))
    };
    let mut shown = values.iter().take(SHOWN_MAX).map(text).collect::<Vec<_>>().join(", ");
    if values.len() > SHOWN_MAX {
        shown.push_str(&format!(" and {} more", values.len() - SHOWN_MAX));
    }
    Check::OneOfValues { values: values.iter().map(canonical).collect(), shown }
}

fn number(place: &Value<'_>, keyword: &'static str) -> Result<Option<f64>, Unjudgeable> {
    match place.member(keyword) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(Some(double(number))),
        Some(_) => Err(Unjudgeable::Malformed(keyword)),
    }
}

/// A count: a whole number, not negative, perhaps written `2.0`.
fn whole(place: &Value<'_>, keyword: &'static str) -> Result<Option<u64>, Unjudgeable> {
    let Some(number) = number(place, keyword)? else { return Ok(None) };
    if number.fract() != 0.0 || number < 0.0 {
        return Err(Unjudgeable::Malformed(keyword));
    }
    Ok(Some(number as u64)) // saturates: no value has as many
}

fn texts(value: &Value<'_>, keyword: &'static str) -> Result<Vec<String>, Unjudgeable> {
    let items = value.as_array().ok_or(Unjudgeable::Malformed(keyword))?;
    let text = |item: &Value<'_>| item.as_str().map(str::to_owned).ok_or(Unjudgeable::Malformed(keyword));
    items.iter().map(text).collect()
}

type Entries<'s> = &'s [(std::borrow::Cow<'s, str>, Value<'s>)];

fn entries<'s>(place: &'s Value<'s>, keyword: &'static str) -> Result<Entries<'s>, Unjudgeable> {
    match place.member(keyword) {
        None => Ok(&[]),
        Some(value) => value.as_object().ok_or(Unjudgeable::Malformed(keyword)),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
