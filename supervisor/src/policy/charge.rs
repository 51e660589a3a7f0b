//! An allowed call is charged: every limit that it owes, or none, and the words of the refusal.

use super::model::Policy;
use super::verdict::{Allowance, Denial, DenialCode, PlannedLimit};
use crate::clock::Now;
use crate::limits::{Amount, Claim, NEVER_MS, Reservation, Store, StoreError};

/// The limit that refused a call, or the first that it was charged to.
#[derive(Clone, Debug)]
pub struct LimitHit {
    /// The counter and its bounds.
    pub claim: Claim,
    /// What stands in its window: with the call where it was charged, without it where it was refused.
    pub used: Amount,
    /// Milliseconds until the call could be granted; none where time alone does not free it, or where it was granted.
    pub retry_after_ms: Option<u64>,
}

/// What became of the charge.
#[derive(Clone, Debug)]
#[must_use]
pub enum Charged<'p> {
    /// Every limit was charged once.
    Granted(Option<LimitHit>),
    /// None was.
    Refused(Denial<'p>, Option<LimitHit>),
}

impl<'p> Allowance<'p> {
    /// Reserves all limits of an allowed call, or none.
    ///
    /// # Errors
    /// When the store cannot answer; nothing was charged then, and the call must be refused.
    pub fn charge(
        &self,
        policy: &Policy,
        store: &mut dyn Store,
        session: &str,
        now: Now,
    ) -> Result<Charged<'p>, StoreError> {
        if self.limits.is_empty() {
            return Ok(Charged::Granted(None));
        }
        let claims: Vec<Claim> = self.limits.iter().map(|limit| limit.claim(policy, session)).collect();
        Ok(match store.reserve(now, &claims)? {
            Reservation::Granted { used } => {
                let first = claims.into_iter().zip(used).next();
                Charged::Granted(first.map(|(claim, used)| LimitHit { claim, used, retry_after_ms: None }))
            }
            Reservation::Exhausted { index, used, retry_after_ms } => {
                let planned = self.limits[index];
                let retry_after_ms = Some(retry_after_ms).filter(|wait_ms| *wait_ms != NEVER_MS);
                let message = refusal(planned, retry_after_ms);
                let hit = claims.into_iter().nth(index).map(|claim| LimitHit { claim, used, retry_after_ms });
                Charged::Refused(Denial { rule: Some(planned.rule), code: DenialCode::RateLimited, message }, hit)
            }
        })
    }
}

/// `Rate limit of 10 per 60 s reached. Try again in 42 s.`; the policy's own words in place of the first sentence.
fn refusal(limit: PlannedLimit<'_>, retry_after_ms: Option<u64>) -> String {
    let first = limit.rule.reason.clone().unwrap_or_else(|| limit.reached());
    match retry_after_ms {
        Some(wait_ms) => format!("{first} Try again in {} s.", wait_ms.div_ceil(1000)),
        None => first,
    }
}
