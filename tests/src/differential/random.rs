//! Chance that can be repeated: the same seed gives the same lines on every machine.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose with.
#[derive(Clone, Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub(super) const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0. The bias of the remainder does not matter here.
    pub(super) const fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// True `of` times in a hundred.
    pub(super) const fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }

    /// One of `items`, which is not empty.
    pub(super) fn pick<'i, T: ?Sized>(&mut self, items: &[&'i T]) -> &'i T {
        items[self.below(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_its_sequence_again() {
        let first: Vec<u64> = std::iter::repeat_with({
            let mut random = Random::new(7);
            move || random.bits()
        })
        .take(3)
        .collect();
        let mut again = Random::new(7);
        assert_eq!(first, [again.bits(), again.bits(), again.bits()]);
        assert_ne!(Random::new(8).bits(), first[0]);
    }
}
