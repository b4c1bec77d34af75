//! Tunnels that leave for another process or come from one: what one thread does of it.
//!
//! Leaving: the master hands the descriptors over, the thread freezes, so that nobody reads, and
//! what has gone is released before the thread thaws. Coming: tunnels are prepared while they are
//! read elsewhere, verified when nobody reads them, and go live only when the other process has
//! given them up. Not here: who decides (`master::link`).

use super::Thread;
use super::tunnels;
use crate::modules::error_log::Severity;
use perdura_tunnel::{Handoff, Prepared, Stand, Table, TunnelId};
use rustix::fd::OwnedFd;
use std::cell::{Cell, RefCell};
use tokio::sync::Notify;

/// What a thread keeps while tunnels move.
#[derive(Default)]
pub struct Moving {
    frozen: Cell<bool>,
    thaws: Notify,
    /// Tunnels that would have begun meanwhile; each holds a seat, so that there are not too many.
    begun: RefCell<Vec<Handoff>>,
    /// What came and is not live yet.
    prepared: RefCell<Vec<Prepared>>,
}

/// A tunnel of another process: its name there and its descriptors here.
pub struct Coming {
    pub name: u64,
    pub legs: [OwnedFd; 2],
}

/// Whether the tunnels may have been read meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    Nobody,
    /// The process that had them is gone, and may have read.
    Maybe,
}

impl Moving {
    pub fn is_frozen(&self) -> bool {
        self.frozen.get()
    }

    /// Resolves while the thread may turn.
    pub async fn thawed(&self) {
        loop {
            let thaws = self.thaws.notified();
            if !self.frozen.get() {
                return;
            }
            thaws.await;
        }
    }

    /// Keeps a tunnel that begins while the thread is frozen; gives it back when it is not.
    pub fn keep(&self, handoff: Handoff) -> Option<Handoff> {
        if !self.frozen.get() {
            return Some(handoff);
        }
        self.begun.borrow_mut().push(handoff);
        None
    }

    /// Between two turns: every position is noted, nothing lies in the scratch.
    pub fn freeze(&self) {
        self.frozen.set(true);
    }
}

/// Forgets what came and did not go live: the other process goes on with it.
pub fn forget(thread: &Thread) {
    let config = thread.config();
    let prepared = std::mem::take(&mut *thread.moving.prepared.borrow_mut());
    prepared.iter().for_each(|one| tunnels::close_account(&one.note(), &config));
}

/// Copies and checks what comes, and counts it already; gives the names of those that cannot go on
/// here.
pub fn prepare(thread: &Thread, table: &Table, coming: Vec<Coming>) -> Vec<u64> {
    let mut refused = Vec::new();
    let (engine, config) = (thread.engine.borrow(), thread.config());
    for Coming { name, legs } in coming {
        match engine.prepare(table, TunnelId::from_number(name), legs) {
            Ok(prepared) => {
                tunnels::take_account(&prepared.note(), &config);
                thread.moving.prepared.borrow_mut().push(prepared);
            }
            Err(fault) => {
                let message = format!("tunnel {name} cannot be taken over: {fault:?}");
                thread.shared.log(Severity::Error, &message);
                refused.push(name);
            }
        }
    }
    refused
}

/// What was found when nobody read any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The names of those that cannot go on here.
    pub refused: Vec<u64>,
    /// How many have ended meanwhile.
    pub ended: u32,
}

/// Looks at what was prepared once more, and drops what cannot go on here.
pub fn verify(thread: &Thread, table: &Table) -> Verified {
    let mut verified = Verified::default();
    let (engine, config) = (thread.engine.borrow(), thread.config());
    thread.moving.prepared.borrow_mut().retain_mut(|prepared| {
        let name = prepared.name().number();
        match engine.verify(table, prepared) {
            Ok(Stand::Ready) => return true,
            Ok(Stand::Ended) => verified.ended += 1,
            Err(fault) => {
                let message = format!("tunnel {name} cannot be taken over: {fault:?}");
                thread.shared.log(Severity::Error, &message);
                verified.refused.push(name);
            }
        }
        tunnels::close_account(&prepared.note(), &config);
        false
    });
    verified
}

/// Goes on with everything that was prepared; gives how many tunnels that are.
pub fn go(thread: &Thread) -> u32 {
    let prepared = std::mem::take(&mut *thread.moving.prepared.borrow_mut());
    let mut count = 0;
    for prepared in prepared {
        match thread.engine.borrow_mut().commit(prepared, crate::now_ms()) {
            Ok(_) => count += 1,
            Err(fault) => {
                let message = format!("a tunnel that was taken over is lost: {fault:?}");
                thread.shared.log(Severity::Alert, &message);
            }
        }
    }
    thread.tunnels_changed.notify_one();
    count
}

/// Gives up what goes on in another process.
pub fn release(thread: &Thread, gone: &[u64]) {
    let config = thread.config();
    for name in gone {
        let released = thread.engine.borrow_mut().release(TunnelId::from_number(*name));
        if let Some(released) = released {
            tunnels::close_account(&released.note, &config);
        }
    }
}

/// Turns again, and begins what was to begin meanwhile.
pub fn thaw(thread: &Thread, meanwhile: Meanwhile) {
    if meanwhile == Meanwhile::Maybe {
        thread.engine.borrow_mut().recheck(crate::now_ms());
    }
    thread.moving.frozen.set(false);
    thread.moving.thaws.notify_waiters();
    for handoff in std::mem::take(&mut *thread.moving.begun.borrow_mut()) {
        thread.adopt(handoff);
    }
    thread.tunnels_changed.notify_one();
}
