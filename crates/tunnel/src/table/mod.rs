//! The tunnel table: one sparse memfd, sized once, that holds everything a successor needs.
//!
//! In order: head, one station and one scratch per thread, records, vaults, note slab, chunk pool. It
//! allocates nothing itself (free lists live in private memory, see `seats`). Made by the master
//! before the worker; read by `perdura tunnels`.

mod layout;
mod map;
mod record;
mod snapshot;
mod station;
mod token;
mod vault;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use layout::Layout;
pub use layout::{CHUNK_BYTES, CHUNKS_MAX, Limits, NOTE_GRANULE, RECORDS_MAX, THREADS_MAX};
use map::Map;
pub(crate) use map::Span;
#[cfg(test)]
pub(crate) use record::RECORD_BYTES;
pub use record::RecordFault;
pub(crate) use record::{Constant, Mark, Moving, Record, State, Tls};
pub use snapshot::{LiveTunnel, Snapshot};
pub(crate) use station::{Station, crash_point};
pub(crate) use token::Token;
pub use token::TunnelId;
pub(crate) use vault::{Deed, Flow, Lane, Progress, SKIP_MASK, SlotWords, VAULT_BYTES, Vault};

use crate::Side;
use crate::poll::Leg;
use crate::relay::Relay;
pub(crate) use layout::EVENTS_MAX;

/// The shared table. `Send` and `Sync`; used through an `Arc`.
pub struct Table {
    map: Map,
    layout: Layout,
    limits: Limits,
}

/// Why a descriptor is not a table that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFault {
    /// The descriptor is not a memfd.
    NotMemfd,
    /// Its size could still change.
    NotSealed,
    /// The kernel refused to map it; its error number.
    Unmappable(i32),
    /// The magic number is wrong.
    Magic,
    /// Another version of the format; the number found.
    Version(u32),
    /// A limit in the head is out of bounds.
    Limits,
    /// The size is not what the limits ask for.
    WrongSize,
}

/// The first page. Constant once written, but for the high-water mark; the magic goes last.
#[repr(C, align(64))]
pub(crate) struct Head {
    magic: AtomicU64,
    version: AtomicU32,
    records: AtomicU32,
    chunks: AtomicU32,
    threads: AtomicU32,
    note_bytes: AtomicU64,
    /// One above the highest record ever live. Not constant: it only grows.
    high_water: AtomicU32,
}

impl Table {
    /// A fresh table. `InvalidInput` if a limit is 0 or above its maximum.
    pub fn create(limits: Limits) -> io::Result<Table> {
        let layout = Layout::of(limits).ok_or(io::ErrorKind::InvalidInput)?;
        let map = Map::create(layout.len)?;
        let head: &Head = map.at(0);
        head.version.store(VERSION, Ordering::Relaxed);
        head.records.store(limits.records, Ordering::Relaxed);
        head.chunks.store(limits.chunks, Ordering::Relaxed);
        head.threads.store(u32::from(limits.threads), Ordering::Relaxed);
        head.note_bytes.store(limits.note_bytes, Ordering::Relaxed);
        head.magic.store(MAGIC, Ordering::Release);
        Ok(Table { map, layout, limits })
    }

