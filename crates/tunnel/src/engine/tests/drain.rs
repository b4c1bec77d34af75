//! Polite ends on real sockets: where the Close frame goes, what comes behind it, and what happens
//! when a peer does not answer or the worker dies.

use super::*;

const TO_CLIENT: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A text frame as a client sends it.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend(text);
    frame
}

fn websocket(rig: &mut Rig, first: [&[u8]; 2]) -> Peers {
    let ((client, near), (upstream, far)) = (tcp_pair(), tcp_pair());
    let mut handoff = rig.handoff([near.into(), far.into()]);
    handoff.first = first.map(<[u8]>::to_vec);
    handoff.framing = Framing::WebSocket { head: 3 };
    let now_ms = rig.now_ms;
    let id = rig.engine().adopt(handoff, now_ms).unwrap();
    Peers { id, client, upstream }
}

fn drain(rig: &mut Rig) {
    let now_ms = rig.now_ms;
    rig.engine().drain(Drain { window_ms: 0, code: 1001, rate: 0, seed: 5 }, now_ms);
    rig.engine().expire(now_ms);
}

/// The code of a masked Close frame.
fn unmask(frame: &[u8]) -> u16 {
    assert_eq!((frame.len(), &frame[..2]), (8, &[0x88, 0x82][..]));
    u16::from_be_bytes([frame[6] ^ frame[2], frame[7] ^ frame[3]])
}

#[test]
fn both_sides_get_a_close_frame_and_the_ends_are_passed_on() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101\x81\x01x", b""]);
    assert_eq!(read_some(&mut peers.client, 6), b"101\x81\x01x");
    peers.client.write_all(&masked(b"hello")).unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peers.upstream, 11), masked(b"hello"));
    drain(&mut rig);
    assert_eq!(read_some(&mut peers.client, 4), TO_CLIENT);
    assert_eq!(unmask(&read_some(&mut peers.upstream, 8)), 1001);
    // What comes now goes nowhere; the upstream's end goes to the client.
    peers.client.write_all(&masked(b"late")).unwrap();
    peers.upstream.write_all(&TO_CLIENT).unwrap();
    peers.upstream.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    assert_eq!(read_all(&mut peers.client), b"");
    assert_eq!(rig.engine().reports(), []);
    drop(peers.client);
    rig.turn();
    assert_eq!(read_all(&mut peers.upstream), b"");
    let reports = rig.engine().reports();
    assert_eq!((reports[0].close, reports[0].written), (Close::Drained, [6 + 4, 11 + 8]));
    assert_eq!((rig.seats.in_use(), rig.seats.free_granules()), (0, 1024));
}

#[test]
fn a_frame_under_way_is_finished_and_nothing_behind_it_begins() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    let frame = masked(b"a message in two pieces");
    peers.client.write_all(&frame[..1]).unwrap();
    rig.turn();
    drain(&mut rig);
    // The other direction stands at a boundary.
    assert_eq!(read_some(&mut peers.client, 7), [b"101", &TO_CLIENT[..]].concat());
    peers.client.write_all(&frame[1..9]).unwrap();
    rig.turn();
    peers.client.write_all(&[&frame[9..], &masked(b"another")].concat()).unwrap();
    rig.turn();
    let got = read_some(&mut peers.upstream, frame.len() + 8);
    assert_eq!(got[..frame.len()], frame);
    assert_eq!(unmask(&got[frame.len()..]), 1001);
}

/// The last read ends with the frame: nothing else comes, and the Close frame goes all the same.
#[test]
fn a_frame_that_ends_with_a_read_is_the_boundary() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    let frame = masked(b"a message in two pieces");
    peers.client.write_all(&frame[..9]).unwrap();
    rig.turn();
    drain(&mut rig);
    peers.client.write_all(&frame[9..]).unwrap();
    rig.turn();
    peers.upstream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let got = read_some(&mut peers.upstream, frame.len() + 8);
    assert_eq!(got[..frame.len()], frame);
    assert_eq!(unmask(&got[frame.len()..]), 1001);
}

