//! The polite end of many tunnels: spread over a window, each with Close frames at frame
//! boundaries, then FIN, then RST.
//!
//! Who comes when is known in private memory only: after a crash whoever ordered the drain orders
//! it again for those that are left. What has begun is in the records and goes on by itself.

use std::collections::VecDeque;

use super::Engine;
use crate::relay::Parting;
use crate::table::TunnelId;
use crate::{Close, engine::sockets::Farewell};

/// How a drain is spread, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The tunnels' turns come within so many milliseconds, unless the rate makes it longer.
    pub window_ms: u64,
    /// The code of the Close frames (RFC 6455, 7.4.1): 1001 or 1012, mostly.
    pub code: u16,
    /// So many turns a second at most; 0 sets no limit.
    pub rate: u32,
    /// Order, jitter and masks come from it.
    pub seed: u64,
}

/// The turns that are still to come.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    order: Option<Drain>,
    /// In order of time.
    turns: VecDeque<(u64, TunnelId)>,
    /// When the last turn that was given comes.
    last_ms: u64,
    random: u64,
}

impl Engine {
    /// Begins to end every tunnel of this thread, those that begin later too. Called again, it
    /// orders anew those whose turn has not come. `expire` does the work.
    pub fn drain(&mut self, order: Drain, now_ms: u64) {
        let mut ids = self.ids();
        ids.retain(|id| !self.is_draining(*id));
        self.leaving = Leaving::plan(order, ids, now_ms);
        self.mask = self.leaving.next() as u32;
    }

    /// Begins to end at once whatever is left: as in the last moments before a stop. Close frames
    /// where a frame ends, FINs everywhere else; what does not end by itself is closed by the
    /// caller.
    pub fn drain_now(&mut self, code: u16, now_ms: u64) {
        let seed = self.leaving.next();
        self.drain(Drain { window_ms: 0, code, rate: 0, seed }, now_ms);
        self.expire(now_ms);
    }

    /// A tunnel that begins during a drain has its turn as well.
    pub(super) fn drain_late(&mut self, id: TunnelId, now_ms: u64) {
        if let Some(order) = self.leaving.order
            && self.live(id).is_some()
        {
            let due_ms = self.leaving.last_ms.max(now_ms) + order.interval_ms();
            self.leaving.last_ms = due_ms;
            self.leaving.turns.push_back((due_ms, id));
        }
    }

    pub(super) fn next_drain_ms(&self) -> Option<u64> {
        self.leaving.turns.front().map(|(due_ms, _)| *due_ms)
    }

    pub(super) fn begin_due_drains(&mut self, now_ms: u64) {
        while self.leaving.turns.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms) {
            if let Some((_, id)) = self.leaving.turns.pop_front() {
                self.begin_drain(id, now_ms);
            }
        }
    }

    fn begin_drain(&mut self, id: TunnelId, now_ms: u64) {
        let Some(order) = self.leaving.order else { return };
        self.take_early(id.index, now_ms);
        if self.live(id).is_none() || self.is_draining(id) {
            return;
        }
        let Some(record) = self.table.named(id) else { return };
        let failed = super::repair::relay_of(&self.table, id.index, record)
            .map_or(true, |relay| relay.has_failure());
        if failed {
            // One side is gone: there is nobody to be polite to.
            return self.end(id, Close::Drained, now_ms);
        }
        record.set_close_code(order.code);
        self.mask = self.leaving.next() as u32;
        self.turn(id, now_ms, |turn| turn.drain());
        // Nothing may be moving: both directions are tried.
        self.kick(id);
        self.arm(id);
    }

    /// A deadline of a tunnel that is being drained has come.
    pub(super) fn part(&mut self, id: TunnelId, parting: Parting, now_ms: u64) {
        if parting == Parting::Leaving {
            return self.end_with(id, Close::Drained, Some(Farewell::Reset), now_ms);
        }
        self.turn(id, now_ms, |turn| turn.leave());
        self.arm(id);
    }

    pub(super) fn is_draining(&self, id: TunnelId) -> bool {
        let record = self.table.named(id);
        record.is_some_and(|r| {
            super::repair::relay_of(&self.table, id.index, r).is_ok_and(|relay| relay.is_draining())
        })
    }
}

impl Drain {
    fn interval_ms(&self) -> u64 {
        if self.rate == 0 { 0 } else { 1_000_u64.div_ceil(u64::from(self.rate)) }
    }
}

impl Leaving {
    /// Each tunnel has its own slot of the window and stands somewhere in it.
    fn plan(order: Drain, mut ids: Vec<TunnelId>, now_ms: u64) -> Leaving {
        let mut leaving = Leaving { order: Some(order), random: order.seed, ..Leaving::default() };
        for at in (1..ids.len()).rev() {
            ids.swap(at, leaving.next() as usize % (at + 1));
        }
        let count = ids.len().max(1) as u64;
        // In microseconds: at a high rate, an interval is less than a millisecond.
        let interval_us = if order.rate == 0 { 0 } else { 1_000_000 / u64::from(order.rate) };
        let slot_us = order.window_ms.saturating_mul(1_000) / count;
        let mut earliest_us = 0;
        for (at, id) in ids.into_iter().enumerate() {
            let jitter_us = leaving.next() % slot_us.max(1);
            let due_us = (at as u64 * slot_us + jitter_us).max(earliest_us);
            earliest_us = due_us + interval_us;
            leaving.last_ms = now_ms + due_us / 1_000;
            leaving.turns.push_back((leaving.last_ms, id));
        }
        leaving
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(window_ms: u64, rate: u32, count: u32, seed: u64) -> Vec<(u64, TunnelId)> {
        let ids = (0..count).map(|index| TunnelId { index, generation: 1 }).collect();
        let order = Drain { window_ms, code: 1001, rate, seed };
        Leaving::plan(order, ids, 7_000).turns.into()
    }

    #[test]
    fn turns_fill_the_window_and_no_two_seeds_agree() {
        let turns = plan(10_000, 0, 1_000, 1);
        assert!(turns.iter().all(|(due_ms, _)| (7_000..17_000).contains(due_ms)));
        for second in 0..10 {
            let inside = 7_000 + second * 1_000..8_000 + second * 1_000;
            let count = turns.iter().filter(|(due_ms, _)| inside.contains(due_ms)).count();
            assert!((95..=105).contains(&count), "{count} in second {second}");
        }
        assert!(turns.is_sorted_by_key(|(due_ms, _)| *due_ms));
        assert_ne!(turns, plan(10_000, 0, 1_000, 2));
        assert_eq!(turns, plan(10_000, 0, 1_000, 1));
    }

    #[test]
    fn the_rate_holds_even_if_the_window_does_not() {
        for (window_ms, rate, count) in [(0, 100, 500), (1_000, 50, 200), (60_000, 10, 40)] {
            let turns = plan(window_ms, rate, count, 3);
            let dues: Vec<u64> = turns.iter().map(|(due_ms, _)| *due_ms).collect();
            for from in &dues {
                let within = dues.iter().filter(|due| (*from..from + 1_000).contains(due)).count();
                assert!(within as u32 <= rate + 1, "{within} of {rate}");
            }
        }
        assert_eq!(plan(0, 0, 9, 1).iter().filter(|(due_ms, _)| *due_ms == 7_000).count(), 9);
        assert!(plan(1_000, 1, 0, 1).is_empty());
    }
}
