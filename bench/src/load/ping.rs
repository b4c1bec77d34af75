//! Closed loop: a tunnel sends its next message when the last one is back.

use std::time::{Duration, Instant};

use super::Times;
use super::echo_target;
use super::fault::Fault;
use super::fleet::{Event, First, Fleet, PATIENCE};
use super::gate::Gate;
use super::histogram::Histogram;
use super::report::Report;

/// Opens the tunnels, warms them up and measures.
pub fn run(
    fleet: &mut Fleet,
    tunnels: u32,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    fleet.open(tunnels, First::Message, &echo_target)?;
    window(fleet, tunnels, times.warm)?;
    gate.ready()?;
    let report = window(fleet, tunnels, times.window)?;
    gate.done(&report)?;
    Ok(report)
}

/// One window of `length`; it ends when every message is back. Every tunnel sends at least one.
pub fn window(fleet: &mut Fleet, tunnels: u32, length: Duration) -> Result<Report, Fault> {
    let begun = Instant::now();
    let mut latencies = Histogram::new();
    let mut sent_at = vec![begun; tunnels as usize];
    for (index, sent_at) in sent_at.iter_mut().enumerate() {
        *sent_at = Instant::now();
        fleet.send(index)?;
    }
    let (mut under_way, mut messages) = (tunnels, 0);
    while under_way > 0 {
        fleet.turn(PATIENCE, &mut |fleet, event| {
            let Event::Tunnel(index, progress) = event else { return Ok(()) };
            if progress.messages == 0 {
                return Ok(());
            }
            let now = Instant::now();
            latencies.note((now - sent_at[index]).as_nanos() as u64);
            messages += 1;
            if now - begun >= length {
                under_way -= 1;
                return Ok(());
            }
            sent_at[index] = now;
            fleet.send(index)
        })?;
    }
    Ok(Report::new(messages, fleet.tools.size(), begun.elapsed(), &latencies))
}