#[test]
fn who_does_not_answer_gets_a_fin_and_then_a_reset() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    drain(&mut rig);
    read_some(&mut peers.client, 7);
    read_some(&mut peers.upstream, 8);
    assert!(!is_readable(peers.client.as_fd()));
    rig.now_ms += timers::LISTEN_MAX_MS + 40;
    let now_ms = rig.now_ms;
    rig.engine().expire(now_ms);
    assert_eq!((read_all(&mut peers.client), read_all(&mut peers.upstream)), (vec![], vec![]));
    assert_eq!(rig.engine().reports(), []);
    peers.client.write_all(b"still here").unwrap();
    rig.turn();
    rig.now_ms += timers::LEAVE_MAX_MS + 40;
    let now_ms = rig.now_ms;
    rig.engine().expire(now_ms);
    assert_eq!(rig.engine().reports()[0].close, Close::Drained);
    assert_eq!(rig.engine().next_expiry_ms(), None);
    wait_for_reset(&mut peers.client);
}

fn wait_for_reset(stream: &mut TcpStream) {
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while stream.write(b"x").is_ok() {
        assert!(std::time::Instant::now() < limit, "no reset comes");
        std::thread::yield_now();
    }
}

#[test]
fn a_frame_that_does_not_end_ends_with_its_time() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    peers.client.write_all(&masked(b"half of this")[..9]).unwrap();
    rig.turn();
    drain(&mut rig);
    rig.now_ms += timers::SPEAK_MAX_MS + 40;
    let now_ms = rig.now_ms;
    rig.engine().expire(now_ms);
    assert_eq!(read_all(&mut peers.upstream), masked(b"half of this")[..9]);
    assert_eq!(read_all(&mut peers.client), [b"101", &TO_CLIENT[..]].concat());
}

#[test]
fn a_tunnel_without_frames_gets_fins_behind_everything_that_is_kept() {
    let mut rig = Rig::small();
    let mut peers = rig.tunnel_with([b"101", b""]);
    peers.upstream.set_nonblocking(true).unwrap();
    let mut sent = 3;
    while let Ok(bytes) = peers.upstream.write(&[9; CHUNK_BYTES]) {
        sent += bytes;
        rig.settle();
    }
    drain(&mut rig);
    assert_eq!(read_all(&mut peers.upstream.try_clone().unwrap()), b"");
    peers.client.set_nonblocking(true).unwrap();
    let (mut got, mut buffer) = (0, vec![0; CHUNK_BYTES]);
    loop {
        match peers.client.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => got += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rig.settle();
    }
    // The rest was still the kernel's when the drain began.
    assert!(got > 3 && got <= sent, "{got} of {sent}");
    drop(peers);
    rig.turn();
    assert_eq!(rig.engine().reports()[0].close, Close::Drained);
}

#[test]
fn a_peers_own_close_frame_is_not_followed_by_another() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    peers.upstream.write_all(&[0x88, 0]).unwrap();
    rig.turn();
    drain(&mut rig);
    peers.upstream.shutdown(Shutdown::Write).unwrap();
    rig.turn();
    assert_eq!(read_all(&mut peers.client), b"101\x88\x00");
    assert_eq!(unmask(&read_some(&mut peers.upstream, 8)), 1001);
}

#[test]
fn turns_come_in_the_window_and_a_late_tunnel_has_one_too() {
    let mut rig = Rig::small();
    let mut peers: Vec<Peers> = (0..10).map(|_| websocket(&mut rig, [b"101", b""])).collect();
    let start_ms = rig.now_ms;
    let order = Drain { window_ms: 1_000, code: 1012, rate: 100, seed: 9 };
    rig.engine().drain(order, start_ms);
    peers.push(websocket(&mut rig, [b"101", b""]));
    let (mut begun, mut now_ms) = (Vec::new(), start_ms);
    while begun.len() < peers.len() {
        now_ms = rig.engine().next_expiry_ms().unwrap().max(now_ms + 1);
        assert!(now_ms < start_ms + 1_200, "{begun:?}");
        rig.engine().expire(now_ms);
        for (at, peer) in peers.iter_mut().enumerate() {
            if !begun.contains(&at) && rig.engine.as_ref().unwrap().is_draining(peer.id) {
                assert_eq!(read_some(&mut peer.client, 7)[3..], [0x88, 2, 0x03, 0xf4]);
                assert_eq!(unmask(&read_some(&mut peer.upstream, 8)), 1012);
                begun.push(at);
            }
        }
    }
    assert_ne!(begun, (0..peers.len()).collect::<Vec<_>>(), "in an order of their own");
    assert!(now_ms > start_ms + 500, "spread over the window");
}

