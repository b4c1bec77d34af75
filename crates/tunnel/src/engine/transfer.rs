//! A live tunnel leaves one process's table and goes on in another's.
//!
//! The old engine stands still meanwhile (its owner calls neither `ready` nor `expire`), so that
//! nobody reads. `prepare` copies and checks everything and reads nothing; `commit` makes it live
//! once the old process has given it up; `release` is that process's last deed for it. Until
//! `commit` a tunnel that was prepared can be dropped, and nothing has happened.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::recover::check_legs;
use super::repair::{check, relay_of};
use super::{Engine, NOTE_MAX};
use crate::poll::Leg;
use crate::table::{CHUNK_BYTES, Constant, Mark, RecordFault, State, Table, TunnelId};
use crate::{Adopted, Seat, Seats, Side};

/// A tunnel of another process, copied and checked, and not read yet. Dropping it closes the
/// descriptors of this process and gives the record back.
#[derive(Debug)]
pub struct Prepared {
    seat: Seat,
    legs: [OwnedFd; 2],
    /// Its name here.
    id: TunnelId,
    taken: Taken,
}

/// What it was given in this table.
#[derive(Debug)]
struct Taken {
    seats: Arc<Seats>,
    note: Option<(u32, usize)>,
    /// By source.
    chunks: [Option<u32>; 2],
    /// The record whose vault holds copied keys.
    vault: Option<u32>,
}

/// Why a tunnel of another process cannot go on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferFault {
    /// There is no such live tunnel in the other table.
    Unknown,
    /// Its record cannot be believed, or the descriptors are not what it names.
    Record(RecordFault),
    /// No record, note or chunk is free here.
    NoRoom,
    /// The kernel refused to register a leg.
    Register,
}

impl From<RecordFault> for TransferFault {
    fn from(fault: RecordFault) -> TransferFault {
        TransferFault::Record(fault)
    }
}

impl Engine {
    /// Copies the tunnel `id` of `other`, whose legs have the numbers `legs` here. The other table
    /// is treated as hostile.
    ///
    /// # Errors
    /// Nothing has happened but that `legs` are closed here.
    pub fn prepare(
        &self,
        other: &Table,
        id: TunnelId,
        legs: [OwnedFd; 2],
    ) -> Result<Prepared, TransferFault> {
        let seat = self.seats.reserve().ok_or(TransferFault::NoRoom)?;
        let theirs = other
            .named(id)
            .filter(|record| record.state() == Some(State::Live))
            .ok_or(TransferFault::Unknown)?;
        let constant = theirs.constant()?;
        if constant.tls.private {
            return Err(RecordFault::Keys.into());
        }
        let ours = self.table.record(seat.index()).ok_or(TransferFault::NoRoom)?;
        let mut taken =
            Taken { seats: Arc::clone(&self.seats), note: None, chunks: [None; 2], vault: None };
        let note = self.copy_note(other, &constant, &mut taken)?;
        let own = seat.id();
        let constant = Constant {
            generation: own.generation,
            legs: legs.each_ref().map(OwnedFd::as_raw_fd),
            note_granule: note,
            ..constant
        };
        ours.write(&constant, self.thread);
        self.table.copy_moving(seat.index(), other, id.index);
        if constant.tls.any() {
            taken.vault = Some(seat.index());
            self.table.copy_vault(seat.index(), other, id.index);
        }
        for source in Side::BOTH {
            let Some((number, base)) = ours.chunk(source) else { continue };
            let bytes = other.chunk(number);
            if bytes.len() != CHUNK_BYTES {
                return Err(RecordFault::Chunk.into());
            }
            let chunk = self.seats.take_reserved_chunk().ok_or(TransferFault::NoRoom)?;
            taken.chunks[source] = Some(chunk);
            self.table.chunk(chunk).fill_from(bytes);
            ours.set_chunk(source, chunk, base);
        }
        ours.unmark(Mark::Registered);
        let checked = check(&self.table, seat.index(), ours)?;
        check_legs(&self.table, seat.index(), ours, &checked)?;
        Ok(Prepared { seat, legs, id: own, taken })
    }

