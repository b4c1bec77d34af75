//! The end of a tunnel: timers that are due, closes from outside, and the report.
//!
//! The reason is noted before the record stops being live, and the record is given back with its
//! report: a worker that dies between the two leaves the report to its successor.

use std::sync::Arc;

use super::sockets::{Farewell, close as close_leg};
use super::{Engine, Report, repair, timers};
use crate::poll::Leg;
use crate::relay::Relay;
use crate::table::{Record, State, TunnelId};
use crate::tls::Owner;
use crate::{Close, Side};

impl Engine {
    /// Ends what is due, and tries again for those that wait for a chunk.
    pub fn expire(&mut self, now_ms: u64) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now_ms, &mut due);
        for index in due.drain(..) {
            self.expire_one(index, now_ms);
        }
        self.due = due;
        if self.starved_until().is_some_and(|until_ms| until_ms <= now_ms) {
            self.feed_starved();
        }
        self.begin_due_drains(now_ms);
        self.go_on(self.more.len(), now_ms);
    }

    /// When `expire` has something to do; `None` if never, as things are.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        // What waits for a turn is due at once: no event will come for it.
        let leftover = (!self.more.is_empty()).then_some(0);
        let drain = self.next_drain_ms();
        [leftover, drain, self.wheel.next_ms(), self.starved_until()].into_iter().flatten().min()
    }

    /// Ends a tunnel; false if there is none of that name on this thread.
    pub fn close(&mut self, id: TunnelId, close: Close, now_ms: u64) -> bool {
        self.take_early(id.index, now_ms);
        let live = self.live(id).is_some();
        if live {
            self.end(id, close, now_ms);
        }
        live
    }

    /// The tunnels that ended since the last call. Their records are free afterwards, so it must be
    /// called after every `ready`, `expire`, `adopt` and `close`; at most one per record.
    pub fn reports(&mut self) -> Vec<Report> {
        let ended = std::mem::take(&mut self.ended);
        ended.into_iter().filter_map(|(id, ended_ms)| self.report(id, ended_ms)).collect()
    }

    fn expire_one(&mut self, index: u32, now_ms: u64) {
        let Some(record) = self.table.record(index) else { return };
        let id = TunnelId { index, generation: record.generation() };
        if self.live(id).is_none() {
            return;
        }
        let Ok(relay) = repair::relay_of(&self.table, index, record) else {
            return self.end(id, Close::Damaged, now_ms);
        };
        match timers::deadline(record, &relay) {
            Some((due_ms, _)) if due_ms <= now_ms && relay.is_draining() => {
                self.part(id, relay.parting(), now_ms);
            }
            Some((due_ms, close)) if due_ms <= now_ms => self.end(id, close, now_ms),
            Some((due_ms, _)) => self.wheel.arm(index, due_ms),
            None => {}
        }
    }

    /// The one way out: notes the reason, stops being live, closes both legs, and leaves the
    /// report.
    pub(super) fn end(&mut self, id: TunnelId, close: Close, now_ms: u64) {
        self.end_with(id, close, None, now_ms);
    }

    /// The same with a farewell of the caller's choice instead of the reason's.
    pub(super) fn end_with(
        &mut self,
        id: TunnelId,
        close: Close,
        farewell: Option<Farewell>,
        now_ms: u64,
    ) {
        let table = Arc::clone(&self.table);
        let Some(record) = table.named(id).filter(|record| record.state() == Some(State::Live))
        else {
            return;
        };
        let mut relay =
            repair::relay_of(&table, id.index, record).unwrap_or_else(|_| Relay::fresh());
        relay.handle_close(close);
        record.set_relay(relay.pack());
        record.set_state(State::Closing);
        self.wheel.disarm(id.index);
        self.len -= 1;
        let farewells = farewell.map_or(Farewell::of(relay.reason()), |one| [one; 2]);
        self.clear_away(record, id, farewells, now_ms);
    }

    /// What is left to do for a closing record; also for one that a dead worker left.
    pub(super) fn clear_away(
        &mut self,
        record: &Record,
        id: TunnelId,
        farewells: [Farewell; 2],
        now_ms: u64,
    ) {
        for source in Side::BOTH {
            if let Some((chunk, _)) = record.chunk(source) {
                record.clear_chunk(source);
                self.seats.give_chunk(chunk);
            }
        }
        if record.tls().any() {
            self.forget_keys(record, id);
        }
        if let Ok(constant) = record.constant() {
            for side in Side::BOTH {
                let leg = Leg::from_number(constant.legs[side]);
                let scratch = self.table.scratch(self.thread);
                close_leg(leg, constant.cookies[side], farewells[side], scratch);
            }
        }
        self.ended.push((id, now_ms));
    }

    /// No key outlives its tunnel.
    pub(super) fn forget_keys(&mut self, record: &Record, id: TunnelId) {
        let table = Arc::clone(&self.table);
        if let Some(vault) = table.vault(id.index) {
            self.desk.keys.end(Owner { id, vault, private: record.tls().private });
        }
    }

    fn report(&self, id: TunnelId, ended_ms: u64) -> Option<Report> {
        let record = self.table.named(id)?;
        let report = record.constant().ok().map(|constant| {
            let bytes = constant.note_bytes;
            let note = self.table.note(constant.note_granule, bytes).to_vec();
            self.seats.give_note(constant.note_granule, usize::from(bytes));
            Report {
                id,
                close: repair::relay_of(&self.table, id.index, record)
                    .map_or(Close::Damaged, |relay| relay.reason()),
                keys: constant.keys,
                note,
                read: self.table.payload(id.index, record).map(|(read, _)| read),
                written: self.table.payload(id.index, record).map(|(_, written)| written),
                started_ms: constant.started_ms,
                ended_ms,
            }
        });
        record.set_state(State::Free);
        self.seats.release(id.index);
        report
    }
}
