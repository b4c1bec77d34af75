//! The secrets of one connection whose handshake is over: what goes into a hand-over.
//!
//! They wipe themselves and never show themselves. Whoever terminated TLS makes them; the engine
//! moves them to where the tunnel's state lives.

use zeroize::Zeroizing;

use super::schedule::{self, Secret, no_secret};
use super::suite::{IV_BYTES, KEY_BYTES_MAX};
use super::{Suite, Version};

/// Everything that one leg needs to go on without the library that made the handshake.
pub struct Secrets {
    pub(crate) version: Version,
    pub(crate) suite: Suite,
    /// What the peer sends us.
    pub(crate) read: Traffic,
    /// What we send.
    pub(crate) write: Traffic,
}

/// One direction of one leg.
pub struct Traffic {
    pub(super) key: Zeroizing<[u8; KEY_BYTES_MAX]>,
    pub(super) iv: Zeroizing<[u8; IV_BYTES]>,
    /// Of the next record.
    pub(super) seq: u64,
    /// The traffic secret; zero in TLS 1.2, which has none.
    pub(super) secret: Secret,
}

/// Why secrets cannot be those of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsFault {
    /// A key is not as long as its suite's.
    KeyLength,
    /// A traffic secret is not as long as its suite's.
    SecretLength,
    /// The traffic secret does not lead to the key, not even after `UPDATES_MAX` updates.
    ForeignSecret,
}

impl Secrets {
    /// The secrets of a TLS 1.2 connection: what the peer sends, then what we send.
    pub fn tls12(suite: Suite, read: Traffic, write: Traffic) -> Secrets {
        Secrets { version: Version::Tls12, suite, read, write }
    }

    /// The same of a TLS 1.3 connection.
    pub fn tls13(suite: Suite, read: Traffic, write: Traffic) -> Secrets {
        Secrets { version: Version::Tls13, suite, read, write }
    }
}

impl Traffic {
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// One direction in TLS 1.2; `seq` is the number of its next record. With AES-GCM the IV is the
    /// salt (4 bytes) and what explicit nonces begin from (8), as rustls gives them.
    ///
    /// # Errors
    /// `KeyLength`.
    pub fn tls12(
        suite: Suite,
        key: &[u8],
        iv: [u8; IV_BYTES],
        seq: u64,
    ) -> Result<Traffic, SecretsFault> {
        let mut own = Zeroizing::new([0; KEY_BYTES_MAX]);
        let key_bytes = suite.key_bytes();
        own.get_mut(..key.len())
            .filter(|place| place.len() == key_bytes)
            .ok_or(SecretsFault::KeyLength)?
            .copy_from_slice(key);
        Ok(Traffic { key: own, iv: Zeroizing::new(iv), seq, secret: no_secret() })
    }

    /// One direction in TLS 1.3. `first` is the first traffic secret of this direction
    /// (`CLIENT_TRAFFIC_SECRET_0` or `SERVER_TRAFFIC_SECRET_0` of a key log): KeyUpdates that have
    /// happened since are found by comparing with `key`.
    ///
    /// # Errors
    /// If the three do not belong together.
    pub fn tls13(
        suite: Suite,
        key: &[u8],
        seq: u64,
        first: &[u8],
    ) -> Result<Traffic, SecretsFault> {
        if key.len() != suite.key_bytes() {
            return Err(SecretsFault::KeyLength);
        }
        if first.len() != suite.secret_bytes() {
            return Err(SecretsFault::SecretLength);
        }
        let mut secret = no_secret();
        secret[..first.len()].copy_from_slice(first);
        for _ in 0..=UPDATES_MAX {
            let traffic =
                schedule::traffic_of(suite, &secret).ok_or(SecretsFault::ForeignSecret)?;
            if traffic.key[..key.len()] == *key {
                return Ok(Traffic { seq, ..traffic });
            }
            secret = schedule::next_secret(suite, &secret).ok_or(SecretsFault::ForeignSecret)?;
        }
        Err(SecretsFault::ForeignSecret)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("version", &self.version)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traffic").field("seq", &self.seq).finish_non_exhaustive()
    }
}

/// KeyUpdates that the handshake's library may have seen before the switch.
const UPDATES_MAX: u32 = 32;

/// Secrets of both ends of one connection, the first of which may have begun long ago.
#[cfg(test)]
pub(crate) fn sample_pair(version: Version, suite: Suite, seed: u8) -> [Secrets; 2] {
    let traffic = |flow: u8| {
        let mut secret = no_secret();
        secret[..suite.secret_bytes()].fill(0x80 | seed ^ flow);
        let seq = u64::from(seed % 3);
        match version {
            Version::Tls13 => Traffic { seq, ..schedule::traffic_of(suite, &secret).unwrap() },
            Version::Tls12 => {
                let key = vec![0x80 | seed ^ flow; suite.key_bytes()];
                Traffic::tls12(suite, &key, [seed.wrapping_add(flow); IV_BYTES], seq).unwrap()
            }
        }
    };
    [(1, 2), (2, 1)].map(|(read, write)| Secrets {
        version,
        suite,
        read: traffic(read),
        write: traffic(write),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_before_the_switch_are_found() {
        for suite in Suite::ALL {
            let first = vec![7; suite.secret_bytes()];
            let mut secret = no_secret();
            secret[..first.len()].copy_from_slice(&first);
            for updates in 0..UPDATES_MAX + 2 {
                let traffic = schedule::traffic_of(suite, &secret).unwrap();
                let key = &traffic.key[..suite.key_bytes()];
                let found = Traffic::tls13(suite, key, 5, &first);
                if updates > UPDATES_MAX {
                    assert_eq!(found.err(), Some(SecretsFault::ForeignSecret));
                } else {
                    let found = found.unwrap();
                    assert!(found.secret == secret && found.iv == traffic.iv && found.seq == 5);
                }
                secret = schedule::next_secret(suite, &secret).unwrap();
            }
        }
    }

    #[test]
    fn lengths_must_be_the_suites() {
        let iv = [0; IV_BYTES];
        for (suite, key) in [(Suite::Aes128Gcm, 32), (Suite::Aes256Gcm, 16), (Suite::Aes256Gcm, 99)]
        {
            let refused = Traffic::tls12(suite, &vec![1; key], iv, 0).err();
            assert_eq!(refused, Some(SecretsFault::KeyLength));
        }
        let refused = Traffic::tls13(Suite::Aes256Gcm, &[1; 32], 0, &[1; 32]).err();
        assert_eq!(refused, Some(SecretsFault::SecretLength));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let traffic = || Traffic::tls12(Suite::Aes128Gcm, &[0xab; 16], [0xcd; 12], 9).unwrap();
        let shown =
            format!("{:?} {:?}", Secrets::tls12(Suite::Aes128Gcm, traffic(), traffic()), traffic());
        assert!(!shown.contains("171") && !shown.contains("205"), "{shown}");
    }
}
