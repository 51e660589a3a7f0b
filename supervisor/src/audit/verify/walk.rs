//! Walks a chain line by line and says what is wrong at the first place where it stops being one. Pure.
#![forbid(unsafe_code)]

use super::verdict::Verdict;
use crate::audit::chain::{Head, Link, read_seq};
use crate::weaken;

/// Where and how a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Edited, removed, reordered or inserted.
    pub verdict: Verdict,
    /// Line of the file, from 1.
    pub line: u64,
    /// seq at which the chain breaks.
    pub seq: u64,
    /// More, for people.
    pub detail: String,
}

/// A line that does not continue the chain, while the rest of the file is searched for the one that does.
#[derive(Clone, Debug)]
struct Suspect {
    trouble: Trouble,
    line: u64,
    seq: u64,
    successor: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// No record, or one whose hash is not its own.
    Broken,
    /// A sound record that comes too early.
    Early,
    /// A sound record with a seq that stands before it already.
    Again,
    /// A sound record with the right seq that names another predecessor.
    Unlinked,
}

/// A walk along one file.
#[derive(Clone, Debug)]
pub struct Walk {
    domain: &'static str,
    head: Head,
    line: u64,
    suspect: Option<Suspect>,
}

impl Walk {
    /// A walk that continues a chain at `head` on the first line of a file.
    #[must_use]
    pub const fn new(domain: &'static str, head: Head) -> Self {
        Self { domain, head, line: 0, suspect: None }
    }

    /// Takes the next line, without its LF. Returns its link if it continues the chain and nothing was wrong before.
    pub fn step(&mut self, line: &[u8]) -> Option<Link> {
        self.line += 1;
        if !weaken::in_force("audit-chain") {
            let link = Link::read(self.domain, line)?;
            self.head = link.head();
            return Some(link);
        }
        let link = Link::read(self.domain, line).filter(|link| link.intact);
        if let Some(suspect) = &mut self.suspect {
            if suspect.successor.is_none() && link.is_some_and(|link| link.follows(self.head)) {
                suspect.successor = Some(self.line);
            }
            return None;
        }
        let expected = self.head.seq + 1;
        let (trouble, seq) = match link {
            Some(link) if link.follows(self.head) => {
                self.head = link.head();
                return Some(link);
            }
            Some(link) if link.seq > expected => (Trouble::Early, link.seq),
            Some(link) if link.seq < expected => (Trouble::Again, link.seq),
            Some(link) => (Trouble::Unlinked, link.seq),
            None => (Trouble::Broken, read_seq(line).unwrap_or(expected)),
        };
        self.suspect = Some(Suspect { trouble, line: self.line, seq, successor: None });
        None
    }

    /// Passes over a line that is accounted for elsewhere.
    pub const fn skip(&mut self) {
        self.line += 1;
    }

