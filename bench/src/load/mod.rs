//! The load generator: one thread, one plan, every byte checked.
//!
//! Not the side-by-side runner. It knows nothing of the proxy but its address. Called by `main` and
//! by tests.

mod bulk;
mod churn;
mod client;
mod fault;
mod fleet;
mod gate;
mod histogram;
mod incoming;
mod page;
mod ping;
mod plan;
mod rate;
mod report;

pub use fault::Fault;
pub use gate::{Gate, OpenGate, PipeGate};
pub use plan::Plan;
pub use report::Report;

use std::net::SocketAddr;
use std::time::Duration;

use fleet::{First, Fleet};

/// How long a load runs before and within its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Unmeasured, so that caches, congestion windows and pools are as they will be.
    pub warm: Duration,
    /// Measured.
    pub window: Duration,
}

/// Runs `plan` through the proxy at `proxy`.
pub fn run(
    plan: Plan,
    proxy: SocketAddr,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    if let Plan::Http { connections } = plan {
        return page::run(proxy, connections, times, gate);
    }
    let mut fleet = Fleet::new(proxy, plan.size())?;
    if plan.is_by_connect() {
        fleet.ask_by_connect();
    }
    match plan {
        Plan::Ping { tunnels, .. } => ping::run(&mut fleet, tunnels, times, gate),
        Plan::Rate { tunnels, per_second, .. } => {
            rate::run(&mut fleet, tunnels, per_second, times, gate)
        }
        Plan::Bulk { tunnels } => bulk::run(&mut fleet, tunnels, times, gate),
        Plan::Churn { concurrency } | Plan::Connect { concurrency } => {
            churn::run(&mut fleet, concurrency, times, gate)
        }
        Plan::Idle { tunnels } | Plan::IdleConnect { tunnels } => {
            // Held while the gate looks; then each must still carry one message.
            fleet.open(tunnels, First::Message, &echo_target)?;
            gate.ready()?;
            let report = ping::window(&mut fleet, tunnels, Duration::ZERO)?;
            gate.done(&report)?;
            Ok(report)
        }
        Plan::Http { .. } => unreachable!("a page is no tunnel and was run above"),
    }
}

/// The target of a tunnel that echoes.
fn echo_target(number: u32) -> String {
    format!("/ws/echo/{number}")
}

#[cfg(test)]
mod tests;
