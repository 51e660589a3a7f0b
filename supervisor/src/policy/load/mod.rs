//! The strict loader: YAML text to model. Everything that is wrong is said at once, each with its place.

mod argument_path;
mod cases;
mod conditions;
mod counters;
mod groups;
mod hints;
mod hosts;
mod limits;
mod methods;
mod operands;
mod paths;
mod pattern;
mod programs;
mod read;
mod sandbox;
mod schema;
mod server;
mod state;
mod suggest;
mod tools;
mod top;
mod units;

#[cfg(test)]
pub(super) use hosts::fault as host_fault;

#[cfg(test)]
mod inert;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use inert::KEYS;

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::codes::Code;
use super::model::Policy;
use super::yaml::{self, Node, Span};
use crate::bounds::POLICY_BYTES_MAX;
use crate::report::{Diagnostic, is_deceptive};
pub use cases::read_cases;
use read::Reader;

pub use schema::json_schema;

/// A policy file that has been read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its real path: in messages, and in the counters' keys where the policy has no name.
    pub path: &'a Path,
    /// Its whole text.
    pub text: &'a str,
}

/// A policy that loaded, and what its author should look at all the same.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// Warnings, in file order.
    pub warnings: Vec<Diagnostic>,
}

/// The text of a policy file's bytes.
///
/// # Errors
/// When it is larger than `POLICY_BYTES_MAX` or not UTF-8.
pub fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Vec<Diagnostic>> {
    if bytes.len() as u64 > POLICY_BYTES_MAX {
        return Err(vec![too_large(path, bytes.len())]);
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let message = format!("line {line} is not UTF-8 at byte {}", error.valid_up_to());
        vec![read::whole_file(path, Code::ForbiddenCharacter, message)]
    })
}

/// Reads a policy. Bounded in time and memory whatever the text.
///
/// # Errors
/// Every problem found, in file order, at most `POLICY_DIAGNOSTICS_MAX`. Nothing of a policy that does not load is used.
pub fn load(source: &Source<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    if source.text.len() as u64 > POLICY_BYTES_MAX {
        return Err(vec![too_large(source.path, source.text.len())]);
    }
    let mut reader = Reader::new(source.path, source.text);
    let root = document(&mut reader, source.text, "the policy is empty");
    let policy = root.and_then(|root| top::policy(&mut reader, &root, source, sha256(source.text)));
    let (errors, warnings) = reader.finish();
    match policy {
        Some(policy) if errors.is_empty() => Ok(Loaded { policy, warnings }),
        _ => Err(errors),
    }
}

/// The one document of a text, unless it cannot be read or holds nothing, which is said as `empty`.
fn document(reader: &mut Reader<'_>, text: &str, empty: &str) -> Option<Node> {
    refuse_deceptive_text(reader, text);
    let mut flaws = Vec::new();
    let root = yaml::parse(text, &mut flaws);
    let readable = flaws.is_empty() || root.is_some();
    for flaw in flaws {
        let diagnostic = reader.error(flaw.code, flaw.span, flaw.message);
        diagnostic.help = flaw.help.map(str::to_owned);
    }
    let root = root.filter(|root| !root.is_null());
    if root.is_none() && readable {
        reader.whole(Code::Empty, empty);
    }
    root
}

fn too_large(path: &Path, bytes: usize) -> Diagnostic {
    read::whole_file(path, Code::TooLarge, format!("{bytes} bytes; a policy file holds at most {POLICY_BYTES_MAX}"))
}

/// Raw characters that make a file read otherwise than it works. A quoted string can hold their escapes.
fn refuse_deceptive_text(reader: &mut Reader<'_>, text: &str) {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_ascii() && !line.bytes().any(|byte| is_deceptive(char::from(byte))) {
            continue;
        }
        for (column, c) in line.chars().enumerate().filter(|&(_, c)| is_deceptive(c)) {
            let small = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
            let span = Span { line: small(index), column: small(column), width: 1 };
            let message = format!("the character U+{:04X} may not stand raw in a policy", u32::from(c));
            reader.error(Code::ForbiddenCharacter, span, message).help =
                Some("in a double-quoted string, write it as an escape such as \"\\u202E\"".into());
        }
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}
