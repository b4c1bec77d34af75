//! Medians, and ratios of what was measured side by side.
//!
//! The machine's speed drifts within minutes, so a ratio is taken within each round, where both
//! were measured seconds apart, and only then the median over the rounds. Called by `table`.

/// The middle of some figures, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of `figures`; `None` without any.
    pub fn of(figures: &[f64]) -> Option<Spread> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Spread { min, median, max })
    }

    /// Of the ratios of `figures` to `basis`, round by round.
    pub fn of_ratios(figures: &[f64], basis: &[f64]) -> Option<Spread> {
        let ratios: Vec<f64> = figures
            .iter()
            .zip(basis)
            .filter(|(_, basis)| **basis > 0.0)
            .map(|(figure, basis)| figure / basis)
            .collect();
        Spread::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // Each round runs at its own speed, but the ratio is 2 in every one.
        let spread = Spread::of_ratios(&[20.0, 2.0, 200.0], &[10.0, 1.0, 100.0]).unwrap();
        assert_eq!(spread, Spread { min: 2.0, median: 2.0, max: 2.0 });
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
    }
}
