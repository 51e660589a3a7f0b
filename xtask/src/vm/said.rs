//! What a guest said, line by line, and what is wrong with it.

use std::collections::BTreeMap;

/// Lines of the guest's own scripts begin with it; all others are a test program's.
const MARK: &str = "vm: ";

/// A guest's account so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Tests that passed.
    pub(super) passed: usize,
    /// `suite: test` of those that did not, or did not end.
    pub(super) failed: Vec<String>,
    /// Tests that are marked so.
    pub(super) ignored: usize,
    /// Exit codes of the suites that ended; `doctor` is one.
    pub(super) ended: BTreeMap<String, String>,
    /// What a program whose standard output is its result said.
    pub(super) table: Vec<String>,
    /// Suites in which at least one test passed, and programs that had a result.
    seen: Vec<String>,
    suite: String,
    /// A test that has begun and not ended.
    pending: Option<String>,
    is_done: bool,
    broken: Option<String>,
}

impl Said {
    /// Takes one line; gives what is worth showing of it.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        let line = line.trim_end();
        if let Some(own) = line.strip_prefix(MARK) {
            return self.own(own);
        }
        // libtest's last line begins like that of a test.
        if let Some(rest) = line.strip_prefix("test ").filter(|rest| !rest.starts_with("result: ")) {
            let (name, outcome) = rest.split_once(" ... ").unwrap_or((rest.trim_end_matches(" ..."), ""));
            self.give_up_pending();
            self.pending = Some(name.to_owned());
            return self.outcome(outcome);
        }
        // What a test's own children print stands between its name and its outcome.
        if self.pending.is_some() { self.outcome(line) } else { None }
    }

    /// Ends a pending test by the last word of a line.
    fn outcome(&mut self, text: &str) -> Option<String> {
        let is = |word: &str| text == word || (text.ends_with(word) && !text.ends_with(&format!("_{word}")));
        let outcome = if is("FAILED") {
            "FAILED"
        } else if text == "ok" || text.ends_with("ok") && !text.contains(' ') {
            "ok"
        } else if text.starts_with("ignored") {
            "ignored"
        } else {
            return None;
        };
        let name = format!("{}: {}", self.suite, self.pending.take()?);
        match outcome {
            "ok" => {
                self.passed += 1;
                self.seen.push(self.suite.clone());
            }
            "ignored" => self.ignored += 1,
            _ => self.failed.push(name.clone()),
        }
        Some(format!("{outcome:<8} {name}"))
    }

    fn own(&mut self, text: &str) -> Option<String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "begin" => rest.clone_into(&mut self.suite),
            "end" => {
                self.give_up_pending();
                let (suite, code) = rest.split_once(' ')?;
                self.ended.insert(suite.to_owned(), code.to_owned());
                return Some(format!("{suite}: exit code {code}"));
            }
            "done" => self.is_done = true,
            "table" => {
                self.table.push(rest.to_owned());
                self.seen.push(self.suite.clone());
            }
            "broken" => self.broken = Some(rest.to_owned()),
            "kernel" | "lsm" | "cgroup" => return Some(text.to_owned()),
            "note" => return Some(rest.to_owned()),
            _ => return None,
        }
        None
    }

    fn give_up_pending(&mut self) {
        if let Some(name) = self.pending.take() {
            self.failed.push(format!("{}: {name} (no outcome)", self.suite));
        }
    }

    /// Whether the guest ended, without a reason of its own, before `doctor` or a suite had.
    pub(super) fn fell_at_once(&self) -> bool {
        self.ended.is_empty() && self.broken.is_none() && !self.is_done
    }

    /// Everything that keeps this guest from being good, when `expected` are the suites it was to run.
    pub(super) fn wrong<'a>(&self, expected: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut wrong = self.failed.clone();
        wrong.extend(self.pending.iter().map(|name| format!("{}: {name} (no outcome)", self.suite)));
        for suite in ["doctor"].into_iter().chain(expected) {
            match self.ended.get(suite).map(String::as_str) {
                None => wrong.push(format!("{suite} did not run to its end")),
                Some("0") if suite == "doctor" || self.seen.iter().any(|seen| seen == suite) => {}
                Some("0") => wrong.push(format!("{suite}: no test passed, or nothing was said")),
                Some("143" | "137" | "124") => wrong.push(format!("{suite}: took too long and was ended")),
                Some(code) => wrong.push(format!("{suite}: exit code {code}")),
            }
        }
        wrong.extend(self.broken.iter().map(|what| format!("the guest could not be set up: {what}")));
        if !self.is_done {
            wrong.push("the guest did not reach its closing line".into());
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &str) -> Said {
        let mut said = Said::default();
        for line in lines.lines() {
            said.line(line);
        }
        said
    }

    fn wrong(lines: &str) -> Vec<String> {
        after(lines).wrong(["wire"].into_iter())
    }

    const GOOD: &str = "vm: begin doctor\nvm: end doctor 0\nvm: begin wire\nrunning 2 tests\ntest a ... ok\r\ntest b ... a child's word\nok\n\
        test c ... ignored, slow\ntest result: ok. 2 passed\nvm: end wire 0\nvm: done\n";

    #[test]
    fn a_good_guest_has_nothing_wrong() {
        let said = after(GOOD);
        assert_eq!((said.passed, said.failed.len(), said.ignored), (2, 0, 1));
        assert_eq!(said.wrong(["wire"].into_iter()), [""; 0]);
    }

    #[test]
    fn a_failed_test_and_one_without_an_end_are_named() {
        assert_eq!(wrong(&GOOD.replace("a ... ok", "a ... FAILED")), ["wire: a"]);
        assert_eq!(wrong(&GOOD.replace("word\nok\n", "word\n")), ["wire: b (no outcome)"]);
    }

    #[test]
    fn silence_is_a_failure() {
        assert_eq!(wrong(&GOOD.replace("vm: done\n", "")), ["the guest did not reach its closing line"]);
        assert_eq!(
            wrong("vm: begin doctor\nvm: end doctor 0\nvm: begin wire\ntest a ... "),
            ["wire: a (no outcome)", "wire did not run to its end", "the guest did not reach its closing line"]
        );
        let empty = "vm: begin doctor\nvm: end doctor 0\nvm: begin wire\nvm: end wire 0\nvm: done";
        assert_eq!(wrong(empty), ["wire: no test passed, or nothing was said"]);
        assert_eq!(wrong("").len(), 3);
    }

    #[test]
    fn only_a_guest_of_which_nothing_has_ended_fell_at_once() {
        for lines in ["", "vm: kernel 6.12", "vm: begin doctor"] {
            assert!(after(lines).fell_at_once(), "{lines}");
        }
        for lines in [GOOD, "vm: begin doctor\nvm: end doctor 1", "vm: broken cannot mount usr", "vm: done"] {
            assert!(!after(lines).fell_at_once(), "{lines}");
        }
    }

    #[test]
    fn exit_codes_count_even_where_no_test_failed() {
        assert_eq!(wrong(&GOOD.replace("wire 0", "wire 101")), ["wire: exit code 101"]);
        assert_eq!(wrong(&GOOD.replace("wire 0", "wire 143")), ["wire: took too long and was ended"]);
        assert_eq!(wrong(&GOOD.replace("doctor 0", "doctor 1")), ["doctor: exit code 1"]);
    }

    #[test]
    fn a_programs_result_is_kept_and_none_is_a_failure() {
        let lines = "vm: begin doctor\nvm: end doctor 0\nvm: begin wire\nvm: table a  b\nvm: table\nvm: table 2 ran\nvm: end wire 0\nvm: done";
        assert_eq!(after(lines).table, ["a  b", "", "2 ran"]);
        assert_eq!(wrong(lines), [""; 0]);
        assert_eq!(wrong(&lines.replace("wire 0", "wire 1")), ["wire: exit code 1"]);
    }

    #[test]
    fn a_guest_that_could_not_be_set_up_says_why() {
        assert!(
            wrong("vm: broken cannot mount usr").contains(&"the guest could not be set up: cannot mount usr".into())
        );
    }
}
