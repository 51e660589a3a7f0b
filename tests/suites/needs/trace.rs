//! What strace(1) wrote down, held against the filter's table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use intercept_sandbox::sandbox::seccomp::{self, Action, Condition, Rule, Value};

/// Calls with their arguments as the filter sees them: by name, raw, each of them once.
#[derive(Debug)]
pub(super) struct Trace(BTreeSet<(String, Vec<u64>)>);

impl Trace {
    /// Reads a file of `strace -f -o FILE -e raw=all -- under-filter CMD`, from where the filter is in force.
    ///
    /// # Panics
    /// When there is no such place: then nothing was traced under the filter.
    #[must_use]
    pub(super) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("strace has written it");
        let mut lines = text.lines().skip_while(|line| !line.contains(" seccomp(0x1,"));
        assert!(lines.next().is_some(), "no filter was installed:\n{text}");
        let calls: BTreeSet<(String, Vec<u64>)> = lines.filter_map(call).collect();
        assert!(calls.len() > 50, "too little was traced: {calls:?}");
        Self(calls)
    }
}

/// The call of a line: `PID name(0x1, 0x2) = 0x0`, or its beginning, `PID name(0x1, 0x2 <unfinished ...>`.
fn call(line: &str) -> Option<(String, Vec<u64>)> {
    let (_, rest) = line.split_once(' ')?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None; // the end of an unfinished one, or a signal
    }
    let arguments = rest.split([')', '<']).next()?.split(',').map(str::trim).filter(|text| !text.is_empty());
    let number = |text: &str| text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    let arguments: Vec<u64> = arguments.map(|text| number(text).unwrap_or_else(|_| panic!("{line}"))).collect();
    Some((name.to_owned(), arguments))
}

/// The rules of a table that let something run, by name of the call.
pub(super) struct Rules(BTreeMap<&'static str, Rule>);

impl Rules {
    /// The server's.
    #[must_use]
    pub(super) fn of_the_server() -> Self {
        let calls = seccomp::workload_groups().flat_map(|group| group.calls.iter().map(|call| (call.name, group.rule)));
        Self(calls.collect())
    }

    /// A label for each way to be allowed: `read` for any argument, `prctl(15)` for one clause.
    #[must_use]
    pub(super) fn labels(&self) -> BTreeSet<String> {
        let of_rule = |(name, rule): (&&'static str, &Rule)| {
            let clauses = rule.clauses.iter().filter(|clause| clause.then == Action::Allow);
            let mut labels: Vec<String> = clauses.map(|clause| label(name, clause.when)).collect();
            labels.extend((rule.last == Action::Allow).then(|| (*name).to_owned()));
            labels
        };
        self.0.iter().flat_map(of_rule).collect()
    }

    /// The labels of what a trace shows to have been allowed.
    #[must_use]
    pub(super) fn needed_by(&self, trace: &Trace) -> BTreeSet<String> {
        trace.0.iter().filter_map(|(name, arguments)| self.allowed_by(name, arguments)).collect()
    }

    fn allowed_by(&self, name: &str, arguments: &[u64]) -> Option<String> {
        // strace has some names of its own.
        let name = match name {
            "pread" => "pread64",
            "pwrite" => "pwrite64",
            name => name,
        };
        let (name, rule) = self.0.get_key_value(name)?;
        let holds = |condition: &Condition| {
            let low = arguments.get(usize::from(condition.arg)).copied().unwrap_or(0) & 0xffff_ffff;
            ((low & u64::from(condition.mask)) == u64::from(fixed(condition.value))) == condition.equal
        };
        match rule.clauses.iter().find(|clause| clause.when.iter().all(holds)) {
            Some(clause) => (clause.then == Action::Allow).then(|| label(name, clause.when)),
            None => (rule.last == Action::Allow).then(|| (*name).to_owned()),
        }
    }
}

fn label(name: &str, when: &[Condition]) -> String {
    let values: Vec<String> = when.iter().map(|condition| fixed(condition.value).to_string()).collect();
    format!("{name}({})", values.join(", "))
}

/// A value of the server's table, which knows no pids.
fn fixed(value: Value) -> u32 {
    match value {
        Value::Fixed(value) => value,
        Value::OwnPid => panic!("no rule of the server's asks for a pid"),
    }
}
