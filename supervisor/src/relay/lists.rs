//! tools/list: what the client sees of it, and our own reading of it for the schemas.

use super::answers::Unfit;
use super::gate::{Asked, Gate, Step};
use crate::audit::{AuditError, Effect, Event, Kind, Mcp};
use crate::policy::Visibility;
use crate::wire::json::Value;
use crate::wire::jsonrpc::Outcome;
use crate::wire::{reply, tools};

impl Gate {
    /// The client sees the tools that the policy lists, and nothing else changes. None when nothing does.
    ///
    /// # Errors
    /// When it is no list of tools.
    pub(super) fn filtered_list<'v>(&self, list: &Value<'v>) -> Result<Option<Value<'v>>, Unfit> {
        let mut list = list.clone();
        let seen = |name: &str| self.observe || self.policy.visibility(name) == Visibility::Listed;
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
            Some(Outcome::Result(result)) => tools::read_page(result).ok(),
            Some(Outcome::Error(_)) | None => None,
        };
        let mut event = Event::new(Kind::McpResponse).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "s2c", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        let next = match page {
            Some(page) => self.schemas.page(page, |tool| self.policy.wants_of_schemas(tool)),
            None => {
                self.schemas.failed();
                event = event.with_effect(Effect::Denied).with_reason("bad_tools_list", "the schemas cannot be had");
                None
            }
        };
        step.record(&event)?;
        match next {
            Some(cursor) => self.ask_for_tools(step, Some(cursor)),
            None => Ok(()),
        }
    }

    /// Sends our own tools/list: the first page, or the one at `cursor`.
    pub(super) fn ask_for_tools(&mut self, step: &mut Step<'_, '_>, cursor: Option<String>) -> Result<(), AuditError> {
        let ours = match self.asked.open_own(Asked::OwnToolsList) {
            Ok(ours) => ours,
            Err(error) => {
                tracing::warn!("tools/list: {error}");
                self.schemas.failed();
                return Ok(());
            }
        };
        if cursor.is_none() {
            self.schemas.asked(step.now.boot_ns);
        }
        let params = reply::list_params(self.era, cursor);
        reply::own_request(&ours, "tools/list", params.as_ref(), step.outbox.server());
        step.outbox.server().push(b'\n');
        let mut event = Event::new(Kind::McpRequest).with_effect(Effect::Allowed);
        event.mcp = Some(Mcp { dir: "c2s", method: Some("tools/list"), kind: Some("own"), ..Mcp::default() });
        step.record(&event)
    }
}
