//! `sandbox:`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::read::{Fields, Reader, Section};
use super::{hosts, paths, programs, units};
use crate::bounds::{
    POLICY_CLIENT_LINE_BYTES_MAX, POLICY_LINE_BYTES_MIN, POLICY_MOUNTS_MAX, POLICY_NAME_BYTES_MAX,
    POLICY_SERVER_LINE_BYTES_MAX, WINDOW_SECONDS_MAX,
};
use crate::policy::codes::Code;
use crate::policy::model::{EnvPass, Resources, SandboxSection, WriteRule};
use crate::policy::yaml::{Kind, Node, Span};

pub(super) const SANDBOX: Section =
    Section { what: "sandbox", keys: &["network", "filesystem", "process", "resources", "env", "require"], later: &[] };
pub(super) const FILESYSTEM: Section = Section { what: "sandbox.filesystem", keys: &["read", "write"], later: &[] };
pub(super) const WRITE: Section =
    Section { what: "a write folder", keys: &["path", "from", "owner", "max", "quota"], later: &[] };
pub(super) const PROCESS: Section = Section { what: "sandbox.process", keys: &["max", "exec"], later: &[] };
pub(super) const RESOURCES: Section = Section {
    what: "sandbox.resources",
    keys: &["memory", "cpu", "open_files", "tmp", "wall", "call_timeout", "client_line", "server_line"],
    later: &[],
};
pub(super) const ENV: Section = Section { what: "sandbox.env", keys: &["pass", "set"], later: &[] };
pub(super) const ENV_PASS: Section = Section { what: "a passed variable", keys: &["name", "optional"], later: &[] };

/// Words of `quota`.
pub(super) const QUOTA: &[(&str, ())] = &[("project", ())];

/// Words of `require`: `core` stands for the layers that are always required, the others are extra.
pub(super) const LAYERS: &[(&str, Option<&str>)] = &[
    ("core", None),
    ("landlock", Some("landlock")),
    ("sk-lookup", Some("sk-lookup")),
    ("exec-trace", Some("exec-trace")),
    ("lsm", Some("lsm")),
    ("fs-trace", Some("fs-trace")),
];

const MEMORY_BYTES_MAX: u64 = 1 << 46;

/// Reads the section; absent, the strictest sandbox.
pub(super) fn sandbox(reader: &mut Reader<'_>, node: Option<&Node>) -> SandboxSection {
    let Some(node) = node else {
        let message = "no `sandbox:` section: the server gets no network, may write nothing but its private /tmp, and sees its own code only under /usr, /bin, /sbin and /lib*";
        reader.whole_warning(Code::NoSandbox, message).help =
            Some("add `sandbox: {network: {allow: [{host: api.example.com}]}, filesystem: {read: [/opt/server]}}` with the hosts it needs and the folder of its code, or `sandbox: {}` to silence this".into());
        return SandboxSection::default();
    };
    let mut section = SandboxSection { present: true, ..SandboxSection::default() };
    let Some(fields) = reader.section(node, &SANDBOX) else { return section };
    if let Some(node) = fields.get("network") {
        section.hosts = hosts::network(reader, node);
    }
    if let Some(node) = fields.get("filesystem") {
        filesystem(reader, node, &mut section);
    }
    if let Some(fields) = fields.get("process").and_then(|node| reader.section(node, &PROCESS)) {
        section.processes_max = fields.get("max").and_then(|node| reader.integer(node, "process.max", 1..=32_768));
        section.exec = fields.get("exec").and_then(|node| programs::programs(reader, node));
    }
    if let Some(fields) = fields.get("resources").and_then(|node| reader.section(node, &RESOURCES)) {
        section.resources = resources(reader, &fields);
    }
    if let Some(fields) = fields.get("env").and_then(|node| reader.section(node, &ENV)) {
        environment(reader, &fields, &mut section);
    }
    if let Some(node) = fields.get("require") {
        section.require = require(reader, node);
    }
    section
}

