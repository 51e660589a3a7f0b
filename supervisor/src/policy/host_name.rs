//! Hosts that an argument names: `host_in`.
//!
//! The server will read the argument with a parser that is not ours. So a text that two URL parsers could take for different
//! hosts has no host here, and what has no host cannot be judged. See the WHATWG URL standard, section 4.4, and RFC 3986,
//! section 3.2, for the readings that differ: backslashes, missing or surplus slashes, user names, tabs and line breaks that
//! are dropped, percent signs, numbers that are addresses, an authority that `?` or `#` ends.

use std::net::Ipv4Addr;

use crate::weaken::in_force;

/// Longest DNS name as text, bytes (RFC 1035, 2.3.4, less root and length octets).
const NAME_BYTES_MAX: usize = 253;
/// Longest label, bytes (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Names that URL parsers take for a scheme, so that `https:443` is an address to them (WHATWG URL, special schemes).
const SCHEMES: [&str; 6] = ["http", "https", "ws", "wss", "ftp", "file"];

/// One entry of a `host_in` list: `api.example.com`, `*.example.com`, or `192.0.2.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// The name, lower case; without `*.`.
    name: String,
    /// The names below it, one label or more, and not the name itself.
    below: bool,
}

impl HostPattern {
    /// Takes a checked lower-case name; the names below it where it begins with `*.`.
    pub(super) fn new(text: &str) -> Self {
        match text.strip_prefix("*.") {
            Some(name) => Self { name: name.to_owned(), below: true },
            None => Self { name: text.to_owned(), below: false },
        }
    }

    /// Whether it takes in `host`, whatever the case of its letters.
    #[must_use]
    fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host.eq_ignore_ascii_case(&self.name);
        }
        let Some((rest, tail)) = host.len().checked_sub(self.name.len()).and_then(|at| host.split_at_checked(at))
        else {
            return false;
        };
        // Without the dot, evilexample.com would be below example.com.
        let boundary = rest.len() > 1 && rest.ends_with('.') || !in_force("policy-host-boundary");
        boundary && tail.eq_ignore_ascii_case(&self.name)
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

/// Whether the host that `text` names is in the list; none where `text` has no host that every reader agrees on, or an
/// address that the list does not hold.
#[must_use]
pub(super) fn listed(patterns: &[HostPattern], text: &str) -> Option<bool> {
    let host = host_of(text)?;
    let listed = patterns.iter().any(|pattern| pattern.matches(host));
    (listed || !is_numeric(host)).then_some(listed)
}

/// The host of an absolute http or https URL, or of a bare name with an optional port.
fn host_of(text: &str) -> Option<&str> {
    // Space, controls and everything beyond ASCII: dropped, escaped or mapped to other letters by some parsers.
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return None;
    }
    let authority = match text.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            authority_of(rest)?
        }
        Some(_) => return None,
        None => text,
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let bare_scheme = port.is_some() && SCHEMES.iter().any(|scheme| host.eq_ignore_ascii_case(scheme));
    (is_name(host) && port.is_none_or(is_port) && !bare_scheme).then_some(host)
}

/// What stands between the slashes and the path.
fn authority_of(rest: &str) -> Option<&str> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // Some readers end the authority at a slash alone: http://listed.example#@other.example
    let other_reading = !rest.starts_with('/') && rest.contains('@');
    (!other_reading).then_some(authority)
}

