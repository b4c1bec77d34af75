//! The bytes that every message consists of, known beforehand on both sides.
//!
//! Not random data: message `m` of tunnel `t` is always the same slice of one fixed block, so that
//! a receiver compares instead of remembering. A flipped bit, a lost, doubled or swapped message
//! and a message that strayed into another tunnel all differ. Called by `load` and `echo`.

/// The largest message that a plan may ask for, in bytes.
pub const MESSAGE_SIZE_MAX: usize = 1 << 20;

/// One fixed block of bytes from which all messages are cut.
pub struct Pattern {
    bytes: Vec<u8>,
    size: usize,
}

impl Pattern {
    /// A block for messages of `size` bytes, at most [`MESSAGE_SIZE_MAX`].
    pub fn new(size: usize) -> Self {
        let size = size.min(MESSAGE_SIZE_MAX);
        let words = (STARTS + size) / 8 + 1;
        let bytes = (0..words as u64).flat_map(|word| mix(word).to_le_bytes()).collect();
        Pattern { bytes, size }
    }

    /// How long every message is, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The payload of message `message` of tunnel `tunnel`.
    pub fn payload(&self, tunnel: u32, message: u64) -> &[u8] {
        // Odd factors modulo a power of two: no two tunnels and no two neighbouring messages of a
        // tunnel begin at the same place.
        let turn =
            u64::from(tunnel).wrapping_mul(40_503).wrapping_add(message.wrapping_mul(25_717));
        let start = turn as usize % STARTS;
        &self.bytes[start..start + self.size]
    }
}

/// The mask that the client lays over that message (RFC 6455, 5.3: it need only be unforeseeable
/// for the sender of the payload; here it need only differ from zero and from its neighbours).
pub fn mask_key(tunnel: u32, message: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = mix(!(u64::from(tunnel) << 40) ^ message).to_le_bytes();
    [a, b, c, d]
}

/// SplitMix64's finaliser: every input bit reaches every output bit.
pub fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// So many places a message may start at: more than the cache's first level, less than its second.
const STARTS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        let pattern = Pattern::new(64);
        for tunnel in 0..100 {
            for message in 0..100 {
                let payload = pattern.payload(tunnel, message);
                assert_eq!(payload.len(), 64);
                assert_ne!(payload, pattern.payload(tunnel, message + 1));
                assert_ne!(payload, pattern.payload(tunnel + 1, message));
            }
        }
    }

    #[test]
    fn the_largest_message_fits_at_every_start() {
        let pattern = Pattern::new(MESSAGE_SIZE_MAX + 1);
        assert_eq!(pattern.size(), MESSAGE_SIZE_MAX);
        for message in 0..1000 {
            assert_eq!(pattern.payload(7, message).len(), MESSAGE_SIZE_MAX);
        }
    }

    #[test]
    fn masks_hide_the_payload() {
        assert!((0..1000).all(|message| mask_key(3, message) != [0; 4]));
    }
}
