//! A reservation as the script takes it, and its answer as the supervisor does.

use sha2::{Digest, Sha256};

use super::resp::Reply;
use crate::bounds::{LIMIT_PRUNE_ROWS_MAX, REDIS_ITEMS_MAX, WINDOW_SECONDS_MAX};
use crate::limits::{Amount, Claim, NEVER_MS, Reservation, Window};

/// Keys and arguments of one run of the script.
#[derive(Debug)]
pub(super) struct Request {
    keys: Vec<String>,
    arguments: Vec<String>,
    count: String,
}

impl Request {
    /// # Errors
    /// Claims that the script cannot hold exactly.
    pub(super) fn of(claims: &[Claim], prefix: &str) -> Result<Self, String> {
        // The first key is the clock's; a reply has one word more than claims.
        if claims.len() >= REDIS_ITEMS_MAX {
            return Err(format!("{} limits on one call", claims.len()));
        }
        let mut keys = vec![format!("{prefix}:clock")];
        let mut arguments = vec![LIMIT_PRUNE_ROWS_MAX.to_string()];
        for (index, claim) in claims.iter().enumerate() {
            let key = counter_key(prefix, &claim.key);
            let place = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                keys.len() - 1
            });
            let (unit, seconds_or_ms) = match claim.window {
                Window::Sliding { window_ms } => ("s", window_ms),
                Window::Calendar { unit } => ("c", unit.seconds() * 1_000),
            };
            if seconds_or_ms > WINDOW_SECONDS_MAX * 1_000 {
                return Err(format!("a window of {seconds_or_ms} ms"));
            }
            let (least, most) = bounds(claim, earlier(claims, index));
            arguments.extend([
                (place + 1).to_string(),
                unit.to_owned(),
                (seconds_or_ms * 1_000).to_string(),
                least.to_string(),
                most.map_or_else(|| "-".to_owned(), |most| most.to_string()),
                claim.amount.billionths().max(0).to_string(),
            ]);
        }
        Ok(Self { count: keys.len().to_string(), keys, arguments })
    }

    /// The command's words.
    pub(super) fn words<'w>(&'w self, command: &'w [u8], script: &'w [u8]) -> Vec<&'w [u8]> {
        let rest = self.keys.iter().chain(&self.arguments).map(String::as_bytes);
        [command, script, self.count.as_bytes()].into_iter().chain(rest).collect()
    }

    /// The answer to `claims`. None when it is none: the call is denied then.
    pub(super) fn read(&self, reply: Reply, claims: &[Claim]) -> Option<Reservation> {
        let Reply::Array(items) = reply else { return None };
        let words: Option<Vec<Vec<u8>>> = items.into_iter().map(bulk).collect();
        let words = words?;
        let (verdict, rest) = words.split_first()?;
        match (verdict.as_slice(), rest) {
            (b"granted", before) if before.len() == claims.len() => {
                let used = before.iter().enumerate().map(|(index, text)| {
                    let with_earlier = amount(text)?.saturating_add(earlier(claims, index));
                    Some(with_earlier.saturating_add(claims[index].amount))
                });
                Some(Reservation::Granted { used: used.collect::<Option<_>>()? })
            }
            (b"exhausted", [index, used, wait_ms]) => {
                let index = usize::try_from(number(index)?).ok().filter(|index| *index < claims.len())?;
                let retry_after_ms = if wait_ms == b"-" { NEVER_MS } else { number(wait_ms)? };
                Some(Reservation::Exhausted { index, used: amount(used)?, retry_after_ms })
            }
            _ => None,
        }
    }
}

/// Name of a counter: a claim's key can be long and hold any character, its hash is short and plain.
pub(super) fn counter_key(prefix: &str, key: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}:count:{hex}")
}

/// What a reservation charges to the counter of claim `index` before it: claims on one counter are charged one after the other. One
/// that only reads sees what stands before the whole call.
fn earlier(claims: &[Claim], index: usize) -> Amount {
    let claim = &claims[index];
    if claim.amount == Amount::ZERO {
        return Amount::ZERO;
    }
    let same = claims[..index].iter().filter(|earlier| earlier.key == claim.key);
    same.fold(Amount::ZERO, |sum, earlier| sum.saturating_add(earlier.amount))
}

/// The least and the most that may stand before the claim, billionths. What stands is never negative, so neither are they; no most
/// means that the claim never fits.
fn bounds(claim: &Claim, earlier: Amount) -> (i128, Option<i128>) {
    let is_countable = (Amount::ZERO..=Amount::CALL_MAX).contains(&claim.amount);
    let wanted = earlier.saturating_add(claim.amount);
    let most = if claim.at_most == Amount::MAX { Amount::MAX } else { claim.at_most.saturating_sub(wanted) };
    (claim.at_least.billionths().max(0), Some(most.billionths()).filter(|most| is_countable && *most >= 0))
}

fn bulk(item: Reply) -> Option<Vec<u8>> {
    match item {
        Reply::Bulk(text) => text,
        _ => None,
    }
}

fn number(text: &[u8]) -> Option<u64> {
    digits(text)?.parse().ok()
}

