//! Where the shared store is: `redis://[USER:PASSWORD@]HOST[:PORT][/DB][?prefix=NAME]` or `unix:///PATH[?db=DB&prefix=NAME]`.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::bounds::REDIS_PREFIX_BYTES_MAX;

/// Port of Redis by default.
const PORT: u16 = 6379;
/// What every key begins with by default.
const PREFIX: &str = "intercept-sandbox";

/// How to reach the store. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn {
    /// Where it listens.
    pub address: Address,
    /// Who we are to it.
    pub(super) login: Option<Login>,
    /// Number of its database.
    pub(super) db: u32,
    /// What every key begins with.
    pub(super) prefix: String,
}

/// Where Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A socket of this host, absolute.
    Unix(PathBuf),
}

/// Name and password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// Nothing for the default user.
    pub(super) user: Option<String>,
    pub(super) password: Zeroizing<Vec<u8>>,
}

/// Why a text is no address of a store. Never quotes the text: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// Another scheme.
    #[error("it begins neither with redis:// nor with unix://")]
    Scheme,
    /// `rediss://`.
    #[error(
        "TLS to Redis is not built in: let a local tunnel such as stunnel speak TLS, and name its port or socket with redis:// or unix://"
    )]
    Tls,
    /// The host or the port.
    #[error("no host, or a port that is none (1 to 65535)")]
    Host,
    /// The path of a unix socket.
    #[error("the path of the socket is not absolute and plain: unix:///run/redis/redis.sock")]
    Path,
    /// The database.
    #[error("the database is no number from 0 to 65535")]
    Db,
    /// The login.
    #[error(
        "a user without a password, or a wrong %-escape; in user and password write %40 for @, %3A for :, %2F for /, %25 for %"
    )]
    Login,
    /// The part after `?`.
    #[error(
        "after the ? only `prefix=NAME` (and `db=N` for unix://) may stand, each once; NAME is letters, digits, `.`, `_`, `-`, `:`"
    )]
    Query,
}

impl Dsn {
    /// Reads one.
    ///
    /// # Errors
    /// [`DsnError`].
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        if text.chars().any(|letter| letter.is_control() || letter == '#' || letter == ' ') {
            return Err(DsnError::Host);
        }
        if text.starts_with("rediss://") {
            return Err(DsnError::Tls);
        }
        let (body, query) = text.split_once('?').map_or((text, None), |(body, query)| (body, Some(query)));
        let mut dsn = if let Some(rest) = body.strip_prefix("redis://") {
            tcp(rest)?
        } else if let Some(path) = body.strip_prefix("unix://") {
            let path = socket_path(path).ok_or(DsnError::Path)?;
            Self { address: Address::Unix(path), login: None, db: 0, prefix: PREFIX.to_owned() }
        } else {
            return Err(DsnError::Scheme);
        };
        dsn.take_query(query)?;
        Ok(dsn)
    }

    /// Whether it holds a password.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.login.is_some()
    }

    fn take_query(&mut self, query: Option<&str>) -> Result<(), DsnError> {
        let (mut has_db, mut has_prefix) = (!matches!(self.address, Address::Unix(_)), false);
        for part in query.into_iter().flat_map(|query| query.split('&')) {
            match part.split_once('=') {
                Some(("db", value)) if !has_db => {
                    self.db = db(value)?;
                    has_db = true;
                }
                Some(("prefix", value)) if !has_prefix && is_prefix(value) => {
                    value.clone_into(&mut self.prefix);
                    has_prefix = true;
                }
                _ => return Err(DsnError::Query),
            }
        }
        Ok(())
    }
}

/// `[USER:PASSWORD@]HOST[:PORT][/DB]`
fn tcp(rest: &str) -> Result<Dsn, DsnError> {
    let (authority, number) = rest.split_once('/').map_or((rest, None), |(authority, db)| (authority, Some(db)));
    let (login, place) = match authority.rsplit_once('@') {
        Some((login, place)) => (Some(self::login(login)?), place),
        None => (None, authority),
    };
    let (host, port) = host_and_port(place).ok_or(DsnError::Host)?;
    let db = number.filter(|number| !number.is_empty()).map_or(Ok(0), db)?;
    Ok(Dsn { address: Address::Tcp { host, port }, login, db, prefix: PREFIX.to_owned() })
}

fn host_and_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let is_host = !host.is_empty() && host.len() <= 253 && host.bytes().all(plain);
    let port = port.map_or(Some(PORT), |port| digits(port)?.parse().ok().filter(|port| *port != 0))?;
    is_host.then(|| (host.to_owned(), port))
}