    /// A table that another process made. Everything in it is treated as hostile.
    pub fn open(fd: OwnedFd) -> Result<Table, TableFault> {
        let map = Map::open(fd)?;
        let head: &Head = map.at(0);
        if head.magic.load(Ordering::Acquire) != MAGIC {
            return Err(TableFault::Magic);
        }
        let version = head.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(TableFault::Version(version));
        }
        let threads = head.threads.load(Ordering::Relaxed);
        let limits = Limits {
            records: head.records.load(Ordering::Relaxed),
            chunks: head.chunks.load(Ordering::Relaxed),
            note_bytes: head.note_bytes.load(Ordering::Relaxed),
            threads: u16::try_from(threads).map_err(|_| TableFault::Limits)?,
        };
        let layout = Layout::of(limits).ok_or(TableFault::Limits)?;
        if layout.len != map.len() {
            return Err(TableFault::WrongSize);
        }
        Ok(Table { map, layout, limits })
    }

    /// The memfd, to be handed to a successor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.fd()
    }

    /// What the table was made for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// One above the highest record ever live. To look at a record beyond it would give it memory:
    /// a page that is read through a shared mapping is a page that exists.
    pub(crate) fn high_water(&self) -> u32 {
        let head: &Head = self.map.at(0);
        head.high_water.load(Ordering::Acquire).min(self.limits.records)
    }

    /// To be called before a record goes live.
    pub(crate) fn raise_high_water(&self, index: u32) {
        let head: &Head = self.map.at(0);
        head.high_water.fetch_max(index + 1, Ordering::AcqRel);
    }

    pub(crate) fn record(&self, index: u32) -> Option<&Record> {
        let inside = index < self.limits.records;
        inside.then(|| self.map.at(self.layout.record(index)))
    }

    /// The vault beside a record. To look at one of a record without TLS would give it memory.
    pub(crate) fn vault(&self, index: u32) -> Option<&Vault> {
        let inside = index < self.limits.records;
        inside.then(|| self.map.at(self.layout.vault(index)))
    }

    /// For which sources bytes are on their way that the sink did not take: the record names a
    /// chunk, or with TLS, what was proposed is not done.
    #[inline]
    pub(crate) fn kept(&self, index: u32, record: &Record) -> [bool; 2] {
        if record.tls().any() {
            return self.proposed(index, record.relay());
        }
        [Side::Client, Side::Upstream].map(|source| record.chunk(source).is_some())
    }

    fn proposed(&self, index: u32, relay: u32) -> [bool; 2] {
        let vault = self.vault(index);
        Side::BOTH.map(|source| {
            Relay::passes(relay, source)
                && vault.is_some_and(|vault| vault.lane(source).is_proposed())
        })
    }

    /// Bytes of the tunnelled protocol that were read from and written to each side. Without TLS
    /// that is what went over the wire.
    pub(crate) fn payload(&self, index: u32, record: &Record) -> [(u64, u64); 2] {
        if !record.tls().any() {
            return Side::BOTH.map(|side| (record.read(side), record.written(side)));
        }
        let lanes = self.vault(index);
        let passed = Side::BOTH.map(|source| {
            lanes.and_then(|vault| vault.lane(source).current()).map_or(0, |lane| lane.passed)
        });
        Side::BOTH.map(|side| {
            let first = u64::from(record.first(side.other()));
            (passed[side].saturating_sub(first), passed[side.other()])
        })
    }

    /// The record that `id` names, whatever its state.
    #[inline]
    pub(crate) fn named(&self, id: TunnelId) -> Option<&Record> {
        self.record(id.index).filter(|record| record.generation() == id.generation)
    }

    pub(crate) fn station(&self, thread: u16) -> Option<&Station> {
        let inside = thread < self.limits.threads;
        inside.then(|| self.map.at(self.layout.station(thread)))
    }

    /// The event array of a thread that exists.
    pub(crate) fn events(&self, thread: u16) -> Span<'_> {
        self.map.span(self.layout.events(thread), layout::EVENT_ARRAY_BYTES)
    }

    /// The scratch of a thread that exists.
    pub(crate) fn scratch(&self, thread: u16) -> Span<'_> {
        self.map.span(self.layout.scratch(thread), CHUNK_BYTES)
    }

    /// A chunk of the pool; empty if there is no such chunk.
    pub(crate) fn chunk(&self, chunk: u32) -> Span<'_> {
        if chunk >= self.limits.chunks {
            return self.map.span(0, 0);
        }
        self.map.span(self.layout.chunk(chunk), CHUNK_BYTES)
    }

    /// Gives the pages of `count` chunks back to the system.
    pub(crate) fn punch_chunks(&self, chunk: u32, count: u32) -> io::Result<()> {
        if u64::from(chunk) + u64::from(count) > u64::from(self.limits.chunks) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.map.punch(self.layout.chunk(chunk), CHUNK_BYTES * count as usize)
    }

    /// The bytes of a note; empty unless it lies inside the slab.
    pub(crate) fn note(&self, granule: u32, bytes: u16) -> Span<'_> {
        let start = granule as usize * NOTE_GRANULE;
        if start + usize::from(bytes) > self.limits.note_bytes as usize {
            return self.map.span(0, 0);
        }
        self.map.span(self.layout.notes + start, usize::from(bytes))
    }

    /// A copy of every live tunnel, one after the other, while the engines go on.
    pub fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::new(self, 0)
    }

    /// The same from a place that [`Snapshot::place`] gave, for who walks in several steps.
    pub fn snapshot_from(&self, place: u32) -> Snapshot<'_> {
        Snapshot::new(self, place)
    }

    /// Every descriptor number that the table needs: the memfd, the epoll instances, the legs of
    /// live tunnels. What a dead worker left besides these may be closed. At most one more than 2
    /// per record and 1 per thread.
    pub fn keep_list(&self) -> Vec<i32> {
        let mut keep = vec![self.fd().as_raw_fd()];
        keep.extend((0..self.limits.threads).filter_map(|thread| self.station(thread)?.epoll()));
        for index in 0..self.high_water() {
            if let Some(record) = self.record(index).filter(|r| r.state() == Some(State::Live)) {
                keep.extend(Side::BOTH.map(|side| record.leg(side)));
            }
        }
        keep
    }

    /// The threads from `first` on that a worker has left something of: an epoll instance or a
    /// record. In ascending order.
    pub(crate) fn left_threads(&self, first: u16) -> Vec<u16> {
        let limit = self.limits.threads;
        let mut left = vec![false; usize::from(limit)];
        for thread in first..limit {
            let station = self.station(thread);
            left[usize::from(thread)] = station.is_some_and(|station| station.epoll().is_some());
        }
        for record in (0..self.high_water()).filter_map(|index| self.record(index)) {
            let thread = record.thread() as usize;
            if record.state() != Some(State::Free) && thread < left.len() {
                left[thread] = true;
            }
        }
        (first..limit).filter(|thread| left[usize::from(*thread)]).collect()
    }

    /// Copies another table's vault.
    pub(crate) fn copy_vault(&self, index: u32, other: &Table, theirs: u32) {
        let theirs = other.map.span(other.layout.vault(theirs), VAULT_BYTES);
        self.map.span(self.layout.vault(index), VAULT_BYTES).fill_from(theirs);
    }

    /// Whether our vault holds what another table's does.
    pub(crate) fn same_vault(&self, index: u32, other: &Table, theirs: u32) -> bool {
        let theirs = other.map.span(other.layout.vault(theirs), VAULT_BYTES);
        self.map.span(self.layout.vault(index), VAULT_BYTES).equals(theirs)
    }

    /// Frees the record of a tunnel that goes on in another process, when no worker is alive to
    /// release it. Its descriptors are the caller's to close.
    pub fn forget(&self, id: TunnelId) {
        if let Some(record) = self.named(id).filter(|record| record.state() == Some(State::Live)) {
            if let Some(vault) = self.vault(id.index).filter(|_| record.tls().any()) {
                vault.wipe_keys();
            }
            record.set_state(State::Free);
        }
    }

    /// Name and descriptors of every live tunnel, for who hands them to another process while the
    /// engines stand still.
    pub fn live_legs(&self) -> impl Iterator<Item = (TunnelId, [i32; 2])> {
        (0..self.high_water()).filter_map(|index| {
            let record = self.record(index).filter(|r| r.state() == Some(State::Live))?;
            let constant = record.constant().ok()?;
            Some((TunnelId { index, generation: constant.generation }, constant.legs))
        })
    }

    /// Whether there is a live tunnel of that name.
    pub fn is_live(&self, id: TunnelId) -> bool {
        self.named(id).is_some_and(|record| record.state() == Some(State::Live))
    }

    /// Gives the legs of a live tunnel, whose engine is stopped, the numbers that they have in this
    /// process.
    ///
    /// # Errors
    /// Gives the descriptors back if they are not the sockets that the record names.
    pub fn move_legs(
        &self,
        id: TunnelId,
        legs: [OwnedFd; 2],
    ) -> Result<(), (RecordFault, [OwnedFd; 2])> {
        let live = self.named(id).filter(|record| record.state() == Some(State::Live));
        let Some((record, Ok(constant))) = live.map(|record| (record, record.constant())) else {
            return Err((RecordFault::Checksum, legs));
        };
        let same = Side::BOTH.iter().all(|&side| {
            rustix::net::sockopt::socket_cookie(&legs[side]) == Ok(constant.cookies[side])
        });
        if !same || record.set_legs(legs.each_ref().map(|leg| leg.as_raw_fd())).is_err() {
            return Err((RecordFault::Leg, legs));
        }
        legs.into_iter().for_each(|leg| _ = Leg::from_owned(leg));
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn raw(&self) -> Span<'_> {
        self.map.span(0, self.map.len())
    }

    #[cfg(test)]
    pub(crate) fn raw_vault(&self, index: u32) -> Span<'_> {
        self.map.span(self.layout.vault(index), VAULT_BYTES)
    }

    #[cfg(test)]
    pub(crate) fn record_offset(&self, index: u32) -> usize {
        self.layout.record(index)
    }
}

