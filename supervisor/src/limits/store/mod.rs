//! The stores, and what they share: how several judgements become one answer.

mod memory;
pub mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use super::timeline::Instant;
use super::window::{CallLog, Judgement, judge};
use super::{Amount, Claim, NEVER_MS, Quota, Reservation, Window};

/// Judges every claim on the log that `log_of` finds for it; charges nothing.
fn weigh<L: CallLog>(
    claims: &[Claim],
    instant: Instant,
    mut log_of: impl FnMut(&Claim) -> Result<L, L::Error>,
) -> Result<Reservation, L::Error> {
    let mut used = Vec::with_capacity(claims.len());
    let mut worst: Option<(u64, usize, u64)> = None;
    for (index, claim) in claims.iter().enumerate() {
        // Claims on one counter are charged one after the other.
        let wanted = 1 + claims[..index].iter().filter(|earlier| earlier.key == claim.key).count() as u64;
        match judge(&mut log_of(claim)?, quota_of(claim), instant.log_ns, wanted)? {
            Judgement::Free { used: standing } => used.push(Amount::calls(standing)),
            Judgement::Full { used: standing, frees_at_ns } => {
                let wait_ms =
                    frees_at_ns.map_or(NEVER_MS, |at_ns| at_ns.saturating_sub(instant.raw_ns).div_ceil(1_000_000));
                if worst.is_none_or(|(longest_ms, ..)| wait_ms > longest_ms) {
                    worst = Some((wait_ms, index, standing));
                }
            }
        }
    }
    Ok(match worst {
        None => Reservation::Granted { used },
        Some((retry_after_ms, index, used)) => {
            Reservation::Exhausted { index, used: Amount::calls(used), retry_after_ms }
        }
    })
}

/// The claim as a quota of calls.
fn quota_of(claim: &Claim) -> Quota {
    let max = claim.at_most.whole();
    match claim.window {
        Window::Sliding { window_ms } => Quota::Sliding { max, window_ms },
        Window::Calendar { unit } => Quota::Calendar { max, unit },
    }
}
