//! Whose turn it is among the peers of a group: nginx's balancing methods, choice for choice.
//!
//! [`Method`] is what the configuration says, [`Turn`] what one request has tried so far. A method is
//! a function over a [`Field`], the peers with their state under the group's lock. All fall back to
//! round robin when they find nobody.

mod consistent;
mod hash;
mod ip_hash;
mod least_conn;
mod random;
mod round_robin;

pub use consistent::Ring;

use super::group::PeerState;
use super::{Peer, group};
use crate::request::Request;
use perdura_conf::Template;
use std::sync::atomic::Ordering;

/// How a group chooses.
pub enum Method {
    RoundRobin,
    LeastConn,
    IpHash,
    Hash {
        key: Template,
    },
    Consistent {
        key: Template,
        ring: Ring,
    },
    Random,
    /// The less busy one of two.
    RandomTwo,
}

/// What a method looks for.
enum Course {
    Plain,
    Address(ip_hash::Course),
    Hash(hash::Course),
    Consistent(consistent::Course),
    Random { tries: u32 },
}

/// The turn of one request: what it has tried, and what its method looks for.
pub struct Turn {
    tried: Vec<bool>,
    course: Course,
}

/// How often a method looks on before it leaves the choice to round robin.
const TRIES_MAX: u32 = 20;

impl Method {
    /// Begins the turn of a request.
    pub fn turn(&self, request: &Request) -> Turn {
        let course = match self {
            Self::RoundRobin | Self::LeastConn => Course::Plain,
            Self::IpHash => Course::Address(ip_hash::Course::new(request.peer())),
            Self::Hash { key } => Course::Hash(hash::Course::new(request.value(key))),
            Self::Consistent { key, ring } => {
                Course::Consistent(consistent::Course::new(&request.value(key), ring))
            }
            Self::Random | Self::RandomTwo => Course::Random { tries: 0 },
        };
        Turn { tried: Vec::new(), course }
    }

    /// Chooses a peer that was not tried; `None` when none is live.
    pub fn pick(
        &self,
        turn: &mut Turn,
        (peers, state): (&[Peer], &mut [PeerState]),
        now_ms: u64,
    ) -> Option<usize> {
        turn.tried.resize(peers.len(), false);
        let mut field = Field { peers, state, tried: &turn.tried, now_ms };
        let found = match (self, &mut turn.course) {
            (Self::LeastConn, _) => least_conn::pick(&mut field),
            (_, _) if field.has_no_choice() => None,
            (_, Course::Address(course)) => course.pick(&mut field),
            (_, Course::Hash(course)) => course.pick(&mut field),
            (Self::Consistent { ring, .. }, Course::Consistent(course)) => {
                course.pick(&mut field, ring)
            }
            (Self::RandomTwo, Course::Random { tries }) => random::two(&mut field, tries),
            (_, Course::Random { tries }) => random::one(&mut field, tries),
            _ => None,
        };
        let index = found.or_else(|| round_robin::pick(&mut field))?;
        field.state[index].connections.fetch_add(1, Ordering::Relaxed);
        turn.tried[index] = true;
        Some(index)
    }
}

impl Turn {
    /// The turn of a request that looks for nothing in particular.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { tried: Vec::new(), course: Course::Plain }
    }
}

/// The peers of a group while one is chosen.
struct Field<'f> {
    peers: &'f [Peer],
    state: &'f mut [PeerState],
    tried: &'f [bool],
    now_ms: u64,
}

impl Field<'_> {
    /// Whether a peer may be chosen: it was not tried, it is not down, it does not rest after
    /// failures, and it has room.
    fn may(&self, index: usize) -> bool {
        let (peer, state) = (&self.peers[index], &self.state[index]);
        !self.tried.get(index).copied().unwrap_or(false)
            && !peer.down
            && !group::rests(peer, state, self.now_ms)
            && self.has_room(index)
    }

    fn has_room(&self, index: usize) -> bool {
        let max = self.peers[index].max_conns;
        max == 0 || self.connections(index) < max
    }

    fn connections(&self, index: usize) -> u32 {
        self.state[index].connections.load(Ordering::Relaxed)
    }

    /// The peers that serve always, or those that stand in.
    fn all(&self, backup: bool) -> impl Iterator<Item = usize> {
        (0..self.peers.len()).filter(move |&index| self.peers[index].backup == backup)
    }

    /// There is one primary at most, so that a method has nothing to choose.
    fn has_no_choice(&self) -> bool {
        self.all(false).count() < 2
    }

    fn total_weight(&self) -> u64 {
        self.all(false).map(|index| u64::from(self.peers[index].weight)).sum()
    }

    /// The primary at a place among all weights.
    fn at_weight(&self, mut place: u64) -> Option<usize> {
        self.all(false).find(|&index| {
            let weight = u64::from(self.peers[index].weight);
            let here = place < weight;
            place = place.wrapping_sub(weight);
            here
        })
    }

    /// A request is about to show whether a peer that failed is well again.
    fn check(&mut self, index: usize) {
        let state = &mut self.state[index];
        if self.now_ms.saturating_sub(state.checked_ms) > self.peers[index].fail_timeout_ms {
            state.checked_ms = self.now_ms;
        }
    }

    /// Smooth weighted round robin among candidates: each gains its weight, the one that has gained
    /// most pays for all.
    fn smooth(&mut self, candidates: &[usize]) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut total = 0;
        for &index in candidates {
            let weight = i64::from(self.peers[index].weight);
            let one = &mut self.state[index];
            one.current_weight += one.effective_weight;
            total += one.effective_weight;
            if one.effective_weight < weight {
                one.effective_weight += 1;
            }
            let current = one.current_weight;
            if best.is_none_or(|best| current > self.state[best].current_weight) {
                best = Some(index);
            }
        }
        let best = best?;
        self.state[best].current_weight -= total;
        self.check(best);
        Some(best)
    }
}
