//! Apache's variant of MD5-crypt, `$apr1$salt$hash`, which no crypt(3) knows.

use crate::digest::md5;

const MAGIC: &[u8] = b"$apr1$";

/// Bytes of the salt that count.
const SALT_MAX: usize = 8;

/// How often the digest is digested, so that guessing is slow.
const ROUNDS: usize = 1000;

/// Hashes with the salt of `stored`, which begins with the magic.
pub fn hash(password: &[u8], stored: &[u8]) -> Vec<u8> {
    let rest = stored.get(MAGIC.len()..).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'$').unwrap_or(rest.len());
    let salt = &rest[..end.min(SALT_MAX)];
    let mut digest = first(password, salt);
    for round in 0..ROUNDS {
        let mut text = Vec::with_capacity(2 * password.len() + salt.len() + digest.len());
        text.extend_from_slice(if round % 2 == 1 { password } else { &digest });
        if round % 3 != 0 {
            text.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            text.extend_from_slice(password);
        }
        text.extend_from_slice(if round % 2 == 1 { &digest } else { password });
        digest = md5(&text);
    }
    [MAGIC, salt, b"$", &spelled(&digest)].concat()
}

fn first(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = md5(&[password, salt, password].concat());
    let mut text = [password, MAGIC, salt].concat();
    text.extend(inner.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        text.push(if bits & 1 == 1 { 0 } else { password[0] });
        bits >>= 1;
    }
    md5(&text)
}

/// The digest in the alphabet of crypt, its bytes in the order of old.
fn spelled(digest: &[u8; 16]) -> Vec<u8> {
    const TRIPLES: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = Vec::with_capacity(22);
    for triple in TRIPLES {
        let bits = triple.iter().fold(0, |bits, &at| bits << 8 | u32::from(digest[at]));
        digits(bits, 4, &mut out);
    }
    digits(u32::from(digest[11]), 2, &mut out);
    out
}

fn digits(mut bits: u32, count: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..count {
        out.push(DIGITS[(bits & 63) as usize]);
        bits >>= 6;
    }
}
