//! A group of servers: its peers, what is known of each, and how many connections each has.
//!
//! Shared by all threads of a worker; the lock is held for one pass over the peers. Whose turn it is
//! says `balance`.

use super::balance::{Method, Turn};
use crate::config::Address;
use crate::request::Request;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An `upstream` block, or the one server that a `proxy_pass` names directly.
pub struct Group {
    pub name: String,
    /// The name once more, for the keys of kept connections.
    kin: Arc<str>,
    /// Whether it stands in the configuration as an `upstream` block.
    pub explicit: bool,
    /// The port of an implicit group, for look-ups at run time.
    pub port: u16,
    peers: Vec<Peer>,
    /// The addresses of the peers as logs show them.
    shown: Vec<Arc<str>>,
    state: Mutex<Vec<PeerState>>,
    method: Method,
    pub keepalive: Keepalive,
}

/// How connections to the group are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub connections: usize,
    pub local: bool,
    pub requests: u64,
    pub time_ms: u64,
    pub timeout_ms: u64,
}

/// One address of a server.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: Address,
    /// The server as it was written, which may have several addresses.
    pub server: Arc<str>,
    pub weight: u32,
    pub max_fails: u32,
    pub fail_timeout_ms: u64,
    /// Connections at a time; 0 is no limit.
    pub max_conns: u32,
    pub backup: bool,
    pub down: bool,
}

/// What is known of a peer.
#[derive(Clone, Debug, Default)]
pub struct PeerState {
    pub current_weight: i64,
    pub effective_weight: i64,
    pub fails: u32,
    pub accessed_ms: u64,
    pub checked_ms: u64,
    /// Shared with the groups of older configurations, whose requests and tunnels go on.
    pub connections: Arc<AtomicU32>,
}

/// Whether a peer is left alone after its failures.
pub fn rests(peer: &Peer, state: &PeerState, now_ms: u64) -> bool {
    peer.max_fails > 0
        && state.fails >= peer.max_fails
        && now_ms.saturating_sub(state.checked_ms) <= peer.fail_timeout_ms
}

/// How an attempt with a peer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fine,
    Failed,
}

/// What a released peer means for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    Quietly,
    /// `upstream server temporarily disabled`.
    Disabled,
}

impl Group {
    pub fn new(
        name: String,
        explicit: bool,
        port: u16,
        peers: Vec<Peer>,
        (method, keepalive): (Method, Keepalive),
    ) -> Self {
        let state = peers
            .iter()
            .map(|peer| PeerState {
                effective_weight: i64::from(peer.weight),
                ..Default::default()
            })
            .collect();
        let shown = peers.iter().map(|peer| peer.address.to_string().into()).collect();
        Self {
            kin: name.as_str().into(),
            name,
            explicit,
            port,
            peers,
            shown,
            state: Mutex::new(state),
            method,
            keepalive,
        }
    }

    /// The group of a server that `proxy_pass` names directly, with nginx's defaults.
    pub fn implicit(name: String, port: u16, addresses: Vec<Address>) -> Self {
        let server: Arc<str> = name.as_str().into();
        let peer = |address| Peer {
            address,
            server: Arc::clone(&server),
            weight: 1,
            max_fails: 1,
            fail_timeout_ms: 10_000,
            max_conns: 0,
            backup: false,
            down: false,
        };
        // Connections are kept only where an `upstream` block stands, as in nginx.
        let keepalive = Keepalive {
            connections: 0,
            local: true,
            requests: 1000,
            time_ms: 3_600_000,
            timeout_ms: 60_000,
        };
        let peers = addresses.into_iter().map(peer).collect();
        Self::new(name, false, port, peers, (Method::RoundRobin, keepalive))
    }

    pub fn peer(&self, index: usize) -> &Peer {
        &self.peers[index]
    }

    /// The addresses of all peers.
    pub fn addresses(&self) -> Vec<Address> {
        self.peers.iter().map(|peer| peer.address.clone()).collect()
    }

