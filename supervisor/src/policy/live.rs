//! What of a changed policy a running server can be given, and what it cannot.
//!
//! Rules decide the next call, so they may always change. What was built into the sandbox, the log and the counters when
//! the session started stays as it was built: a policy that asks for something else there is refused as a whole, each key
//! named, for half of a policy is a policy that nobody wrote.

use std::path::Path;

use super::decide::EVERY_TOOL;
use super::model::{
    AuditSection, DefaultEffect, EnvPass, HostRule, Policy, Resources, SandboxSection, TlsMode, WriteRule,
};

/// Keys of `new` that differ from `old` and cannot change while the server runs, in the order of docs/policy.md. Empty: the
/// policy may take over.
///
/// Both structures are taken apart whole: a field that is added to the model does not compile here until it is judged.
#[must_use]
pub fn fixed_changes(old: &Policy, new: &Policy) -> Vec<&'static str> {
    let Policy {
        // The counters' keys and their folder are made of these three.
        name: _,
        named: _,
        path: _,
        sha256: _,
        // Decided anew for every call.
        description: _,
        default: _,
        hide: _,
        tools: _,
        methods: _,
        approvals: _,
        // Built when the session started.
        limit_scope,
        sandbox,
        audit,
        server_command,
        pins,
        cli_allow,
    } = new;
    let AuditSection { durability } = *audit;
    let mut changed = Changes::default();
    changed.note("name", old.limit_identity() != new.limit_identity());
    changed.note("limits.scope", old.limit_scope != *limit_scope);
    sandbox_changes(&old.sandbox, sandbox, &mut changed);
    changed.note("audit.durability", old.audit.durability != durability);
    changed.note("server.command", old.server_command != *server_command);
    // The folder of the pins was read when the session started. What stands in a lock file may change.
    changed.note("server.pins", old.pins != *pins);
    // Flags were checked against it when the session started; a later file cannot allow them after the fact.
    changed.note("cli.allow", old.cli_allow != *cli_allow);
    changed.keys
}

/// Whether a client that read tools/list under `old` would read another one under `new`, for some list of the server's.
#[must_use]
pub fn visibility_changes(old: &Policy, new: &Policy) -> bool {
    // Where the default allows, a listed tool is as visible as one that is not.
    let listed = |policy: &Policy| match policy.default {
        DefaultEffect::Allow => None,
        DefaultEffect::Deny => {
            Some(policy.tools.keys().filter(|tool| *tool != EVERY_TOOL).cloned().collect::<Vec<_>>())
        }
    };
    old.hide != new.hide || listed(old) != listed(new)
}

/// Whether a call may need a tool's schema under `new` that was not kept under `old`.
#[must_use]
pub fn wants_more_schemas(old: &Policy, new: &Policy) -> bool {
    let wants_more = |tool: &str| {
        let (old, new) = (old.wants_of_schemas(tool), new.wants_of_schemas(tool));
        old.or(new) != old
    };
    // A rule of `*` wants the schemas of tools that no policy names.
    wants_more(EVERY_TOOL) || new.tools.keys().any(|tool| wants_more(tool))
}

#[derive(Default)]
struct Changes {
    keys: Vec<&'static str>,
}

impl Changes {
    fn note(&mut self, key: &'static str, changed: bool) {
        self.keys.extend(changed.then_some(key));
    }
}

fn sandbox_changes(old: &SandboxSection, new: &SandboxSection, changed: &mut Changes) {
    let SandboxSection {
        // An absent section and an empty one give the same sandbox.
        present: _,
        // A ceiling of the cgroup, which is written anew; the monitor judges how high it may go.
        processes_max: _,
        exec,
        hosts,
        read,
        write,
        resources,
        env_pass,
        env_set,
        require,
    } = new;
    let Resources {
        memory_bytes: _,
        cpu_millis: _,
        wall: _,
        // Asked of the policy at each call.
        call_timeout: _,
        // Built when the session started, as the values that hold when they are absent.
        client_line_bytes: _,
        server_line_bytes: _,
        open_files,
        tmp_bytes,
    } = resources;
    changed.note("sandbox.network.allow", !same(&old.hosts, hosts, host));
    changed.note("sandbox.filesystem.read", !same(&old.read, read, |path| path));
    changed.note("sandbox.filesystem.write", !same(&old.write, write, folder));
    changed.note("sandbox.process.exec", old.exec != *exec);
    changed.note("sandbox.resources.open_files", old.resources.open_files != *open_files);
    changed.note("sandbox.resources.tmp", old.resources.tmp_bytes != *tmp_bytes);
    let lines = (old.resources.client_line_max(), old.resources.server_line_max());
    changed.note("sandbox.resources.client_line", lines.0 != resources.client_line_max());
    changed.note("sandbox.resources.server_line", lines.1 != resources.server_line_max());
    changed.note("sandbox.env.pass", !same(&old.env_pass, env_pass, variable));
    changed.note("sandbox.env.set", old.env_set != *env_set);
    changed.note("sandbox.require", old.require != *require);
}

