//! A planted bug, for the suite `planted`: in a build with the feature `weaken` an input with the right words takes over the
//! process that reads it, as a hole in its parser would. Any other build has an empty function here.
//!
//! The words are `isb-planted WHO DEED ARGUMENT;`, anywhere in a line of the client (`relay`) or in the first bytes of a
//! connection (`egress`). The process does the deed with its own rights, says on stderr what the kernel answered, goes on.

#[cfg(feature = "weaken")]
mod deeds;

/// Where a bug is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Where the relay reads a line of the client.
    Relay,
    /// Where the gateway reads what the server says first.
    Egress,
}

/// The bug: nothing, but in a `weaken` build.
#[cfg(not(feature = "weaken"))]
#[inline(always)]
pub const fn bug(_who: Who, _input: &[u8]) {}

/// The bug: an `input` that orders `who` to do something is obeyed.
#[cfg(feature = "weaken")]
pub fn bug(who: Who, input: &[u8]) {
    if let Some((deed, argument)) = order(who, input) {
        deeds::obey(deed, argument);
    }
}

/// Where egress asks the dialer. An intruder would look for it; the bug is told.
#[cfg(not(feature = "weaken"))]
#[inline(always)]
pub const fn dialer_is_at(_fd: std::os::fd::RawFd) {}

/// Where egress asks the dialer. An intruder would look for it; the bug is told.
#[cfg(feature = "weaken")]
pub fn dialer_is_at(fd: std::os::fd::RawFd) {
    deeds::DIALER.store(fd, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(any(test, feature = "weaken"))]
fn order(who: Who, input: &[u8]) -> Option<(&str, &str)> {
    let name = match who {
        Who::Relay => "relay",
        Who::Egress => "egress",
    };
    let words = format!("isb-planted {name} ");
    let start = input.windows(words.len()).position(|window| window == words.as_bytes())? + words.len();
    let rest = &input[start..];
    let end = rest.iter().position(|byte| *byte == b';')?;
    std::str::from_utf8(&rest[..end]).ok()?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_for_one_process_and_whole() {
        let line = br#"{"x":"isb-planted relay read /etc/shadow;"}"#;
        assert_eq!(order(Who::Relay, line), Some(("read", "/etc/shadow")));
        assert_eq!(order(Who::Egress, line), None);
        assert_eq!(order(Who::Relay, b"isb-planted relay read /etc/sha"), None);
    }
}