/// A DNS name in either case, without a final dot.
fn is_name(host: &str) -> bool {
    host.len() <= NAME_BYTES_MAX
        && host.split('.').all(|label| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// Digits of a port, the way it is written.
fn is_port(text: &str) -> bool {
    text.len() <= 5
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !text.starts_with('0')
        && text.parse::<u16>().is_ok()
}

/// Whether URL parsers take the host for an address: its last label is a number, decimal or hexadecimal
/// (WHATWG URL, "ends in a number").
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hex.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether `text` is an IPv4 address in the one form that every parser reads alike.
pub(super) fn is_plain_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok_and(|address| address.to_string() == text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const READ_DIFFERENTLY: &[&str] = &[
        "",
        "http://",
        "https:///api.example.com",
        "https:/api.example.com",
        "https:api.example.com",
        "https:443",
        "HTTP:80",
        "//api.example.com",
        "/api.example.com",
        "http:\\\\api.example.com",
        "http://api.example.com@evil.com",
        "http://evil.com@api.example.com",
        "http://api.example.com:80@evil.com/",
        "http://a:b@api.example.com/",
        "http://api.example.com\\@evil.com",
        "http://evil.com\\@api.example.com",
        "http://api.example.com/\\evil.com",
        "http://api.example.com#@evil.com/",
        "http://api.example.com?@evil.com/",
        "http://api.example.com%2eevil.com",
        "http://api%2eexample.com",
        "http://api.example.com%00.evil.com",
        "http://api.example.com\u{0}.evil.com",
        "http://api.example.com\t.evil.com",
        "http://api.example.com\n/",
        " http://api.example.com",
        "http://api.example.com ",
        "http://api.example.com/a b",
        "http://api.example.com\u{3002}evil.com",
        "http://\u{ff41}pi.example.com",
        "http://api\u{2024}example.com",
        "http://api.examp\u{212a}e.com",
        "http://api.example.com.",
        "http://api..example.com",
        "http://.api.example.com",
        "http://api.example.com:",
        "http://api.example.com:0",
        "http://api.example.com:080",
        "http://api.example.com:65536",
        "http://api.example.com:+80",
        "http://api.example.com:80:80",
        "http://api.example.com:80,evil.com",
        "http://api.example.com,evil.com",
        "http://api.example.com;evil.com",
        "http://api.example.com&evil.com",
        "http://[::1]/",
        "http://[::ffff:192.0.2.1]/",
        "::1",
        "ftp://api.example.com",
        "file://api.example.com/etc/passwd",
        "javascript://api.example.com/%0aalert(1)",
        "x-http://api.example.com",
        "http://http://api.example.com",
        "api.example.com/x",
        "-api.example.com",
        "http://127.0.0.1/",
        "http://192.0.2.2",
        "http://192.0.2.01",
        "http://0xc0.0.2.1",
        "http://3221225985",
        "http://0x7f.1",
        "http://127.1",
        "http://api.example.0x1",
    ];

    fn judged(text: &str) -> Option<bool> {
        let patterns = ["api.example.com", "*.cdn.example", "192.0.2.1", "localhost"].map(HostPattern::new);
        listed(&patterns, text)
    }

    #[test]
    fn listed_hosts_are_found_in_urls_and_bare_names() {
        for text in [
            "https://api.example.com",
            "http://api.example.com/",
            "HTTPS://API.Example.COM:8443/v1?x=1#y",
            "https://api.example.com?q=1",
            "https://api.example.com#top",
            "https://api.example.com/@user/a%20b",
            "api.example.com",
            "API.example.com:443",
            "https://a.cdn.example/x",
            "a.b.cdn.example",
            "http://192.0.2.1:8080/",
            "localhost:65535",
        ] {
            assert_eq!(judged(text), Some(true), "{text}");
        }
    }

    #[test]
    fn a_wildcard_takes_whole_labels_and_never_the_bare_name() {
        for text in
            ["cdn.example", "evilcdn.example", "https://xcdn.example/", "cdn.example.evil.com", "a.cdn.example.com"]
        {
            assert_eq!(judged(text), Some(false), "{text}");
        }
    }

    #[test]
    fn other_hosts_are_judged_not_listed() {
        for text in [
            "https://evil.com",
            "https://api.example.com.evil.com/",
            "https://evil.com/api.example.com",
            "https://evil.com?https://api.example.com",
            "https://evil.com#api.example.com",
            "evil.com:443",
            "https://apiexample.com",
            "https://xapi.example.com",
        ] {
            assert_eq!(judged(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_two_parsers_read_differently_is_not_judged() {
        for text in READ_DIFFERENTLY {
            assert_eq!(judged(text), None, "{text:?}");
        }
        assert_eq!(judged(&format!("http://{}.example", "a".repeat(64))), None);
        assert_eq!(judged(&format!("http://{}cdn.example", "a.".repeat(130))), None);
    }

    proptest! {
        #[test]
        fn only_a_listed_name_between_slashes_or_alone_is_listed(
            before in "[ -~\\t\\n]{0,6}", after in "[ -~\\t\\n]{0,12}", scheme in prop::sample::select(vec!["", "http://", "https://"]),
        ) {
            let text = format!("{scheme}{before}api.example.com{after}");
            if judged(&text) == Some(true) {
                let bare = text.to_ascii_lowercase();
                let bare = bare.strip_prefix("http://").or(bare.strip_prefix("https://")).unwrap_or(&bare);
                let host = bare.split(['/', '?', '#', ':']).next().unwrap_or_default();
                prop_assert!(host == "api.example.com" || host == "localhost" || host.ends_with(".cdn.example"), "{}", text);
            }
        }

        #[test]
        fn every_name_of_the_gateways_hosts_is_a_host_here(name in "[a-z0-9_.-]{1,20}") {
            if crate::policy::load::host_fault(&name).is_none() {
                prop_assert_eq!(host_of(&name), Some(name.as_str()));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
            let _ = judged(&text);
        }
    }
}
