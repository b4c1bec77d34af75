//! Records of a dead worker that the next engine takes over a few at a time, while it turns already.
//!
//! A tunnel to which nothing happens sees no pause, so it can wait; one to which something happens
//! is taken at that moment. What is still to be taken is known here, in private memory: after
//! another death it is found again in the table. `recover` says how one record is taken.

use super::Engine;
use super::recover::{Death, Registration, TakenOver};
use crate::table::{RecordFault, TunnelId};

/// What is still to be taken over of one dead thread, and what was taken and not told yet.
pub(super) struct Taking {
    pub(super) how: Registration,
    pub(super) death: Death,
    /// Whose bytes were in motion.
    pub(super) owner: Option<TunnelId>,
    /// The same, if it could not be repaired.
    pub(super) broken: Option<(TunnelId, RecordFault)>,
    pub(super) taken: TakenOver,
    /// In this order, from the end; what was taken early is passed over.
    queue: Vec<u32>,
    /// Those for which no event will come.
    urgent: Vec<u32>,
    /// One bit for each record that is to be taken.
    members: Vec<u64>,
}

impl Taking {
    pub(super) fn new(how: Registration, death: Death) -> Taking {
        Taking {
            how,
            death,
            owner: None,
            broken: None,
            taken: TakenOver::default(),
            queue: Vec::new(),
            urgent: Vec::new(),
            members: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, index: u32) {
        self.enter(index);
        self.queue.push(index);
    }

    pub(super) fn add_urgent(&mut self, index: u32) {
        self.enter(index);
        self.urgent.push(index);
    }

    fn enter(&mut self, index: u32) {
        let place = index as usize / 64;
        if place >= self.members.len() {
            self.members.resize(place + 1, 0);
        }
        self.members[place] |= 1 << (index % 64);
    }

    /// Whether it was to be taken; once only.
    pub(super) fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.members.get_mut(index as usize / 64) else { return false };
        let bit = 1 << (index % 64);
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }

    /// Takes the list of those for which no event will come.
    pub(super) fn urgent(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.urgent)
    }
}

impl Engine {
    /// Whether records of a dead worker are still to be taken over, or were and are not told.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Takes over up to `count` more records of a dead worker; gives these and those that were taken
    /// since the last call. To be called before `reports`, so that no end is told before its
    /// beginning, until `is_taking` is false.
    pub fn take_more(&mut self, count: usize, now_ms: u64) -> TakenOver {
        let Some(mut taking) = self.taking.take() else { return TakenOver::default() };
        for _ in 0..count {
            let Some(index) = taking.queue.pop() else { break };
            self.take_index(&mut taking, index, now_ms);
        }
        let taken = std::mem::take(&mut taking.taken);
        if !taking.queue.is_empty() {
            self.taking = Some(taking);
        }
        taken
    }

    /// Takes a record over out of turn: something happens to it.
    #[cold]
    pub(super) fn take_early(&mut self, index: u32, now_ms: u64) {
        let Some(mut taking) = self.taking.take() else { return };
        self.take_index(&mut taking, index, now_ms);
        self.taking = Some(taking);
    }

    /// Takes over all that is left.
    pub(super) fn take_all(&mut self, taking: &mut Taking, now_ms: u64) {
        while let Some(index) = taking.queue.pop() {
            self.take_index(taking, index, now_ms);
        }
    }
}
