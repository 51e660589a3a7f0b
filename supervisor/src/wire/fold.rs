//! Names that some reader takes for one another.
//!
//! Go's `encoding/json` matches object keys to fields under Unicode simple case folding, the last one winning; several other readers
//! can be told to ignore case. So `name` and `Name` (and `ſize` and `size`: U+017F folds to s) must never both be meaningful.
//! Folding is status C + S of CaseFolding.txt (Unicode Standard 3.13, D145 with toCasefold's simple variant), as Go has it.

use std::borrow::Cow;
use std::collections::HashSet;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};

use super::json::Value;
use crate::weaken;

const MAPPER: CaseMapperBorrowed<'static> = CaseMapper::new();

/// Members up to which an object's keys are compared pairwise; above, by hash.
const PAIRWISE_MAX: usize = 8;

/// `name` under simple case folding; borrowed where that changes nothing.
#[must_use]
pub fn folded(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|letter| MAPPER.simple_fold(letter)).collect())
}

/// Whether the two are equal under simple case folding.
#[must_use]
pub fn equal(a: &str, b: &str) -> bool {
    a == b || a.chars().map(|letter| MAPPER.simple_fold(letter)).eq(b.chars().map(|letter| MAPPER.simple_fold(letter)))
}

/// Whether some reader could take `key` for `known` although they differ: equal folded, but not equal.
#[must_use]
pub fn collides(key: &str, known: &str) -> bool {
    key != known && equal(key, known) && weaken::in_force("key-case")
}

/// The first key of `known` that `key` collides with.
#[must_use]
pub fn collision<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known.into_iter().find(|name| collides(key, name))
}

/// A key of the object `value` that some reader could take for one of `known`; none for what is no object.
#[must_use]
pub fn misnamed<'v, 'k>(value: &'v Value<'_>, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<&'v str> {
    let keys = value.as_object().unwrap_or_default().iter().map(|(key, _)| &**key);
    keys.into_iter().find(|key| collision(key, known.clone()).is_some())
}

/// Two keys of one object, at any depth of `value`, that collide.
#[must_use]
pub fn ambiguous_keys<'v>(value: &'v Value<'_>) -> Option<(&'v str, &'v str)> {
    match value {
        Value::Array(items) => items.iter().find_map(ambiguous_keys),
        Value::Object(members) => {
            colliding_pair(members).or_else(|| members.iter().find_map(|(_, value)| ambiguous_keys(value)))
        }
        _ => None,
    }
}

fn colliding_pair<'v>(members: &'v [(Cow<'_, str>, Value<'_>)]) -> Option<(&'v str, &'v str)> {
    let keys = || members.iter().map(|(key, _)| &**key);
    let second = if members.len() <= PAIRWISE_MAX {
        keys().enumerate().find(|(index, key)| keys().take(*index).any(|earlier| collides(key, earlier)))?.1
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        // Exact duplicates never get here, so an equal folded key is a collision.
        keys().find(|key| !seen.insert(folded(key)))?
    };
    Some((collision(second, keys())?, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::parse;

    #[test]
    fn case_variants_collide_and_equals_do_not() {
        assert!(collides("Name", "name"));
        assert!(collides("NAME", "name"));
        assert!(!collides("name", "name"));
        assert!(!collides("nome", "name"));
        assert!(!collides("name ", "name"));
        assert!(!collides("", "name"));
    }

    #[test]
    fn letters_beyond_ascii_fold_as_go_folds_them() {
        assert!(collides("\u{17f}ize", "size"), "LATIN SMALL LETTER LONG S");
        assert!(collides("to\u{212a}en", "token"), "KELVIN SIGN");
        assert!(collides("ΣΊΣΥΦΟΣ", "σίσυφος"), "both sigmas");
        assert!(collides("\u{1c90}", "\u{10d0}"), "Georgian Mtavruli, Unicode 11");
        assert!(!collides("stra\u{df}e", "strasse"), "full folding is not simple folding");
        assert!(!collides("\u{130}d", "id"), "dotted capital I folds only in Turkic locales");
    }

    #[test]
    fn ambiguous_keys_are_found_at_any_depth() {
        for text in [
            r#"{"n":1,"N":2}"#,
            r#"[{"a":[{"k":1,"x":0,"\u212a":2}]}]"#,
            r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"s":1,"S":2}"#,
        ] {
            assert!(ambiguous_keys(&parse(text.as_bytes()).unwrap()).is_some(), "{text}");
        }
        for text in
            [r#"{"a":{"n":1},"b":{"N":2}}"#, r#"{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"s":1,"t":2}"#, "1"]
        {
            assert_eq!(ambiguous_keys(&parse(text.as_bytes()).unwrap()), None, "{text}");
        }
        assert_eq!(ambiguous_keys(&parse(br#"{"x":1,"ab":1,"AB":2}"#).unwrap()), Some(("ab", "AB")));
    }

    #[test]
    fn hundred_thousand_keys_are_not_quadratic() {
        let body: Vec<String> = (0..100_000).map(|index| format!("\"Key{index}\":0")).collect();
        let text = format!("{{{}}}", body.join(","));
        assert_eq!(ambiguous_keys(&parse(text.as_bytes()).unwrap()), None);
    }
}
