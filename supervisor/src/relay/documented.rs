//! Every code that a session can write stands in docs/errors.md. The sources themselves are read, so that no list of codes
//! can be forgotten.

use std::collections::BTreeSet;

use super::messages::EndCause;
use crate::policy::DenialCode;

const ERRORS: &str = include_str!("../../../docs/errors.md");
const RELAY: [&str; 17] = [
    include_str!("answers.rs"),
    include_str!("call_clock.rs"),
    include_str!("ceilings.rs"),
    include_str!("server_asks.rs"),
    include_str!("lists.rs"),
    include_str!("calls.rs"),
    include_str!("denials.rs"),
    include_str!("desk.rs"),
    include_str!("egress_desk.rs"),
    include_str!("gate.rs"),
    include_str!("method_policy.rs"),
    include_str!("notifications.rs"),
    include_str!("overlong.rs"),
    include_str!("person.rs"),
    include_str!("pump.rs"),
    include_str!("ruling.rs"),
    include_str!("swap.rs"),
];
const WIRE: [&str; 2] = [include_str!("../wire/json/reject.rs"), include_str!("../wire/jsonrpc.rs")];
/// What looks like a code in these sources and is none: whose events were lost.
const NO_CODES: [&str; 1] = ["server_noise"];

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// The words in quotes of a source without its tests, each with what stands before it.
fn words(source: &str) -> impl Iterator<Item = (&str, &str)> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| {
        let quotes: Vec<usize> = line.match_indices('"').map(|(at, _)| at).collect();
        let pairs: Vec<_> = quotes.windows(2).map(|pair| (&line[..pair[0]], &line[pair[0] + 1..pair[1]])).collect();
        pairs.into_iter().filter(|(_, word)| is_word(word))
    })
}

fn written() -> BTreeSet<&'static str> {
    let mut codes: BTreeSet<&str> = DenialCode::ALL.map(DenialCode::as_str).into();
    codes.extend(EndCause::ALL.map(EndCause::code));
    for source in RELAY {
        let is_code = |(before, word): &(&str, &str)| {
            word.contains('_') || ["with_reason(", "unasked(", "record_end("].iter().any(|call| before.contains(call))
        };
        codes.extend(words(source).filter(is_code).map(|(_, word)| word));
    }
    for source in WIRE {
        codes.extend(words(source).filter(|(before, _)| before.ends_with(" => ")).map(|(_, word)| word));
    }
    for none in NO_CODES {
        assert!(codes.remove(none), "{none} is not written any more");
    }
    codes
}

#[test]
fn every_code_of_a_session_is_documented() {
    let codes = written();
    for known in ["duplicate_key", "batch", "bad_call", "not_taken", "unused", "parked", "rate_limited", "cancelled"] {
        assert!(codes.contains(known), "{known} was not found in the sources");
    }
    let (_, part) = ERRORS.split_once("\n## Refusals in a session\n").unwrap();
    let missing: Vec<_> = codes.iter().filter(|code| !part.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "docs/errors.md does not explain {missing:?}");
}

#[test]
fn every_documented_refusal_can_happen() {
    let codes = written();
    let (_, part) = ERRORS.split_once("\n## Refusals in a session\n").unwrap();
    let rows = part.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let documented = rows.flat_map(|cell| cell.split(' ')).filter_map(|word| word.strip_prefix('`')?.strip_suffix('`'));
    for code in documented {
        assert!(codes.contains(code), "docs/errors.md explains {code}, which nothing writes");
    }
}
