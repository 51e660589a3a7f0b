//! What the extra layers of eBPF programs have in common: where one cannot be had, the run goes on and the record says why.
//!
//! A kernel can take a program and never call it, so being attached is no answer: each layer has its own proof that it was called.

use std::error::Error;

use crate::report::chain;
use crate::sandbox::Answer;

/// An extra layer of one run.
#[derive(Debug)]
pub enum Extra<L> {
    /// Its programs are attached as long as this is held, in any process.
    Attached(L),
    /// They are not, and why.
    Absent(String),
}

impl<L> Extra<L> {
    /// What arming the layer came to.
    #[must_use]
    pub fn of<E: Error + 'static>(armed: Result<L, E>) -> Self {
        match armed {
            Ok(links) => Self::Attached(links),
            Err(error) => Self::Absent(chain(&error)),
        }
    }

    /// What the layer answers: `doubt` says what speaks against it that attached programs are called.
    pub fn answer(&self, doubt: impl FnOnce(&L) -> Option<String>) -> Answer {
        match self {
            Self::Attached(links) => {
                doubt(links).map_or(Answer::Enforced, |doubt| Answer::Unsupported(format!("attached, but {doubt}")))
            }
            Self::Absent(reason) => Answer::Unsupported(reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_force_is_what_is_attached_and_beyond_doubt() {
        let attached = Extra::of(Ok::<_, std::fmt::Error>(7));
        assert_eq!(attached.answer(|links| (*links != 7).then(String::new)), Answer::Enforced);
        let doubted = attached.answer(|_| Some("nobody called".to_owned()));
        assert_eq!(doubted, Answer::Unsupported("attached, but nobody called".to_owned()));
        let absent: Extra<u8> = Extra::of(Err(std::fmt::Error));
        let reason = std::fmt::Error.to_string();
        assert_eq!(absent.answer(|_| panic!("asked of nothing")), Answer::Unsupported(reason));
    }
}
