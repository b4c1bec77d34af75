//! Reloads under traffic: nothing that is open may notice, and no handshake may fail.

use super::role::Kind;
use super::row::{Handshakes, Row};
use super::{Fault, Stage};

/// Reloads again and again while tunnels carry everything there is and others come and go.
pub fn run(stage: &Stage) -> Result<Vec<Row>, Fault> {
    let reloads = stage.pick(100, 5);
    let many = stage.pick(1880, 60);
    let plan = [
        (Kind::Ticker, 20),
        (Kind::Message, many),
        (Kind::Bulk, 8),
        (Kind::Blocked, stage.pick(40, 8)),
        (Kind::Half, stage.pick(20, 8)),
        (Kind::Churn, stage.pick(32, 8)),
    ];
    let tunnels: u32 = plan.iter().map(|(_, count)| count).sum();
    let (crew, proxy) = stage.set()?;
    crew.open(proxy.address, &plan)?;
    for generation in 1..=reloads {
        proxy.reload(generation)?;
    }
    let tally = crew.finish()?;
    let what = format!(
        "tunnels lost / bytes wrong / handshakes failed, {reloads} reloads, {tunnels} tunnels with \
         traffic"
    );
    Ok(vec![Row::losses(what, &tally, Handshakes::Promised)])
}
