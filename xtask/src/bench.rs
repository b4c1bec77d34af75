//! `cargo xtask bench`: the comparison with other proxies, on release builds.

use crate::command::{cargo, command, succeeds, target};

pub fn run(arguments: &[String]) -> Result<bool, String> {
    let build = ["build", "--release", "--package", "perdura", "--package", "perdura-bench"];
    if !succeeds(cargo(&build))? {
        return Ok(false);
    }
    let mut all = vec!["compare"];
    all.extend(arguments.iter().map(String::as_str));
    succeeds(command(target().join("release/perdura-bench"), &all))
}
