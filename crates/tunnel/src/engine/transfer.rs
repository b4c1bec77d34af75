//! A live tunnel leaves one process's table and goes on in another's.
//!
//! ```text
//!  old engine      turns          stands still                       has released
//!  new engine      prepare        verify              commit
//! ```
//!
//! `prepare` does everything that takes time, while the old engine still turns: it copies, checks
//! and registers, and reads nothing. Then the old engine stands still (its owner calls neither
//! `ready` nor `expire`), so that nobody reads, and `verify` looks at what has changed since; for a
//! tunnel to which nothing happened that is one comparison in memory. `commit` makes it live, once
//! the old process has let it go; `release` is that process's last deed for it. Until `commit` a
//! tunnel that was prepared can be dropped, and nothing has happened.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use super::anteroom::Lodging;
use super::recover::check_legs;
use super::repair::{check, relay_of};
use super::{Engine, NOTE_MAX};
use crate::poll::{Event, Leg};
use crate::table::{
    CHUNK_BYTES, Constant, Mark, Moving, Record, RecordFault, State, Table, Token, TunnelId,
};
use crate::{Adopted, Seat, Seats, Side};

/// A tunnel of another process, copied, and not read yet. Dropping it closes the descriptors of this
/// process and gives the record back.
#[derive(Debug)]
pub struct Prepared {
    // First: a registration ends while its descriptor is open.
    lodgings: [Lodging; 2],
    seat: Seat,
    legs: [OwnedFd; 2],
    /// Its name there.
    theirs: TunnelId,
    taken: Taken,
    /// What was copied and checked; `None` if it must be copied once more.
    checked: Option<Box<Moving>>,
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

/// How a prepared tunnel was found again once nobody read it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It can go on here.
    Ready,
    /// It has ended meanwhile, where it was.
    Ended,
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
    /// Copies the tunnel `id` of `other`, whose legs have the numbers `legs` here, and registers
    /// it. Its engine may be turning. The other table is treated as hostile.
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
        let theirs = live(other, id).ok_or(TransferFault::Unknown)?;
        let constant = theirs.constant()?;
        if constant.tls.private {
            return Err(RecordFault::Keys.into());
        }
        for side in Side::BOTH {
            let leg = Leg::from_number(legs[side].as_raw_fd());
            if leg.cookie().ok() != Some(constant.cookies[side]) {
                return Err(RecordFault::Leg.into());
            }
        }
        let ours = self.table.record(seat.index()).ok_or(TransferFault::NoRoom)?;
        let mut taken =
            Taken { seats: Arc::clone(&self.seats), note: None, chunks: [None; 2], vault: None };
        let note = self.copy_note(other, &constant, &mut taken)?;
        let constant = Constant {
            generation: seat.id().generation,
            legs: legs.each_ref().map(OwnedFd::as_raw_fd),
            note_granule: note,
            ..constant
        };
        ours.write(&constant, self.thread);
        let lodge = |side: Side| {
            let lodged = self.expect(&seat, side, legs[side].as_fd());
            lodged.map_err(|_| TransferFault::Register)
        };
        let lodgings = [lodge(Side::Client)?, lodge(Side::Upstream)?];
        let mut prepared = Prepared { lodgings, seat, legs, theirs: id, taken, checked: None };
        // In the middle of a turn nothing needs to be right: whoever stands still is looked at again.
        prepared.checked = self.copy_state(other, theirs, &mut prepared).ok();
        Ok(prepared)
    }

    /// Looks at a prepared tunnel again, now that its engine stands still: from here on until the
    /// end of the move nobody reads it.
    ///
    /// # Errors
    /// It cannot go on here; the caller drops it.
    pub fn verify(&self, other: &Table, prepared: &mut Prepared) -> Result<Stand, TransferFault> {
        let Some(theirs) = live(other, prepared.theirs) else { return Ok(Stand::Ended) };
        let same = prepared.checked.as_ref().is_some_and(|seen| **seen == theirs.moving())
            && (prepared.taken.vault.is_none()
                || self.table.same_vault(prepared.seat.index(), other, prepared.theirs.index));
        if !same {
            prepared.checked = Some(self.copy_state(other, theirs, prepared)?);
        }
        Ok(Stand::Ready)
    }

    /// Copies the moving half, with what it names, and checks it.
    fn copy_state(
        &self,
        other: &Table,
        theirs: &Record,
        prepared: &mut Prepared,
    ) -> Result<Box<Moving>, TransferFault> {
        let index = prepared.seat.index();
        let ours = self.table.record(index).ok_or(TransferFault::NoRoom)?;
        let taken = &mut prepared.taken;
        taken.give_chunks_back(ours);
        let seen = Box::new(theirs.moving());
        ours.set_moving(&seen);
        ours.unmark(Mark::Registered);
        if ours.tls().any() {
            taken.vault = Some(index);
            self.table.copy_vault(index, other, prepared.theirs.index);
        }
        for source in Side::BOTH {
            let Some((number, base)) = ours.chunk(source) else { continue };
            // Until it has one of its own here.
            ours.clear_chunk(source);
            let bytes = other.chunk(number);
            if bytes.len() != CHUNK_BYTES {
                return Err(RecordFault::Chunk.into());
            }
            let chunk = self.seats.take_reserved_chunk().ok_or(TransferFault::NoRoom)?;
            taken.chunks[source] = Some(chunk);
            self.table.chunk(chunk).fill_from(bytes);
            ours.set_chunk(source, chunk, base);
        }
        let checked = check(&self.table, index, ours)?;
        check_legs(&self.table, index, ours, &checked)?;
        Ok(seen)
    }

    /// Makes a prepared and verified tunnel live, under the name that is given back; from here on it
    /// is read.
    ///
    /// # Errors
    /// It was not verified: the tunnel is lost, both legs closed.
    pub fn commit(&mut self, prepared: Prepared, now_ms: u64) -> Result<TunnelId, TransferFault> {
        let Prepared { lodgings, seat, legs, taken, checked, .. } = prepared;
        checked.ok_or(TransferFault::Unknown)?;
        let (id, table) = (seat.id(), Arc::clone(&self.table));
        let record = table.named(id).ok_or(TransferFault::Unknown)?;
        let said = Side::BOTH.map(|side| {
            let token = Token { id, side };
            self.anteroom.leave(token, Leg::from_number(legs[side].as_raw_fd())).unwrap_or(u32::MAX)
        });
        note_ends(&table, id, record, said);
        table.raise_high_water(id.index);
        record.mark(Mark::Registered);
        // What a leg has said since it was registered is not said again; nor that a drain has begun,
        // that a sink takes bytes again, or what a record layer holds.
        let kicked = said.iter().any(|mask| Event { token: 0, mask: *mask }.readable())
            || record.tls().any()
            || Side::BOTH.iter().any(|&source| record.chunk(source).is_some())
            || relay_of(&table, id.index, record).is_ok_and(|it| it.is_draining());
        let waits = record.waits();
        if kicked {
            record.mark(Mark::Kick);
        } else {
            record.unmark(Mark::Kick);
        }
        record.set_state(State::Live);
        lodgings.into_iter().for_each(Lodging::stay);
        legs.into_iter().for_each(|leg| _ = Leg::from_owned(leg));
        seat.occupy();
        taken.keep();
        self.len += 1;
        self.wheel.sync(now_ms);
        if kicked || waits {
            self.more.push_back(id);
        }
        self.arm(id);
        Ok(id)
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

/// The kernel reported the FIN of a leg: after a crash that corrects its count.
fn note_ends(table: &Table, id: TunnelId, record: &Record, said: [u32; 2]) {
    let Ok(mut relay) = relay_of(table, id.index, record) else { return };
    for side in Side::BOTH {
        if (Event { token: 0, mask: said[side] }).finned() && !relay.has_finned(side) {
            relay.handle_finned(side);
            record.set_relay(relay.pack());
        }
    }
}

fn live(table: &Table, id: TunnelId) -> Option<&Record> {
    table.named(id).filter(|record| record.state() == Some(State::Live))
}

impl Prepared {
    /// Its name in the other table.
    pub fn name(&self) -> TunnelId {
        self.theirs
    }

    /// Its note, which does not change.
    pub fn note(&self) -> Vec<u8> {
        let seats = &self.taken.seats;
        let Some((granule, bytes)) = self.taken.note else { return Vec::new() };
        seats.table().note(granule, bytes as u16).to_vec()
    }
}

impl Taken {
    fn give_chunks_back(&mut self, record: &Record) {
        for source in Side::BOTH {
            if let Some(chunk) = self.chunks[source].take() {
                record.clear_chunk(source);
                self.seats.give_chunk(chunk);
            }
        }
    }

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
        let mut prepared = new.engine.prepare(&shown, id, legs).unwrap();
        assert!(new.engine.is_empty());
        assert_eq!(new.engine.verify(&shown, &mut prepared), Ok(Stand::Ready));
        let released = old.engine.release(id).unwrap();
        assert_eq!((old.engine.len(), old.seats.in_use(), old.seats.free_granules()), (0, 0, 64));
        let note = prepared.note();
        new.engine.commit(prepared, 1).unwrap();
        assert_eq!((&note, released.keys), (&released.note, [1, 2]));
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

    /// Whether a tunnel would go on, as it is found when its engine stands still.
    fn goes_on(place: &Place, shown: &Table, id: TunnelId, legs: [OwnedFd; 2]) -> bool {
        let Ok(mut prepared) = place.engine.prepare(shown, id, legs) else { return false };
        place.engine.verify(shown, &mut prepared) == Ok(Stand::Ready)
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
                        refused += u32::from(!goes_on(&new, &shown, id, legs));
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

    /// Both engines turn while it is prepared; only behind `verify` nobody does.
    #[test]
    fn what_moves_while_it_is_prepared_is_copied_again() {
        let (mut old, mut new) = (Place::new(), Place::new());
        let (id, mut client, mut upstream, legs) = tunnel(&mut old);
        upstream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let shown = old.shown();
        let mut prepared = new.engine.prepare(&shown, id, legs).unwrap();
        let mut got = [0; 5];
        for round in 1..=3 {
            client.write_all(b"moves").unwrap();
            while old.table.named(id).unwrap().written(Side::Upstream) < 5 * round {
                old.settle();
                // Its events are nobody's here.
                new.settle();
            }
            upstream.read_exact(&mut got).unwrap();
        }
        assert!(new.engine.is_empty());
        assert_eq!(new.engine.verify(&shown, &mut prepared), Ok(Stand::Ready));
        // This comes while nobody reads, and makes its event here before the tunnel is live.
        client.write_all(b"stays").unwrap();
        new.settle();
        old.engine.release(id).unwrap();
        let here = new.engine.commit(prepared, 1).unwrap();
        let reader = std::thread::spawn(move || upstream.read_exact(&mut got).map(|()| got));
        while !reader.is_finished() {
            new.settle();
        }
        assert_eq!(&reader.join().unwrap().unwrap(), b"stays");
        let record = new.table.named(here).unwrap();
        assert!(record.marked(Mark::Registered) && !record.marked(Mark::Kick));
    }

    #[test]
    fn what_ends_while_it_is_prepared_is_found_ended_and_given_back() {
        let (mut old, new) = (Place::new(), Place::new());
        let (id, mut client, _upstream, legs) = tunnel(&mut old);
        let shown = old.shown();
        let mut prepared = new.engine.prepare(&shown, id, legs).unwrap();
        assert!(old.engine.close(id, crate::Close::Operator, 1));
        assert_eq!(old.engine.reports().len(), 1);
        assert_eq!(new.engine.verify(&shown, &mut prepared), Ok(Stand::Ended));
        drop(prepared);
        assert_eq!((new.seats.in_use(), new.seats.free_granules()), (0, 64));
        let mut all = Vec::new();
        // Both descriptors are closed: the end comes.
        let _ = client.read_to_end(&mut all);
        assert_eq!(all, b"101");
    }

    #[test]
    fn what_was_not_verified_does_not_go_live() {
        let (mut old, mut new) = (Place::new(), Place::new());
        let (id, _client, _upstream, legs) = tunnel(&mut old);
        let shown = old.shown();
        let mut prepared = new.engine.prepare(&shown, id, legs).unwrap();
        prepared.checked = None;
        assert_eq!(new.engine.commit(prepared, 1), Err(TransferFault::Unknown));
        assert_eq!((new.seats.in_use(), new.engine.len()), (0, 0));
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
                let _ = goes_on(&new, &shown, id, legs);
                byte.fill(&before);
            }
        }
        assert_eq!((new.seats.in_use(), new.seats.free_chunks()), (0, 16));
        let strangers = [pair().0.into(), pair().1.into()];
        let refused = new.engine.prepare(&shown, id, strangers).unwrap_err();
        assert_eq!(refused, TransferFault::Record(RecordFault::Leg));
    }
}
