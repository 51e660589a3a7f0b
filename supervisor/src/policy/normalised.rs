//! The policy as understood: one dialect, defaults written out. The text is itself a policy and loads to the same.

mod conditions;

use std::fmt::Write as _;
use std::iter;
use std::path::Path;
use std::time::Duration;

use super::model::{
    Approvals, DefaultEffect, HostRule, Increment, LimitScope, Pace, Pins, Policy, Resources, Rule, RuleAction,
    SandboxSection, Validate,
};
use crate::limits::{Quota, Window};

impl Policy {
    /// YAML text. Keys stand in a fixed order; a key that changes nothing when left out is left out, except the defaults
    /// of `default`, `methods`, `limits.scope`, `audit`, `server.pins`, `pace.burst`, `state.increment`, each host's `ports` and `tls`, `process`, `resources`,
    /// and `approvals` where a rule asks for one. Without `sandbox` a comment says what is in force.
    #[must_use]
    pub fn normalised(&self) -> String {
        let mut out = Writer::default();
        if self.named {
            out.line(0, &format!("name: {}", text(&self.name)));
        }
        if let Some(description) = &self.description {
            out.line(0, &format!("description: {}", text(description)));
        }
        let default = match self.default {
            DefaultEffect::Allow => "allow",
            DefaultEffect::Deny => "deny",
        };
        out.line(0, &format!("default: {default}"));
        if !self.hide.is_empty() {
            out.line(0, &format!("hide: {}", list(self.hide.iter().map(|tool| text(tool)))));
        }
        tools(&mut out, self);
        methods(&mut out, self);
        let scope = match self.limit_scope {
            LimitScope::Profile => "profile",
            LimitScope::Session => "session",
            LimitScope::Global => "global",
        };
        out.line(0, &format!("limits: {{scope: {scope}}}"));
        let asks = |rule: &Rule| rule.action == RuleAction::RequireApproval;
        if self.approvals != Approvals::default() || self.tools.values().flat_map(|tool| &tool.rules).any(asks) {
            let (timeout, valid) = (self.approvals.timeout.as_secs(), self.approvals.valid.as_secs());
            out.line(0, &format!("approvals: {{timeout: {timeout}s, valid: {valid}s}}"));
        }
        if self.sandbox.present {
            sandbox(&mut out, &self.sandbox);
        } else {
            // As a comment: a section would be one that the file has not, and say less than its absence.
            let (process, resources) = ceilings(&self.sandbox);
            out.line(0, &format!("# no sandbox: no network, no writes but /tmp; {process}, {resources}"));
        }
        let durability = self.audit.durability.word();
        out.line(0, &format!("audit: {{durability: {durability}, capture: hmac}}"));
        let command = self.server_command.iter();
        let command = command.map(|command| format!("command: {}", list(command.iter().map(|word| text(word)))));
        let server: Vec<String> = command.chain([format!("pins: {}", pins(&self.pins))]).collect();
        out.line(0, &format!("server: {{{}}}", server.join(", ")));
        if !self.cli_allow.is_empty() {
            out.line(0, &format!("cli: {{allow: {}}}", list(self.cli_allow.iter().cloned())));
        }
        out.text
    }
}

#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    fn line(&mut self, depth: usize, line: &str) {
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = depth * 2); // writing to a String cannot fail
    }
}

fn pins(pins: &Pins) -> String {
    match pins {
        Pins::FirstUse => "first_use".to_owned(),
        Pins::Session => "session".to_owned(),
        Pins::Off => "off".to_owned(),
        Pins::Lock(file) => format!("{{lock: {}}}", text(&file.to_string_lossy())),
    }
}

fn tools(out: &mut Writer, policy: &Policy) {
    if policy.tools.is_empty() {
        out.line(0, "tools: {}");
        return;
    }
    out.line(0, "tools:");
    for (name, tool) in &policy.tools {
        if tool.rules.is_empty() {
            out.line(1, &format!("{}: {{rules: []}}", text(name)));
            continue;
        }
        out.line(1, &format!("{}:", text(name)));
        out.line(2, "rules:");
        for entry in &tool.rules {
            rule(out, entry);
        }
    }
}

