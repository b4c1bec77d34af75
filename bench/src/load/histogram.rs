//! Latencies in buckets whose width grows with them: 64 to each power of two, so under 1.6 % wide.
//!
//! Not a list of samples: it never grows. Called by the plans that measure latency.

/// Counts by latency.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Notes one latency, in nanoseconds.
    pub fn note(&mut self, nanoseconds: u64) {
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
    }

    /// The latency, in nanoseconds, that `share` (0 to 1) of all do not exceed; 0 without any.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(at);
            }
        }
        0
    }
}

const SUB_BITS: u32 = 6;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) << SUB_BITS;

fn bucket(value: u64) -> usize {
    let high = 63 - (value | 1).leading_zeros();
    if high < SUB_BITS {
        return value as usize;
    }
    let shift = high - SUB_BITS;
    (((shift + 1) as usize) << SUB_BITS) + ((value >> shift) as usize - (1 << SUB_BITS))
}

fn middle(bucket: usize) -> u64 {
    let (row, column) = (bucket >> SUB_BITS, (bucket & ((1 << SUB_BITS) - 1)) as u64);
    if row == 0 {
        return column;
    }
    let shift = row as u32 - 1;
    ((column + (1 << SUB_BITS)) << shift) + ((1u64 << shift) >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_near_the_middle_of_its_bucket() {
        for high in 0..64 {
            for low in [0u64, 1, 77] {
                let value = (1u64 << high) | (low & ((1 << high) - 1));
                let found = middle(bucket(value));
                assert!(found.abs_diff(value) <= value / 64, "{value} became {found}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_thousand() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=1000).for_each(|value| histogram.note(value * 1000));
        assert!(histogram.quantile(0.5).abs_diff(500_000) < 8_000);
        assert!(histogram.quantile(0.99).abs_diff(990_000) < 16_000);
        assert!(histogram.quantile(1.0).abs_diff(1_000_000) < 16_000);
    }
}
