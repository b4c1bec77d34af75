//! Bytes that can be made and checked piece by piece: what a tunnel carried is compared with
//! what was sent without holding either.

/// A stream of bytes that a seed decides.
#[derive(Clone, Debug)]
pub struct Payload {
    state: u64,
    left: Vec<u8>,
    position: u64,
}

impl Payload {
    pub fn new(seed: u64) -> Self {
        Self { state: seed | 1, left: Vec::new(), position: 0 }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.left);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        self.left = bytes.split_off(count);
        self.position += count as u64;
        bytes
    }

    /// Compares the next bytes; says where the first wrong one is.
    pub fn check(&mut self, received: &[u8]) -> Result<(), String> {
        let start = self.position;
        let expected = self.take(received.len());
        match expected.iter().zip(received).position(|(left, right)| left != right) {
            None => Ok(()),
            Some(at) => Err(format!("byte {} is wrong", start + at as u64)),
        }
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// The seed of this run: `PERDURA_SEED`, or one that is printed so that a failure can be
/// replayed.
pub fn seed() -> u64 {
    let given = std::env::var("PERDURA_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |age| age.as_nanos() as u64)
    });
    println!("PERDURA_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_stream() {
        let whole = Payload::new(7).take(100);
        let mut pieces = Payload::new(7);
        let joined: Vec<u8> = [3, 0, 40, 57].iter().flat_map(|size| pieces.take(*size)).collect();
        assert_eq!(whole, joined);
    }

    #[test]
    fn a_flipped_bit_is_found() {
        let mut bytes = Payload::new(9).take(1000);
        bytes[700] ^= 4;
        let mut check = Payload::new(9);
        assert_eq!(check.check(&bytes[..600]), Ok(()));
        assert_eq!(check.check(&bytes[600..]), Err("byte 700 is wrong".to_owned()));
    }
}