fn methods(out: &mut Writer, policy: &Policy) {
    let word = |effect| if effect == DefaultEffect::Allow { "allow" } else { "deny" };
    let named = policy.methods.named.iter().map(|(method, effect)| (method.as_str(), *effect));
    let entries = iter::once(("*", policy.methods.others)).chain(named);
    let entries = entries.map(|(key, effect)| format!("{}: {}", text(key), word(effect)));
    out.line(0, &format!("methods: {{{}}}", entries.collect::<Vec<_>>().join(", ")));
}

fn rule(out: &mut Writer, rule: &Rule) {
    let action = match rule.action {
        RuleAction::Evaluate => "allow",
        RuleAction::Deny => "deny",
        RuleAction::RequireApproval => "require_approval",
    };
    out.line(3, &format!("- action: {action}"));
    if let Some(name) = &rule.name {
        out.line(4, &format!("name: {}", text(name)));
    }
    if let Some(reason) = &rule.reason {
        out.line(4, &format!("reason: {}", text(reason)));
    }
    let Validate { required_args, schema, output } = rule.validate;
    let asked = [("required_args", required_args), ("schema", schema), ("output", output)];
    let asked: Vec<String> = asked.iter().filter(|(_, is)| *is).map(|(key, _)| format!("{key}: true")).collect();
    if !asked.is_empty() {
        out.line(4, &format!("validate: {{{}}}", asked.join(", ")));
    }
    if !rule.conditions.is_empty() || !rule.state_conditions.is_empty() {
        out.line(4, "conditions:");
        conditions::write(out, &rule.conditions);
        for entry in &rule.state_conditions {
            let (path, value) = (text(&entry.path), entry.value.text());
            out.line(5, &format!("- {{path: {path}, op: {}, value: {value}}}", entry.op));
        }
    }
    owed(out, rule);
}

/// What counts: `rate_limit`, `pace`, `state`.
fn owed(out: &mut Writer, rule: &Rule) {
    if let Some(quota) = rule.rate_limit {
        out.line(4, &format!("rate_limit: {}", rate_limit(quota)));
    }
    if let Some(Pace { every_ms, burst }) = rule.pace {
        let every =
            if every_ms.is_multiple_of(1000) { format!("{}s", every_ms / 1000) } else { format!("{every_ms}ms") };
        out.line(4, &format!("pace: {{every: {every}, burst: {burst}}}"));
    }
    let Some(counter) = &rule.state else { return };
    let window = match counter.window {
        Window::Sliding { window_ms } => format!("{}s", window_ms / 1000),
        Window::Calendar { unit } => unit.name().to_owned(),
    };
    let increment = match &counter.increment {
        Increment::Fixed(amount) => format!("increment: {amount}"),
        Increment::From(keys) => format!("increment_from: {}", text(&format!("args.{}", keys.join(".")))),
    };
    out.line(4, &format!("state: {{counter: {}, window: {window}, {increment}}}", text(&counter.name)));
}

fn rate_limit(quota: Quota) -> String {
    match quota {
        Quota::Sliding { max, window_ms } => format!("{{max: {max}, window: {}s}}", window_ms / 1000),
        Quota::Calendar { max, unit } => format!("{max}/{}", unit.name()),
    }
}

