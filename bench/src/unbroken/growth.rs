//! What grows over many reloads, kills and short tunnels: nothing should.
//!
//! Each kind of event comes in two halves. What the first half grows is warming up; what the
//! second grows, goes on for ever.

use std::time::Duration;

use super::crew::Crew;
use super::proxy::Proxy;
use super::role::Kind;
use super::row::Row;
use super::{Fault, Stage};
use crate::compare::memory;

/// Tunnels that are held meanwhile.
const HELD: u32 = 50;
/// How many short tunnels are open at once.
const CONCURRENCY: u32 = 64;
/// What two looks at the same thing may differ by: pages of an allocator and of the kernel's
/// bookkeeping, in bytes.
const NOISE: i64 = 256 * 1024;

#[derive(Clone, Copy, Debug)]
struct Look {
    descriptors: usize,
    bytes: u64,
}

/// Reloads, kills, and tunnels that live a moment.
pub fn run(stage: &Stage) -> Result<Vec<Row>, Fault> {
    let (reloads, kills) = stage.pick((100, 500), (6, 10));
    let tunnels = stage.pick(1_000_000, 2_000);
    let (crew, proxy) = stage.set()?;
    churn(&crew, &proxy, stage.pick(20_000, 1_000))?;
    crew.open(proxy.address, &[(Kind::Quiet, HELD)])?;
    let mut rows = Vec::new();
    let mut generation = 0;
    rows.extend(halves(&proxy, format!("{reloads} reloads"), || {
        for _ in 0..reloads / 2 {
            generation += 1;
            proxy.reload(generation)?;
        }
        Ok(())
    })?);
    // The first kill also closes what the shell that started us left open to the proxy.
    kill(&proxy)?;
    rows.extend(halves(&proxy, format!("{kills} kills"), || {
        (0..kills / 2).try_for_each(|_| kill(&proxy))
    })?);
    let tally = crew.finish()?;
    rows.extend(halves(&proxy, format!("{tunnels} short tunnels"), || {
        churn(&crew, &proxy, tunnels / 2)
    })?);
    if !tally.is_clean() {
        return Err(Fault::Own(format!("tunnels were lost: {:?}", tally.first)));
    }
    Ok(rows)
}

fn kill(proxy: &Proxy) -> Result<(), Fault> {
    let (worker, at) = proxy.kill_worker()?;
    proxy.handshake(at)?;
    proxy.wait_for_next(worker)
}

/// Opens tunnels, uses each once and ends it, until there were `count`.
fn churn(crew: &Crew, proxy: &Proxy, count: u64) -> Result<(), Fault> {
    crew.open(proxy.address, &[(Kind::Churn, CONCURRENCY)])?;
    while crew.tally()?.opened < count {
        std::thread::sleep(Duration::from_millis(2));
    }
    let tally = crew.finish()?;
    match tally.is_clean() && tally.failed == 0 {
        true => Ok(()),
        false => Err(Fault::Own(format!("short tunnels failed: {:?}", tally.first))),
    }
}

fn halves(
    proxy: &Proxy,
    what: String,
    mut half: impl FnMut() -> Result<(), Fault>,
) -> Result<[Row; 2], Fault> {
    let begin = look(proxy)?;
    half()?;
    let middle = look(proxy)?;
    half()?;
    let end = look(proxy)?;
    let descriptors = end.descriptors as i64 - begin.descriptors as i64;
    let (first, second) = (kib(begin, middle), kib(middle, end));
    Ok([
        Row::promise(
            format!("descriptors more after {what}"),
            descriptors.to_string(),
            "0",
            descriptors == 0,
        ),
        Row::figure(
            format!("memory grown in the second half of {what}"),
            format!("{second} KiB (in the first {first} KiB)"),
            "noise (<= 256 KiB)",
            second * 1024 <= NOISE,
        ),
    ])
}

/// What it holds once it is at rest.
fn look(proxy: &Proxy) -> Result<Look, Fault> {
    let mut last = usize::MAX;
    let mut equal = 0;
    proxy.until("the number of descriptors rests", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = proxy.descriptors();
        equal = if std::mem::replace(&mut last, now) == now { equal + 1 } else { 0 };
        equal >= 10
    })?;
    Ok(Look { descriptors: last, bytes: memory::held(&proxy.pids())? })
}

fn kib(before: Look, after: Look) -> i64 {
    (after.bytes as i64 - before.bytes as i64) / 1024
}
