//! `cargo xtask test`: every layer of tests, and one closing line.

use crate::command::{cargo, follow, succeeds, target};
use crate::install;
use crate::tally::Tally;

/// Runs everything; arguments are handed to `cargo test`.
pub fn run(arguments: &[String]) -> Result<bool, String> {
    let tally = tally(arguments)?;
    println!("{}", tally.line());
    Ok(tally.failed == 0)
}

/// Runs everything and counts.
pub fn tally(arguments: &[String]) -> Result<Tally, String> {
    install::run()?;
    let mut tally = Tally::default();
    if !succeeds(cargo(&["build", "--package", "perdura"]))? {
        tally.check(false);
        return Ok(tally);
    }
    let mut all = vec!["test", "--workspace", "--no-fail-fast"];
    all.extend(arguments.iter().map(String::as_str));
    let mut tests = cargo(&all);
    tests.env("PERDURA_BIN", target().join("debug/perdura"));
    let ended_well = follow(tests, |line| tally.count(line))?;
    tally.settle(ended_well);
    Ok(tally)
}
