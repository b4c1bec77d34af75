//! The figures as Markdown.
//!
//! Not the page around them, which is written by hand. Called by `compare`.

use std::fmt::Write;

use super::goal::{self, Goal};
use super::measure::{Sample, Series};
use super::statistics::Spread;
use crate::load::Plan;

/// The peer that all others are compared with: the first.
const BASIS: usize = 0;
/// The peer the goals are for.
pub const PERDURA: &str = "perdura";

/// The table of goals; empty if `names` has no Perdura.
pub fn goals(names: &[&str], all: &[Series]) -> String {
    let Some(perdura) = names.iter().position(|name| *name == PERDURA) else {
        return String::new();
    };
    let mut text = String::from(
        "| | nginx | Perdura | ratio | over the rounds | nginx to itself | vs ends | goal | met |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for series in all {
        let Some(goal) = goal::of(&series.plan) else { continue };
        let costs = costs(series);
        let (Some(nginx), Some(ours)) = (Spread::of(&costs[BASIS]), Spread::of(&costs[perdura]))
        else {
            continue;
        };
        let ratio = Spread::of_ratios(&costs[perdura], &costs[BASIS]);
        let again = names.iter().position(|name| *name != names[BASIS] && *name != PERDURA);
        let noise = again.and_then(|at| Spread::of_ratios(&costs[at], &costs[BASIS]));
        let (limit, met) = match goal {
            Goal::Ratio(limit) => {
                (format!("<= {limit:.1}"), ratio.is_some_and(|ratio| ratio.median <= limit))
            }
            Goal::Bytes(limit) => (format!("<= {limit:.0} B"), ours.median <= limit),
        };
        let unit = if series.plan.is_idle() { "B" } else { "µs" };
        let _ = writeln!(
            text,
            "| {} (`{}`) | {} {unit} | {} {unit} | {} | {} | {} | {} | {limit} | {} |",
            goal::subject(&series.plan),
            series.plan,
            digits(nginx.median),
            digits(ours.median),
            median(ratio),
            reach(ratio),
            reach(noise),
            vs_ends(series, perdura),
            if met { "yes" } else { "**no**" },
        );
    }
    text
}

/// One table per plan with every peer.
pub fn details(names: &[&str], all: &[Series]) -> String {
    let mut text = String::new();
    for series in all {
        let _ = writeln!(text, "**{}** (`{}`)\n", goal::subject(&series.plan), series.plan);
        text.push_str(match series.plan {
            plan if plan.is_idle() => "| proxy | B per tunnel | vs nginx | over the rounds |\n",
            Plan::Bulk { .. } => HEAD_BULK,
            _ => HEAD,
        });
        text.push_str(match series.plan {
            plan if plan.is_idle() => "|---|--:|--:|--:|\n",
            Plan::Bulk { .. } => "|---|--:|--:|--:|--:|--:|--:|\n",
            _ => "|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        });
        for (at, name) in names.iter().enumerate() {
            let _ = writeln!(text, "| {name} {}|", row(series, at));
        }
        text.push('\n');
    }
    text
}

const HEAD: &str = "| proxy | CPU µs | vs nginx | over the rounds | vs ends | vs nginx | \
                    per second | p50 µs | p99 µs |\n";
const HEAD_BULK: &str = "| proxy | CPU µs | vs nginx | over the rounds | vs ends | vs nginx | \
                         MiB per second |\n";

/// All cells of peer number `at` but its name.
fn row(series: &Series, at: usize) -> String {
    let costs = costs(series);
    let ratio = Spread::of_ratios(&costs[at], &costs[BASIS]);
    let cost = median_of(&costs[at]);
    let mut row = format!("| {cost} | {} | {} ", median(ratio), reach(ratio));
    if series.plan.is_idle() {
        return row;
    }
    let speed =
        column(series, at, |s| done(&series.plan, s) * 1e9 / s.report.nanoseconds.max(1) as f64);
    let _ = write!(
        row,
        "| {} | {} | {} ",
        median_of(&ends(series, at)),
        vs_ends(series, at),
        median_of(&speed)
    );
    if !matches!(series.plan, Plan::Bulk { .. }) {
        let p50 = column(series, at, |s| s.report.p50_ns as f64 / 1000.0);
        let p99 = column(series, at, |s| s.report.p99_ns as f64 / 1000.0);
        let _ = write!(row, "| {} | {} ", median_of(&p50), median_of(&p99));
    }
    row
}

/// The proxy's CPU over that of load and upstream in the same window.
fn ends(series: &Series, at: usize) -> Vec<f64> {
    column(series, at, |s| s.proxy_ns as f64 / s.ends_ns.max(1) as f64)
}

/// The ratio of that to nginx's, which the machine's drift does not touch.
fn vs_ends(series: &Series, at: usize) -> String {
    match series.plan {
        plan if plan.is_idle() => "-".to_owned(),
        _ => median(Spread::of_ratios(&ends(series, at), &ends(series, BASIS))),
    }
}

/// What each peer's rounds cost: CPU in µs per thing done, or bytes per tunnel.
fn costs(series: &Series) -> Vec<Vec<f64>> {
    let cost = |sample: &Sample| match series.plan {
        Plan::Idle { tunnels } | Plan::IdleConnect { tunnels } => {
            sample.grown.unwrap_or(0) as f64 / f64::from(tunnels)
        }
        _ => sample.proxy_ns as f64 / 1000.0 / done(&series.plan, sample).max(1e-9),
    };
    (0..series.samples.len()).map(|at| column(series, at, cost)).collect()
}

/// How many things a window did: MiB of a flood, otherwise what the load counted.
fn done(plan: &Plan, sample: &Sample) -> f64 {
    match plan {
        Plan::Bulk { .. } => sample.report.bytes as f64 / 1_048_576.0,
        _ => sample.report.messages as f64,
    }
}

fn column(series: &Series, at: usize, figure: impl Fn(&Sample) -> f64) -> Vec<f64> {
    series.samples[at].iter().map(figure).collect()
}

fn median_of(figures: &[f64]) -> String {
    Spread::of(figures).map_or("-".to_owned(), |spread| digits(spread.median))
}

fn median(ratio: Option<Spread>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.median))
}

