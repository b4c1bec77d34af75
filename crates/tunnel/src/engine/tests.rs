//! The engine on real sockets: relaying, half-close, ends, timers, limits, and rebuilding from the
//! table alone.

mod drain;
mod lodged;
mod taking;
mod tls;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::*;
use crate::table::{CHUNK_BYTES, Mark, RecordFault};
use crate::{Close, Limits, Side, Terms};

/// A table, its seats and one engine.
struct Rig {
    table: Arc<Table>,
    seats: Arc<Seats>,
    engine: Option<Engine>,
    now_ms: u64,
}

/// The outer ends of one tunnel.
struct Peers {
    id: TunnelId,
    client: TcpStream,
    upstream: TcpStream,
}

const TERMS: Terms = Terms {
    idle_timeout_ms: 60_000,
    client_send_timeout_ms: 10_000,
    upstream_send_timeout_ms: 20_000,
    fin_timeout_ms: 5_000,
};

impl Rig {
    fn new(limits: Limits) -> Rig {
        let table = Arc::new(Table::create(limits).unwrap());
        let seats = Seats::rebuild(Arc::clone(&table));
        let engine = Some(Engine::new(Arc::clone(&table), Arc::clone(&seats), 0).unwrap());
        Rig { table, seats, engine, now_ms: 1_000_000 }
    }

    fn small() -> Rig {
        Rig::new(Limits { records: 64, chunks: 64, note_bytes: 65536, threads: 2 })
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    fn handoff(&self, legs: [OwnedFd; 2]) -> Handoff {
        Handoff {
            seat: self.seats.reserve().unwrap(),
            legs,
            first: [Vec::new(), Vec::new()],
            tls: [None, None],
            keeping: crate::Keeping::Shared,
            framing: Framing::Opaque,
            terms: TERMS,
            keys: [11, 22],
            note: b"a line of the log".to_vec(),
            started_ms: 5,
        }
    }

    fn tunnel(&mut self) -> Peers {
        self.tunnel_with([b"101", b"hello"])
    }

    fn tunnel_with(&mut self, first: [&[u8]; 2]) -> Peers {
        let ((client, near), (upstream, far)) = (tcp_pair(), tcp_pair());
        let mut handoff = self.handoff([near.into(), far.into()]);
        handoff.first = first.map(<[u8]>::to_vec);
        let now_ms = self.now_ms;
        let id = self.engine().adopt(handoff, now_ms).unwrap();
        Peers { id, client, upstream }
    }

    /// Turns until nothing is ready any more.
    fn settle(&mut self) {
        let now_ms = self.now_ms;
        for _ in 0..TURNS_MAX {
            let batch = self.engine().ready(now_ms).unwrap();
            if batch == Batch::Short && !is_readable(self.engine().fd()) {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Waits for an event, then turns.
    fn turn(&mut self) {
        wait(self.engine().fd());
        self.settle();
    }

    /// The worker dies and its epoll instance lives on, as in a shared descriptor table.
    fn crash(&mut self) -> Recovered {
        let mut dead = self.engine.take().unwrap();
        // A dead worker gives nothing back.
        dead.spare = None;
        std::mem::forget(dead);
        self.seats = Seats::rebuild(Arc::clone(&self.table));
        let (table, seats) = (Arc::clone(&self.table), Arc::clone(&self.seats));
        Engine::recover(table, seats, 0, Death::Killed, self.now_ms).unwrap()
    }

    fn crash_and_go_on(&mut self) {
        let recovered = self.crash();
        assert_eq!(recovered.dropped, []);
        self.engine = Some(recovered.engine);
    }
}

/// Pages of the memfd that exist, in bytes.
fn allocated(table: &Table) -> u64 {
    rustix::fs::fstat(table.fd()).unwrap().st_blocks as u64 * 512
}

/// (outer end, our end)
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let outer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    outer.set_nodelay(true).unwrap();
    (outer, listener.accept().unwrap().0)
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll(fd, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }))
}

fn wait(fd: BorrowedFd<'_>) {
    let limit = rustix::event::Timespec { tv_sec: WAIT_MAX_S, tv_nsec: 0 };
    assert!(poll(fd, Some(&limit)), "no event within {WAIT_MAX_S} s");
}

fn poll(fd: BorrowedFd<'_>, limit: Option<&rustix::event::Timespec>) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut polled, limit).unwrap() > 0
}

fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

fn read_some(stream: &mut impl Read, bytes: usize) -> Vec<u8> {
    let mut some = vec![0; bytes];
    stream.read_exact(&mut some).unwrap();
    some
}

const TURNS_MAX: u32 = 100_000;
const WAIT_MAX_S: i64 = 10;

#[test]
fn first_bytes_messages_half_close_and_the_report() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel();
    assert_eq!(read_some(&mut peers.client, 3), b"101");
    assert_eq!(read_some(&mut peers.upstream, 5), b"hello");
    peers.client.write_all(b"ping").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 4), b"ping");
    peers.client.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    assert_eq!(read_all(&mut peers.upstream), b"");
    assert_eq!(rig.engine().reports(), []);
    peers.upstream.write_all(b"last words").unwrap();
    drop(peers.upstream);
    rig.turn();
    assert_eq!(read_all(&mut peers.client), b"last words");
    let reports = rig.engine().reports();
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    assert_eq!(report.close, Close::ClientClosed);
    assert_eq!((report.read, report.written), ([4, 10], [13, 9]));
    assert_eq!((report.keys, report.started_ms, report.ended_ms), ([11, 22], 5, rig.now_ms));
    assert_eq!(report.note, b"a line of the log");
    assert_eq!((rig.seats.in_use(), rig.engine().len()), (0, 0));
    assert_eq!(rig.table.keep_list().len(), 2);
}

