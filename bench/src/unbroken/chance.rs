//! Chance that can be had again: everything random in a run follows from one printed seed.
//!
//! Called by `role` and the runs.

use super::Side;
use crate::pattern::mix;

/// A row of numbers that a seed decides.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The row that begins at `seed`.
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// A number below `limit`, or 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.state) % limit.max(1)
    }

    /// One of both sides.
    pub fn side(&mut self) -> Side {
        Side::BOTH[self.below(2) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_row() {
        let row = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| chance.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
    }
}
