//! One tunnel in the shared memory: 256 bytes, every field an atomic, positions as single 64-bit
//! truths.
//!
//! It holds no lock and no pointer. The constant half is written once before the record goes live
//! and is covered by a checksum; the other half moves. The engine writes it; snapshots and adoption
//! read it as hostile input.

use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::CHUNK_BYTES;
use super::station::crash_point;
use crate::relay::Frames;
use crate::{Side, Terms};

/// The life of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum State {
    /// Nobody's, or reserved in private memory.
    Free = 0,
    /// Holds a tunnel whose descriptors are open.
    Live = 1,
    /// Its tunnel has ended; what is left is its report.
    Closing = 2,
    /// Failed its check; what is left is to say so.
    Damaged = 3,
}

/// The record. Fields in two halves; see the module.
#[repr(C, align(256))]
pub(crate) struct Record {
    // Constant while live.
    magic: AtomicU32,
    generation: AtomicU32,
    checksum: AtomicU64,
    legs: [AtomicI32; 2],
    cookies: [AtomicU64; 2],
    base_read: [AtomicU64; 2],
    base_written: [AtomicU64; 2],
    first: [AtomicU32; 2],
    terms: [AtomicU32; 4],
    keys: [AtomicU64; 2],
    note_granule: AtomicU32,
    note_bytes: AtomicU16,
    tls: AtomicU16,
    started_ms: AtomicU64,
    // Moving.
    state: AtomicU32,
    thread: AtomicU32,
    relay: AtomicU32,
    marks: AtomicU32,
    chunk: [AtomicU32; 2],
    chunk_base: [AtomicU64; 2],
    read: [AtomicU64; 2],
    written: [AtomicU64; 2],
    active_ms: AtomicU64,
    fin_ms: AtomicU64,
    stall_ms: [AtomicU64; 2],
    frames: [AtomicU64; 2],
    begun: [AtomicU32; 2],
}

const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

/// The constant half as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Constant {
    pub(crate) generation: u32,
    pub(crate) legs: [i32; 2],
    pub(crate) cookies: [u64; 2],
    /// The kernel's counters at the switch, to be subtracted from what it says later.
    pub(crate) base_read: [u64; 2],
    pub(crate) base_written: [u64; 2],
    /// Bytes that go first to each leg, in front of what is read from the other.
    pub(crate) first: [u32; 2],
    pub(crate) terms: Terms,
    pub(crate) keys: [u64; 2],
    pub(crate) note_granule: u32,
    pub(crate) note_bytes: u16,
    pub(crate) tls: Tls,
    pub(crate) started_ms: u64,
}

/// The moving half as a value, but for the state and the thread, which every table has its own of.
/// While the engine turns, the words of a copy need not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moving {
    relay: u32,
    marks: u32,
    chunk: [u32; 2],
    chunk_base: [u64; 2],
    read: [u64; 2],
    written: [u64; 2],
    active_ms: u64,
    fin_ms: u64,
    stall_ms: [u64; 2],
    frames: [u64; 2],
    begun: [u32; 2],
}

/// Which legs speak TLS, and where their keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// By side.
    pub(crate) legs: [bool; 2],
    /// The keys are in the memory of the worker that adopted it, and in no vault.
    pub(crate) private: bool,
}

/// Why a record cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// The magic number is not that of this version.
    Magic,
    /// The constant half does not match its checksum.
    Checksum,
    /// A descriptor is negative.
    Descriptor,
    /// The note lies outside the slab, or overlaps another's.
    Note,
    /// A chunk lies outside the pool, or belongs to two directions.
    Chunk,
    /// More bytes are written than were read, or more are kept than a chunk holds.
    Position,
    /// The relay's word is none that the relay writes.
    Relay,
    /// The thread is none of the table's.
    Thread,
    /// A leg is not the socket that the record names.
    Leg,
    /// The kernel's counters did not come to rest.
    Counters,
    /// Its adoption has crashed the worker again and again.
    Crashed,
    /// What its TLS legs have come to is nothing that the engine writes.
    Lane,
    /// The keys of its TLS legs are gone with the worker that had them.
    Keys,
}

