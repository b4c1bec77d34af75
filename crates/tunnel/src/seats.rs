//! Who uses which record, chunk and part of the note slab: free lists in private memory, shared by
//! a worker's threads.
//!
//! None of this survives a worker; all of it is rebuilt from the records. The proxy reserves seats,
//! engines take chunks and notes.

mod chunks;
mod notes;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::table::{RecordFault, State, Table, TunnelId};
use chunks::Chunks;
use notes::Notes;

/// The free lists of one worker process.
pub struct Seats {
    table: Arc<Table>,
    records: Mutex<Records>,
    chunks: Mutex<Chunks>,
    notes: Mutex<Notes>,
}

/// Proof that a record is reserved. Dropping it gives the record back.
#[derive(Debug)]
pub struct Seat {
    index: u32,
    generation: u32,
    /// `None` once an engine has taken the record over.
    seats: Option<Arc<Seats>>,
}

struct Records {
    free: Vec<u32>,
    /// Records from here on were never used.
    fresh: u32,
    in_use: u32,
    bound: u32,
}

impl Seats {
    /// The free lists as the records of `table` say, with the whole table as the bound. A record
    /// that cannot be believed is marked as damaged: it stays in use until an engine has reported
    /// it.
    pub fn rebuild(table: Arc<Table>) -> Arc<Seats> {
        let limits = table.limits();
        let mut chunks = Chunks::new(limits.chunks);
        let mut notes = Notes::new(limits.note_bytes);
        let mut records = Records { free: Vec::new(), fresh: 0, in_use: 0, bound: limits.records };
        for index in 0..table.high_water() {
            let Some(record) = table.record(index) else { break };
            if record.state() == Some(State::Free) {
                continue;
            }
            records.free.extend(records.fresh..index);
            records.fresh = index + 1;
            records.in_use += 1;
            if claim(&table, index, &mut chunks, &mut notes).is_err() {
                record.set_state(State::Damaged);
            }
        }
        // Low records first: they share pages.
        records.free.reverse();
        chunks.settle(&table);
        let (records, chunks, notes) = (records.into(), chunks.into(), notes.into());
        Arc::new(Seats { table, records, chunks, notes })
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Reserves a record; `None` at the bound. Must be done before the upstream is dialled.
    pub fn reserve(self: &Arc<Seats>) -> Option<Seat> {
        let mut records = lock(&self.records);
        if records.in_use >= records.bound {
            return None;
        }
        let index = match records.free.pop() {
            Some(index) => index,
            None if records.fresh < self.table.limits().records => {
                records.fresh += 1;
                records.fresh - 1
            }
            None => return None,
        };
        // Its name is its own, whether it becomes a tunnel or not.
        let generation = self.table.record(index)?.renew();
        records.in_use += 1;
        Some(Seat { index, generation, seats: Some(Arc::clone(self)) })
    }

    /// Records that are reserved or hold a tunnel.
    pub fn in_use(&self) -> u32 {
        lock(&self.records).in_use
    }

    /// The most records in use at a time, as `worker_connections` says; capped by the table. What
    /// is open stays open.
    pub fn set_bound(&self, bound: u32) {
        lock(&self.records).bound = bound.min(self.table.limits().records);
    }

    /// The bound as it is.
    pub fn bound(&self) -> u32 {
        lock(&self.records).bound
    }

    /// One above the highest record ever in use.
    pub(crate) fn high_water(&self) -> u32 {
        lock(&self.records).fresh
    }

    /// Gives a record back that `Seat::occupy` took over.
    pub(crate) fn release(&self, index: u32) {
        let mut records = lock(&self.records);
        records.free.push(index);
        records.in_use -= 1;
    }

    /// A chunk for bytes that are about to be read; `None` when only the reserve is left.
    pub(crate) fn take_chunk(&self) -> Option<u32> {
        lock(&self.chunks).take()
    }

    /// A chunk for bytes that exist already; may use the reserve.
    pub(crate) fn take_reserved_chunk(&self) -> Option<u32> {
        lock(&self.chunks).take_reserved()
    }

    /// Gives a chunk back, which no record names any more.
    pub(crate) fn give_chunk(&self, chunk: u32) {
        if lock(&self.chunks).give(chunk) == chunks::Pages::Cold {
            // A failure costs memory only; the chunk is reused all the same.
            let _ = self.table.punch_chunks(chunk, 1);
        }
    }

    /// Room for a note of `bytes`; its first granule.
    pub(crate) fn take_note(&self, bytes: usize) -> Option<u32> {
        lock(&self.notes).take(bytes)
    }

    pub(crate) fn give_note(&self, granule: u32, bytes: usize) {
        lock(&self.notes).give(granule, bytes);
    }

    /// Chunks that no record and no engine holds.
    #[cfg(test)]
    pub(crate) fn free_chunks(&self) -> u32 {
        lock(&self.chunks).free()
    }

    #[cfg(test)]
    pub(crate) fn free_granules(&self) -> usize {
        lock(&self.notes).free()
    }
}

impl Seat {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// What a tunnel in this seat is called.
    pub(crate) fn id(&self) -> TunnelId {
        TunnelId { index: self.index, generation: self.generation }
    }

    /// Whether it was reserved in `seats`.
    pub(crate) fn is_of(&self, seats: &Arc<Seats>) -> bool {
        self.seats.as_ref().is_some_and(|own| Arc::ptr_eq(own, seats))
    }

    /// Takes the record over: from now on `Seats::release` gives it back.
    pub(crate) fn occupy(mut self) -> u32 {
        self.seats = None;
        self.index
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(seats) = &self.seats {
            seats.release(self.index);
        }
    }
}

impl std::fmt::Debug for Seats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seats").field("in_use", &self.in_use()).finish_non_exhaustive()
    }
}

/// Takes what a record names out of the free lists, all or nothing.
fn claim(
    table: &Table,
    index: u32,
    chunks: &mut Chunks,
    notes: &mut Notes,
) -> Result<(), RecordFault> {
    let record = table.record(index).ok_or(RecordFault::Magic)?;
    if !matches!(record.state(), Some(State::Live | State::Closing)) {
        return Err(RecordFault::Magic);
    }
    let constant = record.constant()?;
    if constant.generation == 0 {
        return Err(RecordFault::Magic);
    }
    if record.thread() >= u32::from(table.limits().threads) {
        return Err(RecordFault::Thread);
    }
    let named = crate::Side::BOTH.map(|source| record.chunk(source).map(|(chunk, _)| chunk));
    if !chunks.claim(named) {
        return Err(RecordFault::Chunk);
    }
    if !notes.claim(constant.note_granule, usize::from(constant.note_bytes)) {
        chunks.unclaim(named);
        return Err(RecordFault::Note);
    }
    Ok(())
}

/// The lists are consistent between any two statements, so that a panic of another thread spoils
/// nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
