//! Which granules of the note slab are free: one bit each, first fit from the lowest free one.
//!
//! First fit keeps the slab's pages few. Used by `Seats` only.

use crate::table::NOTE_GRANULE;

/// The free granules of one slab.
pub(super) struct Notes {
    /// A set bit is a granule in use.
    used: Vec<u64>,
    granules: usize,
    /// No word below this one has a free granule.
    low: usize,
}

impl Notes {
    pub(super) fn new(bytes: u64) -> Notes {
        let granules = usize::try_from(bytes).unwrap_or(0) / NOTE_GRANULE;
        Notes { used: vec![0; granules.div_ceil(64)], granules, low: 0 }
    }

    /// The first granule of a place for `bytes`; an empty note needs none and gets granule 0.
    pub(super) fn take(&mut self, bytes: usize) -> Option<u32> {
        let wanted = bytes.div_ceil(NOTE_GRANULE);
        if wanted == 0 {
            return Some(0);
        }
        while self.used.get(self.low) == Some(&u64::MAX) {
            self.low += 1;
        }
        let (mut at, mut run) = (self.low * 64, 0);
        while at < self.granules {
            if at.is_multiple_of(64) && self.used[at / 64] == u64::MAX {
                (at, run) = (at + 64, 0);
                continue;
            }
            run = if self.is_used(at) { 0 } else { run + 1 };
            at += 1;
            if run == wanted {
                self.set(at - wanted, wanted);
                return u32::try_from(at - wanted).ok();
            }
        }
        None
    }

    /// Takes exactly this place; false if it is not free or not in the slab.
    pub(super) fn claim(&mut self, granule: u32, bytes: usize) -> bool {
        let (first, count) = (granule as usize, bytes.div_ceil(NOTE_GRANULE));
        let end = first.saturating_add(count);
        if count == 0 {
            return true;
        }
        if end > self.granules || (first..end).any(|at| self.is_used(at)) {
            return false;
        }
        self.set(first, count);
        true
    }

    pub(super) fn give(&mut self, granule: u32, bytes: usize) {
        let first = granule as usize;
        for at in first..(first + bytes.div_ceil(NOTE_GRANULE)).min(self.granules) {
            self.used[at / 64] &= !(1 << (at % 64));
        }
        self.low = self.low.min(first / 64);
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        (0..self.granules).filter(|at| !self.is_used(*at)).count()
    }

    fn is_used(&self, at: usize) -> bool {
        self.used[at / 64] & 1 << (at % 64) != 0
    }

    fn set(&mut self, first: usize, count: usize) {
        for at in first..first + count {
            self.used[at / 64] |= 1 << (at % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fill_the_slab_and_come_back() {
        let mut notes = Notes::new(64 * 100);
        let taken: Vec<u32> = std::iter::from_fn(|| notes.take(130)).collect();
        assert_eq!(taken.len(), 33);
        assert_eq!((notes.take(65), notes.take(64), notes.take(1)), (None, Some(99), None));
        notes.give(taken[1], 130);
        assert_eq!(notes.take(192), Some(3));
        assert_eq!(notes.take(0), Some(0));
    }

    #[test]
    fn a_place_is_claimed_once() {
        let mut notes = Notes::new(640);
        assert!(notes.claim(2, 100));
        assert!(!notes.claim(3, 1) && !notes.claim(9, 65) && !notes.claim(u32::MAX, usize::MAX));
        assert_eq!((notes.take(128), notes.take(128), notes.free()), (Some(0), Some(4), 4));
    }
}