impl Record {
    /// Writes the constant half and clears the other; the record must not be live.
    pub(crate) fn write(&self, constant: &Constant, thread: u16) {
        let c = constant;
        self.magic.store(RECORD_MAGIC, Ordering::Relaxed);
        self.generation.store(c.generation, Ordering::Relaxed);
        for side in [0, 1] {
            self.legs[side].store(c.legs[side], Ordering::Relaxed);
            self.cookies[side].store(c.cookies[side], Ordering::Relaxed);
            self.base_read[side].store(c.base_read[side], Ordering::Relaxed);
            self.base_written[side].store(c.base_written[side], Ordering::Relaxed);
            self.first[side].store(c.first[side], Ordering::Relaxed);
            self.keys[side].store(c.keys[side], Ordering::Relaxed);
            self.chunk[side].store(0, Ordering::Relaxed);
            self.read[side].store(0, Ordering::Relaxed);
            self.written[side].store(0, Ordering::Relaxed);
            self.stall_ms[side].store(0, Ordering::Relaxed);
        }
        for (field, value) in self.terms.iter().zip(c.terms.words()) {
            field.store(value, Ordering::Relaxed);
        }
        self.note_granule.store(c.note_granule, Ordering::Relaxed);
        self.note_bytes.store(c.note_bytes, Ordering::Relaxed);
        self.tls.store(c.tls.word(), Ordering::Relaxed);
        self.started_ms.store(c.started_ms, Ordering::Relaxed);
        self.thread.store(u32::from(thread), Ordering::Relaxed);
        self.relay.store(0, Ordering::Relaxed);
        self.marks.store(0, Ordering::Relaxed);
        self.fin_ms.store(0, Ordering::Relaxed);
        Side::BOTH.iter().for_each(|&source| self.start_frames(source, Frames::OPAQUE));
        self.checksum.store(c.checksum(), Ordering::Release);
    }

    /// The constant half if its magic and checksum hold.
    pub(crate) fn constant(&self) -> Result<Constant, RecordFault> {
        if self.magic.load(Ordering::Acquire) != RECORD_MAGIC {
            return Err(RecordFault::Magic);
        }
        let pair64 = |words: &[AtomicU64; 2]| words.each_ref().map(|w| w.load(Ordering::Relaxed));
        let constant = Constant {
            generation: self.generation(),
            legs: self.legs.each_ref().map(|leg| leg.load(Ordering::Relaxed)),
            cookies: pair64(&self.cookies),
            base_read: pair64(&self.base_read),
            base_written: pair64(&self.base_written),
            first: self.first.each_ref().map(|word| word.load(Ordering::Relaxed)),
            terms: self.terms(),
            keys: pair64(&self.keys),
            note_granule: self.note_granule.load(Ordering::Relaxed),
            note_bytes: self.note_bytes.load(Ordering::Relaxed),
            tls: Tls::of(self.tls.load(Ordering::Relaxed)).ok_or(RecordFault::Lane)?,
            started_ms: self.started_ms.load(Ordering::Relaxed),
        };
        if constant.checksum() != self.checksum.load(Ordering::Relaxed) {
            return Err(RecordFault::Checksum);
        }
        if constant.legs.iter().any(|&leg| leg < 0) {
            return Err(RecordFault::Descriptor);
        }
        Ok(constant)
    }

    /// A copy of the moving half.
    pub(crate) fn moving(&self) -> Moving {
        let short = |word: &AtomicU32| word.load(Ordering::Acquire);
        let long = |word: &AtomicU64| word.load(Ordering::Acquire);
        Moving {
            relay: short(&self.relay),
            marks: short(&self.marks),
            chunk: self.chunk.each_ref().map(short),
            chunk_base: self.chunk_base.each_ref().map(long),
            read: self.read.each_ref().map(long),
            written: self.written.each_ref().map(long),
            active_ms: long(&self.active_ms),
            fin_ms: long(&self.fin_ms),
            stall_ms: self.stall_ms.each_ref().map(long),
            frames: self.frames.each_ref().map(long),
            begun: self.begun.each_ref().map(short),
        }
    }

