//! The recipes of this repository: what CI runs can be run at home under the same name.
//!
//! `cargo xtask test` runs every layer of tests and says `N passed, N failed`; `tidy` checks
//! what a compiler does not; `ci` is formatting, lints, tidy and test; `bench` compares with
//! other proxies; `manual` writes `docs/directives` anew; `deb` makes a Debian package.

mod bench;
mod ci;
mod command;
mod deb;
mod install;
mod manual;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let recipe = arguments.next().unwrap_or_default();
    let rest: Vec<_> = arguments.collect();
    let done = match recipe.as_str() {
        "test" => test::run(&rest),
        "tidy" => tidy::run(),
        "ci" => ci::run(),
        "bench" => bench::run(&rest),
        "manual" => manual::run(),
        "deb" => deb::run(),
        "install" => install::run().map(|()| true),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask test|tidy|ci|bench|manual|deb|install";
