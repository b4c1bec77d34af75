//! How long a tunnel stands still when the worker is killed and when the program is replaced.
//!
//! Twenty tunnels tick by the clock, each millisecond from both sides; the rest is quiet. A pause
//! is the delay of the most delayed tick of one direction: what stands still collects ticks, and
//! the first of them waits longest. What the machine itself costs, windows without any event show.

use std::time::{Duration, Instant};

use super::crew::Crew;
use super::proxy::Proxy;
use super::role::Kind;
use super::row::{Handshakes, Row, quantile_ms};
use super::{Fault, Stage};

const TICKERS: u32 = 20;
/// A window goes on so long behind its event, so that what is late arrives within it.
const BEHIND: Duration = Duration::from_millis(150);

/// Kills, then upgrades, with as many tunnels as one process may have.
pub fn run(stage: &Stage) -> Result<Vec<Row>, Fault> {
    let tunnels = stage.pick(9000, 500);
    let (kills, upgrades) = stage.pick((100, 20), (5, 2));
    let (crew, proxy) = stage.set()?;
    crew.open(proxy.address, &[(Kind::Ticker, TICKERS), (Kind::Quiet, tunnels - TICKERS)])?;
    let still = windows(&crew, kills / 2, |_| Ok(()))?;
    let mut shaken = Vec::new();
    let killed = windows(&crew, kills, |_| {
        let (worker, at) = proxy.kill_worker()?;
        shaken.push(proxy.handshake(at)?.as_nanos() as u64);
        proxy.wait_for_next(worker)
    })?;
    let upgraded = windows(&crew, upgrades, |_| upgrade(&proxy))?;
    let log = proxy.error_log();
    for line in log.lines().filter(|line| line.contains("adopted") || line.contains("moved")) {
        if line.contains(&format!(" {tunnels} ")) {
            eprintln!("  {line}");
        }
    }
    let tally = crew.finish()?;
    let calm = format!("without any event {:.1} ms", quantile_ms(&still, 0.99));
    // One kill of a hundred hides behind the 99th percentile.
    let longest = quantile_ms(&killed, 1.0);
    let (p50, p99) = (quantile_ms(&killed, 0.5), quantile_ms(&killed, 0.99));
    let row = |what: String, found: String, goal, met| Row::figure(what, found, goal, met);
    let with = format!("{tunnels} tunnels, {TICKERS} of them ticking");
    let moved = quantile_ms(&upgraded, 0.99);
    let shake = quantile_ms(&shaken, 0.99);
    Ok(vec![
        row(
            format!("pause by SIGKILL of the worker, {kills} kills, {with}: p50"),
            format!("{p50:.1} ms"),
            "<= 10 ms",
            p50 <= 10.0,
        ),
        row(
            "the same: p99".to_owned(),
            format!("{p99:.1} ms (the longest {longest:.1} ms; {calm})"),
            "<= 60 ms",
            p99 <= 60.0,
        ),
        row(
            format!("pause by an upgrade, {upgrades} upgrades, {with}: p99"),
            format!(
                "{moved:.1} ms (p50 {:.1} ms, the longest {:.1} ms)",
                quantile_ms(&upgraded, 0.5),
                quantile_ms(&upgraded, 1.0)
            ),
            "<= 100 ms",
            moved <= 100.0,
        ),
        row(
            format!("from SIGKILL to the next handshake answered, {kills} kills: p99"),
            format!(
                "{shake:.1} ms (p50 {:.1} ms, the longest {:.1} ms)",
                quantile_ms(&shaken, 0.5),
                quantile_ms(&shaken, 1.0)
            ),
            "<= 60 ms",
            shake <= 60.0,
        ),
        Row::losses(
            format!("tunnels lost / bytes wrong / handshakes failed in these {tunnels}"),
            &tally,
            Handshakes::Promised,
        ),
    ])
}

/// The pauses of all tickers in windows around `count` events, in nanoseconds.
fn windows(
    crew: &Crew,
    count: usize,
    mut event: impl FnMut(usize) -> Result<(), Fault>,
) -> Result<Vec<u64>, Fault> {
    let mut pauses = Vec::new();
    for number in 0..count {
        crew.take_slowest()?;
        event(number)?;
        let end = Instant::now() + BEHIND;
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        pauses.extend(crew.take_slowest()?);
    }
    Ok(pauses)
}

fn upgrade(proxy: &Proxy) -> Result<(), Fault> {
    proxy.upgrade()
}
