//! A look at the live tunnels from outside: copies, checked, taken while the engines go on.
//!
//! It changes nothing and believes nothing. `perdura tunnels` and the metrics use it.

use super::{Record, State, Table, TunnelId};
use crate::Side;
use crate::relay::Relay;

/// Walks over the table; each step gives one live tunnel. Bounded by the number of records.
pub struct Snapshot<'t> {
    table: &'t Table,
    next: u32,
}

/// A copy of one live tunnel's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveTunnel {
    /// Its name.
    pub id: TunnelId,
    /// The thread that carries it.
    pub thread: u32,
    /// Bytes read from each leg since the switch.
    pub read: [u64; 2],
    /// Bytes written to each leg since the switch.
    pub written: [u64; 2],
    /// Bytes that wait for each leg.
    pub kept: [u64; 2],
    /// As in the hand-over.
    pub started_ms: u64,
    /// When the last byte moved, on the monotonic clock.
    pub active_ms: u64,
    /// Whether one direction has ended.
    pub half_closed: bool,
    /// As in the hand-over.
    pub keys: [u64; 2],
    /// As in the hand-over.
    pub note: Vec<u8>,
}

impl<'t> Snapshot<'t> {
    pub(super) fn new(table: &'t Table, next: u32) -> Snapshot<'t> {
        Snapshot { table, next }
    }

    /// Where the walk stands, to go on from there later.
    pub fn place(&self) -> u32 {
        self.next
    }

    fn kept(&self, index: u32, record: &Record, source: Side) -> u64 {
        let written = record.written(source.other());
        if !record.tls().any() {
            let kept = record.end(source).saturating_sub(written);
            return record.chunk(source).map_or(0, |_| kept);
        }
        let proposed = self.table.vault(index).and_then(|v| v.lane(source).proposed().flatten());
        proposed.map_or(0, |next| next.made.saturating_sub(written))
    }

    fn copy(&self, index: u32, record: &Record) -> Option<LiveTunnel> {
        if record.state() != Some(State::Live) {
            return None;
        }
        let constant = record.constant().ok()?;
        let relay = Relay::unpack(record.relay(), self.table.kept(index, record));
        let payload = self.table.payload(index, record);
        let copy = LiveTunnel {
            id: TunnelId { index, generation: constant.generation },
            thread: record.thread(),
            read: payload.map(|(read, _)| read),
            written: payload.map(|(_, written)| written),
            kept: Side::BOTH.map(|sink| self.kept(index, record, sink.other())),
            started_ms: constant.started_ms,
            active_ms: record.active_ms(),
            half_closed: relay.is_some_and(|relay| relay.is_half()),
            keys: constant.keys,
            note: self.table.note(constant.note_granule, constant.note_bytes).to_vec(),
        };
        // The record may have ended and begun again meanwhile: then the copy is of two tunnels.
        let same = record.state() == Some(State::Live) && record.generation() == copy.id.generation;
        same.then_some(copy)
    }
}

impl Iterator for Snapshot<'_> {
    type Item = LiveTunnel;

    fn next(&mut self) -> Option<LiveTunnel> {
        loop {
            let index = self.next;
            if index >= self.table.high_water() {
                return None;
            }
            let record = self.table.record(index)?;
            self.next += 1;
            if let Some(tunnel) = self.copy(index, record) {
                return Some(tunnel);
            }
        }
    }
}
