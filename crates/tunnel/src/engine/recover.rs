//! After the death of a worker: the next engine goes on from the table alone.
//!
//! In this order: repair the one noted owner, redo the noted events, look at every other record.
//! The last may be done a few at a time while the engine turns already (`taking`). The epoll
//! instance survives in the shared descriptor table if it can; otherwise, or if descriptors moved,
//! everything is registered anew and checked. A second death anywhere in here is as good as the
//! first: marks go before notes are taken away.

use std::io;
use std::sync::Arc;

use super::repair::{check, relay_of, repair_owner};
use super::sockets::Farewell;
use super::taking::Taking;
use super::turn::{Bench, Wire};
use super::{Adopted, Dropped, Engine, Recovered, Sockets};
use crate::kernel::Hint;
use crate::poll::{Epoll, Event, Leg};
use crate::table::{Constant, EVENTS_MAX, Mark, Record, RecordFault, State, Token, TunnelId};
use crate::{Close, Seats, Side, Table};

/// What became of the records of a thread.
#[derive(Debug, Default)]
pub struct TakenOver {
    /// The tunnels that go on.
    pub adopted: Vec<Adopted>,
    /// The records that could not be believed. Where the constant half could, there is a report as
    /// well.
    pub dropped: Vec<Dropped>,
}

/// How the worker before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By somebody else's will, which says nothing about what it was doing.
    Killed,
    /// By a fault of its own: whatever it was adopting at that moment may be the cause.
    Crashed,
}

/// How the legs are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    /// With the engine's epoll instance, which survived.
    Survived,
    /// With none that counts: descriptors may have moved, so that each is checked.
    Anew,
}

impl Engine {
    /// Goes on where a dead worker's engine of the same thread stopped, with its epoll instance if
    /// that is still open. All threads of the dead worker must be dead, and `seats` rebuilt since.
    /// A record whose adoption has crashed `STRIKES_MAX` workers is dropped.
    ///
    /// # Errors
    /// If no epoll instance can be made.
    pub fn recover(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        death: Death,
        now_ms: u64,
    ) -> io::Result<Recovered> {
        let mut engine = Engine::resume(table, seats, thread, death, now_ms)?;
        let TakenOver { adopted, dropped } = engine.take_more(usize::MAX, now_ms);
        Ok(Recovered { engine, adopted, dropped })
    }

    /// The same, but takes over only what cannot wait: tunnels that were or are to be moved on. The
    /// others follow by [`Engine::take_more`], each at the latest when something happens to it.
    ///
    /// # Errors
    /// If no epoll instance can be made.
    pub fn resume(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        death: Death,
        now_ms: u64,
    ) -> io::Result<Engine> {
        let noted = table.station(thread).and_then(|station| station.epoll());
        let Some(epoll) = noted.and_then(Epoll::inherit) else {
            return Engine::rebuild_after(table, seats, thread, death, now_ms);
        };
        let mut engine = Engine::with(table, seats, thread, epoll, now_ms);
        let taking = engine.begin_taking(thread, Registration::Survived, death, now_ms);
        engine.taking = Some(Box::new(taking));
        Ok(engine)
    }

    /// The same with a new epoll instance, every descriptor and position checked: for when
    /// descriptors moved.
    ///
    /// # Errors
    /// If no epoll instance can be made.
    pub fn rebuild(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        now_ms: u64,
    ) -> io::Result<Recovered> {
        let mut engine = Engine::rebuild_after(table, seats, thread, Death::Killed, now_ms)?;
        let TakenOver { adopted, dropped } = engine.take_more(usize::MAX, now_ms);
        Ok(Recovered { engine, adopted, dropped })
    }

    fn rebuild_after(
        table: Arc<Table>,
        seats: Arc<Seats>,
        thread: u16,
        death: Death,
        now_ms: u64,
    ) -> io::Result<Engine> {
        let epoll = Epoll::create()?;
        // A mark means the epoll instance that the station names: first the marks go, then the name
        // changes.
        for record in (0..seats.high_water()).filter_map(|index| table.record(index)) {
            if record.thread() == u32::from(thread) && record.state() == Some(State::Live) {
                record.unmark(Mark::Registered);
            }
        }
        let station = table.station(thread).ok_or(io::ErrorKind::InvalidInput)?;
        station.set_epoll(epoll.raw());
        let mut engine = Engine::with(Arc::clone(&table), seats, thread, epoll, now_ms);
        // What is not registered makes no events: nothing of it can wait.
        let mut taking = engine.begin_taking(thread, Registration::Anew, death, now_ms);
        engine.take_all(&mut taking, now_ms);
        engine.taking = Some(Box::new(taking));
        Ok(engine)
    }

