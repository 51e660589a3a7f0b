//! The stores, and what they share: how several judgements become one answer.

mod late;
mod memory;
pub mod redis;
mod sqlite;
#[cfg(test)]
mod tests;

pub use late::LateStore;
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use super::timeline::Instant;
use super::window::{CallLog, Room, judge, standing};
use super::{Amount, Claim, NEVER_MS, Reservation};

/// The refusal that lasts longest.
struct Refusal {
    wait_ms: u64,
    index: usize,
    used: Amount,
}

/// Judges every claim on the log that `log_of` finds for it; charges nothing.
fn weigh<L: CallLog>(
    claims: &[Claim],
    instant: Instant,
    mut log_of: impl FnMut(&Claim) -> Result<L, L::Error>,
) -> Result<Reservation, L::Error> {
    let mut used = Vec::with_capacity(claims.len());
    let mut worst: Option<Refusal> = None;
    for (index, claim) in claims.iter().enumerate() {
        let earlier = charged_earlier(claims, index);
        let judgement = judge(&mut log_of(claim)?, claim, earlier, instant.log_ns)?;
        let wait_ms = match judgement.room {
            Room::Free => {
                used.push(judgement.before.saturating_add(earlier).saturating_add(claim.amount));
                continue;
            }
            Room::FullUntil(at_ns) => at_ns.saturating_sub(instant.raw_ns).div_ceil(1_000_000),
            Room::Never => NEVER_MS,
        };
        if worst.as_ref().is_none_or(|worst| wait_ms > worst.wait_ms) {
            worst = Some(Refusal { wait_ms, index, used: judgement.before });
        }
    }
    let Some(Refusal { wait_ms, index, used: before }) = worst else {
        return Ok(Reservation::Granted { used });
    };
    let retry_after_ms = if is_met_after(claims, instant, wait_ms, log_of)? { wait_ms } else { NEVER_MS };
    Ok(Reservation::Exhausted { index, used: before, retry_after_ms })
}

/// What a reservation charges to the counter of claim `index` before it: claims on one counter are charged one after the other. One
/// that only reads sees what stands before the whole call.
fn charged_earlier(claims: &[Claim], index: usize) -> Amount {
    let claim = &claims[index];
    if claim.amount == Amount::ZERO {
        return Amount::ZERO;
    }
    let same = claims[..index].iter().filter(|earlier| earlier.key == claim.key);
    same.fold(Amount::ZERO, |sum, earlier| sum.saturating_add(earlier.amount))
}

/// Whether every lower bound still holds after the wait: the time that makes room takes away what a lower bound needs.
fn is_met_after<L: CallLog>(
    claims: &[Claim],
    instant: Instant,
    wait_ms: u64,
    mut log_of: impl FnMut(&Claim) -> Result<L, L::Error>,
) -> Result<bool, L::Error> {
    let then_ns = instant.raw_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
    for claim in claims.iter().filter(|claim| claim.at_least > Amount::MIN) {
        if standing(&mut log_of(claim)?, claim.window, then_ns)? < claim.at_least {
            return Ok(false);
        }
    }
    Ok(true)
}
