//! What goes into an engine and what comes out: the hand-over, its refusal, and the report at the
//! end.
//!
//! Values only. The proxy fills a `Handoff` at the switch and reads a `Report` at the end.

use std::os::fd::OwnedFd;

use crate::tls::Secrets;
use crate::{Close, RecordFault, Seat, Terms, TunnelId};

/// Everything that a tunnel is, at the moment of the switch.
#[derive(Debug)]
pub struct Handoff {
    /// The record, reserved before the upstream was dialled.
    pub seat: Seat,
    /// The two connected stream sockets: client, upstream.
    pub legs: [OwnedFd; 2],
    /// Bytes that go first *to* each side, each at most `CHUNK_BYTES`: to the client the head of
    /// the 101 and what the upstream sent behind its own; to the upstream what the client sent
    /// behind its request.
    /// Bytes of the tunnelled protocol, never ciphertext.
    pub first: [Vec<u8>; 2],
    /// For each side that speaks TLS, its secrets. Its socket then stands between two records:
    /// whatever was taken out of it was whole records, whose content is in the *other* side's
    /// `first`. (Who reads with MSG_PEEK and takes out what made a whole record gets there by
    /// itself.) And nothing that TLS wanted to send is left to be sent.
    pub tls: [Option<Secrets>; 2],
    /// Where the keys of TLS live.
    pub keeping: Keeping,
    /// What the bytes are, as far as a polite end needs to know.
    pub framing: Framing,
    /// The timeouts.
    pub terms: Terms,
    /// The proxy's keys (peer, limit), opaque here, from which it rebuilds its counters after an
    /// adoption.
    pub keys: [u64; 2],
    /// The proxy's note, opaque here, at most `NOTE_MAX`; it comes back in the report.
    pub note: Vec<u8>,
    /// When the request began, on the proxy's clock, opaque here.
    pub started_ms: u64,
}

/// Where the keys of a tunnel's TLS live, and so what becomes of it when its worker dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// In the table: the tunnel goes on.
    #[default]
    Shared,
    /// In the worker's own memory: the tunnel ends with it.
    Private,
}

/// How the bytes of a tunnel are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nobody knows.
    Opaque,
    /// Into WebSocket frames (RFC 6455, 5.2); towards the client they begin behind the first `head`
    /// bytes, which are the answer that switched protocols.
    WebSocket {
        /// At most the length of what goes first to the client.
        head: u32,
    },
}

/// Why a hand-over was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptFault {
    /// More than `CHUNK_BYTES` for one side.
    FirstTooLong,
    /// No chunk is free for what goes first.
    NoChunk,
    /// The note is longer than `NOTE_MAX`.
    NoteTooLong,
    /// The note slab is full.
    NoNoteRoom,
    /// The seat was reserved in another table.
    ForeignSeat,
    /// A leg is not a connected stream socket; the error number.
    Leg(i32),
    /// The kernel refused to register a leg; the error number.
    Register(i32),
    /// The kernel's counters of a leg did not come to rest.
    Counters,
}

/// A refused hand-over, unchanged: nothing was written and nothing closed.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub fault: AdoptFault,
    /// What was to be handed over.
    pub handoff: Handoff,
}

/// How a tunnel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub id: TunnelId,
    /// Why.
    pub close: Close,
    /// As in the hand-over.
    pub keys: [u64; 2],
    /// As in the hand-over.
    pub note: Vec<u8>,
    /// Bytes read from each side since the switch: client, upstream.
    pub read: [u64; 2],
    /// Bytes written to each side since the switch, those that went first included.
    pub written: [u64; 2],
    /// As in the hand-over.
    pub started_ms: u64,
    /// When it ended, on the engine's clock.
    pub ended_ms: u64,
}

/// A tunnel that goes on after its worker died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Which.
    pub id: TunnelId,
    /// As in the hand-over.
    pub keys: [u64; 2],
    /// As in the hand-over.
    pub note: Vec<u8>,
    /// As in the hand-over.
    pub started_ms: u64,
}

/// A record that could not be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The record's place in the table; nothing else in it is to be believed.
    pub record: u32,
    /// What was wrong.
    pub why: RecordFault,
}

/// The longest note.
pub const NOTE_MAX: usize = 32 * 1024;
