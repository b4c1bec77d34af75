//! One window of one plan through one proxy, and the rounds of all of them.
//!
//! Not what becomes of the figures. Called by `compare`.

use std::path::Path;

use super::cpu::{RunTime, settle};
use super::ends::{Echo, Load};
use super::fault::Fault;
use super::memory;
use super::peer::{Peer, Running};
use super::table::PERDURA;
use crate::load::{Plan, Report, Times};

/// Which processor runs what; `None` on a machine with only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// The proxy's.
    pub proxy: Option<usize>,
    /// That of load and upstream.
    pub ends: Option<usize>,
}

/// What all windows have in common.
pub struct Setting<'a> {
    /// Where the proxies' files are.
    pub folder: &'a Path,
    /// Which processor runs what.
    pub places: Places,
    /// How long a window is.
    pub times: Times,
    /// How many windows each proxy gets.
    pub rounds: usize,
}

/// The figures of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What the load says.
    pub report: Report,
    /// Run time of all processes of the proxy, in nanoseconds.
    pub proxy_ns: u64,
    /// Run time of load and upstream, in nanoseconds.
    pub ends_ns: u64,
    /// By how much the proxy grew while the load opened, in bytes; only of fresh proxies.
    pub grown: Option<u64>,
}

/// All windows of one plan: one list per peer, in the order of the rounds.
pub struct Series {
    /// What was run.
    pub plan: Plan,
    /// The samples of each peer.
    pub samples: Vec<Vec<Sample>>,
}

/// Runs `plan` through every peer in turn, round after round.
pub fn series(plan: Plan, peers: &[Peer], echo: &Echo, setting: &Setting) -> Result<Series, Fault> {
    let mut samples = vec![Vec::new(); peers.len()];
    let start = |peer: &Peer| peer.start(setting.folder, setting.places.proxy, echo.address);
    // What a proxy has held once it may keep; so memory is measured on fresh ones.
    let fresh = plan.is_idle();
    let kept = match fresh {
        true => Vec::new(),
        false => peers.iter().map(start).collect::<Result<Vec<_>, _>>()?,
    };
    for round in 0..setting.rounds {
        for turn in 0..peers.len() {
            // Every other round backwards: a drift within rounds favours nobody.
            let at = if round % 2 == 0 { turn } else { peers.len() - 1 - turn };
            let name = peers[at].name;
            let sample = match kept.get(at) {
                Some(proxy) => window(plan, name, proxy, echo, setting)?,
                None => window(plan, name, &start(&peers[at])?, echo, setting)?,
            };
            samples[at].push(sample);
        }
    }
    Ok(Series { plan, samples })
}

/// How many tunnels a proxy has had when its memory is looked at first: the pages of its program
/// that a first tunnel touches are no tunnel's.
const WARM_TUNNELS: u32 = 64;

fn warm_up(name: &str, proxy: &Running, setting: &Setting) -> Result<(), Fault> {
    let plan = Plan::Idle { tunnels: WARM_TUNNELS };
    let mut load = Load::start(plan, name, proxy.address, setting.times, setting.places.ends)?;
    load.run()?;
    load.end()
}

/// nginx of this version has no tunnels by CONNECT: it is measured with upgraded ones.
fn plan_of(plan: Plan, name: &str) -> Plan {
    match plan {
        Plan::Connect { concurrency } if name != PERDURA => Plan::Churn { concurrency },
        Plan::IdleConnect { tunnels } if name != PERDURA => Plan::Idle { tunnels },
        plan => plan,
    }
}

fn window(
    plan: Plan,
    name: &str,
    proxy: &Running,
    echo: &Echo,
    setting: &Setting,
) -> Result<Sample, Fault> {
    if plan.is_idle() {
        warm_up(name, proxy, setting)?;
    }
    settle(&|| [proxy.pids(), echo.pids()].concat());
    let held_before = memory::held(&proxy.pids())?;
    let own = plan_of(plan, name);
    let mut load = Load::start(own, name, proxy.address, setting.times, setting.places.ends)?;
    let list = || [proxy.pids(), load.pids(), echo.pids()].concat();
    settle(&list);
    // From here on nobody may go away: a worker that dies and is replaced is a fault.
    let (proxy_pids, all_pids) = (proxy.pids(), list());
    let ends_pids = [load.pids(), echo.pids()].concat();
    let grown = match plan {
        plan if plan.is_idle() => Some(memory::held(&proxy_pids)?.saturating_sub(held_before)),
        _ => None,
    };
    let before = (RunTime::read(&proxy_pids)?, RunTime::read(&ends_pids)?);
    let report = load.run()?;
    settle(&|| all_pids.clone());
    let proxy_ns = RunTime::read(&proxy_pids)?.since(&before.0);
    let ends_ns = RunTime::read(&ends_pids)?.since(&before.1);
    load.end()?;
    Ok(Sample { report, proxy_ns, ends_ns, grown })
}
