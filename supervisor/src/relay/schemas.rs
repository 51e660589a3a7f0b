//! What the server advertises, asked by ourselves: calls are checked against this, never against what a client claims.

use std::collections::HashMap;
use std::sync::Arc;

use super::compiled::Compiled;
use crate::bounds::{SCHEMA_BYTES_MAX, SCHEMA_PAGES_MAX, SCHEMA_WAIT_MS};
use crate::policy::Validate;
use crate::report::printable;
use crate::wire::advertised::Advertised;
use crate::wire::json::Value;
use crate::wire::schema::{Schema, Unjudgeable};
use crate::wire::tools::{ListedTool, Page};

/// What is known of the server's tools.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    state: State,
    tools: HashMap<String, Advertised>,
    /// Kept when the list is read again, for it seldom changes.
    compiled: Compiled,
    pages: usize,
    /// Bytes of the names and schemas that are kept.
    bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not asked yet; a call that comes first waits as long as for an answer.
    #[default]
    NotAsked,
    /// Asked, or a call waits for the asking.
    Waiting {
        /// Nanoseconds since boot.
        deadline_ns: u64,
    },
    /// The time is over; what still comes counts.
    Late,
    /// All pages are here.
    Known,
    /// They could not be had.
    Failed,
}

/// How far our own reading of tools/list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// It may still come.
    Pending,
    /// It did not come in time, or not at all.
    Unavailable,
    /// It is here, whole.
    Known,
}

/// What a call may know of its tool's schema.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    /// Not here yet.
    Pending,
    /// Not to be had.
    Unavailable,
    /// Here.
    Known(&'a Advertised),
}

impl Schemas {
    /// A fresh tools/list was sent: what was known no longer counts.
    pub(super) fn asked(&mut self, now_ns: u64) {
        self.compiled.next_list();
        self.forget();
        // A list that changes all the time puts nobody's end of waiting off.
        self.wait_from(now_ns);
    }

    /// A fresh tools/list should be sent, and has to wait: what was known no longer counts either. Calls wait as for its answer, and
    /// no longer where one was late already.
    pub(super) fn put_off(&mut self, now_ns: u64) {
        self.forget();
        if self.state != State::Late {
            self.wait_from(now_ns);
        }
    }

    fn forget(&mut self) {
        self.tools.clear();
        self.pages = 0;
        self.bytes = 0;
    }

    /// The work of compiling since the last time, in steps of reading a byte.
    pub(super) fn take_work(&mut self) -> u64 {
        self.compiled.take_work()
    }

    /// How many schemas were compiled.
    #[cfg(test)]
    pub(super) fn compiled(&self) -> usize {
        self.compiled.count
    }

    fn wait_from(&mut self, now_ns: u64) {
        if !matches!(self.state, State::Waiting { .. }) {
            self.state = State::Waiting { deadline_ns: deadline(now_ns) };
        }
    }

    /// Nobody has asked yet.
    pub(super) fn not_asked(&self) -> bool {
        self.state == State::NotAsked
    }

    /// The answer, or its last page, is still to come, in time or late.
    pub(super) fn is_listing(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Late)
    }

    /// The answer may still come in time.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// How far it is.
    pub(super) fn listing(&self) -> Listing {
        match self.state {
            State::NotAsked | State::Waiting { .. } => Listing::Pending,
            State::Late | State::Failed => Listing::Unavailable,
            State::Known => Listing::Known,
        }
    }

    /// Time is over: calls that wait are refused. An answer that comes all the same counts for later ones.
    pub(super) fn late(&mut self) {
        self.state = State::Late;
    }

    /// A call waits; starts the clock if none runs.
    pub(super) fn wait(&mut self, now_ns: u64) {
        if self.state == State::NotAsked {
            self.state = State::Waiting { deadline_ns: deadline(now_ns) };
        }
    }

    /// Takes in a page: of each tool what is `wanted`, as much as [`SCHEMA_BYTES_MAX`]. The cursor of the next one to ask
    /// for, if there is one.
    pub(super) fn page(&mut self, page: Page<'_>, wanted: impl Fn(&str) -> Validate) -> Option<String> {
        if !self.is_listing() {
            return None; // never asked for, or failed before
        }
        for tool in page.tools {
            let wanted = wanted(&tool.name);
            if wanted.asks() && self.bytes <= SCHEMA_BYTES_MAX {
                self.keep(tool, wanted);
            }
        }
        self.pages += 1;
        match page.next_cursor {
            _ if self.bytes > SCHEMA_BYTES_MAX => {
                self.failed();
                None
            }
            Some(cursor) if self.pages < SCHEMA_PAGES_MAX => Some(cursor),
            Some(_) => {
                self.failed();
                None
            }
            None => {
                self.state = State::Known;
                None
            }
        }
    }

    fn keep(&mut self, tool: ListedTool<'_>, wanted: Validate) {
        let mut kept = Advertised::names(tool.schema);
        if wanted.schema {
            kept.input = self.read(&tool.name, tool.definition.member("inputSchema"), "inputSchema");
        }
        if wanted.output {
            kept.output = self.read(&tool.name, tool.definition.member("outputSchema"), "outputSchema");
        }
        self.bytes += tool.name.len() + kept.bytes();
        self.tools.insert(tool.name, kept);
    }

    /// One schema of a tool. People are told once why calls of it will be refused.
    fn read(&mut self, tool: &str, schema: Option<&Value<'_>>, which: &str) -> Result<Arc<Schema>, Unjudgeable> {
        let (schema, was_known) = self.compiled.get(schema);
        if let (Err(why), false) = (&schema, was_known) {
            tracing::warn!("the {which} of the tool {} cannot be judged: {why}", printable(tool));
        }
        schema
    }

    /// They cannot be had: calls that need them are refused.
    pub(super) fn failed(&mut self) {
        self.state = State::Failed;
        self.tools.clear();
    }

    /// What is known of `tool`.
    pub(super) fn lookup(&self, tool: &str) -> Lookup<'_> {
        match self.state {
            State::NotAsked | State::Waiting { .. } => Lookup::Pending,
            State::Late | State::Failed => Lookup::Unavailable,
            State::Known => match self.tools.get(tool) {
                Some(tool) => Lookup::Known(tool),
                None => Lookup::Unavailable,
            },
        }
    }

    /// Whether a call need not wait any longer.
    pub(super) fn settled(&self) -> bool {
        matches!(self.state, State::Late | State::Known | State::Failed)
    }

    /// When waiting ends, nanoseconds since boot.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        match self.state {
            State::Waiting { deadline_ns } => Some(deadline_ns),
            State::NotAsked | State::Late | State::Known | State::Failed => None,
        }
    }
}