fn filesystem(reader: &mut Reader<'_>, node: &Node, section: &mut SandboxSection) {
    let Some(fields) = reader.section(node, &FILESYSTEM) else { return };
    let mut inside: HashMap<String, u32> = HashMap::new();
    let items = fields.get("read").and_then(|node| reader.list(node, "filesystem.read", POLICY_MOUNTS_MAX));
    let mut reads = Vec::new();
    for item in items.unwrap_or_default() {
        let Some(path) = paths::absolute(reader, item, "filesystem.read") else { continue };
        if !paths::refuse_unreadable(reader, item, &path) && claim(reader, &mut inside, &path, item.span) {
            reads.push((path, item.span));
        }
    }
    let items = fields.get("write").and_then(|node| reader.list(node, "filesystem.write", POLICY_MOUNTS_MAX));
    for item in items.unwrap_or_default() {
        let Some((path, rule)) = write_rule(reader, item) else { continue };
        if !claim(reader, &mut inside, &path, item.span) {
            continue;
        }
        let nested =
            section.write.iter().find(|other| rule.path.starts_with(&other.path) || other.path.starts_with(&rule.path));
        if let Some(other) = nested {
            let message = format!("{path} and {} (line {}) lie in one another", other.path.display(), other.line);
            reader.error(Code::PathConflict, item.span, message);
            continue;
        }
        section.write.push(rule);
    }
    for (read, span) in reads {
        if let Some(write) = section.write.iter().find(|write| PathBuf::from(&read).starts_with(&write.path)) {
            let message = format!("{read} lies in {}, which is writable (line {})", write.path.display(), write.line);
            reader.error(Code::PathConflict, span, message);
        }
        section.read.push(read.into());
    }
}

/// Each path inside stands once.
fn claim(reader: &mut Reader<'_>, inside: &mut HashMap<String, u32>, path: &str, span: Span) -> bool {
    if path == "/tmp" {
        reader.error(Code::PathConflict, span, "/tmp is the server's private one").help =
            Some("give a folder below it, or use `path:` with another name".into());
        return false;
    }
    match inside.insert(path.to_owned(), span.line) {
        Some(line) => {
            reader.error(Code::PathConflict, span, format!("{path} stands twice, first on line {line}"));
            false
        }
        None => true,
    }
}

fn write_rule(reader: &mut Reader<'_>, node: &Node) -> Option<(String, WriteRule)> {
    let line = node.span.line;
    if !matches!(node.kind, Kind::Map(_)) {
        let path = paths::absolute(reader, node, "filesystem.write")?;
        let refused = paths::refuse_unwritable(reader, node, &path);
        return (!refused).then(|| {
            (
                path.clone(),
                WriteRule {
                    path: path.clone().into(),
                    from: path.into(),
                    owner: None,
                    max_bytes: None,
                    by_quota: false,
                    line,
                },
            )
        });
    }
    let fields = reader.section(node, &WRITE)?;
    let path_node = fields.require(reader, "path", "a write folder")?;
    let path = paths::absolute(reader, path_node, "path");
    let path = path.filter(|path| !paths::refuse_unwritable(reader, path_node, path));
    let from = match fields.get("from") {
        Some(node) => {
            paths::absolute(reader, node, "from").filter(|from| !paths::refuse_unwritable(reader, node, from))
        }
        None => path.clone(),
    };
    let owner = fields.get("owner").map(|node| owner(reader, node));
    let max_bytes = fields.get("max").map(|node| units::bytes(reader, node, "max", MEMORY_BYTES_MAX));
    let quota = quota(reader, &fields);
    let (path, from, by_quota) = (path?, from?, quota?);
    let owner = match owner {
        Some(owner) => Some(owner?),
        None => None,
    };
    // One that cannot be read is an error, never a folder without one.
    let max_bytes = match max_bytes {
        Some(max_bytes) => Some(max_bytes?),
        None => None,
    };
    Some((path.clone(), WriteRule { path: path.into(), from: from.into(), owner, max_bytes, by_quota, line }))
}

