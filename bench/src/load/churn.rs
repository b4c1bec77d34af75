//! Churn: connect, handshake, one message, both Close frames, end of stream; and again.
//!
//! The upstream closes first, as RFC 6455, 7.1.1 wants it of servers, so the client's ports are
//! free again at once. With CONNECT the handshake follows it at once: there are as many turns.

use std::time::{Duration, Instant};

use super::Times;
use super::echo_target;
use super::fault::Fault;
use super::fleet::{Event, Fleet, PATIENCE};
use super::gate::Gate;
use super::histogram::Histogram;
use super::report::Report;

/// Warms up and measures.
pub fn run(
    fleet: &mut Fleet,
    concurrency: u32,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    window(fleet, concurrency, times.warm)?;
    gate.ready()?;
    let report = window(fleet, concurrency, times.window)?;
    gate.done(&report)?;
    Ok(report)
}

/// One window; it ends when the last tunnel has. The latency is from connect to the first echo.
fn window(fleet: &mut Fleet, concurrency: u32, length: Duration) -> Result<Report, Fault> {
    let begun = Instant::now();
    let mut latencies = Histogram::new();
    let mut begun_at = vec![begun; concurrency as usize];
    for (index, begun_at) in begun_at.iter_mut().enumerate() {
        *begun_at = Instant::now();
        fleet.begin(index, &echo_target)?;
    }
    let (mut open, mut tunnels) = (concurrency, 0);
    while open > 0 {
        fleet.turn(PATIENCE, &mut |fleet, event| {
            let Event::Tunnel(index, progress) = event else { return Ok(()) };
            if progress.opened {
                fleet.send(index)?;
            }
            if progress.messages > 0 {
                latencies.note(begun_at[index].elapsed().as_nanos() as u64);
                fleet.say_farewell(index)?;
            }
            if !progress.ended {
                return Ok(());
            }
            tunnels += 1;
            if begun.elapsed() >= length {
                open -= 1;
                fleet.close(index);
                return Ok(());
            }
            begun_at[index] = Instant::now();
            fleet.begin(index, &echo_target)
        })?;
    }
    Ok(Report::new(tunnels, fleet.tools.size(), begun.elapsed(), &latencies))
}
