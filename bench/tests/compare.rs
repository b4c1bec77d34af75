//! The runner as a program: nginx against nginx, and what happens when a proxy is no good.
//!
//! Not the figures, which mean nothing in windows this short. Needs nginx in the path, as the
//! comparison itself does.

use std::process::{Command, Output};

fn compare(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perdura-bench"));
    command.args(["compare", "--rounds", "2", "--warm", "0.01", "--window", "0.05"]);
    command.args(words).output().expect("our own program starts")
}

#[test]
fn nginx_is_compared_with_itself_over_every_plan() {
    let plans =
        ["ping:64:3", "ping:16384:2", "churn:2", "http:3", "idle:20", "rate:64:2:500", "bulk:1"];
    let output = compare(&[&["--without-perdura"], &plans[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for plan in plans {
        assert!(text.contains(&format!("(`{plan}`)")), "{plan} is missing in {text}");
    }
    assert_eq!(text.matches("| nginx again |").count(), plans.len(), "{text}");
}

#[test]
fn goals_are_shown_beside_perdura() {
    // nginx stands in for Perdura: only the table is looked at.
    let output = compare(&["--perdura", "nginx", "http:2", "idle:150"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("### Goals") && text.contains("| <= 1.1 |"), "{text}");
    assert!(text.contains("| <= 1024 B | **no** |"), "{text}");
}

#[test]
fn a_proxy_that_does_not_run_fails_the_comparison() {
    for (program, complaint) in
        [("/nonexistent/perdura", "cannot start"), ("/bin/false", "perdura does not listen")]
    {
        let output = compare(&["--perdura", program, "http:1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(complaint), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn nonsense_is_refused() {
    for words in [&["pong:1"][..], &["ping:1:20000"], &["--rounds", "0"], &["--window", "-1"]] {
        let output = compare(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
    }
}

#[test]
fn no_proxy_outlives_a_comparison_that_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perdura-bench"));
    command.args(["compare", "--without-perdura", "--window", "60", "http:1"]);
    let mut comparison = command.spawn().expect("our own program starts");
    let master = wait_for(|| masters(comparison.id()).first().copied());
    comparison.kill().expect("it runs");
    comparison.wait().expect("it is ours");
    wait_for(|| (!is_nginx(master)).then_some(()));
    // Whoever is killed cannot tidy up; this is its folder.
    let folder = std::env::temp_dir().join(format!("perdura-bench-{}", comparison.id()));
    let _ = std::fs::remove_dir_all(folder);
}

/// Looks until there is something to see; a minute is for ever.
fn wait_for<T>(look: impl Fn() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed().as_secs() < 60, "waited in vain");
        std::thread::yield_now();
    }
}

/// The children of `parent` that are nginx.
fn masters(parent: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.unwrap_or_default();
    children.split_whitespace().filter_map(|p| p.parse().ok()).filter(|p| is_nginx(*p)).collect()
}

fn is_nginx(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.contains("nginx: "))
}
