//! The log: nothing is missing, and an edit shows.

use std::fs;

use harness::records;
use harness::run::{said, subcommand};

use crate::Chapter;
use crate::screen::{chapter, held, must, say};

pub(crate) fn tell() -> Chapter {
    chapter(7, "The audit log");
    // The killed sessions of the last chapter have no closing note, and verify says so; the first session is whole.
    let segment = records::segments(records::DEFAULT_DIRECTORY)
        .into_iter()
        .find(|segment| fs::read_to_string(segment).is_ok_and(|text| text.contains("\"rate_limited\"")))
        .ok_or("the session of chapters 1 to 4 is in the log")?;
    let path = segment.parent().unwrap_or(&segment).to_string_lossy().into_owned();
    let output = subcommand(["audit", "verify", &path]);
    must(output.status.code() == Some(0), &format!("an untouched log verifies: {}", said(&output)))?;
    held(&format!("intercept-sandbox audit verify {path}\n       {}", said(&output).trim()));
    say(
        "       (The session of chapters 1 to 4. One whose monitor was killed has no closing note: it reads `unterminated`.)",
    );

    let text = fs::read_to_string(&segment).map_err(|error| error.to_string())?;
    let line = text.lines().position(|line| line.contains("\"rate_limited\"")).unwrap_or_default() + 1;
    say(&format!("       Now somebody edits one byte of line {line}, the refusal of the eleventh call ..."));
    let edited: Vec<String> = text
        .lines()
        .enumerate()
        .map(
            |(index, each)| {
                if index + 1 == line { each.replacen("rate_limited", "rate_limitex", 1) } else { each.to_owned() }
            },
        )
        .collect();
    fs::write(&segment, edited.join("\n") + "\n").map_err(|error| error.to_string())?;
    let output = subcommand(["audit", "verify", &path]);
    let found = said(&output);
    must(output.status.code() == Some(1), &format!("an edited log does not verify: {found}"))?;
    must(found.contains(&format!(":{line} ")), &format!("verify names line {line}: {found}"))?;
    held(found.trim());
    Ok(())
}