const MAGIC: u64 = u64::from_le_bytes(*b"PERDTUNL");
/// Changes with every change of the layout, a record's included.
const VERSION: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Limits {
        Limits { records: 8, chunks: 4, note_bytes: 4096, threads: 2 }
    }

    #[test]
    fn a_table_opens_again_with_the_same_limits() {
        let table = Table::create(small()).unwrap();
        let again = Table::open(table.fd().try_clone_to_owned().unwrap()).unwrap();
        assert_eq!(again.limits(), small());
        assert!(again.record(7).is_some() && again.record(8).is_none());
        assert!(again.station(1).is_some() && again.station(2).is_none());
        assert_eq!(again.chunk(4).len(), 0);
        assert_eq!(again.note(64, 1).len(), 0);
        assert_eq!(again.note(u32::MAX, u16::MAX).len(), 0);
    }

    #[test]
    fn limits_have_limits() {
        for limits in [
            Limits { records: 0, ..small() },
            Limits { records: RECORDS_MAX + 1, ..small() },
            Limits { chunks: 1, ..small() },
            Limits { chunks: CHUNKS_MAX + 1, ..small() },
            Limits { note_bytes: u64::MAX, ..small() },
            Limits { threads: 0, ..small() },
            Limits { threads: THREADS_MAX + 1, ..small() },
        ] {
            assert!(Table::create(limits).is_err(), "{limits:?}");
        }
    }

    #[test]
    fn every_flipped_byte_of_the_head_is_refused() {
        let table = Table::create(small()).unwrap();
        for at in 0..32 {
            let byte = table.raw().part(at, at + 1);
            let old = byte.to_vec();
            byte.fill(&[old[0] ^ 0x41]);
            assert!(Table::open(table.fd().try_clone_to_owned().unwrap()).is_err(), "byte {at}");
            byte.fill(&old);
        }
        assert!(Table::open(table.fd().try_clone_to_owned().unwrap()).is_ok());
    }
}