    /// Takes over what a dead worker's engine of *another* thread carried, for when there are fewer
    /// threads now.
    pub fn absorb(&mut self, thread: u16, death: Death, now_ms: u64) -> TakenOver {
        let table = Arc::clone(&self.table);
        let Some(station) = table.station(thread).filter(|_| thread != self.thread) else {
            return TakenOver::default();
        };
        let mut taking = self.begin_taking(thread, Registration::Anew, death, now_ms);
        self.take_all(&mut taking, now_ms);
        let old = station.epoll();
        station.clear();
        drop(old.and_then(Epoll::inherit));
        taking.taken
    }

    /// Takes over what a dead worker left on any thread from `threads` on: this worker has fewer
    /// than that one had.
    pub fn absorb_from(&mut self, threads: u16, death: Death, now_ms: u64) -> TakenOver {
        let mut taken = TakenOver::default();
        for thread in self.table.left_threads(threads) {
            let TakenOver { adopted, dropped } = self.absorb(thread, death, now_ms);
            taken.adopted.extend(adopted);
            taken.dropped.extend(dropped);
        }
        taken
    }

    /// Repairs the noted owner, finds what is to be taken over, and takes what cannot wait.
    fn begin_taking(&mut self, from: u16, how: Registration, death: Death, now_ms: u64) -> Taking {
        let table = Arc::clone(&self.table);
        let mut taking = Taking::new(how, death);
        let Some(station) = table.station(from) else { return taking };
        let owner = station.owner().map(|(token, _)| token.id);
        let record = owner.and_then(|id| Some((id, table.named(id)?)));
        let blamed = record.and_then(|(id, record)| Some((id, blame(record, death).err()?)));
        taking.broken = blamed.or_else(|| self.repair_noted(from, now_ms).err());
        taking.owner = owner;
        let threads = u32::from(table.limits().threads);
        for index in 0..self.seats.high_water() {
            let Some(record) = table.record(index) else { break };
            let ours = record.thread() == u32::from(from);
            let nobodys = record.thread() >= threads && from == 0;
            match record.state() {
                Some(State::Live) if ours => {
                    self.len += 1;
                    // No event will come for what waits for a turn.
                    if record.waits() { taking.add_urgent(index) } else { taking.add(index) }
                }
                Some(State::Closing) if ours => taking.add(index),
                Some(State::Damaged) if ours || nobodys => taking.add(index),
                _ => {}
            }
        }
        for at in 0..(station.events() as usize).min(EVENTS_MAX) {
            if let Some(token) = Token::unpack(Event::read(table.events(from), at).token) {
                self.take_index(&mut taking, token.id.index, now_ms);
                self.kick(token.id);
            }
        }
        if let Some(owner) = owner {
            self.take_index(&mut taking, owner.index, now_ms);
            self.kick(owner);
        }
        station.set_events(0);
        for index in taking.urgent() {
            self.take_index(&mut taking, index, now_ms);
        }
        taking
    }

    fn repair_noted(&mut self, from: u16, now_ms: u64) -> Result<(), (TunnelId, RecordFault)> {
        let Some(station) = self.table.station(from) else { return Ok(()) };
        repair_owner(&mut Bench {
            table: &self.table,
            seats: &self.seats,
            station,
            scratch: self.table.scratch(from),
            spare: &mut self.spare,
            desk: &mut self.desk,
            wire: &mut Sockets,
            now_ms,
            mask: 0,
        })
    }

    /// Takes one record over, if it is to be taken and was not yet.
    pub(super) fn take_index(&mut self, taking: &mut Taking, index: u32, now_ms: u64) {
        if !taking.remove(index) {
            return;
        }
        let table = Arc::clone(&self.table);
        let Some(record) = table.record(index) else { return };
        let id = TunnelId { index, generation: record.generation() };
        match record.state() {
            Some(State::Live) => self.take_live(taking, record, id, now_ms),
            Some(State::Closing) => {
                let close = relay_of(&self.table, id.index, record)
                    .map_or(Close::Damaged, |relay| relay.reason());
                self.clear_away(record, id, Farewell::of(close), now_ms);
            }
            Some(State::Damaged) => {
                let why = record.constant().err().unwrap_or(RecordFault::Note);
                taking.taken.dropped.push(Dropped { record: id.index, why });
                record.set_state(State::Free);
                self.seats.release(id.index);
            }
            Some(State::Free) | None => {}
        }
    }

