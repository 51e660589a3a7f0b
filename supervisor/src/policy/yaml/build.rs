//! Events to tree, within bounds.

use std::collections::{HashMap, HashSet};

use serde_yaml::granit_parser::{self as granit, Event, Parser, ScalarStyle};

use super::{Entry, Kind, Node, Scalar, Span};
use crate::bounds::{POLICY_DEPTH_MAX, POLICY_NODES_MAX};
use crate::policy::codes::Code;

/// A problem with the YAML itself.
#[derive(Debug)]
pub(in crate::policy) struct Flaw {
    pub(in crate::policy) code: Code,
    pub(in crate::policy) span: Span,
    pub(in crate::policy) message: String,
    pub(in crate::policy) help: Option<&'static str>,
}

impl Flaw {
    fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, span, message: message.into(), help: None }
    }

    fn help(mut self, help: &'static str) -> Self {
        self.help = Some(help);
        self
    }
}

/// Reads one document. None when the text holds none, or when a flaw stopped the reading; the flaws found are added.
pub(in crate::policy) fn parse(text: &str, flaws: &mut Vec<Flaw>) -> Option<Node> {
    let mut options = granit::options! {
        disallow_directives: true,
        flow_nesting_limit: POLICY_DEPTH_MAX + 1,
        block_nesting_limit: POLICY_DEPTH_MAX + 1,
    };
    options.set_emit_comments(false);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.step(event, place(span), flaws),
            Err(error) => Err(scan_flaw(&error, text)),
        };
        if let Err(flaw) = step {
            flaws.push(flaw);
            return None;
        }
    }
    builder.root
}

fn place(span: granit::Span) -> Span {
    let width = if span.end.line() == span.start.line() { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    at(span.start, width)
}

fn at(start: granit::Marker, width: usize) -> Span {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { line: small(start.line().max(1)), column: small(start.col() + 1), width: small(width.max(1)) }
}

fn scan_flaw(error: &granit::ScanError, text: &str) -> Flaw {
    let span = at(*error.marker(), 1);
    match error.kind() {
        granit::ErrorKind::DirectiveDisallowed => {
            Flaw::new(Code::YamlFeature, span, "YAML directives have no place in a policy").help("remove the line")
        }
        granit::ErrorKind::RecursionLimitExceeded => too_deep(span),
        granit::ErrorKind::UnknownQuotedScalarEscape | granit::ErrorKind::InvalidQuotedScalarHexEscape => {
            Flaw::new(Code::Syntax, span, error.info())
                .help("in double quotes a backslash begins an escape of YAML: a regular expression holds its own, so write it in single quotes")
        }
        granit::ErrorKind::MissingAnchorOrAliasName | granit::ErrorKind::UnknownAnchor => {
            Flaw::new(Code::Syntax, span, error.info())
                .help("an unquoted * repeats another value: quote the path, as in 'args.items[*].price', and \"*\" for every tool")
        }
        granit::ErrorKind::ExpectedFlowMappingSeparator | granit::ErrorKind::ExpectedFlowSequenceSeparator
            if sign_at(text, span) == Some('[') =>
        {
            Flaw::new(Code::Syntax, span, error.info())
                .help("within { } or [ ] an unquoted [ begins a list: quote the path, as in 'args.items[*].price'")
        }
        _ => Flaw::new(Code::Syntax, span, error.info()),
    }
}

fn sign_at(text: &str, span: Span) -> Option<char> {
    text.lines().nth(span.line.checked_sub(1)? as usize)?.chars().nth(span.column.checked_sub(1)? as usize)
}

fn too_deep(span: Span) -> Flaw {
    Flaw::new(Code::TooDeep, span, format!("nested deeper than {POLICY_DEPTH_MAX} levels"))
}

/// A collection that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    nodes_before: usize,
    height: usize,
    kind: Open,
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Span)> },
}

/// A finished value that an alias may repeat.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    documents: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
}