fn login(text: &str) -> Result<Login, DsnError> {
    let (user, password) = text.split_once(':').ok_or(DsnError::Login)?;
    let user = String::from_utf8(unescaped(user)?).map_err(|_| DsnError::Login)?;
    let password = Zeroizing::new(unescaped(password)?);
    if password.is_empty() {
        return Err(DsnError::Login);
    }
    Ok(Login { user: Some(user).filter(|user| !user.is_empty()), password })
}

/// %-escapes are undone; `:`, `/` and `@` can stand only escaped.
fn unescaped(text: &str) -> Result<Vec<u8>, DsnError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().ok_or(DsnError::Login)?, digit().ok_or(DsnError::Login)?);
                out.push(u8::try_from(high * 16 + low).map_err(|_| DsnError::Login)?);
            }
            b':' | b'@' => return Err(DsnError::Login),
            other => out.push(other),
        }
    }
    Ok(out)
}

fn socket_path(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let plain = text.starts_with('/') && !text.ends_with('/') && !text.contains("//");
    let here = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    // sun_path has 108 bytes with its final NUL (unix(7)).
    (plain && here && text.len() < 108).then(|| path.to_owned())
}

fn db(text: &str) -> Result<u32, DsnError> {
    digits(text).and_then(|text| text.parse::<u16>().ok()).map(u32::from).ok_or(DsnError::Db)
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

fn is_prefix(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':');
    (1..=REDIS_PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "redis://[{host}]:{port}/{}", self.db)?,
            Address::Tcp { host, port } => write!(f, "redis://{host}:{port}/{}", self.db)?,
            Address::Unix(path) => write!(f, "unix://{}?db={}", path.display(), self.db)?,
        }
        if self.prefix == PREFIX { Ok(()) } else { write!(f, " prefix {}", self.prefix) }
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_password() {
        for (text, shown) in [
            ("redis://redis.internal", "redis://redis.internal:6379/0"),
            ("redis://10.0.0.1:7000/3?prefix=team:a", "redis://10.0.0.1:7000/3 prefix team:a"),
            ("redis://bob:s3cr%40t@[::1]:7000", "redis://[::1]:7000/0"),
            ("redis://:s3cr%40t@localhost/", "redis://localhost:6379/0"),
            ("unix:///run/redis/redis.sock", "unix:///run/redis/redis.sock?db=0"),
            ("unix:///run/r.sock?db=2&prefix=x", "unix:///run/r.sock?db=2 prefix x"),
        ] {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!(dsn.to_string(), shown, "{text}");
            assert!(!format!("{dsn} {dsn:?}").contains("s3cr"), "{text}");
        }
        let login = Dsn::parse("redis://bob:s3cr%40t%3A@h").unwrap().login.unwrap();
        assert_eq!((login.user.as_deref(), login.password.as_slice()), (Some("bob"), b"s3cr@t:".as_slice()));
        assert_eq!(Dsn::parse("redis://:p@h").unwrap().login.unwrap().user, None);
    }

    #[test]
    fn what_is_not_exactly_one_is_refused() {
        for (text, error) in [
            ("", DsnError::Scheme),
            ("localhost:6379", DsnError::Scheme),
            ("http://localhost", DsnError::Scheme),
            ("rediss://localhost", DsnError::Tls),
            ("redis://", DsnError::Host),
            ("redis://h:0", DsnError::Host),
            ("redis://h:65536", DsnError::Host),
            ("redis://h:+1", DsnError::Host),
            ("redis://h:1:2", DsnError::Host),
            ("redis://[::1", DsnError::Host),
            ("redis://[h]", DsnError::Host),
            ("redis://h\n", DsnError::Host),
            ("redis://h/x", DsnError::Db),
            ("redis://h/-1", DsnError::Db),
            ("redis://h/1/2", DsnError::Db),
            ("redis://bob@h", DsnError::Login),
            ("redis://bob:@h", DsnError::Login),
            ("redis://bob:a%4@h", DsnError::Login),
            ("redis://bob:a%zz@h", DsnError::Login),
            ("redis://bob:a@b@h", DsnError::Login),
            ("redis://h?db=1", DsnError::Query),
            ("redis://h?prefix=", DsnError::Query),
            ("redis://h?prefix=a*b", DsnError::Query),
            ("redis://h?prefix=a&prefix=b", DsnError::Query),
            ("redis://h?timeout=1", DsnError::Query),
            ("unix://relative.sock", DsnError::Path),
            ("unix:///a/../b", DsnError::Path),
            ("unix:///run/redis/", DsnError::Path),
            ("unix:///run/r.sock?db=x", DsnError::Db),
        ] {
            assert_eq!(Dsn::parse(text), Err(error), "{text}");
        }
    }
}
