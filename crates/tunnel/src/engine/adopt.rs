//! The beginning of a tunnel: a hand-over becomes a live record.
//!
//! Everything that can fail comes before the record goes live, or is undone. The first bytes lie in
//! a chunk when it does, so that a kill at the switch loses nothing.

use std::os::fd::{AsRawFd, OwnedFd};

use super::turn::{Outcome, Urge, Wire};
use super::{AdoptFault, Engine, Framing, Handoff, Keeping, NOTE_MAX, Refused};
use crate::kernel::Hint;
use crate::poll::{Event, Leg};
use crate::relay::Frames;
use crate::table::{CHUNK_BYTES, Constant, Mark, Progress, Record, State, Tls, Token, TunnelId};
use crate::tls::{CONTENT_MAX, Keyring, Owner, Secrets, blocks_of};
use crate::{Seats, Side};

/// What a leg that was registered before the switch has said and nobody has tried; `None` if it was
/// not.
pub(super) type Lodged = Option<u32>;

/// What was reserved for a hand-over; given back unless it goes live.
struct Reserved<'s> {
    seats: &'s Seats,
    note: Option<(u32, usize)>,
    /// By sink.
    chunks: [Option<u32>; 2],
}

impl Engine {
    /// Takes a tunnel over and writes what goes first at once.
    ///
    /// # Errors
    /// Gives everything back, unchanged.
    pub fn adopt(&mut self, handoff: Handoff, now_ms: u64) -> Result<TunnelId, Box<Refused>> {
        let lodged = self.lodged(&handoff);
        match self.go_live(&handoff, lodged, now_ms) {
            Err(fault) => Err(Box::new(Refused { fault, handoff })),
            Ok(id) => {
                // The record owns them now; `end` closes them.
                handoff.legs.into_iter().for_each(|leg| _ = Leg::from_owned(leg));
                handoff.seat.occupy();
                self.len += 1;
                self.wheel.sync(now_ms);
                self.after_going_live(id, lodged, now_ms);
                self.drain_late(id, now_ms);
                Ok(id)
            }
        }
    }

    /// Takes the legs out of the anteroom.
    pub(super) fn lodged(&self, handoff: &Handoff) -> [Lodged; 2] {
        Side::BOTH.map(|side| {
            let token = Token { id: handoff.seat.id(), side };
            self.anteroom.leave(token, Leg::from_number(handoff.legs[side].as_raw_fd()))
        })
    }

    pub(super) fn go_live(
        &mut self,
        handoff: &Handoff,
        lodged: [Lodged; 2],
        now_ms: u64,
    ) -> Result<TunnelId, AdoptFault> {
        if !handoff.seat.is_of(&self.seats) {
            return Err(AdoptFault::ForeignSeat);
        }
        let id = handoff.seat.id();
        let table = std::sync::Arc::clone(&self.table);
        let record = table.record(id.index).ok_or(AdoptFault::ForeignSeat)?;
        let seats = std::sync::Arc::clone(&self.seats);
        let reserved = Reserved::take(&seats, handoff)?;
        let constant = self.constant(handoff, id.generation, &reserved)?;
        record.write(&constant, self.thread);
        if let Framing::WebSocket { head } = handoff.framing {
            record.start_frames(Side::Client, Frames::starting_at(0));
            record.start_frames(Side::Upstream, Frames::starting_at(u64::from(head)));
        }
        if constant.tls.any() {
            self.start_tls(record, id, handoff)?;
        }
        reserved.fill(self, record, handoff);
        record.set_active_ms(now_ms);
        self.table.raise_high_water(id.index);
        // Nobody will say again what a registered leg has said already: if this worker dies, the
        // next one tries.
        record.mark(Mark::Kick);
        record.set_state(State::Live);
        let new = Side::BOTH.into_iter().filter(|&side| lodged[side].is_none());
        if let Err(error) = self.register_legs(record, id, new) {
            record.set_state(State::Free);
            if constant.tls.any() {
                self.forget_keys(record, id);
            }
            return Err(AdoptFault::Register(error.raw_os_error().unwrap_or(0)));
        }
        reserved.keep();
        Ok(id)
    }

    fn constant(
        &self,
        handoff: &Handoff,
        generation: u32,
        reserved: &Reserved<'_>,
    ) -> Result<Constant, AdoptFault> {
        let leg_fault = |error: std::io::Error| AdoptFault::Leg(error.raw_os_error().unwrap_or(0));
        let legs = handoff.legs.each_ref().map(OwnedFd::as_raw_fd);
        let (mut cookies, mut base_read, mut base_written) = ([0; 2], [0; 2], [0; 2]);
        for side in Side::BOTH {
            let leg = Leg::from_number(legs[side]);
            cookies[side] = leg.cookie().map_err(leg_fault)?;
            let counts =
                super::Sockets.counts(leg, Hint::default()).map_err(|e| match e.kind() {
                    std::io::ErrorKind::WouldBlock => AdoptFault::Counters,
                    _ => leg_fault(e),
                })?;
            if let Some(counts) = counts {
                (base_read[side], base_written[side]) = (counts.read, counts.written);
            }
        }
        Ok(Constant {
            generation,
            legs,
            cookies,
            base_read,
            base_written,
            first: handoff.first.each_ref().map(|bytes| bytes.len() as u32),
            terms: handoff.terms,
            keys: handoff.keys,
            note_granule: reserved.note.map_or(0, |(granule, _)| granule),
            note_bytes: handoff.note.len() as u16,
            tls: Tls {
                legs: handoff.tls.each_ref().map(Option::is_some),
                // Without TLS there is nothing to lose with the worker.
                private: handoff.keeping == Keeping::Private
                    && handoff.tls.iter().any(Option::is_some),
            },
            started_ms: handoff.started_ms,
        })
    }