#[test]
fn unix_sockets_are_legs_too() {
    let mut rig = Rig::small();
    let (mut client, near) = UnixStream::pair().unwrap();
    let (mut upstream, far) = UnixStream::pair().unwrap();
    let handoff = rig.handoff([near.into(), far.into()]);
    rig.engine().adopt(handoff, 0).unwrap();
    client.write_all(b"abc").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut upstream, 3), b"abc");
    drop((client, upstream));
    rig.turn();
    assert_eq!(rig.engine().reports().len(), 1);
}

#[test]
fn a_peer_that_takes_nothing_costs_one_chunk_and_loses_nothing() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel_with([b"", b""]);
    let chunks = rig.seats.free_chunks();
    peers.upstream.set_nonblocking(true).unwrap();
    let mut sent = 0_u64;
    let block: Vec<u8> = (0..CHUNK_BYTES).map(|at| (at % 251) as u8).collect();
    let mut idle = 0;
    while idle < 3 {
        match peers.upstream.write(&block[sent as usize % 251..]) {
            Ok(bytes) => (sent, idle) = (sent + bytes as u64, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                idle += 1;
            }
        }
        rig.settle();
    }
    assert_eq!(rig.seats.free_chunks(), chunks - 1);
    let live = rig.table.snapshot().next().unwrap();
    assert!(live.kept[Side::Client] > 0 && live.kept[Side::Client] <= CHUNK_BYTES as u64);
    peers.upstream.set_nonblocking(false).unwrap();
    peers.upstream.shutdown(Shutdown::Write).unwrap();
    peers.client.set_nonblocking(true).unwrap();
    let (mut got, mut buffer) = (0_u64, vec![0; CHUNK_BYTES]);
    loop {
        match peers.client.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                for (at, byte) in buffer[..bytes].iter().enumerate() {
                    assert_eq!(u64::from(*byte), (got + at as u64) % 251);
                }
                got += bytes as u64;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rig.settle();
    }
    assert_eq!(got, sent);
}

#[test]
fn a_reset_delivers_what_was_accepted_and_is_passed_on() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel_with([b"", b""]);
    peers.client.write_all(b"the last").unwrap();
    rig.turn();
    let none = Some(std::time::Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&peers.client, none).unwrap();
    drop(peers.client);
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 8), b"the last");
    let error = peers.upstream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(rig.engine().reports()[0].close, Close::ClientReset);
}