fn sandbox(out: &mut Writer, section: &SandboxSection) {
    out.line(0, "sandbox:");
    out.line(1, "network:");
    out.line(2, if section.hosts.is_empty() { "allow: []" } else { "allow:" });
    for host in &section.hosts {
        out.line(3, &format!("- {}", host_rule(host)));
    }
    out.line(1, "filesystem:");
    out.line(2, &format!("read: {}", list(section.read.iter().map(|path| path_text(path)))));
    out.line(2, if section.write.is_empty() { "write: []" } else { "write:" });
    for write in &section.write {
        let owner = write.owner.as_ref().map(|owner| format!(", owner: {}", text(owner))).unwrap_or_default();
        let max = write.max_bytes.map(|bytes| format!(", max: {bytes}")).unwrap_or_default();
        let quota = if write.by_quota { ", quota: project" } else { "" };
        out.line(
            3,
            &format!("- {{path: {}, from: {}{owner}{max}{quota}}}", path_text(&write.path), path_text(&write.from)),
        );
    }
    let (process, resources) = ceilings(section);
    out.line(1, &process);
    out.line(1, &resources);
    if !section.env_pass.is_empty() || !section.env_set.is_empty() {
        out.line(1, "env:");
        let pass =
            section.env_pass.iter().map(|pass| format!("{{name: {}, optional: {}}}", text(&pass.name), pass.optional));
        out.line(2, &format!("pass: {}", list(pass)));
        let set: Vec<String> =
            section.env_set.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect();
        out.line(2, &format!("set: {{{}}}", set.join(", ")));
    }
    let required = std::iter::once("core".to_owned()).chain(section.require.iter().cloned());
    out.line(1, &format!("require: {}", list(required)));
}

/// `process` and `resources`, with the defaults that are in force where the file says nothing.
fn ceilings(section: &SandboxSection) -> (String, String) {
    let given = &section.resources;
    let seconds = |time: Option<Duration>| {
        time.filter(|time| !time.is_zero()).map_or("0".to_owned(), |time| format!("{}s", time.as_secs()))
    };
    let cpu = given.cpu_millis.unwrap_or(Resources::DEFAULT_CPU_MILLIS);
    let resources = format!(
        "resources: {{memory: {}, cpu: {}.{:03}, open_files: {}, tmp: {}, wall: {}, call_timeout: {}, client_line: {}, server_line: {}}}",
        given.memory_bytes.unwrap_or(Resources::DEFAULT_MEMORY_BYTES),
        cpu / 1000,
        cpu % 1000,
        given.open_files.unwrap_or(Resources::DEFAULT_OPEN_FILES),
        given.tmp_bytes.unwrap_or(Resources::DEFAULT_TMP_BYTES),
        seconds(given.wall),
        seconds(given.call_timeout),
        given.client_line_max(),
        given.server_line_max(),
    );
    let max = section.processes_max.unwrap_or(Resources::DEFAULT_PROCESSES);
    let exec =
        section.exec.as_ref().map(|programs| format!(", exec: {}", list(programs.iter().map(|name| text(name)))));
    (format!("process: {{max: {max}{}}}", exec.unwrap_or_default()), resources)
}

