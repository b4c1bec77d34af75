//! What is asked of Perdura beside nginx, plan by plan.
//!
//! Not how it is printed. Called by `table`.

use crate::load::Plan;

/// A limit that Perdura must stay under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// Its CPU over nginx's, each round.
    Ratio(f64),
    /// So many bytes.
    Bytes(f64),
}

/// The goal of `plan`, if it has one.
pub fn of(plan: &Plan) -> Option<Goal> {
    match plan {
        Plan::Ping { size: 64, .. } => Some(Goal::Ratio(1.0)),
        Plan::Ping { size: 16384, .. } => Some(Goal::Ratio(0.3)),
        Plan::Churn { .. } | Plan::Connect { .. } | Plan::Http { .. } => Some(Goal::Ratio(1.1)),
        Plan::Idle { .. } | Plan::IdleConnect { .. } => Some(Goal::Bytes(1024.0)),
        Plan::Ping { .. } | Plan::Rate { .. } | Plan::Bulk { .. } => None,
    }
}

/// What is counted in `plan`, in words for a table.
pub fn subject(plan: &Plan) -> String {
    let size = |size: usize| match size {
        size if size >= 1024 && size.is_multiple_of(1024) => format!("{} KiB", size / 1024),
        size => format!("{size} B"),
    };
    match plan {
        Plan::Ping { size: of, tunnels: 1 } => format!("CPU per {} message, 1 tunnel", size(*of)),
        Plan::Ping { size: of, tunnels } => {
            format!("CPU per {} message, {tunnels} tunnels", size(*of))
        }
        Plan::Rate { size: of, tunnels, per_second } => {
            format!("CPU per {} message, {per_second} a second over {tunnels} tunnels", size(*of))
        }
        Plan::Bulk { tunnels } => format!("CPU per MiB to the client, {tunnels} tunnels"),
        Plan::Churn { concurrency } => {
            format!("CPU per tunnel set up, used once and closed, {concurrency} at a time")
        }
        Plan::Connect { concurrency } => {
            format!("CPU per tunnel by CONNECT, beside an upgraded one, {concurrency} at a time")
        }
        Plan::Idle { tunnels } => format!("memory per idle tunnel, {tunnels} tunnels"),
        Plan::IdleConnect { tunnels } => {
            format!("memory per idle tunnel by CONNECT, beside an upgraded one, {tunnels} tunnels")
        }
        Plan::Http { connections } => {
            format!("CPU per plain keep-alive GET, {connections} connections")
        }
    }
}