    /// Where the chain stands.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The line taken last, from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Whether a line did not continue the chain.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.suspect.is_some()
    }

    /// What is wrong, at the end of the file.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let Suspect { trouble, line, seq, successor } = self.suspect.clone()?;
        let expected = self.head.seq + 1;
        let fault = |verdict, line, seq, detail: String| Some(Fault { verdict, line, seq, detail });
        match (trouble, successor) {
            (Trouble::Early, Some(at)) => {
                fault(Verdict::Reordered, line, seq, format!("seq {expected} stands in line {at}"))
            }
            (Trouble::Early, None) if seq == expected + 1 => {
                fault(Verdict::Removed, line, expected, "the record before this line is missing".into())
            }
            (Trouble::Early, None) => {
                fault(Verdict::Removed, line, expected, format!("seq {expected} to {} are missing", seq - 1))
            }
            (Trouble::Again, _) => fault(Verdict::Inserted, line, seq, "this seq stands before it already".into()),
            (Trouble::Unlinked | Trouble::Broken, Some(at)) => {
                fault(Verdict::Inserted, line, seq, format!("the chain goes on in line {at}"))
            }
            (Trouble::Unlinked, None) if line > 1 => fault(
                Verdict::Edited,
                line - 1,
                self.head.seq,
                "its hash is not the one that the next record names".into(),
            ),
            (Trouble::Unlinked, None) => {
                fault(Verdict::Edited, line, seq, "it does not name the record before it".into())
            }
            (Trouble::Broken, None) => fault(Verdict::Edited, line, seq, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{Hash, SESSION_DOMAIN, seal};

    fn record(seq: u64, prev: Hash, text: &str) -> (Vec<u8>, Hash) {
        let mut line = format!("{{\"v\":1,\"seq\":{seq},\"x\":\"{text}\"").into_bytes();
        let hash = seal(SESSION_DOMAIN, &mut line, 0, prev);
        line.pop();
        (line, hash)
    }

    fn log(count: u64) -> Vec<Vec<u8>> {
        let mut prev = Hash::ZERO;
        (1..=count)
            .map(|seq| {
                let (line, hash) = record(seq, prev, "y");
                prev = hash;
                line
            })
            .collect()
    }

    fn verdict(lines: &[Vec<u8>]) -> Option<(Verdict, u64, u64)> {
        let mut walk = Walk::new(SESSION_DOMAIN, Head::START);
        for line in lines {
            let _ = walk.step(line);
        }
        walk.fault().map(|fault| (fault.verdict, fault.line, fault.seq))
    }

    #[test]
    fn an_untouched_log_is_a_chain() {
        assert_eq!(verdict(&log(9)), None);
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn each_edited_line_is_named() {
        for index in 0..9 {
            let mut lines = log(9);
            let place = lines[index].len() - 150;
            lines[index][place] ^= 1;
            assert_eq!(verdict(&lines), Some((Verdict::Edited, index as u64 + 1, index as u64 + 1)));
        }
    }

    #[test]
    fn a_line_edited_with_a_new_hash_is_named_by_its_successor() {
        for index in 0..8 {
            let mut lines = log(9);
            let prev = Link::read(SESSION_DOMAIN, &lines[index]).unwrap().prev;
            lines[index] = record(index as u64 + 1, prev, "forged").0;
            assert_eq!(verdict(&lines), Some((Verdict::Edited, index as u64 + 1, index as u64 + 1)));
        }
    }

    #[test]
    fn each_removed_line_is_named() {
        for index in 0..8 {
            let mut lines = log(9);
            lines.remove(index);
            assert_eq!(verdict(&lines), Some((Verdict::Removed, index as u64 + 1, index as u64 + 1)));
        }
    }

    #[test]
    fn each_pair_of_swapped_lines_is_named() {
        for first in 0..9 {
            for second in first + 1..9 {
                let mut lines = log(9);
                lines.swap(first, second);
                assert_eq!(verdict(&lines), Some((Verdict::Reordered, first as u64 + 1, second as u64 + 1)));
            }
        }
    }

    #[test]
    fn each_inserted_line_is_named() {
        for index in 0..9_usize {
            // A copy of an earlier line, a record of the right shape, and garbage.
            let place = index as u64 + 1;
            if index > 0 {
                let mut lines = log(9);
                lines.insert(index, lines[0].clone());
                assert_eq!(verdict(&lines), Some((Verdict::Inserted, place, 1)));
            }
            let mut lines = log(9);
            lines.insert(index, b"{}".to_vec());
            assert_eq!(verdict(&lines), Some((Verdict::Inserted, place, place)));

            let mut lines = log(9);
            lines.insert(index, record(place, Hash([9; 32]), "forged").0);
            assert_eq!(verdict(&lines), Some((Verdict::Inserted, place, place)));
        }
        let mut lines = log(9);
        let linked = record(5, Link::read(SESSION_DOMAIN, &lines[3]).unwrap().hash, "forged").0;
        lines.insert(4, linked);
        assert_eq!(verdict(&lines), Some((Verdict::Inserted, 6, 5)));
    }
}
