//! One turn of one tunnel: asks the relay for the next step, makes the system call, and notes what
//! it did.
//!
//! The order of the notes is the promise (exactly once): the owner before the call, a position
//! after it, a chunk's bytes before its name, the chunk's name before the scratch is given up. It
//! knows no epoll and no timers; the engine calls it, and the simulation with a false kernel behind
//! `Wire`.

use std::io;

use super::desk::Desk;
use crate::kernel::{Counts, Hint};
use crate::poll::{Got, Leg};
use crate::relay::{CloseFrame, Pipe, Relay, Step};
use crate::table::{
    CHUNK_BYTES, Mark, Record, Span, Station, Table, Tls, Token, TunnelId, Vault, crash_point,
};
use crate::{Close, Seats, Side};

/// The system calls that touch a leg's stream.
pub(crate) trait Wire {
    fn recv(&mut self, leg: Leg, into: Span<'_>) -> Got;
    fn send(&mut self, leg: Leg, from: Span<'_>) -> Got;
    /// Copies what could be read, and leaves it there.
    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Got;
    /// Takes out as many bytes as `over` is long, which were looked at; they may or may not come to
    /// lie in it.
    fn discard(&mut self, leg: Leg, over: Span<'_>) -> Got;
    /// As `send`, from private memory.
    fn send_bytes(&mut self, leg: Leg, from: &[u8]) -> Got;
    /// Whether nothing more will come than what is there.
    fn is_ending(&mut self, leg: Leg) -> bool;
    /// Sends the FIN. Repeating it changes nothing; a failure shows again when reading.
    fn shut(&mut self, leg: Leg);
    fn counts(&mut self, leg: Leg, hint: Hint) -> io::Result<Option<Counts>>;
}

/// What one thread lends to each turn.
pub(crate) struct Bench<'b, W> {
    pub(crate) table: &'b Table,
    pub(crate) seats: &'b Seats,
    pub(crate) station: &'b Station,
    pub(crate) scratch: Span<'b>,
    /// The chunk that must be in hand before anything is read into the scratch.
    pub(crate) spare: &'b mut Option<u32>,
    pub(crate) desk: &'b mut Desk,
    pub(crate) wire: &'b mut W,
    pub(crate) now_ms: u64,
    /// Masks the Close frames of a drain.
    pub(crate) mask: u32,
}

/// How much there is to do for one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urge {
    Nothing,
    /// Send what is kept.
    Flush,
    /// And read until less comes than was asked for: a later byte makes a new event.
    Read,
    /// And read until the kernel says that there is nothing: events may have been missed, or the
    /// end is near.
    ReadDry,
}

/// How a turn ended for one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// An event will come, or nothing ever.
    Rest,
    /// The source was not read for want of a chunk.
    Starved,
    /// The source has more than one turn may take.
    More,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    /// The reason, if nothing can move any more.
    pub(crate) over: Option<Close>,
    /// By source.
    pub(crate) outcome: [Outcome; 2],
}

/// The turn of one tunnel.
pub(crate) struct Turn<'t, 'b, W> {
    pub(super) bench: &'t mut Bench<'b, W>,
    pub(super) record: &'b Record,
    pub(super) id: TunnelId,
    pub(super) relay: Relay,
    pub(super) tls: Tls,
    /// What carries both directions if a leg speaks TLS.
    vault: Option<&'b Vault>,
    urges: [Urge; 2],
}

impl<'t, 'b, W: Wire> Turn<'t, 'b, W> {
    /// `None` if the record's words are none that a relay writes.
    #[inline]
    pub(crate) fn new(
        bench: &'t mut Bench<'b, W>,
        record: &'b Record,
        id: TunnelId,
    ) -> Option<Turn<'t, 'b, W>> {
        let relay = Relay::unpack(record.relay(), bench.table.kept(id.index, record))?;
        let tls = record.tls();
        let vault = if tls.any() { Some(bench.table.vault(id.index)?) } else { None };
        Some(Turn { bench, record, id, relay, tls, vault, urges: [Urge::Nothing; 2] })
    }

    /// `side` may have bytes or its end to give.
    #[inline]
    pub(crate) fn readable(&mut self, side: Side, urge: Urge) {
        // What waits for the sink goes first; reading follows by itself once it is gone.
        if !self.waits_for_sink(side) {
            self.urge(side, urge);
        }
    }

    #[inline]
    fn waits_for_sink(&self, source: Side) -> bool {
        let pipe = self.relay.pipe(source);
        // What was proposed and given up is not waited for.
        let proposed = |vault: &Vault| !pipe.is_silent() && vault.lane(source).is_proposed();
        pipe.waits_for_sink() || self.vault.is_some_and(proposed)
    }

