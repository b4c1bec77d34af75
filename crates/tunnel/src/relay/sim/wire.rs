//! The false kernel: sockets that are counters, streams whose every byte is known from its
//! position.
//!
//! It checks what the engine does at the moment it does it, and can be told to misbehave.

use std::io;
use std::sync::OnceLock;

use super::secure::Secure;
use super::{crash_point, elsewhere};
use crate::Side;
use crate::engine::Wire;
use crate::kernel::{Counts, Hint};
use crate::poll::{Got, Leg};
use crate::relay::{CloseFrame, Fault};
use crate::table::Span;

/// One false socket.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Bytes that the peer has sent, and how many of them were read.
    pub(super) arrived: u64,
    pub(super) read: u64,
    pub(super) fin_arrived: bool,
    pub(super) reset: bool,
    error_taken: bool,
    /// Bytes that we have written, how many the peer has taken, and how many may lie between.
    pub(super) written: u64,
    pub(super) taken: u64,
    pub(super) room: u64,
    pub(super) fins: u32,
    /// An edge that was not reported yet.
    pub(super) edge: bool,
    /// The last write found too little room.
    wants_room: bool,
    /// The last read found nothing.
    dry: bool,
    /// Bytes that go to this peer first.
    pub(super) first: u64,
    /// Where the Close frame of a drain began, and what has come of it.
    pub(super) close: Option<(u64, Vec<u8>)>,
    /// The peer's end of TLS; then `arrived` and `written` count sealed bytes.
    pub(super) secure: Option<Box<Secure>>,
    /// Bytes of the tunnelled protocol that the peer got.
    pub(super) got: u64,
    /// The peer ended without saying so in TLS.
    pub(super) cut: bool,
}

/// A fault that the checkers must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    Nothing,
    FlippedBit,
    DroppedFin,
    DoubledWrite,
    NoRepair,
    NoRedo,
    /// After a crash, wherever a direction stands is taken for a frame's end.
    GuessedBoundary,
}

/// All false sockets: tunnel t has the legs 2t (client) and 2t + 1 (upstream).
pub(super) struct Net {
    pub(super) sockets: Vec<Socket>,
    pub(super) plant: Plant,
    /// Sends until the planted fault.
    pub(super) fuse: u32,
    pub(super) crashes: u32,
    /// A vain try is allowed: the tunnel was marked, and an event may have come first.
    pub(super) excused: bool,
    pub(super) broken_rule: Option<String>,
    /// By tunnel: Close frames may come.
    pub(super) draining: Vec<bool>,
}

impl Socket {
    /// What epoll would say.
    pub(super) fn is_readable(&self) -> bool {
        self.arrived > self.read || self.is_ending()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.fin_arrived || self.reset
    }

    pub(super) fn is_writable(&self) -> bool {
        self.reset || self.free() > 0
    }

    fn free(&self) -> u64 {
        self.room.saturating_sub(self.written - self.taken)
    }

    pub(super) fn arrive(&mut self, leg: usize, bytes: u64) {
        if !self.is_ending() && bytes > 0 {
            self.arrived += bytes;
            if let Some(secure) = &mut self.secure {
                elsewhere(|| secure.extend(self.arrived, |at| framed(leg, at)));
            }
            (self.edge, self.dry) = (true, false);
        }
    }

    /// The peer ends in order: with TLS it finishes its record and says so.
    pub(super) fn arrive_fin(&mut self) {
        if !self.is_ending() {
            self.fin_arrived = true;
            if let Some(secure) = &mut self.secure {
                secure.say_close();
                self.arrived = secure.stream.len() as u64;
            }
            (self.edge, self.dry) = (true, false);
        }
    }

    /// Somebody ends the connection in the middle of it.
    pub(super) fn arrive_cut(&mut self) {
        if !self.is_ending() {
            self.fin_arrived = true;
            self.cut = self.secure.is_some();
            (self.edge, self.dry) = (true, false);
        }
    }

    pub(super) fn arrive_reset(&mut self) {
        if !self.reset {
            self.reset = true;
            (self.edge, self.dry, self.wants_room) = (true, false, false);
        }
    }

    /// The next `bytes` of what the peer of `leg` sent.
    fn queued(&self, leg: usize, bytes: u64) -> Vec<u8> {
        match &self.secure {
            None => (self.read..self.read + bytes).map(|at| framed(leg, at)).collect(),
            Some(secure) => {
                secure.stream[self.read as usize..(self.read + bytes) as usize].to_vec()
            }
        }
    }

    /// The peer takes up to `bytes`.
    pub(super) fn drain(&mut self, bytes: u64) {
        self.taken += bytes.min(self.written - self.taken);
        if self.wants_room && self.free() > 0 {
            (self.wants_room, self.edge) = (false, true);
        }
    }

