//! Policies of the suites. The ready policy is used as it is shipped, with the fewest edits, each of which can be shown.

use std::fs;

use crate::arena::ROOT;
use crate::paths;

/// A policy text with the edits that made it.
#[derive(Clone, Debug)]
pub struct Derived {
    /// The text.
    pub text: String,
    /// Each changed or added line, `- old` and `+ new`.
    pub changes: Vec<String>,
}

impl Derived {
    /// The ready policy, unchanged.
    ///
    /// # Panics
    /// When the repository does not have it.
    #[must_use]
    pub fn ready() -> Self {
        Self::of("together-ai.yaml")
    }

    /// The ready policy of this file name, unchanged.
    ///
    /// # Panics
    /// When the repository does not have it.
    #[must_use]
    pub fn of(file: &str) -> Self {
        let path = paths::workspace().join("policies").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { text, changes: Vec::new() }
    }

    /// Replaces `old`, which must stand in exactly one line.
    ///
    /// # Panics
    /// When it does not: an edit that changes nothing proves nothing.
    #[must_use]
    pub fn replace(self, old: &str, new: &str) -> Self {
        let before = self.only_line_with(old);
        let after = before.replace(old, new);
        let mut changes = self.changes;
        changes.extend([format!("- {}", before.trim()), format!("+ {}", after.trim())]);
        Self { text: self.text.replace(&before, &after), changes }
    }

    /// Replaces `old` wherever it stands outside comments.
    ///
    /// # Panics
    /// When it stands nowhere.
    #[must_use]
    pub fn everywhere(self, old: &str, new: &str) -> Self {
        let mut changes = self.changes;
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            if line.contains(old) && !line.trim_start().starts_with('#') {
                let after = line.replace(old, new);
                changes.extend([format!("- {}", line.trim()), format!("+ {}", after.trim())]);
                text.push_str(&after);
            } else {
                text.push_str(line);
            }
            text.push('\n');
        }
        assert_ne!(text, self.text, "{old:?} stands nowhere");
        Self { text, changes }
    }

    /// Adds a line after the only one that holds `anchor`, with its indent.
    ///
    /// # Panics
    /// As [`Self::replace`].
    #[must_use]
    pub fn add_after(self, anchor: &str, line: &str) -> Self {
        let before = self.only_line_with(anchor);
        let indent = &before[..before.len() - before.trim_start().len()];
        let after = format!("{before}\n{indent}{line}");
        let mut changes = self.changes;
        changes.push(format!("+ {line}"));
        Self { text: self.text.replace(&before, &after), changes }
    }

    fn only_line_with(&self, part: &str) -> String {
        let hits: Vec<&str> = self.text.lines().filter(|line| line.contains(part)).collect();
        assert_eq!(hits.len(), 1, "{part:?} stands in {} lines of the ready policy", hits.len());
        hits[0].to_owned()
    }
}

/// The ready policy with the two lines that let the server trust the stand-in's CA, `/mnt/arena/ca.pem`.
#[must_use]
pub fn together() -> Derived {
    Derived::ready()
        .replace("read: [/opt/together-mcp]", &format!("read: [/opt/together-mcp, {ROOT}/ca.pem]"))
        .add_after("pass: [TOGETHER_API_KEY]", &format!("set: {{NODE_EXTRA_CA_CERTS: {ROOT}/ca.pem}}"))
}

/// A policy for the hostile server: one listed tool, one allowed host, one folder to read, one to write.
#[must_use]
pub fn hostile() -> String {
    format!(
        "version: \"1\"
name: hostile
default: deny
tools:
  probe: {{rules: []}}
sandbox:
  network:
    allow:
      - host: api.together.xyz
  filesystem:
    read: [{ROOT}/bin, {ROOT}/shown]
    write: [{ROOT}/images]
  process: {{max: 64}}
"
    )
}

/// A policy that allows the tools of `tools` without a rule and every method, shows `read`, and has no network.
#[must_use]
pub fn plain(tools: &[&str], read: &str) -> String {
    let listed: String = tools.iter().map(|tool| format!("  {tool}: {{rules: []}}\n")).collect();
    let tools = if listed.is_empty() { "tools: {}\n".to_owned() } else { format!("tools:\n{listed}") };
    format!(
        "version: \"1\"\nname: plain\ndefault: deny\nmethods: {{\"*\": allow}}\n{tools}sandbox:\n  filesystem:\n    read: [{read}]\n"
    )
}