#[test]
fn timers_name_what_they_waited_for() {
    let mut rig = Rig::small();
    let idle = rig.tunnel();
    let mut half = rig.tunnel();
    rig.settle();
    half.client.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    let start_ms = rig.now_ms;
    assert!(rig.engine().next_expiry_ms().unwrap() <= start_ms + 5_000 + 64);
    // Traffic in the remaining direction puts the fin timer off.
    rig.now_ms = start_ms + 4_000;
    half.upstream.write_all(b"x").unwrap();
    rig.turn();
    rig.engine().expire(start_ms + 8_000);
    assert_eq!(rig.engine().reports(), []);
    rig.engine().expire(start_ms + 9_100);
    let reports = rig.engine().reports();
    assert_eq!((reports[0].id, reports[0].close), (half.id, Close::FinTimeout));
    while let Some(next_ms) = rig.engine().next_expiry_ms() {
        assert!(next_ms <= start_ms + 60_000 + 64);
        rig.engine().expire(next_ms);
    }
    let reports = rig.engine().reports();
    assert_eq!((reports[0].id, reports[0].close), (idle.id, Close::IdleTimeout));
    assert!(reports[0].ended_ms >= start_ms + 60_000);
}

#[test]
fn a_client_that_refuses_bytes_runs_into_its_send_timeout() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel_with([b"", b""]);
    peers.upstream.set_nonblocking(true).unwrap();
    while peers.upstream.write(&[0; CHUNK_BYTES]).is_ok() {
        rig.settle();
    }
    rig.settle();
    let now_ms = rig.now_ms + 10_100;
    // Bytes in the other direction do not help.
    peers.client.write_all(b"alive").unwrap();
    rig.turn();
    rig.engine().expire(now_ms);
    assert_eq!(rig.engine().reports()[0].close, Close::ClientSendTimeout);
}

#[test]
fn what_cannot_be_adopted_comes_back_unchanged() {
    let mut rig = Rig::new(Limits { records: 4, chunks: 2, note_bytes: 128, threads: 1 });
    let refuse = |rig: &mut Rig, change: &dyn Fn(&mut Handoff)| {
        let (_client, near) = tcp_pair();
        let (_upstream, far) = tcp_pair();
        let mut handoff = rig.handoff([near.into(), far.into()]);
        change(&mut handoff);
        let refused = rig.engine().adopt(handoff, 0).unwrap_err();
        assert_eq!(refused.handoff.keys, [11, 22]);
        refused.fault
    };
    let too_long = vec![0; CHUNK_BYTES + 1];
    let fault = refuse(&mut rig, &|h| h.first[0] = too_long.clone());
    assert_eq!(fault, AdoptFault::FirstTooLong);
    assert_eq!(refuse(&mut rig, &|h| h.note = vec![0; NOTE_MAX + 1]), AdoptFault::NoteTooLong);
    assert_eq!(refuse(&mut rig, &|h| h.note = vec![0; 129]), AdoptFault::NoNoteRoom);
    let file = rig.table.fd().try_clone_to_owned().unwrap();
    let fault = refuse(&mut rig, &|h| h.legs[1] = file.try_clone().unwrap());
    assert_eq!(fault, AdoptFault::Leg(libc::ENOTSOCK));
    let other = Rig::small();
    let fault = refuse(&mut rig, &|h| h.seat = other.seats.reserve().unwrap());
    assert_eq!(fault, AdoptFault::ForeignSeat);
    let held = [rig.seats.take_reserved_chunk(), rig.seats.take_reserved_chunk()];
    assert_eq!(refuse(&mut rig, &|h| h.first[0] = vec![1]), AdoptFault::NoChunk);
    held.into_iter().flatten().for_each(|chunk| rig.seats.give_chunk(chunk));
    assert_eq!((rig.seats.in_use(), rig.seats.free_chunks(), rig.seats.free_granules()), (0, 2, 2));
}