    /// Bytes of the tunnelled protocol that the peer has sent, and we could know of.
    pub(super) fn sent(&self) -> u64 {
        self.secure.as_ref().map_or(self.arrived, |secure| secure.content_of(self.arrived))
    }
}

impl Net {
    fn object(&mut self, what: String) {
        self.broken_rule.get_or_insert(what);
    }

    /// The byte at `position` of what goes to `leg`: what goes first, then what its opposite leg
    /// sent.
    fn wanted(&self, leg: usize, position: u64) -> u8 {
        let first = self.sockets[leg].first;
        if position < first {
            pattern(leg + 100, position)
        } else {
            framed(leg ^ 1, position - first)
        }
    }

    /// Takes note of a byte of a Close frame; false if it is none.
    fn is_close(&mut self, leg: usize, position: u64, byte: u8) -> bool {
        let draining = self.draining[leg / 2];
        let socket = &mut self.sockets[leg];
        if let Some((start, bytes)) = &mut socket.close {
            bytes.push(byte);
            let at = position == *start + bytes.len() as u64 - 1;
            return at && bytes.len() as u64 <= CloseFrame::len_to(Side::BOTH[leg % 2]);
        }
        let begins = draining
            && byte == 0x88
            && position.checked_sub(socket.first).is_some_and(|at| is_boundary(leg ^ 1, at));
        if begins {
            socket.close = Some((position, vec![byte]));
        }
        begins
    }

    /// All that goes to `leg` first.
    pub(super) fn first_bytes(&self, leg: usize) -> Vec<u8> {
        (0..self.sockets[leg].first).map(|at| self.wanted(leg, at)).collect()
    }

    fn blow(&mut self) -> bool {
        self.fuse = self.fuse.saturating_sub(1);
        self.fuse == 0
    }

    fn do_recv(&mut self, leg: usize, into: Span<'_>) -> Got {
        // While a Close frame waits for its sink, nobody hears of the source.
        let crashed = self.crashes > 0 || self.excused || self.draining[leg / 2];
        let socket = &mut self.sockets[leg];
        let bytes = (socket.arrived - socket.read).min(into.len() as u64);
        if bytes > 0 {
            into.fill(&socket.queued(leg, bytes));
            socket.read += bytes;
            return Got::Bytes(bytes as usize);
        }
        self.nothing(leg, crashed)
    }

    fn do_peek(&mut self, leg: usize, into: &mut [u8]) -> Got {
        let crashed = self.crashes > 0 || self.excused || self.draining[leg / 2];
        let socket = &self.sockets[leg];
        let bytes = (socket.arrived - socket.read).min(into.len() as u64);
        if bytes > 0 {
            into[..bytes as usize].copy_from_slice(&socket.queued(leg, bytes));
            return Got::Bytes(bytes as usize);
        }
        self.nothing(leg, crashed)
    }

    fn do_discard(&mut self, leg: usize, bytes: usize) -> Got {
        let socket = &mut self.sockets[leg];
        let bytes = (socket.arrived - socket.read).min(bytes as u64);
        socket.read += bytes;
        Got::Bytes(bytes as usize)
    }

    /// What reading gives when nothing is queued.
    fn nothing(&mut self, leg: usize, crashed: bool) -> Got {
        let socket = &mut self.sockets[leg];
        if socket.reset && !socket.error_taken {
            socket.error_taken = true;
            return Got::Failed(Fault::Reset);
        }
        if socket.is_ending() {
            return Got::Bytes(0);
        }
        if std::mem::replace(&mut socket.dry, true) && !crashed {
            self.object(format!("leg {leg} is read again although it was dry"));
        }
        Got::Blocked
    }

    fn do_send(&mut self, leg: usize, from: &[u8]) -> Got {
        let crashed = self.crashes > 0 || self.excused;
        let socket = &mut self.sockets[leg];
        if socket.reset {
            socket.error_taken = true;
            return Got::Failed(Fault::Reset);
        }
        if socket.wants_room && !crashed {
            self.object(format!("leg {leg} is written again although it is full"));
        }
        let socket = &mut self.sockets[leg];
        let bytes = socket.free().min(from.len() as u64);
        socket.wants_room = bytes < from.len() as u64;
        let fins = socket.fins;
        if bytes == 0 {
            return Got::Blocked;
        }
        if fins > 0 {
            self.object(format!("leg {leg} is written behind its FIN"));
        }
        let mut data = from[..bytes as usize].to_vec();
        if matches!(self.plant, Plant::FlippedBit) && self.blow() {
            data[0] ^= 4;
        }
        self.judge(leg, data);
        let doubled = matches!(self.plant, Plant::DoubledWrite) && self.blow();
        self.sockets[leg].written += if doubled { bytes + 1 } else { bytes };
        Got::Bytes(bytes as usize)
    }
}

