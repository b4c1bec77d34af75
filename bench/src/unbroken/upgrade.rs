//! Upgrades under traffic, and upgrades in which somebody is killed at each step.

use std::time::Duration;

use rustix::process::Signal;

use super::chance::Chance;
use super::proxy::Proxy;
use super::role::Kind;
use super::row::{Handshakes, Row};
use super::{Fault, Stage};

/// Whom death meets, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// The new program, while it starts.
    Starting,
    /// The new program, once it serves, before anything has moved.
    Serving,
    /// The new worker, at a random moment of the move.
    NewWorker,
    /// The old worker, at a random moment of the move.
    OldWorker,
}

const DEATHS: [Death; 4] = [Death::Starting, Death::Serving, Death::NewWorker, Death::OldWorker];
/// A program starts within so many microseconds.
const STARTING_MAX_US: u64 = 40_000;
/// A move takes so many microseconds, with what comes before and behind.
const MOVING_MAX_US: u64 = 120_000;

/// Twenty upgrades, then the deaths.
pub fn run(stage: &Stage) -> Result<Vec<Row>, Fault> {
    Ok(vec![back_and_forth(stage)?, deaths(stage)?])
}

fn back_and_forth(stage: &Stage) -> Result<Row, Fault> {
    let upgrades = stage.pick(20, 3);
    let plan = [
        (Kind::Ticker, 20),
        (Kind::Message, stage.pick(1876, 60)),
        (Kind::Bulk, 8),
        (Kind::Blocked, stage.pick(40, 8)),
        (Kind::Half, stage.pick(40, 8)),
        (Kind::Churn, stage.pick(16, 8)),
    ];
    let tunnels: u32 = plan.iter().map(|(_, count)| count).sum();
    let (crew, proxy) = stage.set()?;
    crew.open(proxy.address, &plan)?;
    for _ in 0..upgrades {
        proxy.upgrade()?;
    }
    let tally = crew.finish()?;
    let what = format!(
        "tunnels lost / bytes wrong / handshakes failed, {upgrades} upgrades, {tunnels} tunnels \
         with traffic"
    );
    Ok(Row::losses(what, &tally, Handshakes::Promised))
}

fn deaths(stage: &Stage) -> Result<Row, Fault> {
    let rounds = stage.pick(10, 1);
    // None begin anew: what a successor accepts is its own, and ends with it.
    let plan = [
        (Kind::Ticker, 20),
        (Kind::Message, stage.pick(1932, 60)),
        (Kind::Bulk, 8),
        (Kind::Blocked, stage.pick(40, 8)),
    ];
    let tunnels: u32 = plan.iter().map(|(_, count)| count).sum();
    let (crew, proxy) = stage.set()?;
    crew.open(proxy.address, &plan)?;
    let mut chance = Chance::new(stage.options.seed);
    for _ in 0..rounds {
        for death in DEATHS {
            die(&proxy, death, &mut chance)?;
        }
    }
    let tally = crew.finish()?;
    let what = format!(
        "tunnels lost / bytes wrong, the successor killed while it starts and once it serves, \
         either worker at a random moment of the move, {rounds} times each, {tunnels} tunnels"
    );
    Ok(Row::losses(what, &tally, Handshakes::MayFail))
}

fn die(proxy: &Proxy, death: Death, chance: &mut Chance) -> Result<(), Fault> {
    let wait = |limit: u64, chance: &mut Chance| {
        std::thread::sleep(Duration::from_micros(chance.below(limit)));
    };
    let old = proxy.master().ok_or_else(|| Fault::Own("there is no master".to_owned()))?;
    proxy.change_binary()?;
    match death {
        Death::Starting => wait(STARTING_MAX_US, chance),
        _ => proxy.wait_for_successor(old)?,
    }
    match death {
        Death::Starting | Death::Serving => {
            proxy.kill_successor(old)?;
            return proxy.wait_for_rollback(old);
        }
        Death::NewWorker | Death::OldWorker => {}
    }
    let worker = match death {
        Death::NewWorker => proxy.worker(),
        _ => super::proxy::worker_of(old),
    };
    super::proxy::send(old, Signal::QUIT);
    wait(MOVING_MAX_US, chance);
    if let Some(worker) = worker {
        super::proxy::send(worker, Signal::KILL);
    }
    proxy.wait_for_end_of(old)
}
