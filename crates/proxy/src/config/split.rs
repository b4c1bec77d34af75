//! `split_clients`: a variable that shares requests out by the hash of a text.

use perdura_conf::Template;

/// One `split_clients` block.
#[derive(Clone, Debug)]
pub struct Split {
    pub source: Template,
    /// Each share with the hash that it ends before; the last may take all that is left.
    pub shares: Vec<(Share, Vec<u8>)>,
}

/// How far a share goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Below(u32),
    Rest,
}

impl Split {
    /// The value for a key; none when it falls behind all shares.
    pub fn find(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = murmur_hash2(key);
        let takes = |share: &Share| match share {
            Share::Below(end) => hash < *end,
            Share::Rest => true,
        };
        self.shares.iter().find(|(share, _)| takes(share)).map(|(_, value)| value.as_slice())
    }
}

/// MurmurHash2 of 32 bits with the seed 0, as nginx has it.
pub fn murmur_hash2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k, &byte| k << 8 | u32::from(byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k, &byte| k << 8 | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}