impl Net {
    /// Looks at every byte that a peer gets.
    fn judge(&mut self, leg: usize, mut data: Vec<u8>) {
        if let Some(secure) = &mut self.sockets[leg].secure {
            match elsewhere(|| secure.take(&data)) {
                Ok(content) => data = content,
                Err(what) => return self.object(format!("leg {leg} cannot open: {what}")),
            }
        }
        let socket = &mut self.sockets[leg];
        let start = if socket.secure.is_some() { socket.got } else { socket.written };
        socket.got = start + data.len() as u64;
        for (&byte, at) in data.iter().zip(start..) {
            let fits = self.is_close(leg, at, byte)
                || (self.sockets[leg].close.is_none() && byte == self.wanted(leg, at));
            if !fits {
                return self.object(format!("leg {leg} got a wrong byte at {at}"));
            }
        }
    }
}

impl Wire for Net {
    fn recv(&mut self, leg: Leg, into: Span<'_>) -> Got {
        crash_point();
        let got = self.do_recv(leg.number() as usize, into);
        crash_point();
        got
    }

    fn send(&mut self, leg: Leg, from: Span<'_>) -> Got {
        crash_point();
        let got = self.do_send(leg.number() as usize, &from.to_vec());
        crash_point();
        got
    }

    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Got {
        crash_point();
        self.do_peek(leg.number() as usize, into)
    }

    fn discard(&mut self, leg: Leg, over: Span<'_>) -> Got {
        crash_point();
        let got = self.do_discard(leg.number() as usize, over.len());
        crash_point();
        got
    }

    fn send_bytes(&mut self, leg: Leg, from: &[u8]) -> Got {
        crash_point();
        let got = self.do_send(leg.number() as usize, from);
        crash_point();
        got
    }

    fn is_ending(&mut self, leg: Leg) -> bool {
        self.sockets[leg.number() as usize].is_ending()
    }

    fn shut(&mut self, leg: Leg) {
        crash_point();
        if !matches!(self.plant, Plant::DroppedFin) {
            let socket = &mut self.sockets[leg.number() as usize];
            // The kernel sends one FIN, however often it is asked; only a crash excuses asking
            // twice.
            if socket.fins == 0 || self.crashes == 0 {
                socket.fins += 1;
            }
        }
        crash_point();
    }

    fn counts(&mut self, leg: Leg, _: Hint) -> io::Result<Option<Counts>> {
        let socket = &self.sockets[leg.number() as usize];
        Ok(Some(Counts { read: socket.read, written: socket.written, certain: !socket.reset }))
    }
}

/// The opposite side's number is the leg's lowest bit.
pub(super) fn leg(tunnel: usize, side: Side) -> usize {
    2 * tunnel + side.index()
}

/// The byte at `position` of what the peer of `leg` sends: frames of all kinds of lengths, masked if
/// it is a client, over and over.
fn framed(leg: usize, position: u64) -> u8 {
    let cycle = &cycles()[leg % 2];
    match cycle[(position % cycle.len() as u64) as usize] {
        Byte::First(byte) | Byte::Header(byte) => byte,
        Byte::Payload => pattern(leg, position),
    }
}

pub(super) fn is_boundary(leg: usize, position: u64) -> bool {
    let cycle = &cycles()[leg % 2];
    matches!(cycle[(position % cycle.len() as u64) as usize], Byte::First(_))
}

#[derive(Clone, Copy)]
enum Byte {
    First(u8),
    Header(u8),
    Payload,
}

/// One round of frames: of clients, of upstreams.
fn cycles() -> &'static [Vec<Byte>; 2] {
    static CYCLES: OnceLock<[Vec<Byte>; 2]> = OnceLock::new();
    CYCLES.get_or_init(|| [cycle(0x80), cycle(0)])
}

fn cycle(mask: u8) -> Vec<Byte> {
    let mut bytes = Vec::new();
    for (at, length) in [0_usize, 5, 125, 126, 1, 900, 66_000, 0, 3].into_iter().enumerate() {
        bytes.push(Byte::First([0x81, 0x02, 0x89, 0x80][at % 4]));
        let (code, extended) = match length {
            0..126 => (length as u8, 0),
            126..65_536 => (126, 2),
            _ => (127, 8),
        };
        bytes.push(Byte::Header(mask | code));
        let length_bytes = (length as u64).to_be_bytes();
        bytes.extend(length_bytes[8 - extended..].iter().map(|byte| Byte::Header(*byte)));
        let masking = if mask == 0 { 0 } else { 4 };
        bytes.extend(std::iter::repeat_n(Byte::Payload, masking + length));
    }
    bytes
}

fn pattern(stream: usize, position: u64) -> u8 {
    (position.wrapping_mul(131) ^ (position >> 7).wrapping_mul(29) ^ (stream as u64 * 89)) as u8
}