fn host_rule(host: &HostRule) -> String {
    let ports = list(host.ports.iter().map(u16::to_string));
    let tls = host.tls.word();
    let reason = host.reason.as_ref().map(|reason| format!(", reason: {}", text(reason))).unwrap_or_default();
    let bytes = host.max_bytes_out.map(|bytes| format!(", max_bytes_out: {bytes}")).unwrap_or_default();
    format!("{{host: {}, ports: {ports}, tls: {tls}{reason}{bytes}}}", text(&host.host))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn path_text(path: &Path) -> String {
    text(&path.to_string_lossy())
}

/// Text as it is where YAML cannot read it otherwise, else in double quotes.
fn text(value: &str) -> String {
    let bare = value.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'.'))
        && super::yaml::meaning(&super::yaml::Scalar { text: value.to_owned(), plain: true })
            == super::yaml::Meaning::Text;
    if bare {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if crate::report::is_deceptive(c) || !is_printable(c) => {
                let _ = write!(out, "\\U{:08X}", u32::from(c)); // writing to a String cannot fail
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a YAML stream may hold raw (YAML 1.2.2, production c-printable), less what this build refuses raw.
fn is_printable(c: char) -> bool {
    !matches!(u32::from(c), 0xfffe | 0xffff) && !c.is_control()
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::loaded;

    #[test]
    fn is_a_policy_that_loads_to_the_same() {
        let text = r#"
version: "1"
name: p
description: "a: \"b\" \u202e\n # no comment"
hide: [x, 'yes']
tools:
  "weird: [name]":
    rules:
      - name: "123"
        conditions:
          - {path: args.a, op: in, value: [1.50, "1.50", "true", true, null, [x]]}
          - {path: args.a, op: regex, value: '^"\\d+"$'}
          - {path: args.b.c, op: under_path, value: /images, if_present: true}
          - {path: args.d, op: exists, value: false}
          - {path: args.d, op: length_lte, value: 9}
        rate_limit: {max: 3, window: 2m}
        validate: {required_args: true}
        on_deny: "no"
      - {action: deny, reason: "007"}
      - {rate_limit: 4/day}
      - {rate_limit: {max: 4, window: 1h, align: calendar}, pace: {every: 250ms, burst: 3}}
      - {action: require_approval, name: ask, pace: {every: 1m}}
      - name: cap
        conditions:
          - {path: args.n, op: exists}
          - {path: 'state.weird: [name].a: b', op: lt, value: 1e2}
          - {path: state._global.all, op: eq, value: 0.50}
        state: {counter: 'a: b', window: 1h, align: calendar, increment_from: 'args.n.a#'}
  '*': {rules: [{state: {counter: all, window: 90m, increment: 2.50}}]}
  empty: {}
methods: {'*': deny, prompts/get: allow, 'resources/*': allow, vendor/a#b: deny}
limits: {scope: session}
approvals: {timeout: 20s, valid: 0}
sandbox:
  network: {allow: [{host: a.example, ports: [443, 8443], max_bytes_out: 1M}, {host: b.example, tls: none, reason: lab}]}
  filesystem: {read: [/opt/a], write: [/srv/b, {path: /images, from: /srv/c, owner: images, max: 512M}]}
  process: {max: 3, exec: [node, /opt/a/b]}
  resources: {memory: 512M, cpu: 0.25, open_files: 64, tmp: 1G, wall: 1h}
  env: {pass: [A, {name: B, optional: true}], set: {C: "yes", D: 1.0}}
  require: [core, landlock]
audit: {durability: write, capture: hmac}
server: {command: [node, "a b"]}
cli: {allow: [connect-to]}
"#;
        let first = loaded(text).normalised();
        assert_eq!(loaded(&first).normalised(), first);
        for part in [
            "default: allow",
            "[1.50, \"1.50\", \"true\", true, null, [x]]",
            "methods: {\"*\": deny, prompts/get: allow, \"resources/*\": allow, \"vendor/a#b\": deny}",
            "cpu: 0.250",
            "wall: 3600s",
            "window: 120s",
            "owner: images, max: 536870912}",
            "process: {max: 3, exec: [/opt/a/b, node]}",
            "rate_limit: 4/hour",
            "pace: {every: 250ms, burst: 3}",
            "pace: {every: 60s, burst: 1}",
            "- action: require_approval",
            "- {path: \"state.weird: [name].a: b\", op: lt, value: 1e2}",
            "state: {counter: \"a: b\", window: hour, increment_from: \"args.n.a#\"}",
            "state: {counter: all, window: 5400s, increment: 2.5}",
            "approvals: {timeout: 20s, valid: 0s}",
        ] {
            assert!(first.contains(part), "{part} in\n{first}");
        }
    }
    #[test]
    fn ceilings_in_force_are_written_out_and_load_to_the_same() {
        const DEFAULTS: &str = "process: {max: 64}\n  resources: {memory: 536870912, cpu: 1.000, open_files: 1024, tmp: 67108864, wall: 0, call_timeout: 0, client_line: 4194304, server_line: 67108864}\n";
        let normal = loaded("sandbox: {}").normalised();
        assert!(normal.contains(DEFAULTS) && !normal.contains("approvals"), "{normal}");
        assert_eq!(loaded(&normal).normalised(), normal);
        assert_eq!(loaded("sandbox: {}").diff(&loaded(&normal)), []);
        assert!(normal.contains("methods: {\"*\": deny}\n"), "{normal}");

        let absent = loaded("tools: {t: {rules: [{action: require_approval}]}}").normalised();
        assert!(absent.contains("approvals: {timeout: 50s, valid: 600s}\n# no sandbox"), "{absent}");
        assert!(!loaded(&absent).sandbox.present, "{absent}");
        assert_eq!(loaded(&absent).normalised(), absent);
    }
}