#[test]
fn seats_end_at_the_bound_and_come_back() {
    let rig = Rig::new(Limits { records: 3, chunks: 2, note_bytes: 0, threads: 1 });
    let mut held: Vec<_> = std::iter::from_fn(|| rig.seats.reserve()).collect();
    assert_eq!((held.len(), rig.seats.in_use()), (3, 3));
    rig.seats.set_bound(2);
    held.pop();
    assert!(rig.seats.reserve().is_none());
    held.pop();
    assert!(rig.seats.reserve().is_some());
}

#[test]
fn without_a_chunk_nothing_is_read_and_with_one_it_goes_on() {
    let mut rig = Rig::new(Limits { records: 4, chunks: 4, note_bytes: 4096, threads: 1 });
    let mut peers = rig.tunnel_with([b"", b""]);
    rig.settle();
    // The engine has one in hand after its first read; take that and all others.
    let spare = rig.engine().spare.take();
    let mut held: Vec<u32> = spare.into_iter().collect();
    held.extend(std::iter::from_fn(|| rig.seats.take_chunk()));
    peers.client.write_all(b"waits").unwrap();
    rig.turn();
    assert_eq!(rig.table.snapshot().next().unwrap().read, [0, 0]);
    let retry_ms = rig.engine().next_expiry_ms().unwrap();
    assert!(retry_ms > rig.now_ms && retry_ms <= rig.now_ms + 50);
    rig.engine().expire(retry_ms);
    assert_eq!(rig.table.snapshot().next().unwrap().read, [0, 0]);
    held.into_iter().for_each(|chunk| rig.seats.give_chunk(chunk));
    rig.engine().expire(retry_ms + 50);
    assert_eq!(read_some(&mut peers.upstream, 5), b"waits");
}

#[test]
fn one_turn_takes_its_share_and_the_rest_waits_for_the_next() {
    let mut rig = Rig::small();
    let (mut client, near) = UnixStream::pair().unwrap();
    let (mut upstream, far) = UnixStream::pair().unwrap();
    for sender in [&client, &far] {
        rustix::net::sockopt::set_socket_send_buffer_size(sender, 1 << 20).unwrap();
    }
    let handoff = rig.handoff([near.into(), far.into()]);
    rig.engine().adopt(handoff, 0).unwrap();
    rig.settle();
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(bytes) = client.write(&[5; CHUNK_BYTES]) {
        sent += bytes;
    }
    let share = turn::READS_MAX as usize * CHUNK_BYTES;
    assert!(sent > share, "the kernel takes more than one share: {sent}");
    wait(rig.engine().fd());
    let now_ms = rig.now_ms;
    assert_eq!(rig.engine().ready(now_ms).unwrap(), Batch::Full);
    assert_eq!(rig.table.snapshot().next().unwrap().read[0], share as u64);
    assert_eq!(rig.engine().next_expiry_ms(), Some(0));
    upstream.set_nonblocking(true).unwrap();
    let (mut got, mut buffer) = (0, vec![0; CHUNK_BYTES]);
    while got < sent {
        rig.settle();
        got += upstream.read(&mut buffer).unwrap_or(0);
    }
}

#[test]
fn a_close_by_name_ends_one_tunnel_once() {
    let mut rig = Rig::small();
    let (mut one, two) = (rig.tunnel(), rig.tunnel());
    assert_eq!(rig.engine().ids(), [one.id, two.id]);
    assert!(rig.engine().close(one.id, Close::Operator, 7));
    assert!(!rig.engine().close(one.id, Close::Operator, 7));
    assert_eq!(read_all(&mut one.client), b"101");
    assert_eq!(rig.engine().reports()[0].close, Close::Operator);
    assert_eq!(rig.engine().ids(), [two.id]);
    // The record is used again under another name; the old one names nothing.
    let three = rig.tunnel();
    assert_eq!(three.id.index, one.id.index);
    assert!(!rig.engine().close(one.id, Close::Operator, 7) && rig.engine().len() == 2);
}

