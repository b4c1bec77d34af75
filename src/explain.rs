//! `--explain NAME`: what the manual says of a directive or a `$variable`, on stdout.
//!
//! The text comes from the tables that also make `docs/directives`. Not here: what is wrong with a
//! configuration, which `check` says.

use std::io::{self, Write};

use crate::report;

/// Instead of a name: lists them all, as completions need it.
const ALL: &str = "*";

/// Prints, and gives the exit code: 1 for a name that nobody knows or that is not built yet.
pub fn run(name: &str) -> u8 {
    if name == ALL {
        let text = perdura_proxy::explained_names().join("\n") + "\n";
        return u8::from(io::stdout().lock().write_all(text.as_bytes()).is_err());
    }
    match perdura_proxy::explain(name) {
        Ok(text) => u8::from(io::stdout().lock().write_all(text.as_bytes()).is_err()),
        Err(why) => {
            report::line(&why);
            1
        }
    }
}