fn amount(text: &[u8]) -> Option<Amount> {
    digits(text)?.parse().ok().map(Amount::from_billionths)
}

fn digits(text: &[u8]) -> Option<&str> {
    let all_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all_digits.then(|| std::str::from_utf8(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CalendarUnit, Quota};

    fn claim(key: &str) -> Claim {
        Claim::call(key.to_owned(), Quota::Sliding { max: 10, window_ms: 60_000 })
    }

    fn words(words: &[&str]) -> Reply {
        Reply::Array(words.iter().map(|word| Reply::Bulk(Some(word.as_bytes().to_vec()))).collect())
    }

    #[test]
    fn claims_become_keys_and_words() {
        let calendar = Quota::Calendar { max: 1, unit: CalendarUnit::Day };
        let claims = [claim("a"), Claim::call("b\r\n".into(), calendar), claim("a")];
        let request = Request::of(&claims, "p").unwrap();
        assert_eq!(request.keys, ["p:clock".to_owned(), counter_key("p", "a"), counter_key("p", "b\r\n")]);
        let expected = "64 2 s 60000000 0 9000000000 1000000000 3 c 86400000000 0 0 1000000000 2 s 60000000 0 8000000000 1000000000";
        assert_eq!(request.arguments.join(" "), expected);
        assert_eq!(request.words(b"EVALSHA", b"x")[..3], [b"EVALSHA".as_slice(), b"x", b"3"]);
    }

    #[test]
    fn bounds_are_about_what_stands_before_and_never_negative() {
        let of = |amount: i128, at_least, at_most| {
            let (amount, window) = (Amount::from_billionths(amount), Window::Sliding { window_ms: 1 });
            bounds(&Claim { key: String::new(), window, amount, at_least, at_most }, Amount::ZERO)
        };
        let of_both = |amount, low, high| of(amount, Amount::from_billionths(low), Amount::from_billionths(high));
        assert_eq!(of_both(3, 4, 10), (4, Some(7)));
        assert_eq!(of_both(0, -4, -1), (0, None), "nothing is that little");
        assert_eq!(of_both(11, 0, 10), (0, None), "more than the whole room");
        assert_eq!(of(3, Amount::MIN, Amount::MAX), (0, Some(i128::MAX)), "no bound");
        assert_eq!(of(-1, Amount::MIN, Amount::MAX).1, None);
        assert_eq!(of(Amount::CALL_MAX.billionths() + 1, Amount::MIN, Amount::MAX).1, None);
        assert_eq!(of(1, Amount::MAX, Amount::MIN), (i128::MAX, None));
    }

    #[test]
    fn a_window_that_the_script_cannot_hold_is_refused() {
        let long = |window_ms| Claim::call("a".into(), Quota::Sliding { max: 1, window_ms });
        assert!(Request::of(&[long(WINDOW_SECONDS_MAX * 1_000)], "p").is_ok());
        assert!(Request::of(&[long(WINDOW_SECONDS_MAX * 1_000 + 1)], "p").is_err());
        assert!(Request::of(&[long(u64::MAX)], "p").is_err());
    }

    #[test]
    fn answers_are_taken_only_when_they_fit_the_claims() {
        let claims = [claim("a"), claim("a")];
        let request = Request::of(&claims, "p").unwrap();
        let granted = request.read(words(&["granted", "2000000000", "2000000000"]), &claims);
        assert_eq!(granted, Some(Reservation::Granted { used: vec![Amount::calls(3), Amount::calls(4)] }));
        let exhausted = |retry_after_ms| Reservation::Exhausted { index: 1, used: Amount::calls(1), retry_after_ms };
        assert_eq!(request.read(words(&["exhausted", "1", "1000000000", "17"]), &claims), Some(exhausted(17)));
        assert_eq!(request.read(words(&["exhausted", "1", "1000000000", "-"]), &claims), Some(exhausted(NEVER_MS)));
        let long = "9".repeat(60);
        for hostile in [
            words(&[]),
            words(&["granted"]),
            words(&["granted", "1"]),
            words(&["granted", "1", "1", "1"]),
            words(&["granted", "1", "-1"]),
            words(&["granted", "1", ""]),
            words(&["granted", "1", "1e9"]),
            words(&["granted", "1", &long]),
            words(&["GRANTED", "1", "1"]),
            words(&["exhausted", "2", "1", "1"]),
            words(&["exhausted", "-1", "1", "1"]),
            words(&["exhausted", "0", "1"]),
            words(&["exhausted", "0", "1", &long]),
            words(&["exhausted", "0", "+1", "1"]),
            Reply::Array(vec![Reply::Simple(b"granted".to_vec()), Reply::Integer(1), Reply::Integer(1)]),
            Reply::Array(vec![Reply::Bulk(Some(b"granted".to_vec())), Reply::Bulk(None), Reply::Bulk(None)]),
            Reply::Simple(b"OK".to_vec()),
            Reply::Integer(1),
            Reply::Bulk(None),
        ] {
            assert_eq!(request.read(hostile.clone(), &claims), None, "{hostile:?}");
        }
    }
}