#[test]
fn a_number_that_is_another_socket_by_now_is_not_closed() {
    let mut rig = Rig::small();
    let peers = rig.tunnel();
    let leg = rig.table.record(peers.id.index).unwrap().leg(Side::Client);
    let (_outer, stranger) = tcp_pair();
    // SAFETY: both numbers are open; the leg is closed by this, as by a bug elsewhere.
    assert!(unsafe { libc::dup2(stranger.as_raw_fd(), leg) } >= 0);
    rig.engine().close(peers.id, Close::Operator, 0);
    // SAFETY: no memory is passed; the number is this test's to close.
    assert_eq!(unsafe { libc::close(leg) }, 0, "it was closed although it is a stranger");
}

#[test]
fn the_engine_is_rebuilt_from_the_table_alone_in_the_middle_of_traffic() {
    let mut rig = Rig::small();
    let mut peers: Vec<Peers> = (0..8).map(|_| rig.tunnel_with([b"", b""])).collect();
    let total = 3_000_000_usize;
    let pattern = |at: usize| (at * 31 % 257 % 256) as u8;
    let data: Vec<u8> = (0..total).map(pattern).collect();
    let mut progress = vec![(0_usize, 0_usize); peers.len()];
    for peer in &peers {
        peer.client.set_nonblocking(true).unwrap();
        peer.upstream.set_nonblocking(true).unwrap();
    }
    let mut buffer = vec![0; 30_000];
    let (mut rounds, mut crashes) = (0, 0);
    while progress.iter().any(|(_, got)| *got < total) {
        rounds += 1;
        assert!(rounds < 100_000, "a tunnel stalls: {progress:?}");
        for (peer, (sent, got)) in peers.iter_mut().zip(&mut progress) {
            *sent += peer.client.write(&data[*sent..]).unwrap_or(0);
            if let Ok(bytes) = peer.upstream.read(&mut buffer) {
                assert_eq!(&buffer[..bytes], &data[*got..*got + bytes], "at {got}");
                *got += bytes;
            }
        }
        let now_ms = rig.now_ms;
        rig.engine().ready(now_ms).unwrap();
        if rounds % 7 == 0 {
            crashes += 1;
            rig.crash_and_go_on();
            assert_eq!(rig.engine().len(), 8);
        }
    }
    assert!(crashes > 10);
}

#[test]
fn a_lost_epoll_instance_is_made_anew_and_everything_checked() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel();
    rig.settle();
    peers.client.write_all(b"before").unwrap();
    peers.upstream.shutdown(Shutdown::Write).unwrap();
    // Dropping closes the epoll instance.
    rig.engine = None;
    rig.seats = Seats::rebuild(Arc::clone(&rig.table));
    let (table, seats) = (Arc::clone(&rig.table), Arc::clone(&rig.seats));
    let recovered = Engine::recover(table, seats, 0, Death::Killed, rig.now_ms).unwrap();
    assert_eq!(recovered.dropped, []);
    assert_eq!(recovered.adopted.len(), 1);
    assert_eq!(recovered.adopted[0].note, b"a line of the log");
    rig.engine = Some(recovered.engine);
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 11), b"hellobefore");
    assert_eq!(read_all(&mut peers.client), b"101");
}

#[test]
fn another_thread_absorbs_what_a_dead_one_carried() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel();
    rig.settle();
    let mut dead = rig.engine.take().unwrap();
    dead.spare = None;
    std::mem::forget(dead);
    rig.seats = Seats::rebuild(Arc::clone(&rig.table));
    let (table, seats) = (Arc::clone(&rig.table), Arc::clone(&rig.seats));
    let mut engine = Engine::new(table, seats, 1).unwrap();
    let taken = engine.absorb(0, Death::Killed, rig.now_ms);
    assert_eq!((taken.adopted.len(), taken.dropped.len(), engine.len()), (1, 0, 1));
    rig.engine = Some(engine);
    peers.client.write_all(b"after").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 10), b"helloafter");
    // Legs, memfd and the new epoll instance; the old one is gone.
    assert_eq!(rig.table.keep_list().len(), 4);
}