fn deadline(now_ns: u64) -> u64 {
    now_ns.saturating_add(SCHEMA_WAIT_MS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;
    use crate::wire::tools::{self, InputSchema};

    const NAMES: Validate = Validate { required_args: true, ..Validate::NOTHING };

    fn page(name: &str, next: Option<&str>) -> Page<'static> {
        const DEFINITION: &Value<'static> = &Value::Null;
        let schema = Some(InputSchema { required: vec!["prompt".into()], properties: vec!["prompt".into()] });
        let tool = ListedTool { name: name.into(), schema, definition: DEFINITION };
        Page { tools: vec![tool], next_cursor: next.map(str::to_owned) }
    }

    fn required(lookup: &Lookup<'_>) -> Option<Vec<String>> {
        match lookup {
            Lookup::Known(tool) => tool.names.as_ref().map(|names| names.required.clone()),
            Lookup::Pending | Lookup::Unavailable => None,
        }
    }

    #[test]
    fn schemas_are_known_after_the_last_page() {
        let mut schemas = Schemas::default();
        assert!(matches!(schemas.lookup("a"), Lookup::Pending));
        schemas.asked(1);
        assert_eq!(schemas.page(page("a", Some("n")), |_| NAMES), Some("n".into()));
        assert!(matches!(schemas.lookup("a"), Lookup::Pending), "more pages are to come");
        assert_eq!(schemas.page(page("b", None), |_| NAMES), None);
        assert_eq!(required(&schemas.lookup("a")), Some(vec!["prompt".to_owned()]));
        assert!(matches!(schemas.lookup("c"), Lookup::Unavailable), "a tool that the server does not list");
        schemas.asked(2);
        assert!(matches!(schemas.lookup("a"), Lookup::Pending), "a list that changed is read again");
    }

    #[test]
    fn waiting_ends() {
        let mut schemas = Schemas::default();
        assert_eq!(schemas.deadline_ns(), None);
        schemas.wait(7);
        assert_eq!(schemas.deadline_ns(), Some(7 + SCHEMA_WAIT_MS * 1_000_000));
        schemas.wait(1_000_000_000);
        assert_eq!(schemas.deadline_ns(), Some(7 + SCHEMA_WAIT_MS * 1_000_000), "a second call gets no new clock");
        schemas.failed();
        assert!(schemas.settled());
        assert!(matches!(schemas.lookup("a"), Lookup::Unavailable));
    }

    #[test]
    fn endless_pages_end() {
        let mut schemas = Schemas::default();
        schemas.asked(1);
        for _ in 1..SCHEMA_PAGES_MAX {
            assert!(schemas.page(page("a", Some("n")), |_| NAMES).is_some());
        }
        assert_eq!(schemas.page(page("a", Some("n")), |_| NAMES), None);
        assert!(matches!(schemas.lookup("a"), Lookup::Unavailable));
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_not_without_bound() {
        let mut schemas = Schemas::default();
        schemas.asked(1);
        assert_eq!(schemas.page(page("unwanted", None), |_| Validate::NOTHING), None);
        assert!(matches!(schemas.lookup("unwanted"), Lookup::Unavailable));
        schemas.asked(2);
        let huge = "x".repeat(SCHEMA_BYTES_MAX + 1);
        assert_eq!(schemas.page(page(&huge, Some("n")), |_| NAMES), None, "no further page is asked for");
        assert!(matches!(schemas.lookup(&huge), Lookup::Unavailable));
    }

    #[test]
    fn whole_schemas_are_kept_where_a_rule_wants_them() {
        let text = br#"{"tools":[
            {"name":"a","inputSchema":{"type":"object"},"outputSchema":{"type":"array"}},
            {"name":"b","inputSchema":{"$ref":"https://a.b/c"}}]}"#;
        let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\n').collect();
        let list = parse(&text).unwrap();
        let wants = |input, output| Validate { schema: input, output, ..Validate::NOTHING };
        let kept = |schemas: &Schemas, tool: &str| match schemas.lookup(tool) {
            Lookup::Known(tool) => (tool.input.as_ref().err().cloned(), tool.output.as_ref().err().cloned()),
            other => panic!("{other:?}"),
        };
        let mut schemas = Schemas::default();
        schemas.asked(1);
        schemas.page(tools::read_page(&list).unwrap(), |_| wants(true, true));
        assert_eq!(kept(&schemas, "a"), (None, None));
        assert_eq!(kept(&schemas, "b"), (Some(Unjudgeable::Reference), Some(Unjudgeable::Absent)));
        schemas.asked(2);
        schemas.page(tools::read_page(&list).unwrap(), |_| wants(false, true));
        assert_eq!(kept(&schemas, "a"), (Some(Unjudgeable::Absent), None), "what no rule wants is not kept");
    }
}
