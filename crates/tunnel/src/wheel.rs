//! One coarse timer wheel: for each record at most one entry, moved only when a deadline comes
//! nearer.
//!
//! It knows numbers of records and milliseconds. A deadline that moves away is not told to it: the
//! engine looks at the record when the entry falls due and puts it in again. Never early, late by
//! at most one tick.

/// The timers of one thread.
pub(crate) struct Wheel {
    /// The first entry of each slot.
    heads: Vec<u32>,
    /// One bit per slot that is not empty.
    busy: [u64; SLOTS / 64],
    /// By record.
    links: Vec<Link>,
    /// Every slot up to this tick is empty.
    now: u64,
    len: usize,
}

#[derive(Clone, Copy)]
struct Link {
    next: u32,
    prev: u32,
    /// 0 if it is in no slot.
    tick: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Wheel {
        let now = now_ms / TICK_MS;
        Wheel { heads: vec![NIL; SLOTS], busy: [0; SLOTS / 64], links: Vec::new(), now, len: 0 }
    }

    /// Moves an empty wheel to the present, so that its horizon lies ahead.
    pub(crate) fn sync(&mut self, now_ms: u64) {
        if self.len == 0 {
            self.now = self.now.max(now_ms / TICK_MS);
        }
    }

    /// Sees to it that `index` falls due at `due_ms` or earlier.
    pub(crate) fn arm(&mut self, index: u32, due_ms: u64) {
        let place = index as usize;
        if place >= self.links.len() {
            self.links.resize(place + 1, Link { next: NIL, prev: NIL, tick: 0 });
        }
        // What lies beyond the horizon comes round earlier and is put in again.
        let tick = due_ms.div_ceil(TICK_MS).clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        let old = self.links[place].tick;
        if old != 0 && old <= tick {
            return;
        }
        self.disarm(index);
        let slot = tick as usize % SLOTS;
        let next = self.heads[slot];
        if next != NIL {
            self.links[next as usize].prev = index;
        }
        self.links[place] = Link { next, prev: NIL, tick };
        self.heads[slot] = index;
        self.busy[slot / 64] |= 1 << (slot % 64);
        self.len += 1;
    }

    /// Takes `index` out, wherever it is.
    pub(crate) fn disarm(&mut self, index: u32) {
        let Some(&link) = self.links.get(index as usize) else { return };
        if link.tick == 0 {
            return;
        }
        let slot = link.tick as usize % SLOTS;
        match link.prev {
            NIL => self.heads[slot] = link.next,
            prev => self.links[prev as usize].next = link.next,
        }
        if link.next != NIL {
            self.links[link.next as usize].prev = link.prev;
        }
        if self.heads[slot] == NIL {
            self.busy[slot / 64] &= !(1 << (slot % 64));
        }
        self.links[index as usize].tick = 0;
        self.len -= 1;
    }

    /// Takes out what is due and appends it to `due`; at most one entry per record.
    pub(crate) fn expire(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let target = now_ms / TICK_MS;
        if target <= self.now {
            return;
        }
        let last = target.min(self.now + SLOTS as u64);
        for tick in self.now + 1..=last {
            let slot = tick as usize % SLOTS;
            while self.heads[slot] != NIL {
                let index = self.heads[slot];
                self.disarm(index);
                due.push(index);
            }
        }
        self.now = target;
    }

    /// When the next entry falls due.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let start = self.now + 1;
        let mut tick = start;
        while tick < start + SLOTS as u64 {
            let slot = tick as usize % SLOTS;
            let ahead = self.busy[slot / 64] >> (slot % 64);
            if ahead != 0 {
                return Some((tick + u64::from(ahead.trailing_zeros())) * TICK_MS);
            }
            tick += 64 - slot as u64 % 64;
        }
        None
    }
}

/// How coarse it is.
pub(crate) const TICK_MS: u64 = 32;
/// The horizon, in ticks: 65 s.
const SLOTS: usize = 2048;
const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn nothing_is_early_and_nothing_is_later_than_a_tick() {
        let start = 1_000_003;
        let mut wheel = Wheel::new(start);
        for index in 0..2000 {
            wheel.arm(index, start + u64::from(index) * 17);
        }
        let mut seen = 0;
        while let Some(next) = wheel.next_ms() {
            for index in due(&mut wheel, next) {
                let wanted = start + u64::from(index) * 17;
                assert!(wanted <= next && next <= wanted.max(start) + 2 * TICK_MS, "{index}");
                seen += 1;
            }
        }
        assert_eq!((seen, wheel.len), (2000, 0));
    }

    #[test]
    fn a_nearer_deadline_moves_the_entry_and_a_farther_one_does_not() {
        let mut wheel = Wheel::new(0);
        wheel.arm(3, 10_000);
        wheel.arm(3, 20_000);
        wheel.arm(3, 5_000);
        wheel.arm(1, 5_000);
        wheel.arm(2, 5_000);
        wheel.disarm(1);
        assert_eq!(due(&mut wheel, 4_999), []);
        assert_eq!(due(&mut wheel, 5_000 + TICK_MS), [2, 3]);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn beyond_the_horizon_it_comes_round_early() {
        let mut wheel = Wheel::new(0);
        wheel.arm(9, 3_600_000);
        let next = wheel.next_ms().unwrap();
        assert!(next < SLOTS as u64 * TICK_MS);
        assert_eq!(due(&mut wheel, next), [9]);
        wheel.arm(9, 3_600_000);
        // A clock that leaps over everything empties every slot once.
        assert_eq!(due(&mut wheel, 1 << 40), [9]);
    }
}