impl Builder {
    fn step(&mut self, event: Event<'_>, span: Span, flaws: &mut Vec<Flaw>) -> Result<(), Flaw> {
        if event.tag().is_some() {
            flaws.push(
                Flaw::new(Code::YamlFeature, span, "YAML tags have no place in a policy")
                    .help("remove the tag; quote a value that should be text"),
            );
        }
        match event {
            Event::DocumentStart(..) if self.documents > 0 => {
                Err(Flaw::new(Code::YamlFeature, span, "a second document; a policy file holds one"))
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                if self.take_key(&scalar, span) {
                    return Ok(());
                }
                self.count(1, span)?;
                self.complete(Node { kind: Kind::Scalar(scalar), span }, 1, 1, anchor, flaws)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Open::List(Vec::new()), anchor, span),
            Event::MappingStart(_, anchor, _) => {
                self.open(Open::Map { entries: Vec::new(), seen: HashSet::new(), key: None }, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(flaws),
            Event::Alias(id) => self.alias(id, span, flaws),
            _ => Ok(()),
        }
    }

    /// Whether the scalar is the next key of the mapping being read.
    fn take_key(&mut self, scalar: &Scalar, span: Span) -> bool {
        match self.stack.last_mut().map(|frame| &mut frame.kind) {
            Some(Open::Map { key: key @ None, .. }) => {
                *key = Some((scalar.text.clone(), span));
                true
            }
            _ => false,
        }
    }

    fn refuse_as_key(&self, span: Span) -> Result<(), Flaw> {
        match self.stack.last().map(|frame| &frame.kind) {
            Some(Open::Map { key: None, .. }) => {
                Err(Flaw::new(Code::YamlFeature, span, "a key must be plain text, not a list, a mapping or an alias"))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, kind: Open, anchor: usize, span: Span) -> Result<(), Flaw> {
        self.refuse_as_key(span)?;
        if self.stack.len() >= POLICY_DEPTH_MAX {
            return Err(too_deep(span));
        }
        let nodes_before = self.nodes;
        self.count(1, span)?;
        self.stack.push(Frame { span, anchor, nodes_before, height: 0, kind });
        Ok(())
    }

    fn close(&mut self, flaws: &mut Vec<Flaw>) -> Result<(), Flaw> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let kind = match frame.kind {
            Open::List(items) => Kind::List(items),
            Open::Map { entries, .. } => Kind::Map(entries),
        };
        let nodes = self.nodes - frame.nodes_before;
        self.complete(Node { kind, span: frame.span }, nodes, frame.height + 1, frame.anchor, flaws)
    }

    fn alias(&mut self, id: usize, span: Span, flaws: &mut Vec<Flaw>) -> Result<(), Flaw> {
        self.refuse_as_key(span)?;
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(Flaw::new(Code::Syntax, span, "an alias inside the value that it repeats"));
        };
        let (nodes, height) = (anchored.nodes, anchored.height);
        if self.stack.len() + height > POLICY_DEPTH_MAX + 1 {
            return Err(too_deep(span));
        }
        self.count(nodes, span)?;
        let node = self.anchors[&id].node.clone();
        self.complete(node, nodes, height, 0, flaws)
    }

    /// Counts before anything is copied, so that a bomb costs no more than the bound.
    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Flaw> {
        self.nodes += nodes;
        if self.nodes > POLICY_NODES_MAX {
            return Err(Flaw::new(
                Code::TooManyNodes,
                span,
                format!("more than {POLICY_NODES_MAX} values, aliases expanded"),
            ));
        }
        Ok(())
    }

    fn complete(
        &mut self,
        node: Node,
        nodes: usize,
        height: usize,
        anchor: usize,
        flaws: &mut Vec<Flaw>,
    ) -> Result<(), Flaw> {
        if anchor != 0 {
            self.count(nodes, node.span)?; // the kept copy
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.kind {
            Open::List(items) => items.push(node),
            Open::Map { entries, seen, key } => {
                let Some((key, key_span)) = key.take() else { return Ok(()) };
                if key == "<<" {
                    let flaw = Flaw::new(Code::YamlFeature, key_span, "merge keys have no place in a policy");
                    flaws.push(flaw.help("write the keys out, or repeat a whole value with an alias"));
                } else if seen.insert(key.clone()) {
                    entries.push(Entry { key, key_span, value: node });
                } else {
                    let first = entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.key_span.line);
                    let message = format!("key \"{key}\" stands twice in one mapping, first on line {first}");
                    flaws.push(Flaw::new(Code::DuplicateKey, key_span, message));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaws(text: &str) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        parse(text, &mut flaws);
        flaws
    }

    fn codes(text: &str) -> Vec<(Code, u32, u32)> {
        flaws(text).iter().map(|flaw| (flaw.code, flaw.span.line, flaw.span.column)).collect()
    }

    #[test]
    fn places_are_lines_and_columns_from_one() {
        let mut flaws = Vec::new();
        let root = parse("a: 1\nlonger:\n  - x y\n  - \"é\": {b: 2}\n", &mut flaws).expect("a tree");
        assert!(flaws.is_empty());
        let Kind::Map(entries) = &root.kind else { panic!("{root:?}") };
        assert_eq!(entries[1].key_span, Span { line: 2, column: 1, width: 6 });
        let Kind::List(items) = &entries[1].value.kind else { panic!("{root:?}") };
        assert_eq!(items[0].span, Span { line: 3, column: 5, width: 3 });
        let Kind::Map(inner) = &items[1].kind else { panic!("{root:?}") };
        assert_eq!(inner[0].key_span, Span { line: 4, column: 5, width: 3 });
    }

    #[test]
    fn duplicates_at_every_depth_and_spelling_are_found_at_once() {
        let text = "a: 1\nb: {c: 1, \"c\": 2}\n'a': 2\na: 3\n";
        assert_eq!(codes(text), [(Code::DuplicateKey, 2, 11), (Code::DuplicateKey, 3, 1), (Code::DuplicateKey, 4, 1)]);
    }

    #[test]
    fn features_that_policies_do_without() {
        assert_eq!(codes("%YAML 1.2\n---\na: 1\n"), [(Code::YamlFeature, 1, 1)]);
        assert_eq!(codes("a: !!str 1\n"), [(Code::YamlFeature, 1, 10)]);
        assert_eq!(codes("x: &x {a: 1}\ny:\n  <<: *x\n"), [(Code::YamlFeature, 3, 3)]);
        assert_eq!(codes("a: 1\n---\nb: 1\n"), [(Code::YamlFeature, 2, 1)]);
        assert_eq!(codes("? [a]\n: 1\n"), [(Code::YamlFeature, 1, 3)]);
        assert_eq!(codes("a: [1\n")[0].0, Code::Syntax);
        assert_eq!(codes("a: *nowhere\n")[0].0, Code::Syntax);
        assert_eq!(codes("a: &a [*a]\n")[0].0, Code::Syntax);
    }

    #[test]
    fn depth_is_bounded_in_flow_block_and_through_aliases() {
        let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(flaws(&flow(POLICY_DEPTH_MAX)).is_empty());
        assert_eq!(codes(&flow(POLICY_DEPTH_MAX + 1))[0].0, Code::TooDeep);
        assert_eq!(codes(&flow(100_000))[0].0, Code::TooDeep);
        let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert_eq!(codes(&block)[0].0, Code::TooDeep);
        let half = POLICY_DEPTH_MAX / 2 + 1;
        let aliased = format!("a: &a {}\nb: {}*a{}\n", flow(half), "[".repeat(half), "]".repeat(half));
        assert_eq!(codes(&aliased)[0].0, Code::TooDeep);
    }

    #[test]
    fn an_alias_bomb_ends_at_the_bound() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..=9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert_eq!(codes(&text)[0].0, Code::TooManyNodes);
        assert!(flaws("a: &a [1, 2]\nb: *a\nc: [*a, *a]\n").is_empty());
    }

    #[test]
    fn one_node_over_the_bound_is_refused() {
        let list = |items: usize| "- \n".repeat(items);
        assert!(flaws(&list(POLICY_NODES_MAX - 1)).is_empty());
        assert_eq!(codes(&list(POLICY_NODES_MAX))[0].0, Code::TooManyNodes);
    }
}
