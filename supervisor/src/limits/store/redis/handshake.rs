//! What is said on a new connection before the first reservation: who we are, which database, and whether this Redis keeps counts.

use std::os::fd::OwnedFd;

use super::dsn::Dsn;
use super::resp::Reply;
use super::wire::{Wire, WireError, printable};
use super::{Connection, accepted};
use crate::weaken;

/// A connection that is logged in, with its database selected, and what a person should know of that Redis.
///
/// Run it in a process that may know the password; what it returns is good for [`super::Link::connect`].
///
/// # Errors
/// When Redis refuses the login or the database, does not answer by `deadline_ns` (nanoseconds since boot), or is of a kind that
/// loses counts: one that evicts keys when its memory is full, a replica, a node of a cluster.
pub fn handshake(fd: OwnedFd, dsn: &Dsn, deadline_ns: u64) -> Result<(Connection, Vec<String>), String> {
    let mut wire = Wire::new(fd);
    let warnings = greet(&mut wire, dsn, deadline_ns)?;
    Ok((Connection { fd: wire.into_fd(), prefix: dsn.prefix.clone(), place: dsn.to_string() }, warnings))
}

fn greet(wire: &mut Wire, dsn: &Dsn, deadline_ns: u64) -> Result<Vec<String>, String> {
    let refused = |what: &str, error: WireError| format!("{what}: {error}");
    let mut ask = |words: &[&[u8]]| wire.ask(words, deadline_ns).and_then(accepted);
    if let Some(login) = &dsn.login {
        let words: Vec<&[u8]> = match &login.user {
            Some(user) => vec![b"AUTH", user.as_bytes(), &login.password],
            None => vec![b"AUTH", &login.password],
        };
        is_ok(ask(&words)).map_err(|error| refused("login", error))?;
    }
    let db = dsn.db.to_string();
    is_ok(ask(&[b"SELECT", db.as_bytes()])).map_err(|error| refused(&format!("database {db}"), error))?;
    match ask(&[b"INFO"]) {
        Ok(Reply::Bulk(Some(info))) => judge(&String::from_utf8_lossy(&info)),
        // An account without the right to ask can still reserve.
        Err(WireError::Refused(why)) if why.starts_with("NOPERM") => Ok(vec![format!(
            "it does not say whether it evicts keys, is a replica or writes to disk ({why}): see docs/ops.md"
        )]),
        Err(error) => Err(refused("INFO", error)),
        Ok(_) => Err(refused("INFO", WireError::Unexpected)),
    }
}

fn is_ok(reply: Result<Reply, WireError>) -> Result<(), WireError> {
    match reply? {
        Reply::Simple(text) if text == b"OK" => Ok(()),
        _ => Err(WireError::Unexpected),
    }
}

/// What the answer to INFO means for counts.
fn judge(info: &str) -> Result<Vec<String>, String> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end).unwrap_or_default()
    };
    let eviction = field("maxmemory_policy");
    if eviction != "noeviction" && weaken::in_force("redis-eviction") {
        let eviction = printable(eviction.as_bytes());
        return Err(format!(
            "its maxmemory-policy is \"{eviction}\", which may throw counts away: `CONFIG SET maxmemory-policy noeviction`, or use another instance"
        ));
    }
    if field("redis_mode") == "cluster" {
        return Err("it is a node of a cluster, which this build does not follow: use a single instance".to_owned());
    }
    match field("role") {
        "master" => {}
        role => {
            let role = printable(role.as_bytes());
            return Err(format!("its role is \"{role}\", and only the primary can count"));
        }
    }
    let mut warnings = Vec::new();
    if field("aof_enabled") != "1" {
        warnings.push(
            "it writes no append-only file: counts since its last snapshot do not survive its restart".to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(changed: &str, value: &str) -> String {
        let fields = [
            ("redis_mode", "standalone"),
            ("role", "master"),
            ("maxmemory_policy", "noeviction"),
            ("aof_enabled", "1"),
        ];
        let line = |(name, own): (&str, &str)| format!("{name}:{}\r\n", if name == changed { value } else { own });
        format!("# Server\r\nredis_version:7.0.15\r\n{}", fields.map(line).concat())
    }

    #[test]
    fn a_redis_that_evicts_is_refused() {
        assert_eq!(judge(&info("", "")), Ok(vec![]));
        for policy in ["allkeys-lru", "volatile-lru", "volatile-ttl", "allkeys-random", "", "made-up"] {
            let refused = judge(&info("maxmemory_policy", policy)).unwrap_err();
            assert!(refused.contains("maxmemory-policy"), "{policy}: {refused}");
        }
        assert!(judge("").is_err(), "one that says nothing");
    }

    #[test]
    fn replicas_and_clusters_are_refused_and_lost_persistence_is_said() {
        assert!(judge(&info("role", "slave")).unwrap_err().contains("primary"));
        assert!(judge(&info("redis_mode", "cluster")).unwrap_err().contains("cluster"));
        assert!(judge(&info("aof_enabled", "0")).unwrap()[0].contains("append-only"));
    }
}