    /// A peer's address as logs show it.
    pub fn shown(&self, index: usize) -> &Arc<str> {
        &self.shown[index]
    }

    /// The name that connections of this group are kept under.
    pub fn kin(&self) -> &Arc<str> {
        &self.kin
    }

    /// How many attempts a request may make: every peer that is not down.
    pub fn tries(&self) -> usize {
        self.peers.iter().filter(|peer| !peer.down).count().max(1)
    }

    /// Begins the turn of a request.
    pub fn turn(&self, request: &Request) -> Turn {
        self.method.turn(request)
    }

    /// The peer whose turn it is among those not tried, primaries before backups. `None` when no
    /// peer is live and has room.
    pub fn pick(&self, turn: &mut Turn, now_ms: u64) -> Option<usize> {
        self.method.pick(turn, (&self.peers, &mut self.lock()), now_ms)
    }

    /// Gives a peer back after an attempt, or a tunnel's after its end.
    pub fn release(&self, index: usize, outcome: Outcome, now_ms: u64) -> Released {
        let single = self.peers.len() == 1;
        let peer = &self.peers[index];
        let mut state = self.lock();
        let one = &mut state[index];
        leave(&one.connections);
        if single {
            return Released::Quietly;
        }
        if outcome == Outcome::Fine {
            // The server has answered since it was checked last.
            if one.accessed_ms < one.checked_ms {
                one.fails = 0;
            }
            return Released::Quietly;
        }
        one.fails += 1;
        one.accessed_ms = now_ms;
        one.checked_ms = now_ms;
        if peer.max_fails == 0 {
            return Released::Quietly;
        }
        let cost = i64::from(peer.weight / peer.max_fails);
        one.effective_weight = (one.effective_weight - cost).max(0);
        if one.fails >= peer.max_fails { Released::Disabled } else { Released::Quietly }
    }

