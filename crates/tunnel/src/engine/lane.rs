//! One direction of a tunnel that has TLS on either side: looks at what the source sent, makes what
//! the sink gets, proposes it, sends it, takes it out of the source, and notes that.
//!
//! Until the sink has all of it, the bytes stay in the kernel, unread. So after a crash nothing has
//! to be saved: the proposal says what was made of how many bytes, the kernel how much of it was
//! sent, and the same bytes with the same keys and numbers give the same records again.

use super::desk::INPUT_BYTES;
use super::turn::{Outcome, READS_MAX, Reading, Turn, Urge, Wire};
use crate::poll::Got;
use crate::relay::{CloseFrame, Fault, Frames, Pipe, Step};
use crate::table::{Deed, Flow, Lane, Progress, Vault, crash_point};
use crate::tls::{self, Alert, Message, Misdeed, Owner, PLAIN_MAX, Stop, Wear};
use crate::{Close, Side};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stride {
    /// There may be another.
    On,
    /// An event will come, or nothing ever.
    Rest,
}

impl<'b, W: Wire> Turn<'_, 'b, W> {
    /// Moves one direction on until it blocks, ends, or has had its share.
    pub(super) fn pump_lane(&mut self, vault: &'b Vault, source: Side, mut urge: Urge) -> Outcome {
        let mut reads = 0;
        loop {
            let Some(now) = vault.lane(source).current() else {
                self.give_up(Close::Damaged);
                return Outcome::Rest;
            };
            if self.relay.is_draining() {
                self.part_lane(source, &now);
            }
            let stride = match self.relay.pipe(source).step() {
                Step::Read if self.has_duty(vault, source, &now) => {
                    self.do_duty(vault, source, &now)
                }
                Step::Read if urge == Urge::Flush => return Outcome::Rest,
                Step::Read | Step::Drop if reads == READS_MAX => return Outcome::More,
                Step::Read => {
                    reads += 1;
                    self.read_lane(vault, source, &now, urge)
                }
                Step::Send => {
                    // While it waited, the source's events went by unheard.
                    urge = if urge == Urge::Flush { urge } else { Urge::ReadDry };
                    self.finish(vault, source, &now)
                }
                Step::Bid => self.bid_lane(vault, source, &now),
                Step::Drop if urge == Urge::Flush => return Outcome::Rest,
                Step::Drop => {
                    reads += 1;
                    match self.throw_away(source) {
                        Reading::Continue => Stride::On,
                        Reading::Stop => Stride::Rest,
                    }
                }
                Step::Shut => self.shut_lane(vault, source, &now),
                Step::Over => return Outcome::Rest,
            };
            if stride == Stride::Rest {
                return Outcome::Rest;
            }
        }
    }

    /// Whether something comes before reading on.
    fn has_duty(&self, vault: &'b Vault, source: Side, now: &Progress) -> bool {
        now.closed
            || self.record.chunk(source).is_some()
            || self.key_change(vault, source, now) != Wear::Good
    }

    fn do_duty(&mut self, vault: &'b Vault, source: Side, now: &Progress) -> Stride {
        if self.record.chunk(source).is_some() {
            return self.pass_first(vault, source, now);
        }
        if now.closed {
            self.change(|relay| relay.handle_end(source));
            return Stride::On;
        }
        if self.key_change(vault, source, now) == Wear::Spent {
            return self.give_up(Close::KeyLimit);
        }
        self.say(vault, source, now, Deed::KeyUpdate)
    }

    /// Whether the sink is to be told of a new key: because it asked, or because ours is worn.
    fn key_change(&self, vault: &'b Vault, source: Side, now: &Progress) -> Wear {
        let sink = source.other();
        if !self.tls.legs[sink] {
            return Wear::Good;
        }
        let asked = vault.lane(sink).current().map_or(now.answered, |other| other.asked);
        if asked != now.answered {
            return Wear::Due;
        }
        tls::wear(self.owner(vault), sink, now.blocks, self.bench.desk.wear)
    }

    /// Passes on what goes first, or the next part of it; gives its chunk back behind the last.
    fn pass_first(&mut self, vault: &'b Vault, source: Side, now: &Progress) -> Stride {
        if now.first < self.record.first(source.other()) {
            return self.make(vault, source, now, Deed::First, None);
        }
        if let Some((chunk, _)) = self.record.chunk(source) {
            self.record.clear_chunk(source);
            self.bench.seats.give_chunk(chunk);
        }
        Stride::On
    }

    fn read_lane(&mut self, vault: &'b Vault, source: Side, now: &Progress, urge: Urge) -> Stride {
        self.bench.desk.open();
        let limit = if self.tls.legs[source] { INPUT_BYTES } else { PLAIN_MAX };
        let leg = self.leg(source);
        match self.bench.wire.peek(leg, &mut self.bench.desk.input[..limit]) {
            Got::Bytes(0) => self.end_lane(source, now),
            Got::Bytes(bytes) => {
                let seen = Seen { bytes, all: bytes < limit, urge };
                self.make(vault, source, now, Deed::Read, Some(seen))
            }
            Got::Blocked => Stride::Rest,
            Got::Failed(fault) => {
                self.change(|relay| relay.handle_source_failed(source, fault));
                Stride::On
            }
        }
    }

    /// The source's FIN. With TLS it must have been announced; but nobody can cut off what the
    /// tunnelled protocol has ended itself.
    fn end_lane(&mut self, source: Side, now: &Progress) -> Stride {
        crash_point();
        if self.tls.legs[source] && !now.frames().is_closed() {
            self.change(|relay| relay.handle_source_failed(source, Fault::Truncated));
        } else {
            self.change(|relay| relay.handle_end(source));
        }
        Stride::On
    }

    /// Makes the next thing to send, proposes it, and carries it out.
    fn make(
        &mut self,
        vault: &'b Vault,
        source: Side,
        now: &Progress,
        deed: Deed,
        seen: Option<Seen>,
    ) -> Stride {
        let mut next = Progress { deed, ..*now };
        let taken = match (deed, seen) {
            (Deed::Read, Some(seen)) => self.take_in(vault, source, &mut next, seen.bytes),
            (Deed::First, _) => Ok(self.take_first(source, now)),
            _ => return self.give_up(Close::Damaged),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(misdeed) => return self.refuse(vault, source, misdeed),
        };
        if deed == Deed::Read && taken.used == 0 {
            return match seen {
                Some(seen) => self.wait_for_record(source, seen),
                None => Stride::Rest,
            };
        }
        let frames = self.pass(source, now, taken.content);
        (next.frames, next.passed) = (frames.words(), frames.passed);
        let passed = (next.passed - now.passed) as usize;
        match deed {
            Deed::First => next.first += passed as u32,
            _ => next.read += taken.used as u64,
        }
        if self.fill_output(vault, source, passed, &mut next).is_none() {
            return self.give_up(Close::Damaged);
        }
        self.bench.desk.made = Some((self.id, source, now.made));
        vault.lane(source).propose(&next);
        self.relay.handle_held(source);
        let stride = self.carry_out(vault, source, now, &next);
        // What comes later makes an event of its own.
        let dry = taken.stop == Stop::Partial
            && !self.relay.is_draining()
            && seen.is_some_and(|seen| seen.all && seen.urge != Urge::ReadDry);
        if dry && self.relay.pipe(source) == Pipe::Open && !self.has_duty(vault, source, &next) {
            return Stride::Rest;
        }
        stride
    }

    /// How the frames stand behind `content` bytes of the input, or where a drain cuts them off.
    fn pass(&self, source: Side, now: &Progress, content: usize) -> Passed {
        let bytes = &self.bench.desk.input[..content];
        let byte = |at: u64| bytes.get(usize::try_from(at.checked_sub(now.passed)?).ok()?).copied();
        let mut end = now.passed + content as u64;
        let frames = now.frames();
        if self.relay.is_draining() && self.relay.pipe(source).passes_on() {
            end = frames.boundary(now.passed, end, byte);
        }
        if frames.position() >= end {
            return Passed { frames, passed: end };
        }
        let four = |at: u64| bytes.get(at.wrapping_sub(now.passed) as usize..)?.first_chunk::<4>();
        let mut next = frames.skip(end, |at| four(at).copied());
        if next.position() < end {
            next = next.advance(end, byte);
        }
        Passed { frames: next, passed: end }
    }

    /// Opens what was looked at, or takes it as it is.
    fn take_in(
        &mut self,
        vault: &'b Vault,
        source: Side,
        next: &mut Progress,
        bytes: usize,
    ) -> Result<Taken, Misdeed> {
        if !self.tls.legs[source] {
            return Ok(Taken { used: bytes, content: bytes, stop: Stop::Partial });
        }
        let owner = self.owner(vault);
        let desk = &mut *self.bench.desk;
        let bytes = desk.input.get_mut(..bytes).ok_or(Misdeed::NoKey)?;
        let opened = tls::open(&mut desk.keys, owner, source, bytes, next);
        match opened.stop {
            // What came before it is relayed; it is met again.
            Stop::Refused(misdeed) if opened.used == 0 => Err(misdeed),
            stop => Ok(Taken { used: opened.used, content: opened.content, stop }),
        }
    }

    fn take_first(&mut self, source: Side, now: &Progress) -> Taken {
        self.bench.desk.open();
        let total = self.record.first(source.other());
        let left = total.saturating_sub(now.first).min(PLAIN_MAX as u32) as usize;
        let start = now.first as usize;
        let chunk = self.record.chunk(source).map(|(chunk, _)| self.bench.table.chunk(chunk));
        let bytes = chunk.map_or(Vec::new(), |chunk| chunk.part(start, start + left).to_vec());
        self.bench.desk.input[..bytes.len()].copy_from_slice(&bytes);
        Taken { used: 0, content: bytes.len(), stop: Stop::Turn }
    }

    /// Makes the output of the first `passed` bytes of the input. `None` if there is no key.
    fn fill_output(
        &mut self,
        vault: &'b Vault,
        source: Side,
        passed: usize,
        next: &mut Progress,
    ) -> Option<()> {
        let (owner, sink) = (self.owner(vault), source.other());
        let desk = &mut *self.bench.desk;
        desk.made = None;
        desk.output.clear();
        let content = desk.input.get(..passed)?;
        if self.tls.legs[sink] {
            let message = Message::Data(content);
            return tls::seal(&mut desk.keys, owner, sink, message, next, &mut desk.output);
        }
        desk.output.extend_from_slice(content);
        next.made += passed as u64;
        Some(())
    }

    /// Proposes something that we have to say ourselves, and carries it out.
    fn say(&mut self, vault: &'b Vault, source: Side, now: &Progress, deed: Deed) -> Stride {
        let mut next = Progress { deed, ..*now };
        if deed == Deed::KeyUpdate {
            let other = vault.lane(source.other()).current();
            next.answered = other.map_or(now.answered, |other| other.asked);
        }
        if self.speak(vault, source, deed, &mut next).is_none() {
            return self.give_up(Close::Damaged);
        }
        self.bench.desk.made = Some((self.id, source, now.made));
        vault.lane(source).propose(&next);
        if self.relay.pipe(source) == Pipe::Open {
            self.relay.handle_held(source);
        }
        self.carry_out(vault, source, now, &next)
    }

    /// Makes the output of what we have to say ourselves.
    fn speak(
        &mut self,
        vault: &'b Vault,
        source: Side,
        deed: Deed,
        next: &mut Progress,
    ) -> Option<()> {
        let (owner, sink) = (self.owner(vault), source.other());
        let frame = CloseFrame::to(sink, self.record.close_code(), self.record.close_mask(source));
        let message = match deed {
            Deed::KeyUpdate => Message::KeyUpdate,
            Deed::CloseNotify => Message::CloseNotify,
            Deed::CloseFrame => Message::Data(frame.rest(0)),
            _ => return None,
        };
        let desk = &mut *self.bench.desk;
        desk.made = None;
        desk.output.clear();
        match message {
            Message::Data(bytes) if !self.tls.legs[sink] => {
                desk.output.extend_from_slice(bytes);
                next.made += bytes.len() as u64;
                Some(())
            }
            _ => tls::seal(&mut desk.keys, owner, sink, message, next, &mut desk.output),
        }
    }

    /// Does what was proposed, or the rest of it.
    fn finish(&mut self, vault: &'b Vault, source: Side, now: &Progress) -> Stride {
        let Some(Some(next)) = vault.lane(source).proposed() else {
            return self.give_up(Close::Damaged);
        };
        let is_there = self.bench.desk.made == Some((self.id, source, now.made));
        if !is_there
            && !self.is_sent(source, now, &next)
            && self.make_again(vault, source, now, &next).is_none()
        {
            return self.give_up(Close::Damaged);
        }
        self.carry_out(vault, source, now, &next)
    }

    /// Makes what was proposed a second time; `None` if something else comes out.
    fn make_again(
        &mut self,
        vault: &'b Vault,
        source: Side,
        now: &Progress,
        next: &Progress,
    ) -> Option<()> {
        let mut again = Progress { deed: next.deed, ..*now };
        match next.deed {
            Deed::Read | Deed::First => {
                let taken = self.take_again(vault, source, now, next, &mut again)?;
                let passed = usize::try_from(next.passed.checked_sub(now.passed)?).ok()?;
                if passed > taken.content {
                    return None;
                }
                self.fill_output(vault, source, passed, &mut again)?;
            }
            deed => self.speak(vault, source, deed, &mut again)?,
        }
        // The counters of TLS and of the wire say it all: what differs would be sent under a
        // number that was used.
        let same = |p: &Progress| (p.made, p.open_seq, p.open_epoch, p.seal_seq, p.seal_epoch);
        if same(&again) != same(next) {
            return None;
        }
        self.bench.desk.made = Some((self.id, source, now.made));
        Some(())
    }

    fn take_again(
        &mut self,
        vault: &'b Vault,
        source: Side,
        now: &Progress,
        next: &Progress,
        again: &mut Progress,
    ) -> Option<Taken> {
        if next.deed == Deed::First {
            return Some(self.take_first(source, now));
        }
        self.bench.desk.open();
        let bytes = usize::try_from(next.read.checked_sub(now.read)?).ok()?;
        let leg = self.leg(source);
        let input = self.bench.desk.input.get_mut(..bytes)?;
        if self.bench.wire.peek(leg, input) != Got::Bytes(bytes) {
            return None;
        }
        let taken = self.take_in(vault, source, again, bytes).ok()?;
        (taken.used == bytes).then_some(taken)
    }

    /// Sends, takes out of the source what it was made of, and notes that it is done.
    fn carry_out(
        &mut self,
        vault: &'b Vault,
        source: Side,
        now: &Progress,
        next: &Progress,
    ) -> Stride {
        if !self.is_sent(source, now, next) {
            match self.send_made(source, now, next) {
                Sent::All => {}
                Sent::Part => return Stride::Rest,
                Sent::Failed(fault) => {
                    self.sink_failed(source, fault);
                    return Stride::On;
                }
                Sent::Never => return self.give_up(Close::Damaged),
            }
        }
        if let Err(fault) = self.take_out(source, next.read) {
            self.change(|relay| relay.handle_source_failed(source, fault));
            return Stride::On;
        }
        vault.lane(source).commit();
        self.bench.desk.made = None;
        self.settle(vault, source, now, next);
        Stride::On
    }

    /// Whether the sink has all of it for certain: what it was made of is being taken out.
    fn is_sent(&self, source: Side, now: &Progress, next: &Progress) -> bool {
        next.read != now.read && self.record.read(source) != now.read
    }

    /// Sends what the sink has not got of the output.
    fn send_made(&mut self, source: Side, now: &Progress, next: &Progress) -> Sent {
        let sink = source.other();
        let written = self.record.written(sink);
        let sent = written.checked_sub(now.made).and_then(|sent| usize::try_from(sent).ok());
        let output = &self.bench.desk.output;
        let Some(rest) = sent.and_then(|sent| output.get(sent..)) else { return Sent::Never };
        if rest.len() as u64 != next.made - written {
            return Sent::Never;
        }
        if rest.is_empty() {
            return Sent::All;
        }
        self.own(source, 0);
        let leg = self.leg(sink);
        let sent = match self.bench.wire.send_bytes(leg, rest) {
            Got::Bytes(sent) => sent.min(rest.len()),
            Got::Blocked => 0,
            Got::Failed(fault) => return Sent::Failed(fault),
        };
        let all = sent == rest.len();
        if sent > 0 {
            self.record.set_written(sink, written + sent as u64);
        }
        if sent > 0 || written == now.made {
            self.record.set_stall_ms(source, self.bench.now_ms);
        }
        if next.passed != now.passed {
            self.record.set_active_ms(self.bench.now_ms);
        }
        if all { Sent::All } else { Sent::Part }
    }

    /// Takes bytes out of the source's socket that were looked at before.
    fn take_out(&mut self, source: Side, position: u64) -> Result<(), Fault> {
        loop {
            let read = self.record.read(source);
            let left = position.saturating_sub(read);
            if left == 0 {
                return Ok(());
            }
            self.own(source, 0);
            let scratch = self.bench.scratch.part(0, left as usize);
            match self.bench.wire.discard(self.leg(source), scratch) {
                Got::Bytes(bytes) if bytes > 0 => {
                    self.record.set_read(source, read + bytes as u64);
                }
                Got::Failed(fault) => return Err(fault),
                // They were there.
                _ => return Err(Fault::Lost),
            }
        }
    }

    /// What follows from something that is done.
    fn settle(&mut self, vault: &'b Vault, source: Side, now: &Progress, next: &Progress) {
        if self.relay.pipe(source) == Pipe::Held {
            self.relay.handle_flushed(source);
        }
        let owner = self.owner(vault);
        let keys = &mut self.bench.desk.keys;
        if next.open_epoch != now.open_epoch {
            keys.retire(owner, source, Flow::Open, next.open_epoch);
        }
        if next.seal_epoch != now.seal_epoch {
            keys.retire(owner, source.other(), Flow::Seal, next.seal_epoch);
        }
        if next.asked != now.asked {
            // The answer goes the other way.
            self.readable(source.other(), Urge::Flush);
        }
    }

    /// What is there is no whole record. If nothing more will come, it never will be one.
    fn wait_for_record(&mut self, source: Side, seen: Seen) -> Stride {
        let leg = self.leg(source);
        if seen.urge != Urge::ReadDry || !self.bench.wire.is_ending(leg) {
            return Stride::Rest;
        }
        let limit = self.bench.desk.input.len();
        match self.bench.wire.peek(leg, &mut self.bench.desk.input[..limit]) {
            // It came in between.
            Got::Bytes(bytes) if bytes > seen.bytes => Stride::On,
            Got::Failed(fault) => {
                self.change(|relay| relay.handle_source_failed(source, fault));
                Stride::On
            }
            _ => {
                self.change(|relay| relay.handle_source_failed(source, Fault::Truncated));
                Stride::On
            }
        }
    }

    /// In a drain: what can be given up now is.
    fn part_lane(&mut self, source: Side, now: &Progress) {
        if self.relay.pipe(source) != Pipe::Open {
            return;
        }
        if now.frames().at_boundary(now.passed) {
            self.change(|relay| relay.handle_sealed(source));
        } else if now.frames().is_opaque() {
            self.change(|relay| relay.handle_left(source));
        }
    }

    /// Sends the Close frame, or the rest of it.
    fn bid_lane(&mut self, vault: &'b Vault, source: Side, now: &Progress) -> Stride {
        if now.deed == Deed::CloseFrame {
            self.change(|relay| relay.handle_bidden(source));
            return Stride::On;
        }
        if vault.lane(source).is_proposed() {
            return self.finish(vault, source, now);
        }
        self.record.set_close_mask(source, self.bench.mask);
        self.say(vault, source, now, Deed::CloseFrame)
    }

    /// Ends the sink's direction; with TLS, close_notify goes first (RFC 8446, 6.1). Where a record
    /// was cut off in the middle, there is no place for it.
    fn shut_lane(&mut self, vault: &'b Vault, source: Side, now: &Progress) -> Stride {
        let sink = source.other();
        if self.tls.legs[sink] && now.deed != Deed::CloseNotify && !self.relay.has_failed(sink) {
            match vault.lane(source).proposed() {
                None => return self.say(vault, source, now, Deed::CloseNotify),
                Some(Some(next)) if next.deed == Deed::CloseNotify => {
                    return self.finish(vault, source, now);
                }
                Some(_) => {}
            }
        }
        let leg = self.leg(sink);
        self.bench.wire.shut(leg);
        crash_point();
        self.change(|relay| relay.handle_shut(source));
        Stride::On
    }

    /// The source broke the rules of TLS: nothing more of it is believed, and it is told why if
    /// there is a place for that. The relay's word goes first: nothing is sealed after it.
    fn refuse(&mut self, vault: &'b Vault, source: Side, misdeed: Misdeed) -> Stride {
        let can_hear = self.relay.pipe(source.other()) == Pipe::Open;
        self.change(|relay| relay.handle_source_failed(source, Fault::Tls));
        if let Misdeed::Told(alert) = misdeed
            && can_hear
        {
            self.tell(vault, source, alert);
        }
        Stride::On
    }

    fn tell(&mut self, vault: &'b Vault, leg: Side, alert: Alert) {
        let lane: &Lane = vault.lane(leg.other());
        let Some(mut last) = lane.current().filter(|_| !lane.is_proposed()) else { return };
        let owner = self.owner(vault);
        let desk = &mut *self.bench.desk;
        desk.made = None;
        desk.output.clear();
        let (keys, out) = (&mut desk.keys, &mut desk.output);
        if tls::seal(keys, owner, leg, Message::Fatal(alert), &mut last, out).is_some() {
            let socket = self.leg(leg);
            // It is gone if it does not take this much.
            if let Got::Bytes(sent) = self.bench.wire.send_bytes(socket, &self.bench.desk.output) {
                self.record.set_written(leg, self.record.written(leg) + sent as u64);
            }
        }
    }

    /// Ends the tunnel for a reason that is neither side's.
    fn give_up(&mut self, close: Close) -> Stride {
        self.change(|relay| relay.handle_given_up(close));
        Stride::On
    }

    fn owner(&self, vault: &'b Vault) -> Owner<'b> {
        Owner { id: self.id, vault, private: self.tls.private }
    }
}

/// What was looked at.
#[derive(Clone, Copy)]
struct Seen {
    bytes: usize,
    /// There was room for more.
    all: bool,
    urge: Urge,
}

/// What was made of it.
#[derive(Clone, Copy)]
struct Taken {
    /// Bytes of the source's that are done with.
    used: usize,
    /// Bytes of the tunnelled protocol, at the start of the input.
    content: usize,
    stop: Stop,
}

/// What is passed on, up to a position.
#[derive(Clone, Copy)]
struct Passed {
    frames: Frames,
    passed: u64,
}

impl Passed {
    fn words(self) -> (u64, u32) {
        self.frames.words()
    }
}

/// How sending ended.
enum Sent {
    All,
    Part,
    Failed(Fault),
    /// The positions are none that the lane makes.
    Never,
}
