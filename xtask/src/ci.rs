//! `cargo xtask ci`: formatting, lints, tidy, then every test. Each gate counts as one check
//! in the closing line.

use crate::command::{cargo, succeeds};
use crate::{test, tidy};

pub fn run() -> Result<bool, String> {
    let gates = [
        ("formatting", succeeds(cargo(&["fmt", "--all", "--check"]))?),
        ("lints", succeeds(cargo(CLIPPY))?),
        ("tidy", tidy::run()?),
    ];
    let mut tally = test::tally(&[])?;
    for (name, holds) in gates {
        println!("{name}: {}", if holds { "ok" } else { "FAILED" });
        tally.check(holds);
    }
    println!("{}", tally.line());
    Ok(tally.failed == 0)
}

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
