//! Records of a dead worker that are taken over one by one, while the engine turns.

use super::*;
use crate::engine::TakenOver;

impl Rig {
    /// The worker dies, and the next engine has taken over only what cannot wait.
    fn crash_and_begin(&mut self) {
        let mut dead = self.engine.take().unwrap();
        dead.spare = None;
        std::mem::forget(dead);
        self.seats = Seats::rebuild(Arc::clone(&self.table));
        let (table, seats) = (Arc::clone(&self.table), Arc::clone(&self.seats));
        let engine = Engine::resume(table, seats, 0, Death::Killed, self.now_ms).unwrap();
        self.engine = Some(engine);
    }

    fn take(&mut self, count: usize) -> TakenOver {
        let now_ms = self.now_ms;
        self.engine().take_more(count, now_ms)
    }
}

fn names(taken: &TakenOver) -> Vec<TunnelId> {
    taken.adopted.iter().map(|adopted| adopted.id).collect()
}

#[test]
fn what_has_an_event_is_taken_before_its_turn_and_told_once() {
    let mut rig = Rig::small();
    let mut peers: Vec<_> = (0..4).map(|_| rig.tunnel()).collect();
    rig.settle();
    rig.crash_and_begin();
    assert_eq!(rig.engine().len(), 4, "all are counted, taken or not");
    // The last turn's owner could not wait; it is the last tunnel.
    assert_eq!(names(&rig.take(0)), [peers[3].id]);
    peers[1].client.write_all(b"now").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peers[1].upstream, 8), b"hellonow");
    assert_eq!(names(&rig.take(0)), [peers[1].id], "the others have not been looked at");
    let mut rest = Vec::new();
    while rig.engine().is_taking() {
        rest.extend(names(&rig.take(1)));
    }
    rest.sort_by_key(|id| id.index);
    assert_eq!(rest, [peers[0].id, peers[2].id]);
    assert_eq!(rig.engine().len(), 4);
    for peer in &mut peers {
        peer.client.write_all(b"all go on").unwrap();
        rig.turn();
    }
}

#[test]
fn a_death_in_the_middle_leaves_all_to_the_next() {
    let mut rig = Rig::small();
    let mut peers: Vec<_> = (0..5).map(|_| rig.tunnel()).collect();
    rig.settle();
    for taken in 0..5 {
        rig.crash_and_begin();
        let _ = rig.take(taken);
        assert_eq!(rig.engine().len(), 5);
    }
    let peer = &mut peers[2];
    peer.upstream.write_all(b"late").unwrap();
    rig.turn();
    assert_eq!(read_some(&mut peer.client, 7), b"101late");
    let _ = rig.take(usize::MAX);
    assert!(!rig.engine().is_taking());
    assert_eq!(rig.engine().len(), 5);
}

#[test]
fn what_is_closed_or_drained_meanwhile_was_taken_before() {
    let mut rig = Rig::small();
    let mut peers: Vec<_> = (0..3).map(|_| rig.tunnel()).collect();
    rig.settle();
    rig.crash_and_begin();
    let _ = rig.take(0);
    let now_ms = rig.now_ms;
    assert!(rig.engine().close(peers[0].id, Close::Operator, now_ms));
    assert_eq!(names(&rig.take(0)), [peers[0].id], "told before its end is");
    let reports = rig.engine().reports();
    assert_eq!(reports.iter().map(|report| report.id).collect::<Vec<_>>(), [peers[0].id]);
    rig.engine().drain_now(1001, now_ms);
    assert_eq!(names(&rig.take(0)), [peers[1].id]);
    // A tunnel that begins meanwhile may get a record that is free: it is not taken over.
    let new = rig.tunnel();
    assert_eq!(names(&rig.take(usize::MAX)), []);
    assert_eq!(rig.engine().len(), 3);
    drop((new, peers.split_off(1)));
}