fn reach(ratio: Option<Spread>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{:.2} to {:.2}", ratio.min, ratio.max))
}

/// Three digits that mean something; thousands in groups.
fn digits(figure: f64) -> String {
    match figure {
        small if small < 10.0 => format!("{small:.2}"),
        middling if middling < 100.0 => format!("{middling:.1}"),
        large => grouped(large.round() as u64),
    }
}

fn grouped(number: u64) -> String {
    let plain = number.to_string();
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Report;

    const NAMES: [&str; 3] = ["nginx", "nginx again", PERDURA];

    fn series(plan: &str, costs_us: [u64; 3]) -> Series {
        let samples = costs_us.map(|cost| {
            let report = Report {
                messages: 1000,
                bytes: 64_000,
                nanoseconds: 1_000_000_000,
                ..Report::default()
            };
            let (proxy_ns, ends_ns) = (cost * 1_000_000, 20_000_000);
            vec![Sample { report, proxy_ns, ends_ns, grown: Some(cost * 1000) }; 3]
        });
        Series { plan: plan.parse().unwrap(), samples: samples.to_vec() }
    }

    #[test]
    fn a_goal_is_met_or_not() {
        let text =
            goals(&NAMES, &[series("ping:64:100", [20, 21, 19]), series("http:8", [20, 20, 30])]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows[0],
            "| CPU per 64 B message, 100 tunnels (`ping:64:100`) | 20.0 µs | 19.0 µs | 0.95 | \
             0.95 to 0.95 | 1.05 to 1.05 | 0.95 | <= 1.0 | yes |"
        );
        assert!(
            rows[1].ends_with("| 1.50 | 1.50 to 1.50 | 1.00 to 1.00 | 1.50 | <= 1.1 | **no** |")
        );
        assert_eq!(goals(&NAMES[..2], &[series("http:8", [1, 1, 1])]), "");
    }

    #[test]
    fn memory_is_counted_per_tunnel_and_its_goal_is_no_ratio() {
        let text = goals(&NAMES, &[series("idle:100", [2000, 2000, 200])]);
        assert!(text.contains("| 20,000 B | 2,000 B | 0.10 |"), "{text}");
        assert!(text.ends_with("| <= 1024 B | **no** |\n"), "{text}");
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_head() {
        let all = ["ping:64:1", "bulk:2", "idle:9"].map(|plan| series(plan, [1, 2, 3]));
        let text = details(&NAMES, &all);
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let cells: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(cells.windows(2).all(|two| two[0] == two[1]), "{table}");
        }
    }

    #[test]
    fn digits_that_mean_something() {
        let pairs = [(1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1_234_567.0, "1,234,567")];
        for (figure, text) in pairs {
            assert_eq!(digits(figure), text);
        }
    }
}
