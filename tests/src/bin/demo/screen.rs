//! What the audience reads.

use std::io::Write;

/// One line.
pub(crate) fn say(text: &str) {
    // An audience that has left is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A chapter's heading.
pub(crate) fn chapter(number: u32, title: &str) {
    say(&format!("\n{number}. {title}\n"));
}

/// Something that went as promised.
pub(crate) fn held(text: &str) {
    say(&format!("   ok  {text}"));
}

/// Fails the chapter unless `condition` holds.
pub(crate) fn must(condition: bool, promise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(promise.to_owned()) }
}