    fn take_live(&mut self, taking: &mut Taking, record: &Record, id: TunnelId, now_ms: u64) {
        let checked = match taking.broken.filter(|(owner, _)| *owner == id) {
            Some((_, fault)) => Err(fault),
            // It was blamed before it was repaired.
            None if taking.owner == Some(id) => self.resume_record(record, id, taking.how),
            None => blame(record, taking.death)
                .and_then(|()| self.resume_record(record, id, taking.how)),
        };
        // What is to have a turn is still suspected.
        record.set_touched(false, if record.waits() { record.strikes() } else { 0 });
        match checked {
            Ok(constant) => taking.taken.adopted.push(self.adopted(id, &constant)),
            Err(why) => {
                record.set_thread(self.thread);
                let close = match why {
                    RecordFault::Leg => Close::LegMissing,
                    RecordFault::Keys => Close::KeysLost,
                    _ => Close::Damaged,
                };
                self.end(id, close, now_ms);
                taking.taken.dropped.push(Dropped { record: id.index, why });
            }
        }
    }

    /// Lets a live record go on here.
    fn resume_record(
        &mut self,
        record: &Record,
        id: TunnelId,
        how: Registration,
    ) -> Result<Constant, RecordFault> {
        let constant = check(&self.table, id.index, record)?;
        if constant.tls.private {
            return Err(RecordFault::Keys);
        }
        if how == Registration::Anew {
            check_legs(&self.table, id.index, record, &constant)?;
        }
        self.drop_left_over_chunks(id, record)?;
        if how == Registration::Anew || !record.marked(Mark::Registered) {
            self.register(record, id).map_err(|_| RecordFault::Leg)?;
        }
        record.set_thread(self.thread);
        if relay_of(&self.table, id.index, record)?.is_draining() {
            // It may have died between the beginning and the first turn.
            record.mark(Mark::Kick);
        }
        if record.waits() {
            self.more.push_back(id);
        }
        self.arm(id);
        Ok(constant)
    }

    /// The one thing that a death between two stores leaves untidy.
    fn drop_left_over_chunks(&self, id: TunnelId, record: &Record) -> Result<(), RecordFault> {
        let relay = relay_of(&self.table, id.index, record)?;
        for source in Side::BOTH {
            if relay.pipe(source).has_given_up()
                && let Some((chunk, _)) = record.chunk(source)
            {
                record.clear_chunk(source);
                self.seats.give_chunk(chunk);
            }
        }
        Ok(())
    }

    pub(super) fn adopted(&self, id: TunnelId, constant: &Constant) -> Adopted {
        Adopted {
            id,
            keys: constant.keys,
            note: self.table.note(constant.note_granule, constant.note_bytes).to_vec(),
            started_ms: constant.started_ms,
        }
    }
}

/// Notes that a live record is about to be touched. If a worker crashed while it was, that is a
/// strike against it.
///
/// # Errors
/// It has had as many as it gets.
fn blame(record: &Record, death: Death) -> Result<(), RecordFault> {
    if record.state() != Some(State::Live) {
        return Ok(());
    }
    let guilty = death == Death::Crashed && record.marked(Mark::Touched);
    let strikes = record.strikes() + u32::from(guilty);
    record.set_touched(true, strikes);
    if strikes >= STRIKES_MAX { Err(RecordFault::Crashed) } else { Ok(()) }
}

/// Workers that may crash over one record.
const STRIKES_MAX: u32 = 2;

/// Both numbers are the sockets that the record names, and the kernel agrees with the positions.
pub(super) fn check_legs(
    table: &Table,
    index: u32,
    record: &Record,
    constant: &Constant,
) -> Result<(), RecordFault> {
    let relay = relay_of(table, index, record)?;
    for side in Side::BOTH {
        let leg = Leg::from_number(constant.legs[side]);
        if leg.cookie().ok() != Some(constant.cookies[side]) {
            return Err(RecordFault::Leg);
        }
        let hint = Hint { finned: relay.has_finned(side), failed: relay.has_failed(side) };
        let counts = Sockets.counts(leg, hint).map_err(|_| RecordFault::Counters)?;
        // Over a closed connection the kernel's count may be off by a FIN, and there is nothing
        // more to lose.
        let Some(counts) = counts.filter(|counts| counts.certain) else { continue };
        let read = counts.read.wrapping_sub(constant.base_read[side]);
        let written = counts.written.wrapping_sub(constant.base_written[side]);
        let moves = |source: Side| relay.pipe(source).passes_on();
        let agree = (!moves(side) || read == record.read(side))
            && (!moves(side.other()) || written == record.written(side));
        if !agree {
            return Err(RecordFault::Position);
        }
    }
    Ok(())
}
