//! Progress: each side is told of the requests that it has in flight, and of nothing else.

use std::collections::VecDeque;

use super::gate::Gate;
use crate::bounds::TASK_TOKENS_MAX;
use crate::weaken;
use crate::wire::json::Value;
use crate::wire::jsonrpc::{Request, RequestId};

/// Progress tokens that outlive the answer of their request: it became a task (2025-11-25, basic/utilities/tasks).
#[derive(Debug, Default)]
pub(super) struct TaskTokens(VecDeque<RequestId>);

impl TaskTokens {
    /// Keeps `token`; the oldest makes room.
    pub(super) fn keep(&mut self, token: RequestId) {
        if self.0.len() >= TASK_TOKENS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(token);
    }
}

/// The token under which a request asks to be told of its progress. MCP's tokens are what ids are: integers and strings;
/// under any other nothing is passed on.
pub(super) fn token_of(params: Option<&Value<'_>>) -> Option<RequestId> {
    RequestId::of(params?.member("_meta")?.member("progressToken")?)
}

/// The token that a `notifications/progress` names.
fn told(params: Option<&Value<'_>>) -> Option<RequestId> {
    RequestId::of(params?.member("progressToken")?)
}

impl Gate {
    /// Remembers under which token the client wants to be told of a request that was opened.
    pub(super) fn await_progress(&mut self, request: &Request<'_>, ours: &RequestId) {
        if let Some(entry) = self.asked.get_mut(ours) {
            entry.token = token_of(request.params.as_ref());
        }
    }

    /// Whether the client asked to be told of this: the server works on a request with the token.
    pub(super) fn client_awaits_progress(&self, params: Option<&Value<'_>>) -> bool {
        let Some(token) = told(params) else { return false };
        let mut open = self.asked.pending().filter(|(ours, entry)| {
            entry.token.as_ref() == Some(&token) && !self.is_parked(ours) // what it has not seen it cannot work on
        });
        open.next().is_some() || self.task_tokens.0.contains(&token) || !weaken::in_force("progress-token")
    }

    /// Whether the server asked to be told of this.
    pub(super) fn server_awaits_progress(&self, params: Option<&Value<'_>>) -> bool {
        told(params)
            .is_some_and(|token| self.server_asked.pending().any(|(_, entry)| entry.token.as_ref() == Some(&token)))
    }
}