    /// Makes a prepared tunnel live; from here on it is read.
    ///
    /// # Errors
    /// The kernel did not register a leg: the tunnel is lost, both legs closed.
    pub fn commit(&mut self, prepared: Prepared, now_ms: u64) -> Result<Adopted, TransferFault> {
        let Prepared { seat, legs, id, taken } = prepared;
        let table = Arc::clone(&self.table);
        let record = table.named(id).ok_or(TransferFault::Unknown)?;
        let constant = record.constant()?;
        table.raise_high_water(id.index);
        record.set_state(State::Live);
        if self.register(record, id).is_err() {
            record.set_state(State::Free);
            return Err(TransferFault::Register);
        }
        legs.into_iter().for_each(|leg| _ = Leg::from_owned(leg));
        seat.occupy();
        taken.keep();
        self.len += 1;
        self.wheel.sync(now_ms);
        record.unmark(Mark::Kick);
        if record.waits() {
            self.more.push_back(id);
        }
        // What has come meanwhile and what can be sent make events by the registration. But nobody
        // says again that a drain has begun, nor what a record layer holds.
        let is_draining = relay_of(&table, id.index, record).is_ok_and(|it| it.is_draining());
        if is_draining || constant.tls.any() {
            self.kick(id);
        }
        self.arm(id);
        Ok(self.adopted(id, &constant))
    }

    /// Gives up a tunnel that goes on in another process: no peer learns of it. `None` if there is
    /// none of that name on this thread. Nothing may be left to take over.
    pub fn release(&mut self, id: TunnelId) -> Option<Adopted> {
        debug_assert!(!self.is_taking(), "whoever freezes the engine takes everything first");
        self.live(id)?;
        let table = Arc::clone(&self.table);
        let record = table.named(id)?;
        let constant = record.constant().ok()?;
        let released = self.adopted(id, &constant);
        // The other process holds the sockets too: closing ours takes them out of no epoll
        // instance.
        Side::BOTH.iter().for_each(|&side| self.epoll.remove(Leg::from_number(record.leg(side))));
        if record.tls().any() {
            self.forget_keys(record, id);
        }
        record.set_state(State::Free);
        self.wheel.disarm(id.index);
        self.len -= 1;
        for source in Side::BOTH {
            if let Some((chunk, _)) = record.chunk(source) {
                record.clear_chunk(source);
                self.seats.give_chunk(chunk);
            }
            let leg = Leg::from_number(constant.legs[source]);
            if leg.cookie().ok() == Some(constant.cookies[source]) {
                drop(leg.into_owned());
            }
        }
        self.seats.give_note(constant.note_granule, usize::from(constant.note_bytes));
        self.seats.release(id.index);
        Some(released)
    }

    /// Looks whether every tunnel of this thread stands where it was left: a process that had them
    /// meanwhile may have read. Those that do not are ended as damaged.
    pub fn recheck(&mut self, now_ms: u64) {
        let table = Arc::clone(&self.table);
        for id in self.ids() {
            let Some(record) = table.named(id) else { continue };
            let checked = check(&table, id.index, record)
                .and_then(|constant| check_legs(&table, id.index, record, &constant));
            match checked {
                Ok(()) => self.kick(id),
                Err(_) => {
                    self.close(id, crate::Close::Damaged, now_ms);
                }
            }
        }
    }

    fn copy_note(
        &self,
        other: &Table,
        constant: &Constant,
        taken: &mut Taken,
    ) -> Result<u32, TransferFault> {
        let bytes = usize::from(constant.note_bytes);
        let note = other.note(constant.note_granule, constant.note_bytes);
        if note.len() != bytes || bytes > NOTE_MAX {
            return Err(RecordFault::Note.into());
        }
        let granule = self.seats.take_note(bytes).ok_or(TransferFault::NoRoom)?;
        taken.note = Some((granule, bytes));
        self.table.note(granule, constant.note_bytes).fill_from(note);
        Ok(granule)
    }
}

