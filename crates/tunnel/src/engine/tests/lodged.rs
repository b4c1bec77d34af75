//! Legs that were registered before the switch: what they said meanwhile is not said again.

use super::*;

/// A tunnel whose legs were expected, and spoke before it was adopted.
struct Spoken {
    peers: Peers,
    lodgings: [Lodging; 2],
    handoff: Handoff,
}

/// Both peers speak, the engine hears it, and nobody reads.
fn spoken(rig: &mut Rig) -> Spoken {
    let ((mut client, near), (mut upstream, far)) = (tcp_pair(), tcp_pair());
    let handoff = rig.handoff([near.into(), far.into()]);
    let [near, far] = handoff.legs.each_ref().map(|leg| leg.as_fd());
    let lodgings = [
        rig.engine().expect(&handoff.seat, Side::Client, near).unwrap(),
        rig.engine().expect(&handoff.seat, Side::Upstream, far).unwrap(),
    ];
    // What is never passed on is a failure and not a wait.
    let patience = Some(std::time::Duration::from_secs(5));
    client.set_read_timeout(patience).unwrap();
    upstream.set_read_timeout(patience).unwrap();
    client.write_all(b"to upstream").unwrap();
    upstream.write_all(b"to client").unwrap();
    while !lodgings.iter().all(|lodging| lodging.readiness().readable) {
        rig.turn();
    }
    let id = handoff.seat.id();
    Spoken { peers: Peers { id, client, upstream }, lodgings, handoff }
}

fn both_are_heard(peers: &mut Peers) {
    let mut got = [0; 11];
    peers.upstream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"to upstream");
    peers.client.read_exact(&mut got[..9]).unwrap();
    assert_eq!(&got[..9], b"to client");
}

#[test]
fn what_was_said_before_the_switch_is_passed_on_with_it() {
    let mut rig = Rig::small();
    let Spoken { mut peers, lodgings, mut handoff } = spoken(&mut rig);
    handoff.first = [b"101".to_vec(), Vec::new()];
    lodgings.into_iter().for_each(Lodging::stay);
    let now_ms = rig.now_ms;
    assert_eq!(rig.engine().adopt(handoff, now_ms).unwrap(), peers.id);
    let mut got = [0; 3];
    peers.client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"101");
    both_are_heard(&mut peers);
    // And what comes later makes an event, on the one registration.
    peers.client.write_all(b"later").unwrap();
    rig.turn();
    let mut got = [0; 5];
    peers.upstream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"later");
}

#[test]
fn a_worker_that_dies_before_the_first_turn_leaves_a_tunnel_that_is_tried() {
    let mut rig = Rig::small();
    let Spoken { mut peers, lodgings, handoff } = spoken(&mut rig);
    lodgings.into_iter().for_each(Lodging::stay);
    let now_ms = rig.now_ms;
    let lodged = rig.engine().lodged(&handoff);
    rig.engine().go_live(&handoff, lodged, now_ms).unwrap();
    handoff.legs.into_iter().for_each(|leg| _ = crate::poll::Leg::from_owned(leg));
    handoff.seat.occupy();
    rig.crash_and_go_on();
    rig.settle();
    both_are_heard(&mut peers);
}

#[test]
fn a_socket_that_becomes_no_leg_leaves_no_registration() {
    let mut rig = Rig::small();
    let Spoken { mut peers, lodgings, handoff } = spoken(&mut rig);
    drop(lodgings);
    peers.client.write_all(b"more").unwrap();
    rig.settle();
    assert!(!is_readable(rig.engine().fd()));
    drop(handoff);
    assert_eq!(rig.seats.in_use(), 0);
}
