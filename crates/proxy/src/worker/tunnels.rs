//! Drives the tunnel engine from within the runtime: its epoll instance is nested in the runtime's,
//! one batch of events a turn.

use super::{Shared, Thread};
use crate::config::Config;
use crate::inherited;
use crate::ledger::Ledger;
use crate::modules::error_log::Severity;
use crate::modules::upgrade;
use perdura_tunnel::{Batch, Close, Death, Drain, Engine, TakenOver, TunnelId};
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the driver sleeps when no timer runs.
const FOREVER: Duration = Duration::from_secs(3600);

/// So many tunnels of a dead worker are taken over between two turns: about a tenth of a
/// millisecond.
const ADOPTED_PER_TURN: usize = 64;

/// The engine of a thread: a new one, or one that goes on with a dead worker's tunnels. Most of
/// those it has still to take over (`adopt`).
pub fn engine(shared: &Arc<Shared>, index: u16, recover: Option<Death>) -> io::Result<Engine> {
    let table = Arc::clone(&shared.table);
    let seats = Arc::clone(&shared.seats);
    match recover {
        Some(death) => Engine::resume(table, seats, index, death, crate::now_ms()),
        None => Engine::new(table, seats, index),
    }
}

/// What a thread has taken over so far of a dead worker's tunnels.
#[derive(Debug, Default)]
pub struct Adoption {
    adopted: Cell<usize>,
    dropped: Cell<usize>,
}

/// Takes over what a dead worker has left, turn by turn, so that tunnels to which something happens
/// need not wait for the others.
async fn adopt(thread: &Thread, index: u16, death: Death) {
    let began = Instant::now();
    if index == 0 {
        // The dead worker may have had more threads, before a reload.
        let first = u16::try_from(thread.shared.threads).unwrap_or(u16::MAX);
        let taken = thread.engine.borrow_mut().absorb_from(first, death, crate::now_ms());
        tell_accounts(thread, &taken);
    }
    while thread.engine.borrow().is_taking() {
        thread.moving.thawed().await;
        turn(thread);
        adopt_some(thread, ADOPTED_PER_TURN);
        tokio::task::yield_now().await;
    }
    let Adoption { adopted, dropped } = &thread.adoption;
    let message = format!(
        "adopted {} tunnels in {} ms, {} dropped",
        adopted.get(),
        began.elapsed().as_millis(),
        dropped.get()
    );
    thread.shared.log(Severity::Notice, &message);
}

/// Takes over whatever is left of a dead worker's tunnels: they are about to leave.
pub fn adopt_the_rest(thread: &Thread) {
    adopt_some(thread, usize::MAX);
    settle(thread);
}

/// Takes over up to `count` more tunnels; counts these and those that were taken since.
fn adopt_some(thread: &Thread, count: usize) {
    let taken = thread.engine.borrow_mut().take_more(count, crate::now_ms());
    tell_accounts(thread, &taken);
}

fn tell_accounts(thread: &Thread, taken: &TakenOver) {
    let Adoption { adopted, dropped } = &thread.adoption;
    adopted.set(adopted.get() + taken.adopted.len());
    dropped.set(dropped.get() + taken.dropped.len());
    if !taken.adopted.is_empty() {
        let config = thread.config();
        taken.adopted.iter().for_each(|tunnel| take_account(&tunnel.note, &config));
    }
    for dropped in &taken.dropped {
        let message = format!("tunnel record {} dropped: {:?}", dropped.record, dropped.why);
        thread.shared.log(Severity::Error, &message);
    }
}

/// Counts an adopted tunnel at its peer and in its limits again.
pub fn take_account(note: &[u8], config: &Config) {
    let Some(ledger) = Ledger::decode(note) else {
        return;
    };
    ledger.count_again(config);
}

/// Gives back what a tunnel that could not begin, or goes on elsewhere, has held.
pub fn close_account(note: &[u8], config: &Config) {
    let Some(ledger) = Ledger::decode(note) else {
        return;
    };
    ledger.release(config);
}