    /// Counts a tunnel that was taken over from a worker that died.
    pub fn take(&self, index: usize) {
        if let Some(one) = self.lock().get(index) {
            one.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The peer with this address.
    pub fn find(&self, address: &str) -> Option<usize> {
        self.shown.iter().position(|shown| **shown == *address)
    }

    /// Connections that are open to a peer, tunnels included.
    pub fn connections(&self, index: usize) -> u32 {
        self.lock()[index].connections.load(Ordering::Relaxed)
    }

    /// Takes over what an older configuration's group with the same name knew of the same peers.
    pub fn carry_from(&self, older: &Group) {
        let before = older.lock();
        let mut state = self.lock();
        for (index, peer) in self.peers.iter().enumerate() {
            let same = older.peers.iter().position(|old| old.address == peer.address);
            if let Some(old) = same {
                let weight = i64::from(peer.weight);
                state[index] = before[old].clone();
                state[index].effective_weight = before[old].effective_weight.min(weight);
                state[index].current_weight = 0;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PeerState>> {
        // The state is plain numbers: a panic elsewhere cannot leave it half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection less; a peer that was away for a configuration counts anew from zero.
fn leave(connections: &AtomicU32) {
    let less = |count: u32| count.checked_sub(1);
    // Below zero it stays at zero.
    let _ = connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Keepalive =
        Keepalive { connections: 0, local: true, requests: 1, time_ms: 1, timeout_ms: 1 };

    fn peer(port: u16, weight: u32, backup: bool) -> Peer {
        Peer {
            address: Address::Inet(([127, 0, 0, 1], port).into()),
            server: format!("127.0.0.1:{port}").into(),
            weight,
            max_fails: 1,
            fail_timeout_ms: 10_000,
            max_conns: 0,
            backup,
            down: false,
        }
    }

    fn sequence(group: &Group, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| {
                let index = group.pick(&mut Turn::plain(), 0).unwrap();
                group.release(index, Outcome::Fine, 0);
                index
            })
            .collect()
    }

    #[test]
    fn weights_are_spread_smoothly() {
        let peers = vec![peer(1, 5, false), peer(2, 1, false), peer(3, 1, false)];
        let group = Group::new("g".into(), true, 0, peers, (Method::RoundRobin, KEEPALIVE));
        assert_eq!(sequence(&group, 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn a_failed_peer_rests_and_a_backup_serves() {
        let group = Group::new(
            "g".into(),
            true,
            0,
            vec![peer(1, 1, false), peer(2, 1, true)],
            (Method::RoundRobin, KEEPALIVE),
        );
        let first = group.pick(&mut Turn::plain(), 100).unwrap();
        assert_eq!(first, 0);
        assert_eq!(group.release(0, Outcome::Failed, 100), Released::Disabled);
        assert_eq!(group.pick(&mut Turn::plain(), 101), Some(1));
        // After fail_timeout one request tries it again.
        assert_eq!(group.pick(&mut Turn::plain(), 10_200), Some(0));
    }

    #[test]
    fn a_request_tries_each_peer_once() {
        let group = Group::new(
            "g".into(),
            true,
            0,
            vec![peer(1, 1, false), peer(2, 1, false)],
            (Method::RoundRobin, KEEPALIVE),
        );
        let mut tried = Turn::plain();
        assert!(group.pick(&mut tried, 0).is_some());
        assert!(group.pick(&mut tried, 0).is_some());
        assert_eq!(group.pick(&mut tried, 0), None);
    }

    #[test]
    fn a_tunnel_counts_until_it_is_released() {
        let group = Group::new(
            "g".into(),
            true,
            0,
            vec![peer(1, 1, false)],
            (Method::RoundRobin, KEEPALIVE),
        );
        group.take(0);
        assert_eq!(group.connections(0), 1);
        group.release(0, Outcome::Fine, 0);
        assert_eq!(group.connections(0), 0);
    }

    #[test]
    fn the_least_busy_peer_is_chosen_tunnels_included() {
        let peers = vec![peer(1, 1, false), peer(2, 2, false)];
        let group = Group::new("g".into(), true, 0, peers, (Method::LeastConn, KEEPALIVE));
        let picks: Vec<_> = (0..6).map(|_| group.pick(&mut Turn::plain(), 0).unwrap()).collect();
        assert_eq!(picks, [1, 0, 1, 0, 1, 1]);
        group.release(0, Outcome::Fine, 0);
        group.release(0, Outcome::Fine, 0);
        assert_eq!(group.pick(&mut Turn::plain(), 0), Some(0));
    }

    #[test]
    fn a_peer_has_no_more_connections_than_it_may() {
        let peers = vec![Peer { max_conns: 1, ..peer(1, 9, false) }, peer(2, 1, false)];
        let group = Group::new("g".into(), true, 0, peers, (Method::RoundRobin, KEEPALIVE));
        assert_eq!(group.pick(&mut Turn::plain(), 0), Some(0));
        assert_eq!(group.pick(&mut Turn::plain(), 0), Some(1));
        group.release(0, Outcome::Fine, 0);
        assert_eq!(group.pick(&mut Turn::plain(), 0), Some(0));
        let lone = vec![Peer { max_conns: 1, ..peer(1, 1, false) }];
        let group = Group::new("g".into(), true, 0, lone, (Method::RoundRobin, KEEPALIVE));
        assert_eq!(group.pick(&mut Turn::plain(), 0), Some(0));
        assert_eq!(group.pick(&mut Turn::plain(), 0), None);
    }

    #[test]
    fn connections_of_an_older_configuration_count_on() {
        let group = || {
            let lone = vec![Peer { max_conns: 1, ..peer(1, 1, false) }];
            Group::new("g".into(), true, 0, lone, (Method::RoundRobin, KEEPALIVE))
        };
        let (old, new) = (group(), group());
        assert_eq!(old.pick(&mut Turn::plain(), 0), Some(0));
        new.carry_from(&old);
        assert_eq!(new.pick(&mut Turn::plain(), 0), None);
        old.release(0, Outcome::Fine, 0);
        assert_eq!(new.pick(&mut Turn::plain(), 0), Some(0));
    }
}
