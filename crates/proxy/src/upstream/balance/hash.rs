//! The same key goes to the same peer, by nginx's hash, which is that of `Cache::Memcached`.

use super::{Field, TRIES_MAX};
use crate::crc32::Crc32;

pub struct Course {
    key: Vec<u8>,
    hash: u32,
    rehash: u32,
    tries: u32,
}

impl Course {
    pub fn new(key: Vec<u8>) -> Self {
        Self { key, hash: 0, rehash: 0, tries: 0 }
    }

    pub fn pick(&mut self, field: &mut Field<'_>) -> Option<usize> {
        if self.tries > TRIES_MAX || self.key.is_empty() {
            return None;
        }
        let total = field.total_weight();
        loop {
            let mut crc = Crc32::default();
            if self.rehash > 0 {
                crc.update(self.rehash.to_string().as_bytes());
            }
            crc.update(&self.key);
            self.hash = self.hash.wrapping_add(crc.finish() >> 16 & 0x7fff);
            self.rehash += 1;
            let index = field.at_weight(u64::from(self.hash) % total)?;
            if field.may(index) {
                field.check(index);
                return Some(index);
            }
            self.tries += 1;
            if self.tries > TRIES_MAX {
                return None;
            }
        }
    }
}
