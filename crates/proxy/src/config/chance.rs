//! Seeded chance for the property tests of this folder. Not for anything that runs.

/// A generator of 64 bits (splitmix64): small, and the same on every machine.
pub struct Chance(u64);

impl Chance {
    /// The seed of this run: `PERDURA_SEED` when it is set, to see a failure again.
    pub fn seed() -> u64 {
        std::env::var("PERDURA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
