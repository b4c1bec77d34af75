//! What tunnels survive, in the short form of each run: a loss fails, a slow machine does not.
//!
//! Not the figures. Needs a built perdura: `PERDURA_BIN`, or the one beside this package's own
//! program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn perdura() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_perdura-bench")).with_file_name("perdura");
    std::env::var_os("PERDURA_BIN").map_or(beside, PathBuf::from)
}

fn unbroken(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perdura-bench"));
    command.args(["unbroken", "--short", "--perdura"]).arg(perdura()).args(words);
    command.output().expect("our own program starts")
}

/// Runs one, and returns its table.
#[track_caller]
fn holds(words: &[&str]) -> String {
    let output = unbroken(words);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    table
}

#[test]
fn reloads_disturb_nothing() {
    assert!(holds(&["reload"]).contains("| 0 / 0 / 0 ("));
}

#[test]
fn kills_of_the_worker_lose_nothing() {
    assert!(holds(&["kill"]).contains("| 0 / 0 ("));
}

#[test]
fn kills_of_a_worker_of_three_threads_lose_nothing() {
    assert!(holds(&["kill", "--workers", "3"]).contains("| 0 / 0 ("));
}

#[test]
fn upgrades_lose_nothing_whoever_dies() {
    let table = holds(&["upgrade"]);
    assert_eq!(table.matches("| 0 / 0 / 0 (").count(), 1, "{table}");
    assert_eq!(table.matches("| 0 / 0 (").count(), 1, "{table}");
}

#[test]
fn pauses_are_measured_and_nothing_is_lost() {
    let table = holds(&["pause"]);
    assert_eq!(table.matches(" ms | <= ").count() + table.matches(" ms) | <= ").count(), 4);
    assert!(table.contains("| 0 / 0 / 0 ("), "{table}");
}

#[test]
fn nothing_grows() {
    assert_eq!(holds(&["growth"]).matches("descriptors more after").count(), 3);
}

#[test]
fn what_is_no_run_is_refused() {
    for words in [&["reloads"][..], &["--workers", "x"], &["kill", "--perdura", "/nonexistent"]] {
        let output = unbroken(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}