#[test]
fn the_last_moments_are_polite_as_well() {
    let mut rig = Rig::small();
    let mut peers = websocket(&mut rig, [b"101", b""]);
    let mut opaque = rig.tunnel_with([b"", b""]);
    rig.engine().drain_now(1001, 0);
    for id in rig.engine().ids() {
        rig.engine().close(id, Close::Drained, 0);
    }
    assert_eq!(read_all(&mut peers.client), [b"101", &TO_CLIENT[..]].concat());
    assert_eq!(unmask(&read_all(&mut peers.upstream)), 1001);
    assert_eq!(read_all(&mut opaque.client), b"");
    assert_eq!(rig.engine().reports().len(), 2);
}

#[test]
fn what_has_begun_goes_on_after_a_death_and_the_rest_is_ordered_again() {
    let mut rig = Rig::small();
    let mut first = websocket(&mut rig, [b"101", b""]);
    let mut second = websocket(&mut rig, [b"101", b""]);
    let now_ms = rig.now_ms;
    rig.engine().drain(Drain { window_ms: 10, code: 1001, rate: 1, seed: 5 }, now_ms);
    while !is_readable(second.upstream.as_fd()) && !is_readable(first.upstream.as_fd()) {
        rig.now_ms += 1;
        let now_ms = rig.now_ms;
        rig.engine().expire(now_ms);
    }
    rig.crash_and_go_on();
    drain(&mut rig);
    rig.settle();
    for peer in [&mut first, &mut second] {
        peer.client.shutdown(Shutdown::Write).unwrap();
        peer.upstream.shutdown(Shutdown::Write).unwrap();
    }
    while !rig.engine().is_empty() {
        rig.turn();
    }
    for peer in [&mut first, &mut second] {
        assert_eq!(read_all(&mut peer.client), [b"101", &TO_CLIENT[..]].concat());
        assert_eq!(unmask(&read_all(&mut peer.upstream)), 1001);
    }
}

#[test]
fn a_record_that_crashes_its_adopters_is_dropped_and_a_killed_worker_proves_nothing() {
    let mut rig = Rig::small();
    let (bad, good) = (rig.tunnel(), rig.tunnel());
    rig.settle();
    let crash_in = |rig: &mut Rig, death| {
        // As if the worker had died in the first turn of that record.
        let record = rig.table.record(bad.id.index).unwrap();
        record.mark(Mark::Kick);
        record.set_touched(true, record.strikes());
        let mut dead = rig.engine.take().unwrap();
        dead.spare = None;
        std::mem::forget(dead);
        rig.seats = Seats::rebuild(Arc::clone(&rig.table));
        let (table, seats) = (Arc::clone(&rig.table), Arc::clone(&rig.seats));
        let recovered = Engine::recover(table, seats, 0, death, rig.now_ms).unwrap();
        rig.engine = Some(recovered.engine);
        recovered.dropped
    };
    for _ in 0..5 {
        assert_eq!(crash_in(&mut rig, Death::Killed), []);
    }
    assert_eq!(crash_in(&mut rig, Death::Crashed), []);
    // A turn that succeeds forgives.
    rig.settle();
    assert_eq!(rig.table.record(bad.id.index).unwrap().strikes(), 0);
    assert_eq!(crash_in(&mut rig, Death::Crashed), []);
    let dropped = crash_in(&mut rig, Death::Crashed);
    assert_eq!(dropped, [Dropped { record: bad.id.index, why: RecordFault::Crashed }]);
    let reports = rig.engine().reports();
    assert_eq!((reports.len(), reports[0].close), (1, Close::Damaged));
    assert_eq!(rig.engine().ids(), [good.id]);
}
