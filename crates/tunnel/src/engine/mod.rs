//! The engine of one worker thread.

mod handoff;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

pub use handoff::{AdoptFault, Adopted, Dropped, Handoff, NOTE_MAX, Refused, Report};

use crate::poll::Epoll;
use crate::{Close, Seats, Table, TunnelId};

/// The engine of one worker thread: every tunnel of that thread, one epoll instance, one wheel of timers.
pub struct Engine {
    epoll: Epoll,
    #[expect(dead_code)]
    table: Arc<Table>,
    #[expect(dead_code)]
    seats: Arc<Seats>,
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
    /// The engine, ready to go on.
    pub engine: Engine,
    /// The tunnels that go on.
    pub adopted: Vec<Adopted>,
    /// The records that could not be believed.
    pub dropped: Vec<Dropped>,
}

impl Engine {
    /// An engine for `thread`, whose part of the table is unused. One engine per thread of the table.
    pub fn new(table: Arc<Table>, seats: Arc<Seats>, thread: u16) -> io::Result<Engine> {
        let _ = thread;
        Ok(Engine { epoll: Epoll::create()?, table, seats })
    }

    /// Readable while there is work: to be waited for, edge- or level-triggered.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes a tunnel over and writes what goes first at once.
    ///
    /// # Errors
    /// Gives everything back, unchanged.
    pub fn adopt(&mut self, handoff: Handoff, now_ms: u64) -> Result<TunnelId, Box<Refused>> {
        let _ = now_ms;
        Err(Box::new(Refused { fault: AdoptFault::NoChunk, handoff }))
    }

    /// One turn: one batch of events, then what earlier turns left over.
    ///
    /// # Errors
    /// Only if the epoll instance itself fails.
    pub fn ready(&mut self, now_ms: u64) -> io::Result<Batch> {
        let _ = now_ms;
        Ok(Batch::Short)
    }

    /// Ends what is due.
    pub fn expire(&mut self, now_ms: u64) {
        let _ = now_ms;
    }

    /// When `expire` has something to do; `None` if never, as things are.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        None
    }

    /// Ends a tunnel; false if there is none of that name on this thread.
    pub fn close(&mut self, id: TunnelId, close: Close, now_ms: u64) -> bool {
        let _ = (id, close, now_ms);
        false
    }

    /// The tunnels of this thread.
    pub fn ids(&self) -> Vec<TunnelId> {
        Vec::new()
    }

    /// How many tunnels this thread carries.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether this thread carries none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tunnels that ended since the last call. Their records are free afterwards, so it must be called after
    /// every `ready`, `expire` and `close`; at most one per record.
    pub fn reports(&mut self) -> Vec<Report> {
        Vec::new()
    }

    /// Goes on where a dead worker's engine of the same thread stopped.
    ///
    /// # Errors
    /// If no epoll instance can be made.
    pub fn recover(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        now_ms: u64,
    ) -> io::Result<Recovered> {
        let _ = now_ms;
        let engine = Engine::new(table, seats, thread)?;
        Ok(Recovered { engine, adopted: Vec::new(), dropped: Vec::new() })
    }
}