impl Taken {
    /// The record owns it now.
    fn keep(mut self) {
        (self.note, self.chunks, self.vault) = (None, [None; 2], None);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(vault) = self.vault.take().and_then(|index| self.seats.table().vault(index)) {
            vault.wipe_keys();
        }
        if let Some((granule, bytes)) = self.note.take() {
            self.seats.give_note(granule, bytes);
        }
        for chunk in self.chunks.iter_mut().filter_map(Option::take) {
            self.seats.give_chunk(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{Handoff, Limits, Terms};

    /// One process's table and engine.
    struct Place {
        table: Arc<Table>,
        seats: Arc<Seats>,
        engine: Engine,
    }

    impl Place {
        fn new() -> Place {
            let limits = Limits { records: 8, chunks: 16, note_bytes: 4096, threads: 1 };
            let table = Arc::new(Table::create(limits).unwrap());
            let seats = Seats::rebuild(Arc::clone(&table));
            let engine = Engine::new(Arc::clone(&table), Arc::clone(&seats), 0).unwrap();
            Place { table, seats, engine }
        }

        fn settle(&mut self) {
            for _ in 0..64 {
                let _ = self.engine.ready(1).unwrap();
            }
        }

        /// The table as another process gets it.
        fn shown(&self) -> Table {
            Table::open(self.table.fd().try_clone_to_owned().unwrap()).unwrap()
        }
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// A tunnel of `place`, its outer ends, and its legs as another process would get them.
    fn tunnel(place: &mut Place) -> (TunnelId, TcpStream, TcpStream, [OwnedFd; 2]) {
        let ((client, near), (upstream, far)) = (pair(), pair());
        let handoff = Handoff {
            seat: place.seats.reserve().unwrap(),
            legs: [near.into(), far.into()],
            first: [b"101".to_vec(), Vec::new()],
            tls: [None, None],
            keeping: crate::Keeping::Shared,
            framing: crate::Framing::Opaque,
            terms: Terms {
                idle_timeout_ms: 60_000,
                client_send_timeout_ms: 60_000,
                upstream_send_timeout_ms: 60_000,
                fin_timeout_ms: 60_000,
            },
            keys: [1, 2],
            note: b"the note".to_vec(),
            started_ms: 3,
        };
        let id = place.engine.adopt(handoff, 1).unwrap();
        let legs = copies(place, id);
        (id, client, upstream, legs)
    }

    fn copies(place: &Place, id: TunnelId) -> [OwnedFd; 2] {
        let (_, legs) = place.table.live_legs().find(|(found, _)| *found == id).unwrap();
        legs.map(|leg| Leg::from_number(leg).with(|fd| fd.try_clone_to_owned()).unwrap())
    }

    #[test]
    fn a_tunnel_goes_on_in_another_table_with_what_it_kept() {
        let (mut old, mut new) = (Place::new(), Place::new());
        let (id, mut client, mut upstream, legs) = tunnel(&mut old);
        client.set_nonblocking(true).unwrap();
        let mut sent = Vec::new();
        // Until the old engine keeps a chunk and reads no more.
        for number in 0_u32.. {
            let bytes: Vec<u8> =
                (0..1000_u32).flat_map(|at| (number * 1000 + at).to_ne_bytes()).collect();
            match client.write(&bytes) {
                Ok(count) => sent.extend_from_slice(&bytes[..count]),
                Err(_) => break,
            }
            old.settle();
        }
        assert!(old.seats.free_chunks() < 16, "bytes are kept");
        let shown = old.shown();
        let prepared = new.engine.prepare(&shown, id, legs).unwrap();
        assert!(new.engine.is_empty());
        let released = old.engine.release(id).unwrap();
        assert_eq!((old.engine.len(), old.seats.in_use(), old.seats.free_granules()), (0, 0, 64));
        let adopted = new.engine.commit(prepared, 1).unwrap();
        assert_eq!((&adopted.note, adopted.keys), (&released.note, [1, 2]));
        let mut got = vec![0; sent.len()];
        let reader = std::thread::spawn(move || {
            upstream.read_exact(&mut got).unwrap();
            (upstream, got)
        });
        while !reader.is_finished() {
            new.settle();
            old.settle();
        }
        let (mut upstream, got) = reader.join().unwrap();
        assert!(got == sent, "every byte arrives once and in order");
        upstream.write_all(b"back").unwrap();
        drop(upstream);
        client.set_nonblocking(false).unwrap();
        drop(old);
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let _ = client.read_to_end(&mut all);
            all
        });
        while !reader.is_finished() {
            new.settle();
        }
        assert_eq!(reader.join().unwrap(), b"101back");
    }

    /// The other process may be anybody: nothing in its record harms the one that takes it.
    #[test]
    fn every_flipped_byte_of_a_record_that_comes_is_refused_or_harmless() {
        let (mut old, new) = (Place::new(), Place::new());
        let mut refused = 0;
        let (id, mut client, _upstream, _) = tunnel(&mut old);
        client.write_all(b"in motion").unwrap();
        old.settle();
        let shown = old.shown();
        for at in 0..crate::table::RECORD_BYTES {
            for flip in [0x01, 0x80, 0xff] {
                let byte = shown.record_offset(id.index) + at;
                let byte = shown.raw().part(byte, byte + 1);
                let was = byte.to_vec();
                byte.fill(&[was[0] ^ flip]);
                let legs = [&client, &_upstream].map(|_| pair().0.into());
                let wrong = new.engine.prepare(&shown, id, legs);
                assert!(wrong.is_err(), "byte {at}: other sockets than it names");
                match shown.live_legs().find(|(found, _)| *found == id) {
                    None => refused += 1,
                    Some(_) => {
                        byte.fill(&was);
                        let legs = copies(&old, id);
                        byte.fill(&[was[0] ^ flip]);
                        // Not live: what was prepared is dropped at once.
                        refused += u32::from(new.engine.prepare(&shown, id, legs).is_err());
                    }
                }
                byte.fill(&was);
                assert_eq!((new.seats.in_use(), new.seats.free_granules()), (0, 64), "byte {at}");
                assert_eq!(new.seats.free_chunks(), 16, "byte {at}");
            }
        }
        assert!(refused >= 3 * 136, "{refused} of the constant half at least");
        // And the old one goes on.
        client.write_all(b", goes on").unwrap();
        old.settle();
    }

    #[test]
    fn what_was_prepared_and_dropped_changes_nothing() {
        let (mut old, mut new) = (Place::new(), Place::new());
        let (id, mut client, mut upstream, legs) = tunnel(&mut old);
        let shown = old.shown();
        drop(new.engine.prepare(&shown, id, legs).unwrap());
        assert_eq!((new.seats.in_use(), new.seats.free_granules()), (0, 64));
        assert_eq!(new.seats.free_chunks(), 16);
        old.engine.recheck(1);
        client.write_all(b"goes on").unwrap();
        let mut got = [0; 7];
        let reader = std::thread::spawn(move || upstream.read_exact(&mut got).map(|()| got));
        while !reader.is_finished() {
            old.settle();
        }
        assert_eq!(&reader.join().unwrap().unwrap(), b"goes on");
        new.settle();
    }

    #[test]
    fn a_tunnel_that_somebody_read_meanwhile_is_not_gone_on_with() {
        let mut old = Place::new();
        let (_, mut client, _upstream, legs) = tunnel(&mut old);
        client.write_all(b"stolen").unwrap();
        let mut stolen = [0; 6];
        let [near, _] = legs;
        TcpStream::from(near).read_exact(&mut stolen).unwrap();
        old.engine.recheck(1);
        let reports = old.engine.reports();
        assert_eq!(
            reports.iter().map(|report| report.close).collect::<Vec<_>>(),
            [crate::Close::Damaged]
        );
    }

    #[test]
    fn a_hostile_record_is_refused_or_checked_but_never_fatal() {
        let (mut old, new) = (Place::new(), Place::new());
        let (id, _client, _upstream, _legs) = tunnel(&mut old);
        let shown = old.shown();
        let record = old.table.raw().part(old.table.record_offset(id.index), usize::MAX);
        for at in 0..crate::table::RECORD_BYTES {
            for flip in [1, 0x80, 0xff] {
                let byte = record.part(at, at + 1);
                let before = byte.to_vec();
                let legs = copies(&old, id);
                byte.fill(&[before[0] ^ flip]);
                drop(new.engine.prepare(&shown, id, legs));
                byte.fill(&before);
            }
        }
        assert_eq!((new.seats.in_use(), new.seats.free_chunks()), (0, 16));
        let strangers = [pair().0.into(), pair().1.into()];
        let refused = new.engine.prepare(&shown, id, strangers).unwrap_err();
        assert_eq!(refused, TransferFault::Record(RecordFault::Leg));
    }
}
