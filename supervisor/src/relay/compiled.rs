//! The schemas of a server, compiled, and kept by what they say: a list that is read again costs what changed in it.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::wire::json::{self, Value};
use crate::wire::schema::{Patterns, Schema, Unjudgeable};

/// Work of compiling a byte of a schema's text, in steps of reading one.
const TEXT_WORK: u64 = 4;
/// Work of a byte that a pattern compiles to, likewise.
const PATTERN_WORK: u64 = 16;

type Judgeable = Result<Arc<Schema>, Unjudgeable>;
type ByText = HashMap<[u8; 32], Judgeable>;

/// What the list that is read has brought so far, and what the one before had brought.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// By the SHA-256 of the text.
    now: ByText,
    before: ByText,
    /// Their patterns; kept while there is room, for they seldom change.
    patterns: Patterns,
    work: u64,
    /// How many were compiled.
    #[cfg(test)]
    pub(super) count: usize,
}

impl Compiled {
    /// Another list is read from the start. What this one has as well need not be compiled again, unless the patterns are so many
    /// that others might find no room: then all is compiled anew, and counted.
    pub(super) fn next_list(&mut self) {
        // One that was given up before its first page took nothing away.
        if !self.now.is_empty() {
            self.before = std::mem::take(&mut self.now);
        }
        if self.patterns.is_crowded() {
            self.patterns = Patterns::default();
            self.before = ByText::new();
        }
    }

    /// A schema, compiled; and whether it was known. Known is one of the same text, so never another definition's.
    pub(super) fn get(&mut self, schema: Option<&Value<'_>>) -> (Judgeable, bool) {
        let Some(schema) = schema else { return (Err(Unjudgeable::Absent), false) };
        let mut text = Vec::new();
        json::write(schema, &mut text);
        let key: [u8; 32] = Sha256::digest(&text).into();
        if let Some(known) = self.now.get(&key) {
            return (known.clone(), true);
        }
        let known = self.before.remove(&key);
        let was_known = known.is_some();
        let judgeable = known.unwrap_or_else(|| self.compile(schema, text.len()));
        self.now.insert(key, judgeable.clone());
        (judgeable, was_known)
    }

    fn compile(&mut self, schema: &Value<'_>, text_bytes: usize) -> Judgeable {
        let tried = self.patterns.bytes();
        let compiled = Schema::compile(schema, &mut self.patterns).map(Arc::new);
        let patterns = self.patterns.bytes().saturating_sub(tried) as u64;
        self.work += TEXT_WORK * text_bytes as u64 + PATTERN_WORK * patterns;
        #[cfg(test)]
        {
            self.count += 1;
        }
        compiled
    }

    /// The work since the last time, in steps of reading a byte.
    pub(super) fn take_work(&mut self) -> u64 {
        std::mem::take(&mut self.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(compiled: &mut Compiled, schema: &str) -> bool {
        compiled.get(Some(&json::parse(schema.as_bytes()).unwrap())).1
    }

    #[test]
    fn what_did_not_change_is_compiled_once() {
        let mut compiled = Compiled::default();
        for _ in 0..100 {
            compiled.next_list();
            get(&mut compiled, r#"{"pattern":"^a+$"}"#);
            get(&mut compiled, r#"{"$ref":"https://no.example"}"#);
        }
        assert_eq!(compiled.count, 2, "nor is what cannot be judged looked at again");
        assert!(!get(&mut compiled, r#"{"pattern":"^b+$"}"#), "another text is another schema");
        let work = compiled.take_work();
        assert!(work >= PATTERN_WORK * (8 << 10) && compiled.take_work() == 0, "{work}");
        compiled.next_list();
        compiled.next_list();
        assert!(get(&mut compiled, r#"{"pattern":"^b+$"}"#), "a list that was never answered takes nothing away");
        compiled.next_list();
        assert!(!get(&mut compiled, r#"{"pattern":"^a+$"}"#), "what the list before did not have is not kept");
    }

    #[test]
    fn crowded_patterns_are_compiled_anew_and_counted() {
        let mut compiled = Compiled::default();
        let list = |compiled: &mut Compiled| {
            compiled.next_list();
            for n in 0..100 {
                get(compiled, &format!(r#"{{"pattern":"^{n}$"}}"#));
            }
            compiled.take_work()
        };
        let first = list(&mut compiled);
        assert_eq!((list(&mut compiled), compiled.count), (first, 200));
    }
}
