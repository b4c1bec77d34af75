//! The sum over the results of many test runs.

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

impl Tally {
    /// Counts a line of a test run's output if it is a result:
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
    pub fn count(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let number = |word: &str| {
            let before = rest.split_once(word)?.0;
            before.trim_end().rsplit([' ', ';']).next()?.parse::<u64>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
    }

    /// Counts one check that is no test of cargo's.
    pub fn check(&mut self, holds: bool) {
        match holds {
            true => self.passed += 1,
            false => self.failed += 1,
        }
    }

    /// Takes a run into account that ended badly although no test of it failed: one that did
    /// not compile, or died.
    pub fn settle(&mut self, ended_well: bool) {
        if !ended_well && self.failed == 0 {
            self.failed = 1;
        }
    }

    /// The closing line.
    pub fn line(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut tally = Tally::default();
        tally.count("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.count("test result: FAILED. 3 passed; 2 failed; 0 ignored; finished in 0.1s");
        tally.count("test other ... ok");
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
        assert_eq!(tally.line(), "15 passed, 2 failed");
    }

    #[test]
    fn a_run_that_died_counts_as_failed() {
        let mut tally = Tally { passed: 9, failed: 0 };
        tally.settle(false);
        assert_eq!(tally.failed, 1);
    }
}