#[test]
fn a_report_that_was_not_taken_is_left_to_the_successor() {
    let mut rig = Rig::small();
    let peers = rig.tunnel();
    rig.engine().close(peers.id, Close::Lifetime, 0);
    rig.crash_and_go_on();
    let reports = rig.engine().reports();
    assert_eq!((reports.len(), reports[0].close), (1, Close::Lifetime));
    assert_eq!((rig.seats.in_use(), rig.seats.free_granules()), (0, 1024));
}

#[test]
fn every_flipped_byte_of_a_record_is_refused_or_harmless() {
    let mut rig = Rig::small();
    let mut dropped = 0;
    for at in 0..256 {
        let peers = rig.tunnel();
        rig.settle();
        let offset = rig.table.record_offset(peers.id.index) + at;
        let byte = rig.table.raw().part(offset, offset + 1);
        byte.fill(&[byte.to_vec()[0] ^ 0x81]);
        let mut recovered = rig.crash();
        if at < 136 {
            assert_eq!(recovered.adopted, [], "byte {at} of the constant half");
            assert_eq!(recovered.dropped.len(), 1);
        }
        dropped += recovered.dropped.len();
        recovered.engine.ready(rig.now_ms).unwrap();
        for id in recovered.engine.ids() {
            recovered.engine.close(id, Close::Shutdown, 0);
        }
        recovered.engine.reports();
        rig.engine = Some(recovered.engine);
        // A record whose state or thread was flipped is nobody's; a fresh table is the next
        // worker's answer.
        if rig.seats.in_use() != 0 || rig.engine().spare.is_none() && rig.seats.free_chunks() != 64
        {
            rig = Rig::small();
        }
    }
    assert!(dropped >= 136);
}

#[test]
fn a_leg_that_is_another_socket_is_found_when_everything_is_checked() {
    let mut rig = Rig::small();
    let peers = rig.tunnel();
    let leg = rig.table.record(peers.id.index).unwrap().leg(Side::Upstream);
    let (_outer, stranger) = tcp_pair();
    // SAFETY: both numbers are open.
    assert!(unsafe { libc::dup2(stranger.as_raw_fd(), leg) } >= 0);
    rig.engine = None;
    let mut recovered = rig_rebuild(&mut rig);
    assert_eq!(recovered.dropped[0].why, RecordFault::Leg);
    assert_eq!(recovered.engine.reports()[0].close, Close::LegMissing);
    // SAFETY: no memory is passed; the number is this test's to close.
    assert_eq!(unsafe { libc::close(leg) }, 0);
}

fn rig_rebuild(rig: &mut Rig) -> Recovered {
    rig.seats = Seats::rebuild(Arc::clone(&rig.table));
    Engine::rebuild(Arc::clone(&rig.table), Arc::clone(&rig.seats), 0, rig.now_ms).unwrap()
}

#[test]
fn legs_that_moved_are_found_under_their_new_numbers() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel();
    rig.settle();
    let record = rig.table.record(peers.id.index).unwrap();
    let old = Side::BOTH.map(|side| record.leg(side));
    // SAFETY: the record's numbers are open.
    let moved = old.map(|leg| unsafe { BorrowedFd::borrow_raw(leg) }.try_clone_to_owned().unwrap());
    let (_outer, stranger) = tcp_pair();
    let wrong = [stranger.as_fd().try_clone_to_owned().unwrap(), moved[1].try_clone().unwrap()];
    assert_eq!(rig.table.move_legs(peers.id, wrong).unwrap_err().0, RecordFault::Leg);
    rig.table.move_legs(peers.id, moved).unwrap();
    rig.engine = None;
    for leg in old {
        // SAFETY: no memory is passed; the numbers belong to no record any more.
        unsafe { libc::close(leg) };
    }
    let recovered = rig_rebuild(&mut rig);
    assert_eq!((recovered.adopted.len(), recovered.dropped.len()), (1, 0));
    rig.engine = Some(recovered.engine);
    peers.client.write_all(b"moved").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 10), b"hellomoved");
}