/// Whether both lists hold the same entries, wherever in the file they stand.
fn same<'p, T, K: PartialEq>(old: &'p [T], new: &'p [T], key: impl Fn(&'p T) -> K) -> bool {
    let holds = |list: &'p [T], wanted: &K| list.iter().any(|entry| key(entry) == *wanted);
    old.len() == new.len()
        && old.iter().all(|entry| holds(new, &key(entry)))
        && new.iter().all(|entry| holds(old, &key(entry)))
}

type HostKey<'p> = (&'p str, &'p [u16], TlsMode, Option<&'p str>, Option<u64>);

fn host(rule: &HostRule) -> HostKey<'_> {
    let HostRule { host, ports, tls, reason, max_bytes_out, line: _ } = rule;
    (host, ports, *tls, reason.as_deref(), *max_bytes_out)
}

fn folder(rule: &WriteRule) -> (&Path, &Path, Option<&str>, Option<u64>, bool) {
    let WriteRule { path, from, owner, max_bytes, by_quota, line: _ } = rule;
    (path, from, owner.as_deref(), *max_bytes, *by_quota)
}

fn variable(pass: &EnvPass) -> (&str, bool) {
    let EnvPass { name, optional, line: _ } = pass;
    (name, *optional)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load::{KEYS, Source, load};
    use crate::policy::testing::{loaded, loaded_at};

    /// Keys of a policy and of its sandbox that are live, as sections and keys of the loader. Every other key there is fixed.
    const LIVE: &[(&str, &str)] = &[
        ("a policy", "version"),
        ("a policy", "description"),
        ("a policy", "default"),
        ("a policy", "hide"),
        ("a policy", "tools"),
        ("a policy", "methods"),
        ("a policy", "approvals"),
        ("a policy", "sandbox"), // absent and empty are the same; its keys have rows of their own
        ("sandbox", "process"),
        ("sandbox", "resources"),
        ("sandbox.process", "max"),
        ("sandbox.resources", "memory"),
        ("sandbox.resources", "cpu"),
        ("sandbox.resources", "wall"),
        ("sandbox.resources", "call_timeout"),
    ];

    /// Sections whose keys are fixed unless [`LIVE`] names them. All others stand under `tools`, or are wholly live.
    const BUILT: &[&str] = &[
        "a policy",
        "limits",
        "audit",
        "server",
        "pins",
        "cli",
        "sandbox",
        "sandbox.network",
        "sandbox.filesystem",
        "sandbox.process",
        "sandbox.resources",
        "sandbox.env",
        "a write folder",
        "a passed variable",
        "an allowed host",
    ];

    #[test]
    fn every_key_is_live_or_named() {
        for (section, key, text, entry) in KEYS {
            let new = loaded(&text.replace('@', entry));
            let without = text.replace('@', "");
            let source = Source { path: std::path::Path::new("/etc/p.yaml"), text: &without };
            let old = load(&source).map_or_else(|_| loaded("tools: {}"), |loaded| loaded.policy);
            let live = LIVE.contains(&(section, key)) || !BUILT.contains(section);
            for (old, new) in [(&old, &new), (&new, &old)] {
                let changed = fixed_changes(old, new);
                assert_eq!(changed.is_empty(), live, "{section}: {key} changed {changed:?}");
            }
            assert!(fixed_changes(&new, &new).is_empty(), "{section}: {key}");
        }
    }

    const WHOLE: &str = "
sandbox:
  network: {allow: [{host: a.b}, {host: c.d, ports: [1], tls: none, reason: r, max_bytes_out: 1K}]}
  filesystem: {read: [/opt/a, /opt/b], write: [/opt/c, {path: /d, from: /opt/d, owner: ada, max: 1M}]}
  process: {max: 2, exec: [node, git]}
  env: {pass: [A, B], set: {C: x}}
  resources: {open_files: 64, tmp: 1M}
";

    #[test]
    fn each_fixed_key_is_named_by_its_place_in_the_file() {
        let old = loaded(WHOLE);
        for (from, to, key) in [
            ("host: a.b", "host: a.c", "sandbox.network.allow"),
            ("ports: [1]", "ports: [1, 2]", "sandbox.network.allow"),
            ("max_bytes_out: 1K", "max_bytes_out: 2K", "sandbox.network.allow"),
            ("/opt/a, ", "", "sandbox.filesystem.read"),
            ("owner: ada", "owner: bob", "sandbox.filesystem.write"),
            ("max: 1M}]", "max: 2M}]", "sandbox.filesystem.write"),
            (", max: 1M}]", "}]", "sandbox.filesystem.write"),
            ("exec: [node, git]", "exec: [node, sh]", "sandbox.process.exec"),
            (", exec: [node, git]", "", "sandbox.process.exec"),
            ("pass: [A, B]", "pass: [A, A2]", "sandbox.env.pass"),
            ("C: x", "C: y", "sandbox.env.set"),
            ("open_files: 64", "open_files: 65", "sandbox.resources.open_files"),
            ("tmp: 1M", "tmp: 2M", "sandbox.resources.tmp"),
            ("tmp: 1M", "tmp: 1M, client_line: 5M", "sandbox.resources.client_line"),
            ("tmp: 1M", "tmp: 1M, server_line: 5M", "sandbox.resources.server_line"),
        ] {
            assert_eq!(fixed_changes(&old, &loaded(&WHOLE.replace(from, to))), [key], "{from} -> {to}");
        }
    }

    #[test]
    fn entries_may_move_but_not_change() {
        let moved = WHOLE
            .replace("[/opt/a, /opt/b]", "[/opt/b, /opt/a]")
            .replace("pass: [A, B]", "pass: [B, A]")
            .replace("exec: [node, git]", "exec: [git, node]")
            .replace("sandbox:", "# a line more\nsandbox:");
        assert_eq!(fixed_changes(&loaded(WHOLE), &loaded(&moved)), [""; 0]);
    }

    #[test]
    fn who_the_counters_belong_to_is_fixed() {
        let text = "tools: {t: {}}";
        let named = format!("name: p\n{text}");
        assert_eq!(fixed_changes(&loaded_at("/a/p.yaml", text), &loaded_at("/b/p.yaml", text)), ["name"]);
        assert_eq!(fixed_changes(&loaded_at("/a/p.yaml", text), &loaded_at("/a/p.yaml", &named)), ["name"]);
        assert_eq!(fixed_changes(&loaded_at("/a/p.yaml", &named), &loaded_at("/b/q.yaml", &named)), [""; 0]);
    }

    #[test]
    fn visibility_is_what_a_client_sees() {
        let old = loaded("tools: {a: {}, b: {}}");
        let changes = |text: &str| visibility_changes(&old, &loaded(text));
        assert!(!changes("tools: {b: {rules: [{action: deny}]}, a: {}, '*': {}}"), "rules hide nothing");
        for text in ["tools: {a: {}}", "tools: {a: {}, b: {}, c: {}}", "{default: allow, tools: {a: {}, b: {}}}"] {
            assert!(changes(text), "{text}");
        }
        assert!(changes("{hide: [a], tools: {a: {}, b: {}}}"));
        let open = loaded("default: allow");
        assert!(!visibility_changes(&open, &loaded("{default: allow, tools: {a: {}}}")), "listed or not, it shows");
    }

    #[test]
    fn schemas_are_asked_for_when_a_tool_needs_one_that_was_not_kept() {
        let rule = "{rules: [{validate: {required_args: true}}]}";
        let none = loaded("tools: {a: {}}");
        let one = loaded(&format!("tools: {{a: {rule}}}"));
        let other = loaded(&format!("tools: {{a: {rule}, b: {rule}}}"));
        let all = loaded(&format!("tools: {{'*': {rule}}}"));
        let [whole, output] =
            ["schema", "output"].map(|key| loaded(&format!("tools: {{a: {rule}}}").replace("required_args", key)));
        for (old, new, wanted) in [
            (&none, &one, true),
            (&one, &none, false),
            (&one, &one, false),
            (&one, &other, true),
            (&other, &one, false),
            (&one, &all, true),
            (&all, &other, false),
            (&all, &all, false),
            (&one, &whole, true),
            (&whole, &output, true),
            (&whole, &whole, false),
        ] {
            assert_eq!(wants_more_schemas(old, new), wanted, "{} -> {}", old.normalised(), new.normalised());
        }
    }
}
