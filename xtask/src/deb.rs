//! `cargo xtask deb`: builds the program for release and makes a Debian package of it, in
//! `target/debian`. What is in the package is said by `packaging/build-deb`.

use crate::command::{cargo, command, root, succeeds, target};

pub fn run() -> Result<bool, String> {
    if !succeeds(cargo(&["build", "--release", "--package", "perdura"]))? {
        return Ok(false);
    }
    let program = target().join("release/perdura").display().to_string();
    let folder = target().join("debian").display().to_string();
    let recipe = root().join("packaging/build-deb");
    succeeds(command(recipe, &[&program, env!("CARGO_PKG_VERSION"), &folder]))
}
