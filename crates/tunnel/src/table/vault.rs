//! The half of a record that only tunnels with a TLS leg have: keys by leg, and by direction how
//! far opening and sealing have come.
//!
//! A direction's progress is a value that moves in two stores: the next value is proposed beside
//! the current one, and made current once the kernel has done its part. After a crash in between,
//! the kernel's counters tell how much of it is done. The engine's lanes write it; adoption reads
//! it as hostile input.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::station::crash_point;
use crate::Side;
use crate::relay::Frames;

/// The vault of one record; nothing in it counts unless the record says that a leg speaks TLS.
#[repr(C, align(64))]
pub(crate) struct Vault {
    keys: [Keys; 2],
    lanes: [Lane; 2],
}

const _: () = assert!(size_of::<Vault>() == VAULT_BYTES);

/// What one leg has agreed on, and its secrets: two places for each direction, so that a KeyUpdate
/// can be prepared beside what is in use.
#[repr(C)]
struct Keys {
    parameters: AtomicU32,
    _free: AtomicU32,
    /// By [`Flow`], by the lowest bit of the epoch.
    slots: [[Slot; 2]; 2],
}

#[repr(C)]
struct Slot {
    words: [AtomicU64; SLOT_WORDS],
}

/// The contents of a slot.
pub(crate) type SlotWords = [u64; SLOT_WORDS];

/// The two directions of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// What its peer seals and we open.
    Open = 0,
    /// What we seal and its peer opens.
    Seal = 1,
}

/// The progress of one direction of the tunnel, named after its source.
#[repr(C)]
pub(crate) struct Lane {
    /// Which of the two states is current, and whether the other is proposed.
    phase: AtomicU64,
    states: [[AtomicU64; STATE_WORDS]; 2],
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes that were taken out of the source's socket.
    pub(crate) read: u64,
    /// The number of the source's next record.
    pub(crate) open_seq: u64,
    /// The number of the next record to the sink.
    pub(crate) seal_seq: u64,
    /// Bytes that were made for the sink's socket.
    pub(crate) made: u64,
    /// Bytes of the tunnelled protocol that were passed on, those that went first included.
    pub(crate) passed: u64,
    /// Where the frames of the tunnelled protocol stand at `passed`.
    pub(crate) frames: (u64, u32),
    /// Of what goes first to the sink, so much was passed on.
    pub(crate) first: u32,
    /// KeyUpdates of the source, and of ours to the sink.
    pub(crate) open_epoch: u32,
    pub(crate) seal_epoch: u32,
    /// Blocks sealed with the current key, at most.
    pub(crate) blocks: u64,
    /// What led here from the progress before.
    pub(crate) deed: Deed,
    /// The source said close_notify.
    pub(crate) closed: bool,
    /// KeyUpdates that the source asked us for, and up to which of the sink's we have answered.
    pub(crate) asked: u8,
    pub(crate) answered: u8,
    /// Records of the source's without content, in a row.
    pub(crate) quiet: u8,
    /// Bytes of a handshake message of the source's that are still to come, and to be ignored.
    pub(crate) skip: u32,
}

/// One step of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Deed {
    /// None yet.
    #[default]
    Nothing = 0,
    /// Passed on what goes first.
    First = 1,
    /// Passed on what was read from the source.
    Read = 2,
    /// Told the sink that we change our key, and changed it.
    KeyUpdate = 3,
    /// Told the sink that nothing follows.
    CloseNotify = 4,
    /// Sent the sink a Close frame.
    CloseFrame = 5,
}

impl Vault {
    pub(crate) fn lane(&self, source: Side) -> &Lane {
        &self.lanes[source]
    }

    /// What the leg agreed on, as `tls` packs it.
    pub(crate) fn parameters(&self, leg: Side) -> u32 {
        self.keys[leg].parameters.load(Ordering::Acquire)
    }

    pub(crate) fn set_parameters(&self, leg: Side, word: u32) {
        self.keys[leg].parameters.store(word, Ordering::Release);
    }

    pub(crate) fn slot(&self, leg: Side, flow: Flow, epoch: u32) -> SlotWords {
        let slot = &self.keys[leg].slots[flow as usize][epoch as usize & 1];
        slot.words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    pub(crate) fn set_slot(&self, leg: Side, flow: Flow, epoch: u32, words: &SlotWords) {
        let slot = &self.keys[leg].slots[flow as usize][epoch as usize & 1];
        crash_point();
        for (place, word) in slot.words.iter().zip(words) {
            place.store(*word, Ordering::Release);
        }
        crash_point();
    }

    /// Zeros the keys: none outlives its tunnel.
    pub(crate) fn wipe_keys(&self) {
        for keys in &self.keys {
            keys.parameters.store(0, Ordering::Relaxed);
            let words = keys.slots.iter().flatten().flat_map(|slot| &slot.words);
            words.for_each(|word| word.store(0, Ordering::Relaxed));
        }
    }
}

impl Lane {
    /// Sets the current progress with nothing proposed; the record must not be live.
    pub(crate) fn start(&self, progress: &Progress) {
        self.write(0, progress);
        self.write(1, &Progress::default());
        self.phase.store(0, Ordering::Release);
    }

    /// `None` if no lane writes this.
    #[inline]
    pub(crate) fn current(&self) -> Option<Progress> {
        self.read((self.phase.load(Ordering::Acquire) & CURRENT) as usize)
    }

