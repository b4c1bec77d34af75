//! `hash ... consistent`: peers have points on a ring (ketama, as in `Cache::Memcached::Fast`), and a
//! key goes to the next one, so that a peer that comes or goes moves few keys.

use super::{Field, TRIES_MAX};
use crate::crc32::Crc32;
use crate::upstream::Peer;
use std::sync::Arc;

/// Points of a server for each of its weight.
const POINTS: usize = 160;

/// The points of all primaries, by their hashes.
pub struct Ring(Vec<(u32, Arc<str>)>);

pub struct Course {
    place: usize,
    tries: u32,
    has_key: bool,
}

impl Ring {
    pub fn new(peers: &[Peer]) -> Self {
        let mut points = Vec::new();
        for peer in peers.iter().filter(|peer| !peer.backup) {
            let (host, port) = host_and_port(peer.server.as_bytes());
            let mut base = Crc32::default();
            base.update(host);
            base.update(b"\0");
            base.update(port);
            let mut previous = 0u32;
            for _ in 0..peer.weight as usize * POINTS {
                let mut crc = base;
                crc.update(&previous.to_le_bytes());
                previous = crc.finish();
                points.push((previous, Arc::clone(&peer.server)));
            }
        }
        points.sort_by_key(|(hash, _)| *hash);
        points.dedup_by_key(|(hash, _)| *hash);
        Self(points)
    }

    /// The first point at or behind a hash.
    fn find(&self, hash: u32) -> usize {
        self.0.partition_point(|(point, _)| *point < hash)
    }
}

/// What stands before the last colon and the digits behind it; a unix socket has no port.
fn host_and_port(server: &[u8]) -> (&[u8], &[u8]) {
    if let Some((scheme, path)) = server.split_at_checked(5)
        && scheme.eq_ignore_ascii_case(b"unix:")
    {
        return (path, b"");
    }
    match server.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(at) if server[at] == b':' => (&server[..at], &server[at + 1..]),
        _ => (server, b""),
    }
}

impl Course {
    pub fn new(key: &[u8], ring: &Ring) -> Self {
        let mut crc = Crc32::default();
        crc.update(key);
        Self { place: ring.find(crc.finish()), tries: 0, has_key: !key.is_empty() }
    }

    pub fn pick(&mut self, field: &mut Field<'_>, ring: &Ring) -> Option<usize> {
        if self.tries > TRIES_MAX || !self.has_key || ring.0.is_empty() {
            return None;
        }
        loop {
            let server = &ring.0[self.place % ring.0.len()].1;
            // A name may have several addresses.
            let candidates: Vec<usize> = field
                .all(false)
                .filter(|&index| field.may(index) && field.peers[index].server == *server)
                .collect();
            if let Some(index) = field.smooth(&candidates) {
                return Some(index);
            }
            self.place += 1;
            self.tries += 1;
            if self.tries > TRIES_MAX {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_its_host_and_its_port() {
        let of = |text: &'static str| host_and_port(text.as_bytes());
        assert_eq!(of("a:80"), (&b"a"[..], &b"80"[..]));
        assert_eq!(of("a"), (&b"a"[..], &b""[..]));
        assert_eq!(of("127.0.0.1"), (&b"127.0.0.1"[..], &b""[..]));
        assert_eq!(of("[::1]:80"), (&b"[::1]"[..], &b"80"[..]));
        assert_eq!(of("unix:/a:80"), (&b"/a:80"[..], &b""[..]));
    }
}
