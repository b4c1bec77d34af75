//! The part of TLS 1.3's key schedule that goes on after the handshake: key and IV of a traffic
//! secret, and the secret behind it (RFC 8446, 7.2 and 7.3).
//!
//! Arithmetic only. `Secrets` and the lanes use it.

use aws_lc_rs::hkdf;

use super::suite::{IV_BYTES, KEY_BYTES_MAX, SECRET_BYTES_MAX};
use super::{Suite, Traffic};
use zeroize::Zeroizing;

/// A traffic secret of TLS 1.3, zero behind its end.
pub(super) type Secret = Zeroizing<[u8; SECRET_BYTES_MAX]>;

pub(super) fn no_secret() -> Secret {
    Zeroizing::new([0; SECRET_BYTES_MAX])
}

/// Key and IV that records are protected with under `secret`.
pub(super) fn traffic_of(suite: Suite, secret: &Secret) -> Option<Traffic> {
    let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
    let mut iv = Zeroizing::new([0; IV_BYTES]);
    expand(suite, secret, b"key", &mut key[..suite.key_bytes()])?;
    expand(suite, secret, b"iv", &mut iv[..])?;
    Some(Traffic { key, iv, seq: 0, secret: secret.clone() })
}

/// The secret after a KeyUpdate.
pub(super) fn next_secret(suite: Suite, secret: &Secret) -> Option<Secret> {
    let mut next = no_secret();
    expand(suite, secret, b"traffic upd", &mut next[..suite.secret_bytes()])?;
    Some(next)
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1). `None` only if the library fails.
fn expand(suite: Suite, secret: &Secret, label: &[u8], out: &mut [u8]) -> Option<()> {
    let prk = hkdf::Prk::new_less_safe(suite.hkdf(), &secret[..suite.secret_bytes()]);
    let length = (out.len() as u16).to_be_bytes();
    let label_bytes = [(PREFIX.len() + label.len()) as u8];
    let info: [&[u8]; 5] = [&length, &label_bytes, PREFIX, label, &[0]];
    prk.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

const PREFIX: &[u8] = b"tls13 ";

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn the_example_of_rfc_8448_comes_out() {
        // RFC 8448, 3: the server's application traffic secret, key and IV.
        let mut secret = no_secret();
        secret[..32].copy_from_slice(&bytes(
            "a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32 \
             82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb 63 16 43",
        ));
        let traffic = traffic_of(Suite::Aes128Gcm, &secret).unwrap();
        let key = bytes("9f 02 28 3b 6c 9c 07 ef c2 6b b9 f2 ac 92 e3 56");
        assert_eq!(traffic.key[..16], key[..]);
        assert_eq!(traffic.iv[..], bytes("cf 78 2b 88 dd 83 54 9a ad f1 e9 84")[..]);
    }
}
