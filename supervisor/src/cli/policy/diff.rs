//! `policy diff`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Done, file};
use crate::policy::Policy;
use crate::report::printable;

/// What to compare.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy that is in force.
    #[arg(value_name = "OLD")]
    pub(super) old: PathBuf,
    /// The policy that is to replace it.
    #[arg(value_name = "NEW")]
    pub(super) new: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// A policy that does not load cannot be compared.
#[derive(Debug, thiserror::Error)]
#[error("a policy that does not load cannot be compared")]
struct NotLoaded;

pub(super) fn run(arguments: &DiffArgs, out: &mut impl Write) -> Done {
    let (old, new) = (load(&arguments.old, out)?, load(&arguments.new, out)?);
    let (Some(old), Some(new)) = (old, new) else { return Err(NotLoaded.into()) };
    let changes = old.diff(&new);
    if arguments.json {
        let changes: Vec<_> =
            changes.iter().map(|change| serde_json::json!({"way": change.way.as_str(), "text": change.text})).collect();
        writeln!(out, "{}", serde_json::json!({"same": changes.is_empty(), "changes": changes}))?;
    } else if changes.is_empty() {
        writeln!(out, "same")?;
    } else {
        for change in &changes {
            writeln!(out, "{}", printable(&change.to_string()))?;
        }
    }
    Ok(u8::from(!changes.is_empty()))
}

/// The policy at `path`; none, with its errors printed, where it does not load.
fn load(path: &Path, out: &mut impl Write) -> Result<Option<Policy>, Box<dyn std::error::Error>> {
    let bytes = file::read_to_show(path)?;
    Ok(file::load_or_tell(path, &bytes, out)?.map(|loaded| loaded.policy))
}