    fn start_tls(
        &mut self,
        record: &Record,
        id: TunnelId,
        handoff: &Handoff,
    ) -> Result<(), AdoptFault> {
        let table = std::sync::Arc::clone(&self.table);
        let vault = table.vault(id.index).ok_or(AdoptFault::ForeignSeat)?;
        for side in Side::BOTH {
            Leg::from_number(record.leg(side))
                .ready_for_peeking()
                .map_err(|error| AdoptFault::Leg(error.raw_os_error().unwrap_or(0)))?;
        }
        let owner = Owner { id, vault, private: record.tls().private };
        start_lanes(&mut self.desk.keys, owner, record, &handoff.tls);
        Ok(())
    }

    pub(super) fn register(&self, record: &Record, id: TunnelId) -> std::io::Result<()> {
        self.register_legs(record, id, Side::BOTH)
    }

    fn register_legs(
        &self,
        record: &Record,
        id: TunnelId,
        sides: impl IntoIterator<Item = Side>,
    ) -> std::io::Result<()> {
        for side in sides {
            let leg = Leg::from_number(record.leg(side));
            if let Err(error) = self.epoll.add(leg, Token { id, side }.pack()) {
                for side in Side::BOTH {
                    self.epoll.remove(Leg::from_number(record.leg(side)));
                }
                return Err(error);
            }
        }
        record.mark(Mark::Registered);
        Ok(())
    }

    fn after_going_live(&mut self, id: TunnelId, lodged: [Lodged; 2], now_ms: u64) {
        let turned = self.run(id, now_ms, |turn| {
            for side in Side::BOTH {
                // What a peer sent already makes an event by the registration, unless the leg was
                // registered before.
                turn.urge(side, Urge::Flush);
                let said = Event { token: 0, mask: lodged[side].unwrap_or(0) };
                if said.finned() {
                    turn.finned(side);
                }
                if said.readable() {
                    turn.urge(side, Urge::ReadDry);
                }
            }
        });
        let table = std::sync::Arc::clone(&self.table);
        let (Some(turned), Some(record)) = (turned, table.named(id)) else { return };
        record.unmark(Mark::Kick);
        if turned.outcome != [Outcome::Rest; 2] {
            self.wait(id, turned, now_ms);
        }
        self.arm(id);
    }
}

/// Puts the keys where they live, and both directions at their beginning; the record is written
/// and not live.
pub(crate) fn start_lanes(
    keys: &mut Keyring,
    owner: Owner<'_>,
    record: &Record,
    tls: &[Option<Secrets>; 2],
) {
    owner.vault.wipe_keys();
    for side in Side::BOTH {
        if let Some(secrets) = &tls[side] {
            keys.begin(owner, side, secrets);
        }
    }
    for source in Side::BOTH {
        let sealed = tls[source.other()].as_ref().map_or(0, |secrets| secrets.write.seq());
        owner.vault.lane(source).start(&Progress {
            open_seq: tls[source].as_ref().map_or(0, |secrets| secrets.read.seq()),
            seal_seq: sealed,
            frames: record.frames(source).words(),
            // The handshake's library sealed so many records of any size.
            blocks: sealed.saturating_mul(blocks_of(CONTENT_MAX)),
            ..Progress::default()
        });
    }
}

impl<'s> Reserved<'s> {
    fn take(seats: &'s Seats, handoff: &Handoff) -> Result<Reserved<'s>, AdoptFault> {
        if handoff.first.iter().any(|bytes| bytes.len() > CHUNK_BYTES) {
            return Err(AdoptFault::FirstTooLong);
        }
        if handoff.note.len() > NOTE_MAX {
            return Err(AdoptFault::NoteTooLong);
        }
        let mut reserved = Reserved { seats, note: None, chunks: [None; 2] };
        let granule = seats.take_note(handoff.note.len()).ok_or(AdoptFault::NoNoteRoom)?;
        reserved.note = Some((granule, handoff.note.len()));
        for sink in Side::BOTH {
            if !handoff.first[sink].is_empty() {
                let chunk = seats.take_reserved_chunk().ok_or(AdoptFault::NoChunk)?;
                reserved.chunks[sink] = Some(chunk);
            }
        }
        Ok(reserved)
    }

    fn fill(&self, engine: &Engine, record: &Record, handoff: &Handoff) {
        if let Some((granule, _)) = self.note {
            engine.table.note(granule, handoff.note.len() as u16).fill(&handoff.note);
        }
        for sink in Side::BOTH {
            if let Some(chunk) = self.chunks[sink] {
                engine.table.chunk(chunk).fill(&handoff.first[sink]);
                record.set_chunk(sink.other(), chunk, 0);
            }
        }
    }

    fn keep(mut self) {
        (self.note, self.chunks) = (None, [None; 2]);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some((granule, bytes)) = self.note.take() {
            self.seats.give_note(granule, bytes);
        }
        for chunk in self.chunks.iter_mut().filter_map(Option::take) {
            self.seats.give_chunk(chunk);
        }
    }
}
