//! What two ends of TLS can have agreed on that a tunnel can go on with: two versions, three
//! ciphers.
//!
//! Names and sizes only; `schedule` derives keys, `record` uses them.

use aws_lc_rs::{aead, hkdf};

/// The version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// The cipher of the records, and with it the hash of TLS 1.3's key schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-128-GCM, SHA-256.
    Aes128Gcm,
    /// AES-256-GCM, SHA-384.
    Aes256Gcm,
    /// ChaCha20-Poly1305, SHA-256.
    Chacha20Poly1305,
}

impl Suite {
    /// All of them.
    pub const ALL: [Suite; 3] = [Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Chacha20Poly1305];

    /// The length of a key, in bytes.
    pub const fn key_bytes(self) -> usize {
        match self {
            Suite::Aes128Gcm => 16,
            Suite::Aes256Gcm | Suite::Chacha20Poly1305 => 32,
        }
    }

    /// The length of a traffic secret of TLS 1.3, in bytes.
    pub const fn secret_bytes(self) -> usize {
        match self {
            Suite::Aes128Gcm | Suite::Chacha20Poly1305 => 32,
            Suite::Aes256Gcm => 48,
        }
    }

    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Suite::Aes128Gcm => &aead::AES_128_GCM,
            Suite::Aes256Gcm => &aead::AES_256_GCM,
            Suite::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Suite::Aes128Gcm | Suite::Chacha20Poly1305 => hkdf::HKDF_SHA256,
            Suite::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }
}

/// The length of every suite's IV.
pub const IV_BYTES: usize = 12;
/// The longest key.
pub const KEY_BYTES_MAX: usize = 32;
/// The longest traffic secret.
pub const SECRET_BYTES_MAX: usize = 48;
