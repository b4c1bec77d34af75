//! Kills of the worker at random moments under every kind of traffic.

use std::time::{Duration, Instant};

use super::chance::Chance;
use super::role::Kind;
use super::row::{Handshakes, Row, quantile_ms};
use super::{Fault, Stage};

/// A worker lives so long at most before it is killed, in microseconds; long enough to carry, short
/// enough to be killed while it still recovers now and then.
const LIFE_MAX_US: u64 = 60_000;

/// Kills again and again; a handshake is waited for after every tenth kill.
pub fn run(stage: &Stage) -> Result<Vec<Row>, Fault> {
    let kills = stage.pick(500, 25);
    let plan = [
        (Kind::Ticker, 20),
        (Kind::Message, stage.pick(300, 40)),
        (Kind::Bulk, stage.pick(20, 4)),
        (Kind::Blocked, stage.pick(60, 8)),
        (Kind::Half, stage.pick(80, 16)),
        (Kind::Churn, stage.pick(20, 4)),
    ];
    let tunnels: u32 = plan.iter().map(|(_, count)| count).sum();
    let (crew, proxy) = stage.set()?;
    crew.open(proxy.address, &plan)?;
    let mut chance = Chance::new(stage.options.seed);
    let mut shaken = Vec::new();
    for kill in 0..kills {
        let life = Instant::now() + Duration::from_micros(chance.below(LIFE_MAX_US));
        std::thread::sleep(life.saturating_duration_since(Instant::now()));
        let (worker, at) = proxy.kill_worker()?;
        if kill % 10 == 0 {
            shaken.push(proxy.handshake(at)?.as_nanos() as u64);
        }
        proxy.wait_for_next(worker)?;
        if (kill + 1) % 100 == 0 {
            eprintln!("  {} kills", kill + 1);
        }
    }
    let tally = crew.finish()?;
    let what = format!(
        "tunnels lost / bytes wrong, {kills} kills of the worker at random moments, {tunnels} \
         tunnels with small, bulk, half-closed and blocked traffic"
    );
    eprintln!("  handshake after a kill under load: p50 {:.1} ms", quantile_ms(&shaken, 0.5));
    eprintln!("  handshakes in flight that a kill took with it: {}", tally.failed);
    Ok(vec![Row::losses(what, &tally, Handshakes::MayFail)])
}
