//! `cargo xtask manual`: writes `docs/directives` anew from the directive tables. The test
//! that compares the pages writes them, and fails when they were stale.

use crate::command::{cargo, succeeds};

pub fn run() -> Result<bool, String> {
    let test = ["test", "--package", "perdura-proxy", "--lib", "--", "manual"];
    // The first run writes what was stale and fails for it; the second one shows it is fresh.
    if succeeds(cargo(&test))? {
        return Ok(true);
    }
    succeeds(cargo(&test))
}
