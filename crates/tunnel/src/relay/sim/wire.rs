//! The false kernel: sockets that are counters, streams whose every byte is known from its
//! position.
//!
//! It checks what the engine does at the moment it does it, and can be told to misbehave.

use std::io;

use super::crash_point;
use crate::Side;
use crate::engine::Wire;
use crate::kernel::{Counts, Hint};
use crate::poll::{Got, Leg};
use crate::relay::Fault;
use crate::table::Span;

/// One false socket.
#[derive(Clone, Debug, Default)]
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

    pub(super) fn arrive(&mut self, bytes: u64) {
        if !self.is_ending() && bytes > 0 {
            self.arrived += bytes;
            (self.edge, self.dry) = (true, false);
        }
    }

    pub(super) fn arrive_fin(&mut self) {
        if !self.is_ending() {
            self.fin_arrived = true;
            (self.edge, self.dry) = (true, false);
        }
    }

    pub(super) fn arrive_reset(&mut self) {
        if !self.reset {
            self.reset = true;
            (self.edge, self.dry, self.wants_room) = (true, false, false);
        }
    }

    /// The peer takes up to `bytes`.
    pub(super) fn drain(&mut self, bytes: u64) {
        self.taken += bytes.min(self.written - self.taken);
        if self.wants_room && self.free() > 0 {
            (self.wants_room, self.edge) = (false, true);
        }
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
            pattern(leg ^ 1, position - first)
        }
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
        let crashed = self.crashes > 0 || self.excused;
        let socket = &mut self.sockets[leg];
        let bytes = (socket.arrived - socket.read).min(into.len() as u64);
        if bytes > 0 {
            let data: Vec<u8> = (0..bytes).map(|at| pattern(leg, socket.read + at)).collect();
            into.fill(&data);
            socket.read += bytes;
            return Got::Bytes(bytes as usize);
        }
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

    fn do_send(&mut self, leg: usize, from: Span<'_>) -> Got {
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
        let (start, fins) = (socket.written, socket.fins);
        if bytes == 0 {
            return Got::Blocked;
        }
        if fins > 0 {
            self.object(format!("leg {leg} is written behind its FIN"));
        }
        let mut data = from.part(0, bytes as usize).to_vec();
        if matches!(self.plant, Plant::FlippedBit) && self.blow() {
            data[0] ^= 4;
        }
        let wrong = data.iter().zip(start..).find(|(byte, at)| **byte != self.wanted(leg, *at));
        if let Some((_, at)) = wrong {
            self.object(format!("leg {leg} got a wrong byte at {at}"));
        }
        let doubled = matches!(self.plant, Plant::DoubledWrite) && self.blow();
        self.sockets[leg].written += if doubled { bytes + 1 } else { bytes };
        Got::Bytes(bytes as usize)
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
        let got = self.do_send(leg.number() as usize, from);
        crash_point();
        got
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

fn pattern(stream: usize, position: u64) -> u8 {
    (position.wrapping_mul(131) ^ (position >> 7).wrapping_mul(29) ^ (stream as u64 * 89)) as u8
}
