//! Bulk: the upstream sends as fast as it can, the client only reads and compares.
//!
//! While the gate looks nobody reads, so every buffer between upstream and client is full, before
//! the window as after it: what the proxy moved within is what the client took.

use std::time::{Duration, Instant};

use super::Times;
use super::fault::Fault;
use super::fleet::{Event, First, Fleet, PATIENCE};
use super::gate::Gate;
use super::histogram::Histogram;
use super::plan::BULK_SIZE;
use super::report::Report;

/// Opens the tunnels, warms them up, measures, and reads each to its proper end.
pub fn run(
    fleet: &mut Fleet,
    tunnels: u32,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    fleet.open(tunnels, First::Nothing, &|number| format!("/ws/flood/{number}/{BULK_SIZE}"))?;
    window(fleet, times.warm)?;
    gate.ready()?;
    let report = window(fleet, times.window)?;
    gate.done(&report)?;
    close_all(fleet, tunnels)?;
    Ok(report)
}

fn window(fleet: &mut Fleet, length: Duration) -> Result<Report, Fault> {
    let begun = Instant::now();
    let mut messages = 0;
    while begun.elapsed() < length {
        fleet.turn(PATIENCE, &mut |_, event| {
            if let Event::Tunnel(_, progress) = event {
                messages += u64::from(progress.messages);
            }
            Ok(())
        })?;
    }
    Ok(Report::new(messages, BULK_SIZE, begun.elapsed(), &Histogram::new()))
}

/// Says farewell to every tunnel and reads what is still under way, which is checked too.
fn close_all(fleet: &mut Fleet, tunnels: u32) -> Result<(), Fault> {
    for index in 0..tunnels as usize {
        fleet.say_farewell(index)?;
    }
    let mut open = tunnels;
    let begun = Instant::now();
    while open > 0 {
        fleet.turn(PATIENCE, &mut |_, event| {
            if let Event::Tunnel(_, progress) = event {
                open -= u32::from(progress.ended);
            }
            Ok(())
        })?;
        // An upstream that never stops would keep this loop busy for ever.
        if begun.elapsed() > PATIENCE {
            return Err(Fault::Stalled { patience: PATIENCE });
        }
    }
    Ok(())
}
