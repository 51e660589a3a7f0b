//! Absolute paths, and which of them no policy may give away.

use super::read::Reader;
use crate::policy::codes::Code;
use crate::policy::yaml::Node;

/// PATH_MAX less its NUL (limits.h).
const PATH_BYTES_MAX: usize = 4095;

/// The kernel's own trees: inside they are the sandbox's, outside nobody's.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev"];
/// Our own keys, logs and counters.
const OURS: &[&str] =
    &["/etc/intercept-sandbox", "/var/log/intercept-sandbox", "/var/lib/intercept-sandbox", "/run/intercept-sandbox"];
/// Trees whose files the host itself runs or trusts: never writable.
const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/etc", "/root/.ssh"];

/// An absolute path in normal form: no empty, `.` or `..` component, no final slash, no control character.
pub(super) fn absolute(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    let text = reader.text(node, what)?;
    let fault = if !text.starts_with('/') {
        Some("must be absolute")
    } else if text.len() > PATH_BYTES_MAX {
        Some("is longer than the 4095 bytes that Linux allows")
    } else if text.chars().any(char::is_control) {
        Some("holds a control character")
    } else if text != "/" && text[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("must be in normal form: no //, no . or .. component, no final slash")
    } else {
        None
    };
    match fault {
        Some(fault) => {
            reader.error(Code::BadPath, node.span, format!("the path \"{}\" {fault}", shortened(text)));
            None
        }
        None => Some(text.to_owned()),
    }
}

/// Whether `path` is `tree` or lies in it; both in normal form.
pub(super) fn within(path: &str, tree: &str) -> bool {
    tree == "/" || path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses what no server may see.
pub(super) fn refuse_unreadable(reader: &mut Reader<'_>, node: &Node, path: &str) -> bool {
    let within_any = |trees: &[&str]| trees.iter().any(|tree| within(path, tree));
    let fault = if path == "/" {
        Some("the whole disk cannot be given to a server; name the folders it needs")
    } else if within_any(KERNEL) {
        Some("/proc, /sys and /dev of the host cannot be given to a server")
    } else if within_any(OURS) {
        Some("the supervisor's own keys, logs and counters cannot be given to a server")
    } else {
        None
    };
    if let Some(fault) = fault {
        reader.error(Code::ProtectedPath, node.span, fault);
    }
    fault.is_some()
}

/// Refuses what no server may write: the above, the trees that hold it, and what the host runs.
pub(super) fn refuse_unwritable(reader: &mut Reader<'_>, node: &Node, path: &str) -> bool {
    if refuse_unreadable(reader, node, path) {
        return true;
    }
    let holds_ours = OURS.iter().any(|ours| within(ours, path));
    let system = SYSTEM.iter().any(|tree| within(path, tree));
    if holds_ours || system {
        let message = format!("{path} is a folder of the host's system; a server cannot be given it to write");
        reader.error(Code::ProtectedPath, node.span, message);
    }
    holds_ours || system
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
