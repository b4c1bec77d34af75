//! The middle of a tunnel: events become turns, and what a turn left over becomes another.

use std::io;

use super::turn::{Bench, Outcome, Turn, Turned, Urge};
use super::{Batch, Engine, Sockets, repair, timers};
use crate::poll::Event;
use crate::table::{EVENTS_MAX, Mark, Record, State, Token, TunnelId};
use crate::{Close, Side, Table};

impl Engine {
    /// One turn: one batch of events, then what earlier turns left over.
    ///
    /// # Errors
    /// Only if the epoll instance itself fails.
    pub fn ready(&mut self, now_ms: u64) -> io::Result<Batch> {
        let leftover = self.more.len();
        let taken = self.take_events(now_ms)?;
        self.go_on(leftover, now_ms);
        if !self.starved.is_empty() {
            self.feed_if_possible();
        }
        let drained = taken < EVENTS_MAX && self.more.is_empty();
        Ok(if drained { Batch::Short } else { Batch::Full })
    }

    /// The array counts as full while the kernel writes to it: after a crash, a stale entry costs
    /// one vain try, a lost one would stall its tunnel for good.
    fn take_events(&mut self, now_ms: u64) -> io::Result<usize> {
        let table = std::sync::Arc::clone(&self.table);
        let (Some(station), array) = (table.station(self.thread), table.events(self.thread)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        station.set_events(EVENTS_MAX as u32);
        let taken = self.epoll.take(array)?;
        station.set_events(taken as u32);
        for at in 0..taken {
            self.handle(Event::read(array, at), now_ms);
        }
        station.set_events(0);
        Ok(taken)
    }

    #[inline]
    fn handle(&mut self, event: Event, now_ms: u64) {
        let Some(Token { id, side }) = Token::unpack(event.token) else { return };
        if self.taking.is_some() {
            self.take_early(id.index, now_ms);
        }
        if self.live(id).is_none() {
            return self.anteroom.stir(event);
        }
        self.turn(id, now_ms, |turn| {
            if event.finned() {
                turn.finned(side);
            }
            if event.readable() {
                turn.readable(side, if event.ending() { Urge::ReadDry } else { Urge::Read });
            }
            if event.writable() {
                turn.writable(side);
            }
        });
    }

    /// Gives each of the first `count` waiting tunnels one more turn. The marks go after the turn:
    /// a crash during it leaves a vain try, not a stall.
    pub(super) fn go_on(&mut self, count: usize, now_ms: u64) {
        let table = std::sync::Arc::clone(&self.table);
        for _ in 0..count {
            let Some(id) = self.more.pop_front() else { return };
            let Some(record) = table.named(id) else { continue };
            let kicked = record.marked(Mark::Kick);
            if kicked {
                record.set_touched(true, record.strikes());
            }
            let Some(turned) = self.run(id, now_ms, |turn| turn.go_on()) else { continue };
            if kicked {
                record.unmark(Mark::Kick);
                record.set_touched(false, 0);
            }
            for source in Side::BOTH {
                if turned.outcome[source] == Outcome::Rest {
                    record.unmark(Mark::more(source));
                }
            }
            self.note_leftover(id, record, turned);
            if record.waits() {
                self.enqueue(id, turned, now_ms);
            }
        }
    }

    /// One turn of a tunnel, with its consequences for the lists.
    #[inline]
    pub(super) fn turn(
        &mut self,
        id: TunnelId,
        now_ms: u64,
        urge: impl FnOnce(&mut Turn<'_, '_, Sockets>),
    ) {
        match self.run(id, now_ms, urge) {
            Some(turned) if turned.outcome != [Outcome::Rest; 2] => self.wait(id, turned, now_ms),
            _ => {}
        }
    }

    /// Marks a tunnel as waiting, and puts it in a list unless it is in one.
    pub(super) fn wait(&mut self, id: TunnelId, turned: Turned, now_ms: u64) {
        let table = std::sync::Arc::clone(&self.table);
        let Some(record) = table.named(id) else { return };
        let waited = record.waits();
        self.note_leftover(id, record, turned);
        if !waited {
            self.enqueue(id, turned, now_ms);
        }
    }

    fn note_leftover(&self, id: TunnelId, record: &Record, turned: Turned) {
        debug_assert_eq!(record.generation(), id.generation);
        for source in Side::BOTH {
            if turned.outcome[source] != Outcome::Rest {
                record.mark(Mark::more(source));
            }
        }
    }

    fn enqueue(&mut self, id: TunnelId, turned: Turned, now_ms: u64) {
        if turned.outcome.contains(&Outcome::More) {
            return self.more.push_back(id);
        }
        self.starved.push(id);
        self.starved_ms = now_ms;
    }

    /// One turn of a tunnel; ends it if nothing can move any more. `None` if it is not, or no
    /// longer, live here.
    #[inline]
    pub(super) fn run(
        &mut self,
        id: TunnelId,
        now_ms: u64,
        urge: impl FnOnce(&mut Turn<'_, '_, Sockets>),
    ) -> Option<Turned> {
        let table = &*self.table;
        let record = table.named(id).filter(|record| self.is_ours(record))?;
        let mut wire = Sockets;
        let mut bench = Bench {
            table,
            seats: &self.seats,
            station: table.station(self.thread)?,
            scratch: table.scratch(self.thread),
            spare: &mut self.spare,
            desk: &mut self.desk,
            wire: &mut wire,
            now_ms,
            mask: self.mask,
        };
        let before = shape(table, id, record);
        let Some(mut turn) = Turn::new(&mut bench, record, id) else {
            self.end(id, Close::Damaged, now_ms);
            return None;
        };
        urge(&mut turn);
        let turned = turn.run();
        if let Some(close) = turned.over {
            self.end(id, close, now_ms);
            return None;
        }
        // A timer began: the one case in which a deadline comes nearer.
        if shape(&self.table, id, record) != before {
            self.arm(id);
        }
        Some(turned)
    }

    /// Both directions of a tunnel are to be tried, event or not.
    pub(super) fn kick(&mut self, id: TunnelId) {
        if self.live(id).is_none() {
            return;
        }
        let Some(record) = self.table.named(id) else { return };
        let waited = record.waits();
        record.mark(Mark::Kick);
        if !waited {
            self.more.push_back(id);
        }
    }

    /// Turns for those that waited for a chunk, if there is one by now.
    fn feed_if_possible(&mut self) {
        if self.spare.is_none() {
            self.spare = self.seats.take_chunk();
        }
        if self.spare.is_some() {
            self.feed_starved();
        }
    }

    /// Moves all that wait for a chunk to those that wait for a turn. Their marks say both.
    pub(super) fn feed_starved(&mut self) {
        self.more.extend(self.starved.drain(..));
    }

    /// Chunks may come free on another thread, which sends no word: ask again then.
    pub(super) fn starved_until(&self) -> Option<u64> {
        (!self.starved.is_empty()).then(|| self.starved_ms.saturating_add(CHUNK_RETRY_MS))
    }

    /// Sees to it that the wheel knows of the nearest deadline.
    pub(super) fn arm(&mut self, id: TunnelId) {
        let Some(record) = self.table.named(id) else { return };
        let Ok(relay) = repair::relay_of(&self.table, id.index, record) else { return };
        if let Some((due_ms, _)) = timers::deadline(record, &relay) {
            self.wheel.arm(id.index, due_ms);
        }
    }

    #[inline]
    fn is_ours(&self, record: &Record) -> bool {
        record.state() == Some(State::Live) && record.thread() == u32::from(self.thread)
    }

    /// The record number of a tunnel that is live on this thread.
    pub(super) fn live(&self, id: TunnelId) -> Option<u32> {
        self.table.named(id).filter(|record| self.is_ours(record)).map(|_| id.index)
    }
}

/// How long a source waits at most for a chunk that came free elsewhere.
const CHUNK_RETRY_MS: u64 = 50;

/// What decides which timers run.
#[inline]
fn shape(table: &Table, id: TunnelId, record: &Record) -> (u32, [bool; 2]) {
    (record.relay(), table.kept(id.index, record))
}
