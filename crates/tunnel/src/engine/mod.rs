//! The engine of one worker thread: every tunnel of that thread, one epoll instance, one wheel of
//! timers.
//!
//! Six verbs: `adopt`, `ready`, `expire`, `close`, `drain`, `recover`. It keeps no state per tunnel but a
//! place in the wheel: the record is the tunnel. It waits for nothing itself; the proxy nests `fd`
//! in what it waits on.

mod adopt;
mod anteroom;
mod desk;
mod drain;
mod end;
mod handoff;
mod lane;
mod ready;
mod recover;
mod repair;
mod sockets;
mod taking;
#[cfg(test)]
mod tests;
mod timers;
mod transfer;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;

#[cfg(test)]
pub(crate) use adopt::start_lanes;
use anteroom::Anteroom;
pub use anteroom::{Lodging, Readiness};
#[cfg(not(test))]
use desk::Desk;
#[cfg(test)]
pub(crate) use desk::Desk;
pub use drain::Drain;
use drain::Leaving;
pub use handoff::{
    AdoptFault, Adopted, Dropped, Framing, Handoff, Keeping, NOTE_MAX, Refused, Report,
};
pub use recover::{Death, TakenOver};
#[cfg(test)]
pub(crate) use repair::{check, relay_of, repair_owner};
pub(crate) use sockets::Sockets;
use taking::Taking;
pub use transfer::{Prepared, Stand, TransferFault};
#[cfg(test)]
pub(crate) use turn::{Bench, Outcome, Turn, Turned, Urge, Wire};

use crate::poll::Epoll;
use crate::table::{State, TunnelId};
use crate::wheel::Wheel;
use crate::{Seats, Table};

/// The engine of one worker thread. Dropping it closes its epoll instance and no tunnel.
pub struct Engine {
    epoll: Rc<Epoll>,
    anteroom: Rc<Anteroom>,
    table: Arc<Table>,
    seats: Arc<Seats>,
    thread: u16,
    wheel: Wheel,
    /// For tunnels with TLS.
    desk: Desk,
    /// The chunk in hand, without which nothing is read.
    spare: Option<u32>,
    /// Tunnels for which no event will come; each marked in its record, so at most one per record.
    more: VecDeque<TunnelId>,
    /// Those among them that wait for a chunk.
    starved: Vec<TunnelId>,
    starved_ms: u64,
    /// Closing records whose report was not taken yet, and when they ended.
    ended: Vec<(TunnelId, u64)>,
    /// Kept for its allocation.
    due: Vec<u32>,
    len: usize,
    /// What a dead worker has left and is not taken over yet.
    taking: Option<Box<Taking>>,
    /// Tunnels whose turn to be drained comes, in that order; one entry for each tunnel.
    leaving: Leaving,
    /// Masks the Close frames.
    mask: u32,
}

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Everything there was has been handled: the caller may wait for the descriptor.
    Short,
    /// There may be more: the caller lets others run and comes back without waiting.
    Full,
}

/// An engine after the death of a worker.
pub struct Recovered {
    /// The engine, ready to go on: `ready` is to be called at once, and `reports`.
    pub engine: Engine,
    /// The tunnels that go on.
    pub adopted: Vec<Adopted>,
    /// The records that could not be believed. Where the constant half could, there is a report as
    /// well.
    pub dropped: Vec<Dropped>,
}

impl Engine {
    /// An engine for `thread`, whose part of the table is unused. One engine per thread of the
    /// table.
    ///
    /// # Errors
    /// If the table has no such thread, or no epoll instance can be made.
    pub fn new(table: Arc<Table>, seats: Arc<Seats>, thread: u16) -> io::Result<Engine> {
        let epoll = Epoll::create()?;
        let station = table.station(thread).ok_or(io::ErrorKind::InvalidInput)?;
        station.clear();
        station.set_epoll(epoll.raw());
        Ok(Engine::with(Arc::clone(&table), seats, thread, epoll, 0))
    }

    /// Readable while there are events: to be waited for, edge- or level-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// The tunnels of this thread.
    pub fn ids(&self) -> Vec<TunnelId> {
        let name = |index| {
            let record = self.table.record(index)?;
            let id = TunnelId { index, generation: record.generation() };
            self.live(id).map(|_| id)
        };
        (0..self.seats.high_water()).filter_map(name).collect()
    }

    /// How many tunnels this thread carries, those included that are still to be taken over.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether this thread carries none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn with(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        epoll: Epoll,
        now_ms: u64,
    ) -> Engine {
        debug_assert_eq!(State::Free as u32, 0, "a fresh memfd is full of free records");
        Engine {
            epoll: Rc::new(epoll),
            anteroom: Rc::default(),
            table,
            seats,
            thread,
            wheel: Wheel::new(now_ms),
            desk: Desk::default(),
            spare: None,
            more: VecDeque::new(),
            starved: Vec::new(),
            starved_ms: 0,
            ended: Vec::new(),
            due: Vec::new(),
            len: 0,
            taking: None,
            leaving: Leaving::default(),
            mask: now_ms.wrapping_mul(0x9e37_79b9) as u32,
        }
    }
}

impl Drop for Engine {
    /// Gives back the one thing that other threads could use, and leaves no number in the table
    /// that names nothing.
    fn drop(&mut self) {
        if let Some(station) = self.table.station(self.thread) {
            station.set_epoll(-1);
        }
        if let Some(chunk) = self.spare.take() {
            self.seats.give_chunk(chunk);
        }
    }
}