    #[inline]
    pub(crate) fn is_proposed(&self) -> bool {
        self.phase.load(Ordering::Acquire) & PROPOSED != 0
    }

    /// What was proposed, if anything was. `Some(None)` if no lane writes this.
    pub(crate) fn proposed(&self) -> Option<Option<Progress>> {
        let phase = self.phase.load(Ordering::Acquire);
        (phase & PROPOSED != 0).then(|| self.read((phase & CURRENT) as usize ^ 1))
    }

    /// Notes what is about to be done. One store makes it count.
    pub(crate) fn propose(&self, next: &Progress) {
        let phase = self.phase.load(Ordering::Relaxed) & CURRENT;
        crash_point();
        self.write(phase as usize ^ 1, next);
        crash_point();
        self.phase.store(phase | PROPOSED, Ordering::Release);
        crash_point();
    }

    /// Makes what was proposed current: it is done.
    pub(crate) fn commit(&self) {
        let phase = self.phase.load(Ordering::Relaxed) & CURRENT;
        crash_point();
        self.phase.store(phase ^ CURRENT, Ordering::Release);
        crash_point();
    }

    fn write(&self, at: usize, p: &Progress) {
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let [deed, closed] = [p.deed as u8, u8::from(p.closed)];
        let small = u32::from_le_bytes([deed, closed, p.asked, p.answered]);
        let words = [
            p.read,
            p.open_seq,
            p.seal_seq,
            p.made,
            p.passed,
            p.frames.0,
            pair(p.frames.1, p.first),
            pair(p.open_epoch, p.seal_epoch),
            p.blocks,
            pair(u32::from(p.quiet) << SKIP_BITS | p.skip & SKIP_MASK, small),
        ];
        for (place, word) in self.states[at].iter().zip(words) {
            place.store(word, Ordering::Release);
        }
    }

    #[inline]
    fn read(&self, at: usize) -> Option<Progress> {
        let words = self.states[at].each_ref().map(|word| word.load(Ordering::Relaxed));
        let [read, open_seq, seal_seq, made, passed, next, begun, epochs, blocks, small] = words;
        let high = |word: u64| (word >> 32) as u32;
        let [deed, closed, asked, answered] = (small as u32).to_le_bytes();
        Some(Progress {
            read,
            open_seq,
            seal_seq,
            made,
            passed,
            frames: (next, high(begun)),
            first: begun as u32,
            open_epoch: high(epochs),
            seal_epoch: epochs as u32,
            blocks,
            deed: Deed::of(deed)?,
            closed: closed != 0,
            asked,
            answered,
            quiet: (high(small) >> SKIP_BITS) as u8,
            skip: high(small) & SKIP_MASK,
        })
    }
}

impl Progress {
    pub(crate) fn frames(&self) -> Frames {
        Frames::from_words(self.frames.0, self.frames.1)
    }
}

impl Deed {
    fn of(code: u8) -> Option<Deed> {
        let all = [
            Deed::Nothing,
            Deed::First,
            Deed::Read,
            Deed::KeyUpdate,
            Deed::CloseNotify,
            Deed::CloseFrame,
        ];
        all.get(usize::from(code)).copied()
    }
}

/// The size of one vault.
pub(crate) const VAULT_BYTES: usize = 768;
/// The longest message that a lane ignores piece by piece.
pub(crate) const SKIP_MASK: u32 = (1 << SKIP_BITS) - 1;
const SKIP_BITS: u32 = 24;
const SLOT_WORDS: usize = 6;
const STATE_WORDS: usize = 10;
const CURRENT: u64 = 1;
const PROPOSED: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Table};

    #[test]
    fn progress_moves_in_two_steps_and_comes_back_whole() {
        let limits = Limits { records: 2, chunks: 2, note_bytes: 0, threads: 1 };
        let table = Table::create(limits).unwrap();
        let vault = table.vault(1).unwrap();
        let lane = vault.lane(Side::Upstream);
        assert_eq!((lane.current(), lane.proposed()), (Some(Progress::default()), None));
        let next = Progress {
            read: 1 << 60,
            open_seq: 2,
            seal_seq: u64::MAX,
            made: 4,
            passed: 5,
            frames: (6, u32::MAX),
            first: 7,
            open_epoch: 8,
            seal_epoch: u32::MAX,
            blocks: 10,
            deed: Deed::CloseFrame,
            closed: true,
            asked: 255,
            answered: 12,
            quiet: 255,
            skip: SKIP_MASK,
        };
        lane.propose(&next);
        assert_eq!(
            (lane.current(), lane.proposed()),
            (Some(Progress::default()), Some(Some(next)))
        );
        lane.commit();
        assert_eq!((lane.current(), lane.proposed()), (Some(next), None));
        assert_eq!(vault.lane(Side::Client).current(), Some(Progress::default()));
        vault.set_slot(Side::Client, Flow::Seal, 3, &[9; 6]);
        assert_eq!(vault.slot(Side::Client, Flow::Seal, 1), [9; 6]);
        assert_eq!(vault.slot(Side::Client, Flow::Seal, 0), [0; 6]);
        vault.wipe_keys();
        assert_eq!(vault.slot(Side::Client, Flow::Seal, 1), [0; 6]);
        lane.start(&Progress::default());
        assert_eq!(lane.current(), Some(Progress::default()));
    }
}
