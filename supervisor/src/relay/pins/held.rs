//! The definitions that hold, bounded in bytes.

use std::collections::HashMap;

use crate::bounds::PINS_BYTES_MAX;
use crate::wire::pin::Definition;

/// Definitions by tool. The texts are for diffs alone, so what the bound leaves no room for is held as its hash; a call is
/// checked against the hash.
#[derive(Debug, Default)]
pub(super) struct Held {
    by_tool: HashMap<String, Definition>,
    /// Of all texts.
    bytes: usize,
}

impl Held {
    pub(super) fn get(&self, tool: &str) -> Option<&Definition> {
        self.by_tool.get(tool)
    }

    pub(super) fn len(&self) -> usize {
        self.by_tool.len()
    }

    /// Holds a definition in the place of an earlier one.
    pub(super) fn insert(&mut self, tool: String, mut definition: Definition) {
        drop(self.remove(&tool));
        let bytes = self.bytes.saturating_add(length(&definition));
        if bytes > PINS_BYTES_MAX {
            definition.text = None;
        } else {
            self.bytes = bytes;
        }
        self.by_tool.insert(tool, definition);
    }

    pub(super) fn remove(&mut self, tool: &str) -> Option<Definition> {
        let definition = self.by_tool.remove(tool)?;
        self.bytes = self.bytes.saturating_sub(length(&definition));
        Some(definition)
    }
}

impl FromIterator<(String, Definition)> for Held {
    fn from_iter<T: IntoIterator<Item = (String, Definition)>>(definitions: T) -> Self {
        let mut held = Self::default();
        for (tool, definition) in definitions {
            held.insert(tool, definition);
        }
        held
    }
}

fn length(definition: &Definition) -> usize {
    definition.text.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_the_hash_alone_is_held() {
        let half = || Definition { sha256: [1; 32], text: Some(vec![b'x'; PINS_BYTES_MAX / 2]) };
        let mut held: Held = ["a", "b", "c"].map(|tool| (tool.to_owned(), half())).into_iter().collect();
        let texts = |held: &Held| ["a", "b", "c"].map(|tool| held.get(tool).is_some_and(|held| held.text.is_some()));
        assert_eq!((held.len(), texts(&held)), (3, [true, true, false]));
        assert_eq!(held.get("c").unwrap().sha256, [1; 32]);
        held.insert("a".into(), half());
        assert_eq!(texts(&held), [true, true, false], "what is replaced is not counted twice");
        assert!(held.remove("a").is_some() && held.remove("a").is_none());
        held.insert("c".into(), half());
        assert_eq!((held.bytes, texts(&held)), (PINS_BYTES_MAX, [false, true, true]));
    }
}
