//! The free list of the chunk pool, with a reserve and a few warm chunks.
//!
//! The reserve rule: reading asks for a chunk *before* it reads and is refused when only the
//! reserve is left; bytes that exist already (a hand-over's, or those found in a scratch after a
//! crash) may use it. Used by `Seats` only.

use std::collections::BTreeSet;

use crate::table::Table;

/// Free chunks of one pool.
pub(super) struct Chunks {
    total: u32,
    /// Taken by a record, while the lists are being rebuilt.
    claimed: BTreeSet<u32>,
    /// With pages, last in first out.
    warm: Vec<u32>,
    /// Without pages.
    cold: Vec<u32>,
    /// Chunks from here on were never used.
    fresh: u32,
}

/// Whether a chunk that was given back keeps its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// It does, for the next taker.
    Warm,
    /// They are to be given back to the system.
    Cold,
}

impl Chunks {
    pub(super) fn new(total: u32) -> Chunks {
        Chunks { total, claimed: BTreeSet::new(), warm: Vec::new(), cold: Vec::new(), fresh: 0 }
    }

    /// Both chunks of a record; takes none if either is out of the pool or somebody else's.
    pub(super) fn claim(&mut self, named: [Option<u32>; 2]) -> bool {
        let usable = |chunk: &u32| *chunk < self.total && !self.claimed.contains(chunk);
        if !named.iter().flatten().all(usable) || (named[0].is_some() && named[0] == named[1]) {
            return false;
        }
        self.claimed.extend(named.iter().flatten());
        true
    }

    pub(super) fn unclaim(&mut self, named: [Option<u32>; 2]) {
        for chunk in named.iter().flatten() {
            self.claimed.remove(chunk);
        }
    }

    /// Ends the rebuilding: what nobody claimed is free, and its pages go back.
    pub(super) fn settle(&mut self, table: &Table) {
        let mut gap = 0;
        for &chunk in &self.claimed {
            self.cold.extend(gap..chunk);
            if gap < chunk {
                // A failure costs memory only.
                let _ = table.punch_chunks(gap, chunk - gap);
            }
            gap = chunk + 1;
        }
        if gap < self.total {
            let _ = table.punch_chunks(gap, self.total - gap);
        }
        self.fresh = gap;
        self.cold.reverse();
        self.claimed = BTreeSet::new();
    }

    pub(super) fn free(&self) -> u32 {
        self.total - self.fresh + (self.warm.len() + self.cold.len()) as u32
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        if self.free() <= CHUNKS_RESERVED.min(self.total / 4) { None } else { self.take_reserved() }
    }

    pub(super) fn take_reserved(&mut self) -> Option<u32> {
        if let Some(chunk) = self.warm.pop().or_else(|| self.cold.pop()) {
            return Some(chunk);
        }
        let chunk = self.fresh;
        if chunk == self.total {
            return None;
        }
        self.fresh += 1;
        Some(chunk)
    }

    pub(super) fn give(&mut self, chunk: u32) -> Pages {
        if self.warm.len() < WARM_MAX {
            self.warm.push(chunk);
            return Pages::Warm;
        }
        self.cold.push(chunk);
        Pages::Cold
    }
}

/// Chunks that reading leaves alone; a quarter of the pool if that is less.
const CHUNKS_RESERVED: u32 = 16;
/// Free chunks that keep their pages: 1 MiB.
const WARM_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_leaves_the_reserve_alone() {
        let mut chunks = Chunks::new(8);
        let taken: Vec<u32> = std::iter::from_fn(|| chunks.take()).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
        assert_eq!(chunks.take_reserved(), Some(6));
        assert_eq!(chunks.take_reserved(), Some(7));
        assert_eq!(chunks.take_reserved(), None);
        chunks.give(3);
        assert_eq!((chunks.take(), chunks.take_reserved()), (None, Some(3)));
    }

    #[test]
    fn only_a_few_free_chunks_stay_warm() {
        let mut chunks = Chunks::new(64);
        let taken: Vec<u32> = std::iter::from_fn(|| chunks.take_reserved()).collect();
        let warm = taken.iter().filter(|chunk| chunks.give(**chunk) == Pages::Warm).count();
        assert_eq!((warm, chunks.free()), (WARM_MAX, 64));
    }

    #[test]
    fn a_chunk_is_claimed_once() {
        let mut chunks = Chunks::new(8);
        assert!(chunks.claim([Some(2), None]));
        assert!(!chunks.claim([Some(5), Some(2)]));
        assert!(!chunks.claim([Some(6), Some(6)]));
        assert!(!chunks.claim([Some(8), None]));
        let limits = crate::Limits { records: 1, chunks: 8, note_bytes: 0, threads: 1 };
        chunks.settle(&Table::create(limits).unwrap());
        let free: BTreeSet<u32> = std::iter::from_fn(|| chunks.take_reserved()).collect();
        assert_eq!(free, BTreeSet::from([0, 1, 3, 4, 5, 6, 7]));
    }
}
