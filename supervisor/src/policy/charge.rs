//! An allowed call is charged: every pace and every limit that it owes, or none, and the words of the refusal.

use super::model::{Policy, Rule};
use super::verdict::{Allowance, Denial, DenialCode};
use super::wording::{as_sentence, wait};
use crate::clock::Now;
use crate::limits::pace::{Early, Paces};
use crate::limits::{Amount, Claim, NEVER_MS, Reservation, Store, StoreError};

/// Where a session counts.
pub struct Tills<'t> {
    /// The limits' counts.
    pub store: &'t mut dyn Store,
    /// The paces'.
    pub paces: &'t mut Paces,
    /// The session's name, for counters of its own.
    pub session: &'t str,
}

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
    /// Every pace and limit was charged once.
    Granted(Option<LimitHit>),
    /// None was.
    Refused {
        /// The refusal.
        denial: Denial<'p>,
        /// The limit that made it; none for a pace.
        limit: Option<LimitHit>,
        /// Milliseconds until the call could be granted; none where time alone does not free it.
        retry_after_ms: Option<u64>,
    },
}

impl<'p> Allowance<'p> {
    /// Takes the call from all of its paces and limits, or from none.
    ///
    /// # Errors
    /// When the store cannot answer; nothing was charged then, and the call must be refused.
    pub fn charge(&self, policy: &Policy, tills: Tills<'_>, now: Now) -> Result<Charged<'p>, StoreError> {
        let Tills { store, paces, session } = tills;
        let wanted: Vec<_> =
            self.paces.iter().map(|paced| (paced.rule.id.as_str(), paced.pace.every_ms, paced.pace.burst)).collect();
        let permit = match paces.check(now, &wanted) {
            Ok(permit) => permit,
            Err(Early { index, retry_after_ms }) => {
                let paced = self.paces[index];
                return Ok(too_early(paced.rule, || format!("Too early: {paced}."), None, retry_after_ms));
            }
        };
        let charged = self.reserve(policy, store, session, now)?;
        if let Charged::Granted(_) = &charged {
            permit.commit(); // the limits have the call: so do the paces
        }
        Ok(charged)
    }

    fn reserve(
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
                let hit = claims.into_iter().nth(index).map(|claim| LimitHit { claim, used, retry_after_ms: None });
                too_early(planned.rule, || planned.reached(), hit, retry_after_ms)
            }
        })
    }
}

/// `Rate limit of 10 per 60 s reached. Try again in 42 s.`; the policy's own words in place of the first sentence. The
/// exact time is in `retry_after_ms`.
fn too_early<'p>(
    rule: &'p Rule,
    reached: impl FnOnce() -> String,
    limit: Option<LimitHit>,
    retry_after_ms: u64,
) -> Charged<'p> {
    let retry_after_ms = Some(retry_after_ms).filter(|wait_ms| *wait_ms != NEVER_MS);
    let first = rule.reason.clone().unwrap_or_else(reached);
    let message = match retry_after_ms {
        Some(wait_ms) => format!("{} Try again in {}.", as_sentence(&first), wait(wait_ms)),
        None => first,
    };
    let denial = Denial { rule: Some(rule), code: DenialCode::RateLimited, message };
    Charged::Refused { denial, limit: limit.map(|hit| LimitHit { retry_after_ms, ..hit }), retry_after_ms }
}
