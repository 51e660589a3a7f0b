//! `audit hash`: the keyed hash of a value.

use std::io::{Read, Write};
use std::path::Path;

use clap::Args;

use super::Done;
use crate::audit::{KEY_DIRECTORY, Redactor, keys};

#[derive(Debug, Args)]
pub(in crate::cli) struct HashArgs {
    /// The value; `-` reads it from stdin (a final newline is not part of it), where no process list shows it.
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
}

pub(super) fn run(arguments: &HashArgs, out: &mut impl Write) -> Done {
    let redactor = keys::load_redactor(Path::new(KEY_DIRECTORY))?;
    let mut value = arguments.value.clone();
    if value == "-" {
        value.clear();
        std::io::stdin().read_to_string(&mut value)?;
        value.truncate(value.strip_suffix('\n').unwrap_or(&value).len());
    }
    for (kind, hash) in hashes(&redactor, &value) {
        writeln!(out, "{hash} {kind}")?;
    }
    Ok(0)
}

/// As a string, and as what else it could have been.
fn hashes(redactor: &Redactor, value: &str) -> Vec<(&'static str, String)> {
    let other = match serde_json::from_str(value) {
        Ok(serde_json::Value::Number(_)) => Some("number"),
        Ok(serde_json::Value::Bool(_)) => Some("boolean"),
        Ok(serde_json::Value::Null) => Some("null"),
        _ => None,
    };
    let mut hashes = vec![("string", redactor.hash("string", value))];
    hashes.extend(other.map(|kind| (kind, redactor.hash(kind, value.trim()))));
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_hashed_as_a_string_and_as_a_number() {
        let redactor = Redactor::new(&[1; 32]);
        let kinds = |value| hashes(&redactor, value).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds("12"), ["string", "number"]);
        assert_eq!(kinds("true"), ["string", "boolean"]);
        assert_eq!(kinds("cat"), ["string"]);
        assert_eq!(hashes(&redactor, "12")[1].1, redactor.hash("number", "12"));
        assert_eq!(hashes(&redactor, " 12 ")[1].1, redactor.hash("number", "12"));
        assert_eq!(hashes(&redactor, " 12 ")[0].1, redactor.hash("string", " 12 "));
    }
}