#[test]
fn a_large_table_takes_memory_only_for_what_lives() {
    let limits = Limits { records: 1 << 20, chunks: 1 << 18, note_bytes: 1 << 28, threads: 4 };
    let mut rig = Rig::new(limits);
    let mut peers = rig.tunnel();
    rig.settle();
    peers.client.write_all(b"x").unwrap();
    rig.turn();
    rig.crash_and_go_on();
    assert_eq!(rig.table.snapshot().count(), 1);
    assert_eq!(rig.table.keep_list().len(), 4);
    assert!(allocated(&rig.table) < 512 * 1024, "{}", allocated(&rig.table));
}

#[test]
fn a_million_bytes_through_every_chunk_leave_a_few_warm_ones() {
    let mut rig = Rig::small();
    let before = allocated(&rig.table);
    let mut peers: Vec<Peers> = (0..40).map(|_| rig.tunnel_with([b"", b""])).collect();
    for peer in &mut peers {
        peer.upstream.set_nonblocking(true).unwrap();
        while peer.upstream.write(&[1; CHUNK_BYTES]).is_ok() {
            rig.settle();
        }
    }
    assert!(allocated(&rig.table) > before + 30 * CHUNK_BYTES as u64);
    for id in rig.engine().ids() {
        rig.engine().close(id, Close::Shutdown, 0);
    }
    assert_eq!(rig.engine().reports().len(), 40);
    assert!(allocated(&rig.table) < before + 20 * CHUNK_BYTES as u64);
    assert_eq!((rig.seats.in_use(), rig.seats.free_granules()), (0, 1024));
}

#[test]
fn two_threads_share_a_pool_that_is_too_small_for_both() {
    let limits = Limits { records: 16, chunks: 4, note_bytes: 4096, threads: 2 };
    let rig = Rig::new(limits);
    let (mut outer, mut workers) = (Vec::new(), Vec::new());
    for thread in 0..2 {
        let (table, seats) = (Arc::clone(&rig.table), Arc::clone(&rig.seats));
        let mut handed = Vec::new();
        for _ in 0..4 {
            let ((client, near), (upstream, far)) = (tcp_pair(), tcp_pair());
            handed.push(rig.handoff([near.into(), far.into()]));
            client.set_nonblocking(true).unwrap();
            upstream.set_nonblocking(true).unwrap();
            outer.push((client, upstream, 0_usize, 0_usize));
        }
        workers.push(std::thread::spawn(move || {
            let mut engine = Engine::new(table, seats, thread).unwrap();
            for handoff in handed {
                engine.adopt(handoff, 0).unwrap();
            }
            work_until_empty(engine);
        }));
    }
    let total = 6_000_000;
    let mut buffer = vec![0; 20_000];
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while outer.iter().any(|(.., got)| *got < total) {
        assert!(std::time::Instant::now() < limit, "a tunnel starves");
        for (client, upstream, sent, got) in &mut outer {
            let rest = vec![9; (total - *sent).min(200_000)];
            *sent += client.write(&rest).unwrap_or(0);
            *got += upstream.read(&mut buffer).unwrap_or(0);
        }
    }
    drop(outer);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!((rig.seats.in_use(), rig.seats.free_chunks()), (0, 4));
}

/// A worker thread as the proxy has it: the clock, the descriptor, the verbs.
fn work_until_empty(mut engine: Engine) {
    let start = std::time::Instant::now();
    while !engine.is_empty() {
        let now_ms = start.elapsed().as_millis() as u64;
        let batch = engine.ready(now_ms).unwrap();
        engine.expire(now_ms);
        engine.reports();
        if batch == Batch::Short {
            let ms =
                engine.next_expiry_ms().map_or(1_000, |due| due.saturating_sub(now_ms)).min(1_000);
            let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: ms as i64 * 999_999 };
            poll(engine.fd(), Some(&limit));
        }
    }
}
