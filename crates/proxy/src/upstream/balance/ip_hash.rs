//! The same client goes to the same peer: by the first three bytes of an IPv4 address, or the whole
//! IPv6 one.

use super::{Field, TRIES_MAX};
use crate::request::Peer;
use std::net::IpAddr;

pub struct Course {
    address: Vec<u8>,
    hash: u64,
    tries: u32,
}

/// nginx's numbers.
const SEED: u64 = 89;
const FACTOR: u64 = 113;
const MODULUS: u64 = 6271;

impl Course {
    pub fn new(client: &Peer) -> Self {
        let address = match client {
            Peer::Inet(address) => match address.ip() {
                IpAddr::V4(ip) => ip.octets()[..3].to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            // nginx takes an address of zeros.
            Peer::Unix => vec![0; 3],
        };
        Self { address, hash: SEED, tries: 0 }
    }

    pub fn pick(&mut self, field: &mut Field<'_>) -> Option<usize> {
        if self.tries > TRIES_MAX {
            return None;
        }
        let total = field.total_weight();
        let mut hash = self.hash;
        loop {
            hash = self
                .address
                .iter()
                .fold(hash, |hash, &byte| (hash * FACTOR + u64::from(byte)) % MODULUS);
            let index = field.at_weight(hash % total)?;
            if field.may(index) {
                field.check(index);
                self.hash = hash;
                return Some(index);
            }
            self.tries += 1;
            if self.tries > TRIES_MAX {
                return None;
            }
        }
    }
}