/// Whether a quota of the file system holds the folder. It holds it to its `max`, so there must be one.
fn quota(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<bool> {
    let Some(node) = fields.get("quota") else { return Some(false) };
    reader.choice(node, "quota", QUOTA, &[])?;
    fields.require(reader, "max", "a write folder with `quota`")?;
    Some(true)
}

/// A user name (useradd(8): letters, digits, `_`, `-`, `.`, at most 32) or a uid; not root.
fn owner(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let text = reader.text(node, "owner")?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if text == "root" || (digits && text.bytes().all(|byte| byte == b'0')) {
        reader.error(Code::RootOwner, node.span, "files that a server writes never belong to root").help =
            Some("name the unprivileged user that the folder is for".into());
        return None;
    }
    let name = text.len() <= 32
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    let uid = digits && text.parse::<u32>().is_ok_and(|uid| uid != u32::MAX) && !text.starts_with('0');
    if text.is_empty() || !name || (digits && !uid) {
        reader.error(Code::BadName, node.span, format!("\"{text}\" is not a user name or uid"));
        return None;
    }
    Some(text.to_owned())
}

fn resources(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Resources {
    let bytes = |reader: &mut Reader<'_>, key: &str| {
        fields.get(key).and_then(|node| units::bytes(reader, node, &format!("resources.{key}"), MEMORY_BYTES_MAX))
    };
    Resources {
        memory_bytes: bytes(reader, "memory"),
        cpu_millis: fields.get("cpu").and_then(|node| units::millicores(reader, node, "resources.cpu", 1_024_000)),
        open_files: fields
            .get("open_files")
            .and_then(|node| reader.integer(node, "resources.open_files", 16..=1 << 20)),
        tmp_bytes: bytes(reader, "tmp"),
        wall: fields
            .get("wall")
            .and_then(|node| units::duration(reader, node, "resources.wall", WINDOW_SECONDS_MAX))
            .flatten(),
        call_timeout: fields
            .get("call_timeout")
            .and_then(|node| units::duration(reader, node, "resources.call_timeout", WINDOW_SECONDS_MAX))
            .flatten(),
        client_line_bytes: fields
            .get("client_line")
            .and_then(|node| line(reader, node, "resources.client_line", POLICY_CLIENT_LINE_BYTES_MAX)),
        server_line_bytes: fields
            .get("server_line")
            .and_then(|node| line(reader, node, "resources.server_line", POLICY_SERVER_LINE_BYTES_MAX)),
    }
}

/// The longest line of one side: enough for an initialize, and not more than the relay can hold.
fn line(reader: &mut Reader<'_>, node: &Node, what: &str, max: u64) -> Option<u64> {
    let bytes = units::bytes(reader, node, what, max)?;
    if bytes < POLICY_LINE_BYTES_MIN {
        let message = format!("`{what}` must be from {POLICY_LINE_BYTES_MIN} to {max}, not {bytes}");
        reader.error(Code::OutOfRange, node.span, message);
        return None;
    }
    Some(bytes)
}

fn environment(reader: &mut Reader<'_>, fields: &Fields<'_>, section: &mut SandboxSection) {
    let mut set = BTreeMap::new();
    for entry in fields.get("set").and_then(|node| reader.named_entries(node, "env.set")).unwrap_or_default() {
        let Some(value) = reader.text(&entry.value, "env.set") else { continue };
        if value.contains('\0') {
            reader.error(Code::BadName, entry.value.span, "an environment variable cannot hold a NUL character");
        } else if variable_name(reader, &entry.key, entry.key_span) {
            set.insert(entry.key.clone(), value.to_owned());
        }
    }
    let items = fields.get("pass").and_then(|node| reader.list(node, "env.pass", 1024)).unwrap_or_default();
    for item in items {
        let Some(pass) = env_pass(reader, item) else { continue };
        let twice = section.env_pass.iter().any(|other| other.name == pass.name);
        if twice || set.contains_key(&pass.name) {
            let message = format!("{} is given twice", pass.name);
            reader.error(Code::VariableConflict, item.span, message).help = Some("pass it or set it, once".into());
            continue;
        }
        section.env_pass.push(pass);
    }
    section.env_set = set;
}

fn env_pass(reader: &mut Reader<'_>, node: &Node) -> Option<EnvPass> {
    let line = node.span.line;
    if !matches!(node.kind, Kind::Map(_)) {
        let name = reader.text(node, "env.pass")?;
        return variable_name(reader, name, node.span).then(|| EnvPass {
            name: name.to_owned(),
            optional: false,
            line,
        });
    }
    let fields = reader.section(node, &ENV_PASS)?;
    let name_node = fields.require(reader, "name", "a passed variable")?;
    let name = reader.text(name_node, "name")?;
    let optional = fields.get("optional").map_or(Some(false), |node| reader.boolean(node, "optional"));
    let good = variable_name(reader, name, name_node.span);
    Some(EnvPass { name: good.then(|| name.to_owned())?, optional: optional?, line })
}

/// POSIX names, either case (IEEE Std 1003.1-2017, 8.1).
fn variable_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let good = name.len() <= POLICY_NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !good {
        reader.error(Code::BadName, span, format!("\"{name}\" is not the name of an environment variable"));
    }
    good
}

fn require(reader: &mut Reader<'_>, node: &Node) -> BTreeSet<String> {
    let items = reader.list(node, "require", LAYERS.len()).unwrap_or_default();
    let layers = items.iter().filter_map(|item| reader.choice(item, "require", LAYERS, &[]));
    layers.flatten().map(str::to_owned).collect()
}
