//! Tables whose keys only the configuration chooses: looked up at every request, so hashed with a
//! handful of instructions.
//!
//! Not for keys that come from outside, of which an enemy would choose many that fall on one place.
//! A key that is only looked for does no harm: it meets what the configuration has put there.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with keys of the configuration.
pub type KnownMap<K, V> = HashMap<K, V, BuildHasherDefault<KnownHasher>>;

/// A set of keys of the configuration.
pub type KnownSet<K> = HashSet<K, BuildHasherDefault<KnownHasher>>;

/// Eight bytes at a time by one rotation and one multiplication, as the Rust compiler hashes.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownHasher(u64);

impl KnownHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for KnownHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.add(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.add(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn finish(&self) -> u64 {
        // The multiplication leaves the best bits above; a table looks at both ends.
        self.0.rotate_left(26)
    }
}

/// An odd number without a pattern: the digits of pi.
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_spread_over_both_ends_of_the_hash() {
        let hash = |name: &[u8]| {
            let mut hasher = KnownHasher::default();
            hasher.write_usize(name.len());
            hasher.write(name);
            hasher.finish()
        };
        let names: Vec<String> = (0..4096).map(|number| format!("x-field-{number}")).collect();
        let hashes: Vec<u64> = names.iter().map(|name| hash(name.as_bytes())).collect();
        let mut low = [0; 256];
        let mut high = [0; 128];
        for hash in &hashes {
            low[(hash & 255) as usize] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        // 16 and 32 are expected of each.
        assert!(low.iter().all(|&count| count < 64), "{low:?}");
        assert!(high.iter().all(|&count| count < 128), "{high:?}");
        let different: HashSet<u64> = hashes.iter().copied().collect();
        assert_eq!(different.len(), names.len());
    }

    #[test]
    fn what_was_put_in_is_found() {
        let names = ["", "a", "connection", "transfer-encoding", "content-length"];
        let set: KnownSet<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        assert!(names.iter().all(|name| set.contains(name.as_bytes())));
        assert!(!set.contains(&b"connectioN"[..]));
    }
}