    /// `side` may take bytes again.
    #[inline]
    pub(crate) fn writable(&mut self, side: Side) {
        if self.waits_for_sink(side.other()) {
            self.urge(side.other(), Urge::ReadDry);
        }
    }

    /// The kernel reported the FIN of `side`. Noted at once: after a crash it corrects the kernel's
    /// count.
    pub(crate) fn finned(&mut self, side: Side) {
        if !self.relay.has_finned(side) {
            self.relay.handle_finned(side);
            self.record.set_relay(self.relay.pack());
        }
    }

    /// Begins to end it politely. The code is noted by then, so that one store begins it all.
    pub(crate) fn drain(&mut self) {
        if !self.relay.has_failure() {
            self.record.set_fin_ms(self.bench.now_ms.max(1));
            self.change(Relay::handle_drain);
        }
    }

    /// The time for speaking or listening is over: both sides get a FIN.
    pub(crate) fn leave(&mut self) {
        for source in Side::BOTH {
            self.change(|relay| relay.handle_left(source));
            self.urge(source, Urge::ReadDry);
        }
    }

    /// What the record's marks ask for.
    pub(crate) fn go_on(&mut self) {
        let kicked = self.record.marked(Mark::Kick);
        for source in Side::BOTH {
            if kicked {
                self.urge(source, Urge::ReadDry);
            } else if self.record.marked(Mark::more(source)) {
                self.readable(source, Urge::ReadDry);
            }
        }
    }

    pub(crate) fn urge(&mut self, source: Side, urge: Urge) {
        self.urges[source] = self.urges[source].max(urge);
    }

    /// Does what was urged. A failed sink urges the other direction on, once per side: three passes
    /// are all.
    #[inline]
    pub(crate) fn run(mut self) -> Turned {
        let mut outcome = [Outcome::Rest; 2];
        for source in [Side::Client, Side::Upstream, Side::Client] {
            let urge = std::mem::replace(&mut self.urges[source], Urge::Nothing);
            if urge != Urge::Nothing {
                outcome[source] = match self.vault {
                    None => self.pump(source, urge),
                    Some(vault) => self.pump_lane(vault, source, urge),
                };
            }
        }
        Turned { over: self.relay.verdict(), outcome }
    }

    /// Moves one direction on until it blocks, ends, or has had its share.
    #[inline]
    fn pump(&mut self, source: Side, mut urge: Urge) -> Outcome {
        let mut reads = 0;
        loop {
            if self.relay.is_draining() {
                self.part(source);
            }
            match self.relay.pipe(source).step() {
                Step::Read if urge == Urge::Flush => return Outcome::Rest,
                Step::Read if reads == READS_MAX => return Outcome::More,
                Step::Read if !self.has_spare() => return Outcome::Starved,
                Step::Read => {
                    reads += 1;
                    if self.read(source, urge) == Reading::Stop && !self.parts_now(source) {
                        return Outcome::Rest;
                    }
                }
                Step::Send => {
                    if self.flush(source) == Flushed::Blocked {
                        return Outcome::Rest;
                    }
                    // While bytes were kept, the source's events went by unheard.
                    urge = if urge == Urge::Flush { urge } else { Urge::ReadDry };
                }
                Step::Bid => {
                    if self.bid(source) == Flushed::Blocked {
                        return Outcome::Rest;
                    }
                    urge = Urge::ReadDry;
                }
                Step::Drop if urge == Urge::Flush => return Outcome::Rest,
                Step::Drop if reads == READS_MAX => return Outcome::More,
                Step::Drop => {
                    reads += 1;
                    if self.throw_away(source) == Reading::Stop {
                        return Outcome::Rest;
                    }
                }
                Step::Shut => {
                    self.bench.wire.shut(self.leg(source.other()));
                    crash_point();
                    self.change(|relay| relay.handle_shut(source));
                }
                Step::Over => return Outcome::Rest,
            }
        }
    }

    /// The rule of the pool: what is read can be kept. So the chunk comes first.
    #[inline]
    fn has_spare(&mut self) -> bool {
        if self.bench.spare.is_none() {
            *self.bench.spare = self.bench.seats.take_chunk();
        }
        self.bench.spare.is_some()
    }

