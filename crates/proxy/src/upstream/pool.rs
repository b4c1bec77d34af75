//! Idle connections to upstreams, kept for the next request. Each thread has its own.

use crate::known_keys::KnownMap;
use crate::tls::Dialling;
use crate::upstream::{Group, Keepalive, Upstream};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Which connections are alike: the group, and the location when the group says `local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kin {
    group: Arc<str>,
    location: usize,
    tls: Option<Secured>,
}

/// By which rules TLS was spoken, and to which name.
#[derive(Clone, Debug)]
struct Secured {
    rules: Arc<Dialling>,
    name: Box<[u8]>,
}

impl PartialEq for Secured {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) && self.name == other.name
    }
}

impl Eq for Secured {}

impl Hash for Secured {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.rules).hash(state);
        // A client may have chosen it.
        state.write_u64(NAMES.hash_one(&self.name));
    }
}

/// What clients cannot foresee of the hashes of names.
static NAMES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Kin {
    /// `location` is any number that differs between locations.
    pub fn new(group: &Group, location: usize) -> Self {
        let location = if group.keepalive.local { location } else { 0 };
        Self { group: Arc::clone(group.kin()), location, tls: None }
    }

    /// Connections by these rules to this name are none of others.
    pub fn secured(self, rules: &Arc<Dialling>, name: &[u8]) -> Self {
        Self { tls: Some(Secured { rules: Arc::clone(rules), name: name.into() }), ..self }
    }
}

struct Idle {
    upstream: Box<Upstream>,
    until: Instant,
}

/// The idle connections of one thread.
#[derive(Default)]
pub struct Pool {
    by_kin: KnownMap<Kin, VecDeque<Idle>>,
}

impl Pool {
    /// A connection to `address` that is still open, the one used last first.
    pub fn get(&mut self, kin: &Kin, address: &crate::config::Address) -> Option<Box<Upstream>> {
        let list = self.by_kin.get_mut(kin)?;
        while let Some(at) = list.iter().rposition(|idle| *idle.upstream.address == *address) {
            let mut upstream = list.remove(at)?.upstream;
            if is_quiet(&upstream) {
                upstream.requests += 1;
                upstream.is_reused = true;
                return Some(upstream);
            }
        }
        None
    }

    /// Keeps a connection if the group's limits let it; the one idle longest makes room.
    pub fn put(&mut self, kin: Kin, upstream: Box<Upstream>, limits: &Keepalive, now: Instant) {
        let age = now.duration_since(upstream.made);
        let spent =
            upstream.requests >= limits.requests || age.as_millis() as u64 >= limits.time_ms;
        if limits.connections == 0 || spent || !upstream.buffer.is_empty() {
            return;
        }
        let list = self.by_kin.entry(kin).or_default();
        if list.len() >= limits.connections {
            list.pop_front();
        }
        let mut upstream = upstream;
        upstream.buffer = bytes::BytesMut::new();
        list.push_back(Idle { upstream, until: now + Duration::from_millis(limits.timeout_ms) });
    }

    /// Closes what has been idle too long or was closed by the server.
    pub fn sweep(&mut self, now: Instant) {
        self.by_kin.retain(|_, list| {
            list.retain(|idle| idle.until > now && is_quiet(&idle.upstream));
            !list.is_empty()
        });
    }

    pub fn is_empty(&self) -> bool {
        self.by_kin.is_empty()
    }

    pub fn clear(&mut self) {
        self.by_kin.clear();
    }
}

/// Open, and nothing was sent without being asked for: such bytes would be taken for the answer to
/// the next request.
fn is_quiet(upstream: &Upstream) -> bool {
    upstream.channel.is_quiet()
}
