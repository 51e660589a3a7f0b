//! Names of tools that a person or a model takes for one another, over all pages of a tools/list.
//!
//! Two names are alike when they are equal under simple case folding, or when their skeletons are (UTS #39, section 4:
//! confusable detection), as they stand or folded. A name that the policy writes is what its author meant and stays; what
//! only looks like it goes. Of others that are alike, nobody can tell which was meant: all of them go.

use std::collections::{HashMap, HashSet};

use unicode_security::skeleton;

use super::fold::folded;
use crate::weaken;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// A control, whitespace, reordering or invisible character.
    Unseen(char),
    /// Equal but for case to another name.
    SameButCase(String),
    /// Looks like another name.
    LooksLike(String),
}

impl NameFault {
    /// What is wrong, for people; the other name is escaped by whoever shows it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Unseen(c) => {
                format!("its name has the character U+{:04X}, which a reader does not see", u32::from(*c))
            }
            Self::SameButCase(other) => format!("its name differs from \"{}\" in case alone", visible(other)),
            Self::LooksLike(other) => format!("its name looks like \"{}\"", visible(other)),
        }
    }
}

/// Whether nobody sees the character, or sees another order because of it: controls, whitespace but the space, and
/// `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt), with the blanks that have a glyph of nothing.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with every unseen character as an escape: two texts that differ look different.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The listed names that are refused, and why. `written` are the names that the policy writes: those that it lists and
/// those that it hides. Time and memory grow with the names alone.
#[must_use]
pub fn faults<'n>(listed: &[&'n str], written: &[&'n str]) -> HashMap<&'n str, NameFault> {
    let mut faults = HashMap::new();
    if !weaken::in_force("tool-look-alike") {
        return faults;
    }
    // Those that the policy writes come first: a fault names them.
    let all: Vec<(&str, [String; 3])> = written.iter().chain(listed).map(|name| (*name, forms(name))).collect();
    let mut groups: [HashMap<&str, Group<'n>>; 3] = Default::default();
    for (name, forms) in &all {
        for (group, form) in groups.iter_mut().zip(forms) {
            group.entry(form).or_default().add(name);
        }
    }
    let is_written: HashSet<&str> = written.iter().copied().collect();
    for (name, forms) in all.iter().skip(written.len()).filter(|(name, _)| !is_written.contains(name)) {
        let unseen = name.chars().find(|c| is_unseen(*c) || *c == ' ').map(NameFault::Unseen);
        let other = |at: usize, form: &String| groups[at].get(form.as_str()).and_then(|group| group.other_than(name));
        let alike = || {
            let case = other(0, &forms[0]).map(NameFault::SameButCase);
            case.or_else(|| (1..3).find_map(|at| other(at, &forms[at])).map(NameFault::LooksLike))
        };
        if let Some(fault) = unseen.or_else(alike) {
            faults.insert(*name, fault);
        }
    }
    faults
}

/// Folded, the skeleton, the skeleton of the folded: `Iist` looks like `list` only before folding, `LlST` only after.
fn forms(name: &str) -> [String; 3] {
    let folded = folded(name);
    let (plain, low) = (skeleton(name).collect(), skeleton(&folded).collect());
    [folded.into_owned(), plain, low]
}

/// Names with one form: two of them are enough to know.
#[derive(Default)]
struct Group<'n> {
    first: Option<&'n str>,
    second: Option<&'n str>,
}

impl<'n> Group<'n> {
    fn add(&mut self, name: &'n str) {
        match (self.first, self.second) {
            (None, _) => self.first = Some(name),
            (Some(first), None) if first != name => self.second = Some(name),
            _ => {}
        }
    }

    fn other_than(&self, name: &str) -> Option<String> {
        [self.first, self.second].into_iter().flatten().find(|other| *other != name).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(listed: &[&'static str], written: &[&'static str]) -> Vec<&'static str> {
        let found = faults(listed, written);
        let mut names: Vec<_> = found.into_keys().collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn names_of_real_servers_stay() {
        let names = ["read_file", "read_text_file", "generate_image", "get-v1", "get-v2", "getFile", "list files.all"];
        assert_eq!(refused(&names[..6], &[]), [""; 0]);
        assert_eq!(refused(&["日本語", "naïve", "поиск", "suche_ß"], &[]), [""; 0]);
    }

    #[test]
    fn what_a_reader_does_not_see_is_refused() {
        for name in ["a\u{200b}", "\u{202e}a", "a b", "a\n", "a\u{a0}b", "a\u{e0041}", "\u{feff}a", "a\0", "\u{3164}"] {
            let found = faults(&[name], &[]);
            assert!(matches!(found.get(name), Some(NameFault::Unseen(_))), "{name:?}");
            assert!(found[name].text().is_ascii(), "{name:?}");
        }
    }

    #[test]
    fn case_alone_is_no_difference() {
        assert_eq!(refused(&["Delete", "delete", "other"], &[]), ["Delete", "delete"]);
        assert_eq!(refused(&["Delete", "delete"], &["delete"]), ["Delete"]);
        let found = faults(&["ſend"], &["send"]);
        assert_eq!(found["ſend"], NameFault::SameButCase("send".into()));
    }

    #[test]
    fn look_alikes_of_what_the_policy_writes_are_refused_and_it_stays() {
        for (listed, written) in [
            ("sеnd", "send"), // Cyrillic
            ("Iist", "list"),
            ("1ist", "list"),
            ("rnove", "move"),
            ("ｓｅｎｄ", "send"),
            ("sen\u{307}d", "seṅd"),
            ("send‐all", "send-all"),
        ] {
            assert_eq!(refused(&[listed, written], &[written]), [listed]);
            assert_eq!(refused(&[listed], &[written]), [listed], "the real one is not even listed");
            assert_eq!(refused(&[listed, written], &[]).len(), 2, "{listed} {written}: nobody can tell");
            assert_eq!(refused(&[listed, written], &[written, listed]), [""; 0], "both are written");
        }
    }

    #[test]
    fn many_names_that_differ_stay() {
        let names: Vec<String> = (0..2_000).map(|n| format!("tool_{n}_{}", "x".repeat(100))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(faults(&names, &names[..1000]).is_empty());
    }
}
