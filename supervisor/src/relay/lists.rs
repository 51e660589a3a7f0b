//! tools/list: what the client sees of it, and our own reading of it for the schemas.

use super::answers::Unfit;
use super::gate::{Asked, Gate, Step};
use super::schemas::Listing;
use crate::audit::{AuditError, Effect, Event, Kind, Mcp};
use crate::policy::Visibility;
use crate::wire::json::{Number, Value};
use crate::wire::jsonrpc::Outcome;
use crate::wire::reply;
use crate::wire::tools::{self, Page};

impl Gate {
    /// The client sees the tools that the policy lists, as they are pinned, and nothing else changes. None when nothing does.
    ///
    /// # Errors
    /// When it is no list of tools.
    pub(super) fn filtered_list<'v>(&mut self, list: &Value<'v>) -> Result<Option<Value<'v>>, Unfit> {
        let mut list = list.clone();
        let Self { policy, pins, observe, .. } = self;
        let seen = |name: &str, entry: &Value<'_>| {
            *observe || (policy.visibility(name) == Visibility::Listed && pins.shows(name, entry))
        };
        let dropped = tools::filter(&mut list, seen).map_err(|error| ("bad_tools_list", error.to_string()))?;
        Ok((dropped > 0).then_some(list))
    }

    /// The answer to our own tools/list; none when it could not be read.
    pub(super) fn own_answer(
        &mut self,
        step: &mut Step<'_, '_>,
        outcome: Option<&Outcome<'_>>,
    ) -> Result<(), AuditError> {
        let page = match outcome {
            Some(Outcome::Result(result)) => tools::read_page(result).ok().filter(|_| self.pins.page(result)),
            // A server without tools.
            Some(Outcome::Error(error)) if error.member("code").is_some_and(is_method_not_found) => {
                Some(Page { tools: Vec::new(), next_cursor: None })
            }
            Some(Outcome::Error(_)) | None => None,
        };
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "s2c", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        let mut next = match page {
            Some(page) => self.schemas.page(page, |tool| self.policy.wants_of_schemas(tool)),
            None => {
                self.schemas.failed();
                event = event.with_effect(Effect::Denied).with_reason("bad_tools_list", "the schemas cannot be had");
                None
            }
        };
        self.list_pace.charge(self.schemas.take_work().saturating_add(step.line.len() as u64), step.now.boot_ns);
        if next.is_some() && !self.list_pace.has_page(step.now.boot_ns) {
            self.schemas.failed();
            next = None;
            event = event.with_effect(Effect::Denied).with_reason("bad_tools_list", "reading it takes too much work");
        }
        match self.schemas.listing() {
            Listing::Known => self.pins.known(&self.policy, self.observe),
            Listing::Unavailable if !self.schemas.is_listing() => self.pins.failed(),
            Listing::Pending | Listing::Unavailable => {}
        }
        self.woken = true;
        step.record(&event)?;
        match next {
            Some(cursor) => self.ask_for_tools(step, Some(cursor)),
            None => Ok(()),
        }
    }

    /// Sends our own tools/list: the first page, or the one at `cursor`.
    pub(super) fn ask_for_tools(&mut self, step: &mut Step<'_, '_>, cursor: Option<String>) -> Result<(), AuditError> {
        if cursor.is_none() {
            self.forget_own_questions(); // pages of the list before say nothing of this one
            if self.puts_list_off(step.now) {
                return Ok(());
            }
        }
        let ours = match self.asked.open_own(Asked::OwnToolsList) {
            Ok(ours) => ours,
            Err(error) => {
                tracing::warn!("tools/list: {error}");
                self.schemas.failed();
                self.pins.failed();
                self.woken = true;
                return Ok(());
            }
        };
        if cursor.is_none() {
            self.schemas.asked(step.now.boot_ns);
            self.pins.asked();
        }
        let params = reply::list_params(self.era, cursor);
        reply::own_request(&ours, "tools/list", params.as_ref(), step.outbox.server());
        step.outbox.server().push(b'\n');
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "c2s", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        step.record(&event)
    }
}

fn is_method_not_found(code: &Value<'_>) -> bool {
    matches!(code, Value::Number(number) if Number::as_integer(number) == Some(i64::from(reply::METHOD_NOT_FOUND)))
}