    #[inline]
    fn read(&mut self, source: Side, urge: Urge) -> Reading {
        let position = self.record.written(source.other());
        self.own(source, position);
        match self.bench.wire.recv(self.leg(source), self.bench.scratch) {
            Got::Bytes(0) => {
                crash_point();
                self.change(|relay| relay.handle_end(source));
                Reading::Continue
            }
            Got::Bytes(bytes) => {
                let read = self.record.read(source) + bytes as u64;
                self.record.set_read(source, read);
                self.record.set_active_ms(self.bench.now_ms);
                self.send(source, bytes, position);
                // Kept bytes wait for an event; a relay that changed otherwise has another step to
                // make.
                let stop = match self.relay.pipe(source) {
                    Pipe::Held => true,
                    Pipe::Open => bytes < CHUNK_BYTES && urge != Urge::ReadDry,
                    _ => false,
                };
                if stop { Reading::Stop } else { Reading::Continue }
            }
            Got::Blocked => Reading::Stop,
            Got::Failed(fault) => {
                self.change(|relay| relay.handle_source_failed(source, fault));
                Reading::Continue
            }
        }
    }

    /// Sends the first `bytes` of the scratch, whose position is `position`; keeps what the sink
    /// does not take.
    #[inline]
    fn send(&mut self, source: Side, bytes: usize, position: u64) {
        let sink = source.other();
        let wanted = self.allowed(source, self.bench.scratch.part(0, bytes), position, position);
        let sent = match self.bench.wire.send(self.leg(sink), self.bench.scratch.part(0, wanted)) {
            Got::Bytes(sent) => sent.min(wanted),
            Got::Blocked => 0,
            Got::Failed(fault) => return self.sink_failed(source, fault),
        };
        if sent > 0 {
            self.record.set_written(sink, position + sent as u64);
            self.follow(source, self.bench.scratch.part(0, bytes), position, sent);
        }
        if sent == wanted && wanted < bytes {
            // At the boundary that a drain was waiting for.
            self.change(|relay| relay.handle_sealed(source));
        } else if sent < bytes {
            self.keep(source, self.bench.scratch.part(sent, bytes), position + sent as u64);
        }
    }

    /// Moves the frames on over the first `sent` of `bytes`, which begin at `base`. For most
    /// messages that is one look at one header.
    #[inline]
    fn follow(&self, source: Side, bytes: Span<'_>, base: u64, sent: usize) {
        let (frames, end) = (self.record.frames(source), base + sent as u64);
        if frames.position() < end {
            let mut next = frames.skip(end, |at| bytes.four(at.wrapping_sub(base) as usize));
            if next.position() < end {
                next = next.advance(end, |at| bytes.byte(at.checked_sub(base)? as usize));
            }
            self.record.set_frames(source, next);
        }
    }

    /// How many of `bytes` may be sent from `position` on: a drain stops at a frame's end.
    #[inline]
    fn allowed(&self, source: Side, bytes: Span<'_>, base: u64, position: u64) -> usize {
        let end = base + bytes.len() as u64;
        let stop = if self.relay.is_draining() {
            self.next_boundary(source, bytes, base, position)
        } else {
            end
        };
        stop.saturating_sub(position) as usize
    }

    #[cold]
    fn next_boundary(&self, source: Side, bytes: Span<'_>, base: u64, position: u64) -> u64 {
        let byte = |at: u64| bytes.byte(at.checked_sub(base)? as usize);
        self.record.frames(source).boundary(position, base + bytes.len() as u64, byte)
    }

    /// In a drain: what can be given up now is.
    #[cold]
    fn part(&mut self, source: Side) {
        let (pipe, frames) = (self.relay.pipe(source), self.record.frames(source));
        if !pipe.passes_on() {
            return;
        }
        if frames.at_boundary(self.record.written(source.other())) {
            self.change(|relay| relay.handle_sealed(source));
        } else if frames.is_opaque() && pipe == Pipe::Open {
            self.change(|relay| relay.handle_left(source));
        }
    }

    /// Whether a drain has come to its boundary with the last byte that was read: no event will say
    /// so.
    #[inline]
    fn parts_now(&mut self, source: Side) -> bool {
        if !self.relay.is_draining() {
            return false;
        }
        self.part(source);
        !self.relay.pipe(source).passes_on()
    }

    /// Sends the Close frame, or the rest of it: the sink's position tells how much it has.
    #[cold]
    fn bid(&mut self, source: Side) -> Flushed {
        let sink = source.other();
        let written = self.record.written(sink);
        let sent = written.saturating_sub(self.record.frames(source).position());
        if sent == 0 {
            self.record.set_close_mask(source, self.bench.mask);
        }
        let mask = self.record.close_mask(source);
        let frame = CloseFrame::to(sink, self.record.close_code(), mask);
        let rest = frame.rest(sent);
        if !rest.is_empty() {
            self.own(source, written);
            self.bench.scratch.fill(rest);
            let span = self.bench.scratch.part(0, rest.len());
            let sent = match self.bench.wire.send(self.leg(sink), span) {
                Got::Bytes(sent) => sent.min(rest.len()),
                Got::Blocked => return Flushed::Blocked,
                Got::Failed(fault) => {
                    self.sink_failed(source, fault);
                    return Flushed::Done;
                }
            };
            self.record.set_written(sink, written + sent as u64);
            if sent < rest.len() {
                return Flushed::Blocked;
            }
        }
        self.change(|relay| relay.handle_bidden(source));
        Flushed::Done
    }

