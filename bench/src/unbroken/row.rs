//! One line of the table of promises.
//!
//! Made by the runs.

use std::fmt::Write;

use super::harm::Tally;

/// What was promised, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    what: String,
    found: String,
    goal: &'static str,
    verdict: Verdict,
}

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    /// Slower or larger than it should be: the machine may have been busy.
    Missed,
    /// Something was lost, and that is never the machine's.
    Broken,
}

impl Row {
    /// The row about losses in a run; `failed` handshakes count if the run promises them.
    pub fn losses(what: String, tally: &Tally, handshakes: Handshakes) -> Row {
        let mut found = format!("{} / {}", tally.lost, tally.wrong);
        let mut is_kept = tally.is_clean();
        let mut goal = "0 / 0";
        match handshakes {
            Handshakes::Promised => {
                let _ = write!(found, " / {}", tally.failed);
                is_kept &= tally.failed == 0;
                goal = "0 / 0 / 0";
            }
            Handshakes::MayFail => {}
        }
        let _ = write!(
            found,
            " ({} tunnels, {:.1} GiB)",
            tally.opened,
            tally.carried as f64 / f64::from(1 << 30)
        );
        for harm in &tally.first {
            eprintln!("  {harm}");
        }
        let verdict = if is_kept { Verdict::Met } else { Verdict::Broken };
        Row { what, found, goal, verdict }
    }

    /// A row about a figure that should be small.
    pub fn figure(what: String, found: String, goal: &'static str, met: bool) -> Row {
        Row { what, found, goal, verdict: if met { Verdict::Met } else { Verdict::Missed } }
    }

    /// A row about a figure that leaves no room.
    pub fn promise(what: String, found: String, goal: &'static str, kept: bool) -> Row {
        Row { what, found, goal, verdict: if kept { Verdict::Met } else { Verdict::Broken } }
    }

    /// Whether something was lost.
    pub fn is_broken(&self) -> bool {
        self.verdict == Verdict::Broken
    }
}

/// Whether a handshake may come to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshakes {
    /// None may.
    Promised,
    /// A killed worker takes the requests with it that it had read.
    MayFail,
}

/// The rows as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | found | goal | met |\n|---|--:|--:|---|\n");
    for Row { what, found, goal, verdict } in rows {
        let met = if *verdict == Verdict::Met { "yes" } else { "**no**" };
        let _ = writeln!(text, "| {what} | {found} | {goal} | {met} |");
    }
    text
}

/// The value, in milliseconds, that `share` (0 to 1) of some nanoseconds do not exceed.
pub fn quantile_ms(nanoseconds: &[u64], share: f64) -> f64 {
    let mut sorted = nanoseconds.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).map_or(0.0, |ns| *ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks() {
        let figures: Vec<u64> = (1..=100).rev().map(|ms| ms * 1_000_000).collect();
        assert_eq!(quantile_ms(&figures, 0.5), 50.0);
        assert_eq!(quantile_ms(&figures, 0.99), 99.0);
        assert_eq!(quantile_ms(&figures, 1.0), 100.0);
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }

    #[test]
    fn one_loss_breaks_a_row() {
        let clean = Tally { opened: 3, ..Tally::default() };
        let row = |tally: &Tally, shakes| Row::losses("x".to_owned(), tally, shakes);
        assert!(!row(&clean, Handshakes::Promised).is_broken());
        for tally in [Tally { lost: 1, ..clean.clone() }, Tally { wrong: 1, ..clean.clone() }] {
            assert!(row(&tally, Handshakes::MayFail).is_broken());
        }
        let failed = Tally { failed: 1, ..clean };
        assert!(row(&failed, Handshakes::Promised).is_broken());
        assert!(!row(&failed, Handshakes::MayFail).is_broken());
        assert!(table(&[row(&failed, Handshakes::Promised)]).contains("| 0 / 0 / 1 (3 tunnels"));
    }
}