/// Handles the engine's events and timers for as long as the thread lives; `adopted` is told when a
/// dead worker's tunnels are ours and counted.
pub async fn drive(
    thread: Rc<Thread>,
    index: u16,
    recover: Option<Death>,
    adopted: oneshot::Sender<()>,
) {
    let own = thread.engine.borrow().fd().try_clone_to_owned();
    // The duplicate is the same epoll instance; it goes when this worker does, the engine's stays.
    let events = match own.and_then(inherited::watch) {
        Ok(events) => events,
        Err(error) => {
            let reason = crate::errno_text(&error);
            thread.shared.log(Severity::Emerg, &format!("epoll_ctl() failed ({reason})"));
            std::process::abort();
        }
    };
    if let Some(death) = recover {
        adopt(&thread, index, death).await;
    }
    // Who waited may be gone.
    let _ = adopted.send(());
    let timer = tokio::time::sleep(FOREVER);
    tokio::pin!(timer);
    let mut armed = None;
    // Tunnels that were adopted may have events that nobody will announce again.
    let mut full = turn(&thread) == Batch::Full;
    loop {
        arm(&thread, timer.as_mut(), &mut armed);
        if full {
            tokio::task::yield_now().await;
            thread.moving.thawed().await;
            full = turn(&thread) == Batch::Full;
            continue;
        }
        tokio::select! {
            biased;
            ready = events.readable() => {
                let Ok(mut ready) = ready else {
                    std::process::abort();
                };
                thread.moving.thawed().await;
                match turn(&thread) {
                    // The list is drained: every new event makes a new edge.
                    Batch::Short => ready.clear_ready(),
                    Batch::Full => full = true,
                }
            }
            () = &mut timer => {
                armed = None;
                thread.moving.thawed().await;
                thread.engine.borrow_mut().expire(crate::now_ms());
                settle(&thread);
            }
            () = thread.tunnels_changed.notified() => settle(&thread),
        }
    }
}

/// Sets the timer to the engine's next expiry, if that has changed.
fn arm(thread: &Thread, timer: std::pin::Pin<&mut tokio::time::Sleep>, armed: &mut Option<u64>) {
    let next = thread.engine.borrow().next_expiry_ms();
    if next == *armed {
        return;
    }
    *armed = next;
    let wait = match next {
        Some(at) => Duration::from_millis(at.saturating_sub(crate::now_ms())),
        None => FOREVER,
    };
    timer.reset(tokio::time::Instant::now() + wait);
}

fn turn(thread: &Thread) -> Batch {
    let batch = thread.engine.borrow_mut().ready(crate::now_ms());
    let batch = batch.unwrap_or_else(|error| {
        let reason = crate::errno_text(&error);
        thread.shared.log(Severity::Alert, &format!("epoll_wait() failed ({reason})"));
        Batch::Short
    });
    settle(thread);
    batch
}

/// Closes the accounts of tunnels that have ended.
fn settle(thread: &Thread) {
    if thread.engine.borrow().is_taking() {
        // What was taken over and has ended since was counted before.
        adopt_some(thread, 0);
    }
    let reports = thread.engine.borrow_mut().reports();
    crate::counters::tunnels(thread.engine.borrow().len());
    if reports.is_empty() {
        return;
    }
    let config = thread.config();
    for report in reports {
        match Ledger::decode(&report.note) {
            Some(ledger) => ledger.close(&report, &config),
            None => thread.shared.log(Severity::Error, "a tunnel's account cannot be read"),
        }
    }
}

/// Ends one tunnel; whether this thread carries it.
pub fn close(thread: &Thread, tunnel: TunnelId, close: Close) -> bool {
    let found = thread.engine.borrow_mut().close(tunnel, close, crate::now_ms());
    settle(thread);
    // The timers may have changed.
    thread.tunnels_changed.notify_one();
    found
}

/// Begins to end the thread's tunnels politely, within the window.
pub fn drain(thread: &Thread, drain: upgrade::Drain, code: u16) {
    let upgrade::Drain { window_ms, rate, .. } = drain;
    let threads = u32::try_from(thread.shared.threads).unwrap_or(u32::MAX);
    // Each thread has its share; a rate below the number of threads is one a second for each.
    let rate = if rate == 0 { 0 } else { (rate / threads).max(1) };
    let order = Drain { window_ms, code, rate, seed: seed() };
    let count = thread.engine.borrow().len();
    thread.engine.borrow_mut().drain(order, crate::now_ms());
    // The timers have changed.
    thread.tunnels_changed.notify_one();
    let message = format!("draining {count} tunnels within {window_ms} ms");
    thread.shared.log(Severity::Notice, &message);
}

/// Tells all tunnels at once that the end is near.
pub fn take_leave(thread: &Thread, code: u16) {
    thread.engine.borrow_mut().drain_now(code, crate::now_ms());
    settle(thread);
    thread.tunnels_changed.notify_one();
}

/// A number that differs from worker to worker.
fn seed() -> u64 {
    RandomState::new().hash_one(crate::now_ms())
}

/// Ends every tunnel of the thread.
pub fn close_all(thread: &Thread, close: Close) {
    let ids = thread.engine.borrow().ids();
    for id in ids {
        thread.engine.borrow_mut().close(id, close, crate::now_ms());
    }
    settle(thread);
}
