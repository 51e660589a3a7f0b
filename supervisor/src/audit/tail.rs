//! Where a file of records stops being good, found from its end within a bounded window.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::chain::{Head, Link};
use crate::bounds::AUDIT_RECORD_BYTES_MAX;

/// Bytes that are looked at: the last good record and a torn batch behind it.
const WINDOW_BYTES: u64 = 4 * AUDIT_RECORD_BYTES_MAX as u64;

/// The last good record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// Its place in the chain.
    pub(super) head: Head,
    /// Offset behind its LF.
    pub(super) end: u64,
}

/// Finds the last line that is whole and carries its own hash. Looks only at the fixed places of seq and hash.
pub(super) fn last_good(file: &File, domain: &str, length: u64) -> io::Result<Option<Last>> {
    let from = length.saturating_sub(WINDOW_BYTES);
    let mut window = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut window, from)?;
    let mut end = window.len();
    while let Some(feed) = window[..end].iter().rposition(|byte| *byte == b'\n') {
        let start = match window[..feed].iter().rposition(|byte| *byte == b'\n') {
            Some(before) => before + 1,
            None if from == 0 => 0,
            None => return Ok(None), // its beginning is outside of the window
        };
        if let Some(link) = Link::read(domain, &window[start..feed]).filter(|link| link.intact) {
            return Ok(Some(Last { head: link.head(), end: from + feed as u64 + 1 }));
        }
        end = feed;
    }
    Ok(None)
}