    /// Reads what nobody gets any more, to learn of the end behind it.
    #[cold]
    pub(super) fn throw_away(&mut self, source: Side) -> Reading {
        self.own(source, 0);
        match self.bench.wire.recv(self.leg(source), self.bench.scratch) {
            Got::Bytes(0) => {
                crash_point();
                self.change(|relay| relay.handle_end(source));
                Reading::Continue
            }
            Got::Bytes(bytes) => {
                self.record.set_read(source, self.record.read(source) + bytes as u64);
                Reading::Continue
            }
            Got::Blocked => Reading::Stop,
            Got::Failed(fault) => {
                self.change(|relay| relay.handle_source_failed(source, fault));
                Reading::Continue
            }
        }
    }

    /// Moves bytes from the scratch to a chunk: copied first, then noted, then the scratch is free
    /// for others.
    fn keep(&mut self, source: Side, rest: Span<'_>, position: u64) {
        let Some(chunk) = self.bench.spare.take() else {
            debug_assert!(false, "nothing is read without a spare chunk");
            return;
        };
        self.bench.table.chunk(chunk).fill_from(rest);
        self.record.set_stall_ms(source, self.bench.now_ms);
        self.record.set_chunk(source, chunk, position);
        self.relay.handle_held(source);
    }

    /// Sends what is kept, once: what the sink does not take now, an event will announce.
    fn flush(&mut self, source: Side) -> Flushed {
        let sink = source.other();
        let Some((chunk, base)) = self.record.chunk(source) else {
            return Flushed::Blocked;
        };
        let (written, end) = (self.record.written(sink), self.record.end(source));
        let start = written.saturating_sub(base) as usize;
        let stop = end.saturating_sub(base) as usize;
        let kept = self.bench.table.chunk(chunk).part(start, stop);
        // A kill between the last byte's note and the chunk's leaves an empty one.
        if kept.len() > 0 {
            self.own(source, base);
            let whole = self.bench.table.chunk(chunk).part(0, stop);
            let wanted = self.allowed(source, whole, base, written);
            let sent = match self.bench.wire.send(self.leg(sink), kept.part(0, wanted)) {
                Got::Bytes(sent) => sent.min(wanted),
                Got::Blocked => return Flushed::Blocked,
                Got::Failed(fault) => {
                    self.sink_failed(source, fault);
                    return Flushed::Done;
                }
            };
            self.record.set_written(sink, written + sent as u64);
            self.follow(source, whole, base, start + sent);
            self.record.set_active_ms(self.bench.now_ms);
            self.record.set_stall_ms(source, self.bench.now_ms);
            if sent < wanted {
                return Flushed::Blocked;
            }
            if sent < kept.len() {
                // At the boundary that a drain was waiting for.
                self.change(|relay| relay.handle_sealed(source));
                return Flushed::Done;
            }
        }
        self.record.clear_chunk(source);
        self.bench.seats.give_chunk(chunk);
        self.relay.handle_flushed(source);
        Flushed::Done
    }

    /// What the sink did not take is lost with it, but it may have sent something before it failed.
    pub(super) fn sink_failed(&mut self, source: Side, fault: crate::relay::Fault) {
        self.change(|relay| relay.handle_sink_failed(source, fault));
        self.readable(source.other(), Urge::ReadDry);
    }

    /// Lets the relay move and notes where it is now.
    pub(super) fn change(&mut self, event: impl FnOnce(&mut Relay)) {
        let before = self.relay.parting();
        event(&mut self.relay);
        let parts = self.relay.is_draining() && self.relay.parting() != before;
        if parts || self.relay.is_half() && self.record.fin_ms() == 0 {
            self.record.set_fin_ms(self.bench.now_ms.max(1));
        }
        self.record.set_relay(self.relay.pack());
        for source in Side::BOTH {
            if self.relay.pipe(source).has_given_up()
                && let Some((chunk, _)) = self.record.chunk(source)
            {
                self.record.clear_chunk(source);
                self.bench.seats.give_chunk(chunk);
            }
        }
    }

    #[inline]
    pub(super) fn own(&self, source: Side, base: u64) {
        self.bench.station.own(Token { id: self.id, side: source }, base);
    }

    #[inline]
    pub(super) fn leg(&self, side: Side) -> Leg {
        Leg::from_number(self.record.leg(side))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Continue,
    Stop,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    Done,
    Blocked,
}

/// Reads of a full scratch per direction and turn, so that one tunnel does not hold up the others.
pub(crate) const READS_MAX: u32 = 4;
