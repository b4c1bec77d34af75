//! `cargo xtask manual`: writes `docs/directives` anew from the tables of directives and variables,
//! and the man page and completions in `packaging` from that of options. The tests that compare
//! them write them, and fail when they were stale.

use crate::command::{cargo, succeeds};

pub fn run() -> Result<bool, String> {
    let pages = ["test", "--package", "perdura-proxy", "--lib", "--", "manual"];
    let options = ["test", "--package", "perdura", "--bins", "--", "manual"];
    Ok(fresh(&pages)? && fresh(&options)?)
}

/// The first run writes what was stale and fails for it; the second one shows it is fresh.
fn fresh(test: &[&str]) -> Result<bool, String> {
    Ok(succeeds(cargo(test))? || succeeds(cargo(test))?)
}
