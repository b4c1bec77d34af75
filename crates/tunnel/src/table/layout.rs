//! Where what lies in the table: offsets computed from the limits alone, so that a head can be
//! checked.
//!
//! Pure arithmetic; the mapping is `map`.

use super::Head;
use super::record::RECORD_BYTES;
use super::station::Station;
use super::vault::VAULT_BYTES;

/// How much a table holds. The memory is sparse: what is not used costs address space only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tunnels at a time, 1 to `RECORDS_MAX`.
    pub records: u32,
    /// Chunks of `CHUNK_BYTES` for bytes that a peer does not take, 2 to `CHUNKS_MAX`.
    pub chunks: u32,
    /// Bytes for all notes together, in granules of `NOTE_GRANULE`.
    pub note_bytes: u64,
    /// Worker threads, 1 to `THREADS_MAX`.
    pub threads: u16,
}

/// The offsets of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    scratches: usize,
    records: usize,
    vaults: usize,
    pub(super) notes: usize,
    chunks: usize,
    pub(super) len: usize,
}

impl Layout {
    /// `None` if a limit is out of bounds.
    pub(super) fn of(limits: Limits) -> Option<Layout> {
        let in_bounds = (1..=RECORDS_MAX).contains(&limits.records)
            && (2..=CHUNKS_MAX).contains(&limits.chunks)
            && limits.note_bytes <= NOTES_MAX_BYTES
            && (1..=THREADS_MAX).contains(&limits.threads);
        if !in_bounds {
            return None;
        }
        let threads = usize::from(limits.threads);
        let scratches = PAGE + threads * STATION_BYTES;
        let records = scratches + threads * CHUNK_BYTES;
        let count = limits.records as usize;
        let vaults = (records + count * RECORD_BYTES).next_multiple_of(PAGE);
        let notes = (vaults + count * VAULT_BYTES).next_multiple_of(PAGE);
        let chunks = (notes + usize::try_from(limits.note_bytes).ok()?).next_multiple_of(PAGE);
        let len = chunks + limits.chunks as usize * CHUNK_BYTES;
        Some(Layout { scratches, records, vaults, notes, chunks, len })
    }

    pub(super) fn station(&self, thread: u16) -> usize {
        PAGE + usize::from(thread) * STATION_BYTES
    }

    pub(super) fn events(&self, thread: u16) -> usize {
        self.station(thread) + size_of::<Station>()
    }

    pub(super) fn scratch(&self, thread: u16) -> usize {
        self.scratches + usize::from(thread) * CHUNK_BYTES
    }

    pub(super) fn record(&self, index: u32) -> usize {
        self.records + index as usize * RECORD_BYTES
    }

    pub(super) fn vault(&self, index: u32) -> usize {
        self.vaults + index as usize * VAULT_BYTES
    }

    pub(super) fn chunk(&self, chunk: u32) -> usize {
        self.chunks + chunk as usize * CHUNK_BYTES
    }
}

/// The size of a chunk and of a thread's scratch: the most that one direction ever keeps.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Notes begin at multiples of this.
pub const NOTE_GRANULE: usize = 64;
/// The most records a table can have.
pub const RECORDS_MAX: u32 = 1 << 24;
/// The most chunks a table can have.
pub const CHUNKS_MAX: u32 = 1 << 25;
/// The most threads a table can have.
pub const THREADS_MAX: u16 = 1024;
/// Events taken from the kernel at a time.
pub(crate) const EVENTS_MAX: usize = 512;
/// The event array of one thread: 12 bytes an event on x86-64, 16 elsewhere.
pub(super) const EVENT_ARRAY_BYTES: usize = EVENTS_MAX * 16;

const NOTES_MAX_BYTES: u64 = 1 << 36;
const PAGE: usize = 4096;
const STATION_BYTES: usize = (size_of::<Station>() + EVENT_ARRAY_BYTES).next_multiple_of(PAGE);

const _: () = assert!(size_of::<Head>() <= PAGE && CHUNK_BYTES.is_multiple_of(PAGE));