    /// Puts a copy of another record's moving half into this one, which is not live.
    pub(crate) fn set_moving(&self, moving: &Moving) {
        let m = moving;
        self.relay.store(m.relay, Ordering::Relaxed);
        self.marks.store(m.marks, Ordering::Relaxed);
        self.active_ms.store(m.active_ms, Ordering::Relaxed);
        self.fin_ms.store(m.fin_ms, Ordering::Relaxed);
        for at in [0, 1] {
            self.chunk[at].store(m.chunk[at], Ordering::Relaxed);
            self.chunk_base[at].store(m.chunk_base[at], Ordering::Relaxed);
            self.read[at].store(m.read[at], Ordering::Relaxed);
            self.written[at].store(m.written[at], Ordering::Relaxed);
            self.stall_ms[at].store(m.stall_ms[at], Ordering::Relaxed);
            self.frames[at].store(m.frames[at], Ordering::Relaxed);
            self.begun[at].store(m.begun[at], Ordering::Relaxed);
        }
    }

    /// Gives a record that is reserved the generation of its next tunnel.
    pub(crate) fn renew(&self) -> u32 {
        debug_assert_eq!(self.state(), Some(State::Free));
        let generation = self.generation().wrapping_add(1).max(1);
        self.generation.store(generation, Ordering::Relaxed);
        generation
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Which legs speak TLS. A record with any has a vault, and its positions count bytes on the
    /// wire.
    #[inline]
    pub(crate) fn tls(&self) -> Tls {
        Tls::of(self.tls.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms::from_words(self.terms.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    #[inline]
    pub(crate) fn leg(&self, side: Side) -> i32 {
        self.legs[side].load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> Option<State> {
        match self.state.load(Ordering::Acquire) {
            0 => Some(State::Free),
            1 => Some(State::Live),
            2 => Some(State::Closing),
            3 => Some(State::Damaged),
            _ => None,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        crash_point();
        self.state.store(state as u32, Ordering::Release);
        crash_point();
    }

    pub(crate) fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Moves a live record to another thread; both legs are registered there already.
    pub(crate) fn set_thread(&self, thread: u16) {
        crash_point();
        self.thread.store(u32::from(thread), Ordering::Release);
    }

    /// Gives the legs other numbers: the same sockets in another process's descriptor table.
    pub(crate) fn set_legs(&self, legs: [i32; 2]) -> Result<(), RecordFault> {
        let constant = Constant { legs, ..self.constant()? };
        for (field, leg) in self.legs.iter().zip(legs) {
            field.store(leg, Ordering::Relaxed);
        }
        self.checksum.store(constant.checksum(), Ordering::Release);
        Ok(())
    }

    #[inline]
    pub(crate) fn relay(&self) -> u32 {
        self.relay.load(Ordering::Relaxed)
    }

    pub(crate) fn set_relay(&self, word: u32) {
        crash_point();
        self.relay.store(word, Ordering::Release);
        crash_point();
    }

    /// Whether it waits for a turn without an event: it is in one of its engine's lists exactly
    /// then.
    pub(crate) fn waits(&self) -> bool {
        let waiting = Mark::Kick as u32 | Mark::MoreClient as u32 | Mark::MoreUpstream as u32;
        self.marks.load(Ordering::Relaxed) & waiting != 0
    }

    pub(crate) fn marked(&self, mark: Mark) -> bool {
        self.marks.load(Ordering::Relaxed) & mark as u32 != 0
    }

    pub(crate) fn mark(&self, mark: Mark) {
        crash_point();
        self.marks.store(self.marks.load(Ordering::Relaxed) | mark as u32, Ordering::Release);
        crash_point();
    }

    pub(crate) fn unmark(&self, mark: Mark) {
        crash_point();
        self.marks.store(self.marks.load(Ordering::Relaxed) & !(mark as u32), Ordering::Release);
        crash_point();
    }

    /// How often its adoption has crashed a worker, as far as is noted.
    pub(crate) fn strikes(&self) -> u32 {
        self.marks.load(Ordering::Relaxed) >> STRIKES_SHIFT & STRIKES_MASK
    }

    /// Sets the strikes and, in the same store, whether it is being touched: what is touched when a
    /// worker crashes is to blame.
    pub(crate) fn set_touched(&self, touched: bool, strikes: u32) {
        let keep = !(STRIKES_MASK << STRIKES_SHIFT | Mark::Touched as u32);
        let word = strikes.min(STRIKES_MASK) << STRIKES_SHIFT;
        let word = word | if touched { Mark::Touched as u32 } else { 0 };
        crash_point();
        let marks = self.marks.load(Ordering::Relaxed) & keep | word;
        self.marks.store(marks, Ordering::Release);
        crash_point();
    }

    /// The code of the Close frames of its drain; goes before the relay says that it drains.
    pub(crate) fn set_close_code(&self, code: u16) {
        let marks = self.marks.load(Ordering::Relaxed) & ((1 << CODE_SHIFT) - 1);
        crash_point();
        self.marks.store(marks | u32::from(code) << CODE_SHIFT, Ordering::Release);
        crash_point();
    }

    pub(crate) fn close_code(&self) -> u16 {
        (self.marks.load(Ordering::Acquire) >> CODE_SHIFT) as u16
    }

    /// The mask of the Close frame that `source`'s sink gets. The word is free: a sealed direction
    /// keeps no bytes. Set while nothing of the frame is sent, so that all of it has one mask.
    pub(crate) fn set_close_mask(&self, source: Side, mask: u32) {
        crash_point();
        self.chunk_base[source].store(u64::from(mask), Ordering::Release);
        crash_point();
    }

    pub(crate) fn close_mask(&self, source: Side) -> u32 {
        self.chunk_base[source].load(Ordering::Acquire) as u32
    }

    /// Where the frames that flow from `source` stand.
    #[inline]
    pub(crate) fn frames(&self, source: Side) -> Frames {
        let next = self.frames[source].load(Ordering::Acquire);
        Frames::from_words(next, self.begun[source].load(Ordering::Relaxed))
    }

    /// Sets both words at once; the record must not be live.
    pub(crate) fn start_frames(&self, source: Side, frames: Frames) {
        let (next, begun) = frames.words();
        self.begun[source].store(begun, Ordering::Relaxed);
        self.frames[source].store(next, Ordering::Release);
    }

    /// Moves on. The position goes first: it makes a header that was begun before it count no more.
    #[inline]
    pub(crate) fn set_frames(&self, source: Side, frames: Frames) {
        let (next, begun) = frames.words();
        crash_point();
        self.frames[source].store(next, Ordering::Release);
        crash_point();
        self.begun[source].store(begun, Ordering::Release);
        crash_point();
    }

    /// Bytes read from `side` since the switch.
    #[inline]
    pub(crate) fn read(&self, side: Side) -> u64 {
        self.read[side].load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_read(&self, side: Side, position: u64) {
        crash_point();
        self.read[side].store(position, Ordering::Release);
        crash_point();
    }

    /// Bytes written to `side` since the switch.
    #[inline]
    pub(crate) fn written(&self, side: Side) -> u64 {
        self.written[side].load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_written(&self, side: Side, position: u64) {
        crash_point();
        self.written[side].store(position, Ordering::Release);
        crash_point();
    }

    /// Bytes that go first to `sink`.
    pub(crate) fn first(&self, sink: Side) -> u32 {
        self.first[sink].load(Ordering::Relaxed)
    }

    /// The end of the stream that flows from `source`: what goes first plus what was read.
    #[inline]
    pub(crate) fn end(&self, source: Side) -> u64 {
        let first = self.first[source.other()].load(Ordering::Relaxed);
        self.read(source).saturating_add(u64::from(first))
    }

    /// The chunk that keeps bytes read from `source`, and the position of its first byte. It is the
    /// only truth about whether bytes are kept.
    #[inline]
    pub(crate) fn chunk(&self, source: Side) -> Option<(u32, u64)> {
        let word = self.chunk[source].load(Ordering::Acquire);
        let base = self.chunk_base[source].load(Ordering::Relaxed);
        (word != 0).then(|| (word - 1, base))
    }

    /// Notes a chunk that is filled already: the base goes first, the chunk makes it count.
    pub(crate) fn set_chunk(&self, source: Side, chunk: u32, base: u64) {
        crash_point();
        self.chunk_base[source].store(base, Ordering::Release);
        crash_point();
        self.chunk[source].store(chunk + 1, Ordering::Release);
        crash_point();
    }

    pub(crate) fn clear_chunk(&self, source: Side) {
        crash_point();
        self.chunk[source].store(0, Ordering::Release);
        crash_point();
    }

    /// When the last byte moved, in either direction.
    #[inline]
    pub(crate) fn active_ms(&self) -> u64 {
        self.active_ms.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_active_ms(&self, now_ms: u64) {
        self.active_ms.store(now_ms, Ordering::Relaxed);
    }

    /// When the first direction ended; 0 while both go on.
    pub(crate) fn fin_ms(&self) -> u64 {
        self.fin_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_fin_ms(&self, now_ms: u64) {
        self.fin_ms.store(now_ms, Ordering::Relaxed);
    }

    /// When the sink of `source` last took a byte of those that are kept.
    pub(crate) fn stall_ms(&self, source: Side) -> u64 {
        self.stall_ms[source].load(Ordering::Relaxed)
    }

    pub(crate) fn set_stall_ms(&self, source: Side, now_ms: u64) {
        self.stall_ms[source].store(now_ms, Ordering::Relaxed);
    }

    /// Whether the positions of `source` can be true: kept bytes lie inside the chunk, and none are
    /// kept without one.
    pub(crate) fn check_positions(&self, source: Side) -> Result<(), RecordFault> {
        let (end, written) = (self.end(source), self.written(source.other()));
        let kept = end.checked_sub(written).ok_or(RecordFault::Position)?;
        let start = match self.chunk(source) {
            None => return if kept == 0 { Ok(()) } else { Err(RecordFault::Position) },
            Some((_, base)) => written.checked_sub(base).ok_or(RecordFault::Position)?,
        };
        let fits = start.checked_add(kept).is_some_and(|bytes| bytes <= CHUNK_BYTES as u64);
        if fits { Ok(()) } else { Err(RecordFault::Position) }
    }
}

/// Facts about a live record that outlast the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Mark {
    /// Both legs are registered with the epoll instance of its thread.
    Registered = 1,
    /// Events may have been lost: both directions are to be tried, kept bytes too.
    Kick = 2,
    /// The client may have more to give, and no event will say so.
    MoreClient = 4,
    /// The upstream may have more to give, and no event will say so.
    MoreUpstream = 8,
    /// It is being adopted, or has the first turn after that.
    Touched = 16,
}

// The other fields of the word of the marks: 2 bits and 16.
const STRIKES_SHIFT: u32 = 8;
const STRIKES_MASK: u32 = 3;
const CODE_SHIFT: u32 = 16;

impl Mark {
    pub(crate) const fn more(source: Side) -> Mark {
        match source {
            Side::Client => Mark::MoreClient,
            Side::Upstream => Mark::MoreUpstream,
        }
    }
}

impl Tls {
    /// Whether any leg does.
    #[inline]
    pub(crate) fn any(self) -> bool {
        self.legs[0] || self.legs[1]
    }

    fn word(self) -> u16 {
        u16::from(self.legs[0]) | u16::from(self.legs[1]) << 1 | u16::from(self.private) << 2
    }

    #[inline]
    fn of(word: u16) -> Option<Tls> {
        (word < 8).then_some(Tls { legs: [word & 1 != 0, word & 2 != 0], private: word & 4 != 0 })
    }
}

impl Constant {
    /// A mixture in which every step is a bijection of the word: one changed word is always seen.
    fn checksum(&self) -> u64 {
        let pair32 = |pair: [u32; 2]| u64::from(pair[0]) << 32 | u64::from(pair[1]);
        let terms = self.terms.words();
        let words = [
            u64::from(RECORD_MAGIC) << 32 | u64::from(self.generation),
            pair32(self.legs.map(|leg| leg as u32)),
            self.cookies[0],
            self.cookies[1],
            self.base_read[0],
            self.base_read[1],
            self.base_written[0],
            self.base_written[1],
            pair32(self.first),
            pair32([terms[0], terms[1]]),
            pair32([terms[2], terms[3]]),
            self.keys[0],
            self.keys[1],
            pair32([
                self.note_granule,
                u32::from(self.tls.word()) << 16 | u32::from(self.note_bytes),
            ]),
            self.started_ms,
        ];
        words.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, word| {
            (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }
}

/// "PTR" and the version of the record: a change of the layout changes it.
pub(crate) const RECORD_MAGIC: u32 = 0x5054_5203;
/// The size of one record.
pub(crate) const RECORD_BYTES: usize = 256;
