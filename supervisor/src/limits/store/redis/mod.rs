//! Counts in Redis, where several machines share one quota.
//!
//! A reservation is one Lua script: Redis runs it alone, so reservations of all machines stand in one order, and by Redis' own clock,
//! so that the machines' clocks have no say. The clock never goes back: the last instant seen is kept beside the counters. A counter is
//! the same exact log as in [`super::SqliteStore`]; amounts are decimal strings there, for a Lua number is a double.
//!
//! A command whose answer does not come may have been charged. It is never sent again: the call is denied, and charged at worst.
//!
//! The connection is made by another process ([`Link`]) and comes here ready: this one may not open a socket, and knows no password.

mod dsn;
mod handshake;
mod request;
mod resp;
mod source;
#[cfg(test)]
mod tests;
mod wire;

use std::os::fd::OwnedFd;

pub use dsn::{Address, Dsn, DsnError};
pub use handshake::handshake;
pub use source::{Source, SourceError};

use super::super::{Claim, Reservation, Store, StoreError};
use crate::bounds::{LIMIT_STORE_WAIT_MS, REDIS_RETRY_MAX_MS, REDIS_RETRY_MIN_MS};
use crate::clock::{self, Now};
use request::Request;
use resp::Reply;
use wire::{Wire, WireError, printable};

/// The script: the line that reads the clock, then everything else. The tests put another first line before the same rest.
const SCRIPT: &str = concat!(include_str!("clock.lua"), include_str!("reserve.lua"));

/// Where new connections come from.
pub trait Link {
    /// A new connection, at the latest at `deadline_ns` (nanoseconds since boot).
    ///
    /// # Errors
    /// Why there is none, for a person.
    fn connect(&mut self, deadline_ns: u64) -> Result<Connection, String>;
}

/// A connection that is logged in and has its database selected.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub fd: OwnedFd,
    /// What every key begins with.
    pub prefix: String,
    /// The store, for people; without its password.
    pub place: String,
}

/// Counts in Redis. Time is Redis' own: the `now` of [`Store::reserve`] is not used.
pub struct RedisStore {
    /// The store as it was last reached, for messages.
    place: String,
    link: Box<dyn Link>,
    session: Option<Session>,
    outage: Option<Outage>,
    script: &'static str,
}

/// A connection on which Redis knows the script.
struct Session {
    wire: Wire,
    prefix: String,
    digest: Vec<u8>,
}

/// Since when no connection could be had. Asking costs up to [`LIMIT_STORE_WAIT_MS`], so it is done ever more rarely.
struct Outage {
    what: String,
    pause_ms: u64,
    retry_ns: u64,
}

impl RedisStore {
    /// The store that `link` reaches; nothing is sent before the first reservation.
    #[must_use]
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { place: "shared".to_owned(), link, session: None, outage: None, script: SCRIPT }
    }

    /// The connection that there is, else a new one. One that was closed while nobody used it has cost nothing: nothing was sent.
    fn session(&mut self, deadline_ns: u64) -> Result<Session, String> {
        if let Some(session) = self.session.take().filter(|session| session.wire.is_quiet()) {
            return Ok(session);
        }
        let now_ns = clock::now().boot_ns;
        if let Some(outage) = self.outage.as_ref().filter(|outage| now_ns < outage.retry_ns) {
            return Err(outage.what.clone());
        }
        let made = self.link.connect(deadline_ns).and_then(|Connection { fd, prefix, place }| {
            self.place = place;
            let mut wire = Wire::new(fd);
            let digest = load(&mut wire, self.script, deadline_ns).map_err(|error| error.to_string())?;
            Ok(Session { wire, prefix, digest })
        });
        self.outage = match &made {
            Ok(_) => None,
            Err(what) => {
                let pause_ms = self.outage.as_ref().map_or(REDIS_RETRY_MIN_MS, |outage| outage.pause_ms * 2);
                let pause_ms = pause_ms.min(REDIS_RETRY_MAX_MS);
                let retry_ns = clock::now().boot_ns.saturating_add(pause_ms * 1_000_000);
                Some(Outage { what: what.clone(), pause_ms, retry_ns })
            }
        };
        made
    }

    fn try_reserve(&mut self, claims: &[Claim]) -> Result<Reservation, String> {
        let deadline_ns = clock::now().boot_ns.saturating_add(LIMIT_STORE_WAIT_MS * 1_000_000);
        let mut session = self.session(deadline_ns)?;
        let request = Request::of(claims, &session.prefix)?;
        // On any failure the connection is dropped here: what it says later belongs to no question.
        let reply = session.run(self.script, &request, deadline_ns).map_err(|error| error.to_string())?;
        let answer = request.read(reply, claims).ok_or_else(|| WireError::Unexpected.to_string())?;
        self.session = Some(session);
        Ok(answer)
    }
}

impl Store for RedisStore {
    fn reserve(&mut self, _: Now, claims: &[Claim]) -> Result<Reservation, StoreError> {
        if claims.is_empty() {
            return Ok(Reservation::Granted { used: Vec::new() });
        }
        self.try_reserve(claims).map_err(|what| StoreError::Database { path: self.place.clone(), what })
    }
}

impl Session {
    fn run(&mut self, script: &str, request: &Request, deadline_ns: u64) -> Result<Reply, WireError> {
        match self.wire.ask(&request.words(b"EVALSHA", &self.digest), deadline_ns)? {
            // By its own word it ran nothing: somebody emptied the cache of scripts, or Redis was started anew behind a proxy.
            Reply::Error(text) if text.starts_with(b"NOSCRIPT ") => {
                accepted(self.wire.ask(&request.words(b"EVAL", script.as_bytes()), deadline_ns)?)
            }
            reply => accepted(reply),
        }
    }
}

/// Gives Redis the script; returns the name it has there.
fn load(wire: &mut Wire, script: &str, deadline_ns: u64) -> Result<Vec<u8>, WireError> {
    match accepted(wire.ask(&[b"SCRIPT", b"LOAD", script.as_bytes()], deadline_ns)?)? {
        Reply::Bulk(Some(digest)) if digest.len() == 40 && digest.iter().all(u8::is_ascii_hexdigit) => Ok(digest),
        _ => Err(WireError::Unexpected),
    }
}

fn accepted(reply: Reply) -> Result<Reply, WireError> {
    match reply {
        Reply::Error(text) => Err(WireError::Refused(printable(&text))),
        reply => Ok(reply),
    }
}
