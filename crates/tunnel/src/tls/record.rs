//! The record layer: sealing and opening one record with a known key and sequence number
//! (RFC 8446, 5.2; RFC 5246, 6.2.3 with RFC 5288 and RFC 7905).
//!
//! Deterministic: the same key, number and content give the same bytes, so that a record that was
//! partly sent can be made again. It counts nothing and keeps nothing; the lanes do.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

use super::suite::IV_BYTES;
use super::{Suite, Traffic, Version};

/// An expanded key with its IV: one direction of one leg, until a KeyUpdate.
pub(crate) struct Key {
    version: Version,
    suite: Suite,
    aead: LessSafeKey,
    iv: [u8; IV_BYTES],
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Content {
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

/// Why a peer's record ends the connection, as the peer is told (RFC 8446, 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Alert {
    UnexpectedMessage = 10,
    BadRecordMac = 20,
    RecordOverflow = 22,
    IllegalParameter = 47,
    DecodeError = 50,
    NoRenegotiation = 100,
}

/// An opened record: what it carries, and where its content lies in the bytes that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content: Content,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The length of the record at the start of `bytes`, its header included; `None` while it is not
/// complete.
pub(crate) fn whole(version: Version, bytes: &[u8]) -> Result<Option<usize>, Alert> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let [kind, major, _, high, low] = *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (known, longest) = match version {
        Version::Tls12 => ((20..=23).contains(&kind), CONTENT_MAX + 2048),
        // Everything is protected by now, and looks like data.
        Version::Tls13 => (kind == Content::Data as u8, CONTENT_MAX + 256),
    };
    if !known || major != MAJOR {
        return Err(Alert::UnexpectedMessage);
    }
    if length > longest {
        return Err(Alert::RecordOverflow);
    }
    let whole = HEADER_BYTES + length;
    Ok((bytes.len() >= whole).then_some(whole))
}

impl Key {
    /// `None` only if the library refuses the key.
    pub(crate) fn new(version: Version, suite: Suite, traffic: &Traffic) -> Option<Key> {
        let key = traffic.key.get(..suite.key_bytes())?;
        let aead = LessSafeKey::new(UnboundKey::new(suite.aead(), key).ok()?);
        Some(Key { version, suite, aead, iv: *traffic.iv })
    }

    /// Appends one record to `out`. `None` beyond `CONTENT_MAX`, and if the library fails.
    pub(crate) fn seal(
        &self,
        seq: u64,
        content: Content,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        if plain.len() > CONTENT_MAX {
            return None;
        }
        let start = out.len();
        let nonce = self.nonce(seq);
        let length = self.sealed_bytes(plain.len()) - HEADER_BYTES;
        let outer = match self.version {
            Version::Tls12 => content as u8,
            Version::Tls13 => Content::Data as u8,
        };
        let [high, low] = (length as u16).to_be_bytes();
        let header = [outer, MAJOR, MINOR, high, low];
        out.extend_from_slice(&header);
        if self.has_explicit_nonce() {
            out.extend_from_slice(&nonce[SALT_BYTES..]);
        }
        let body = out.len();
        out.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = match self.version {
            Version::Tls12 => {
                let aad = aad12(seq, content as u8, plain.len());
                self.aead.seal_in_place_separate_tag(nonce, Aad::from(aad), out.get_mut(body..)?)
            }
            Version::Tls13 => {
                out.push(content as u8);
                self.aead.seal_in_place_separate_tag(nonce, Aad::from(header), out.get_mut(body..)?)
            }
        };
        match tag {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                out.truncate(start);
                return None;
            }
        }
        debug_assert_eq!(out.len() - start, HEADER_BYTES + length);
        Some(())
    }

    /// Opens `record`, one whole record with its header, in place.
    pub(crate) fn open(&self, seq: u64, record: &mut [u8]) -> Result<Opened, Alert> {
        let header = *record.first_chunk::<HEADER_BYTES>().ok_or(Alert::DecodeError)?;
        let explicit = if self.has_explicit_nonce() { EXPLICIT_BYTES } else { 0 };
        let start = HEADER_BYTES + explicit;
        let length = record.len().checked_sub(start + TAG_BYTES).ok_or(Alert::BadRecordMac)?;
        let mut nonce = self.nonce(seq);
        if explicit > 0 {
            // The peer chose it (RFC 5288, 3).
            nonce[SALT_BYTES..].copy_from_slice(&record[HEADER_BYTES..start]);
            nonce[..SALT_BYTES].copy_from_slice(&self.iv[..SALT_BYTES]);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = &mut record[start..];
        let opened = match self.version {
            Version::Tls12 => {
                let aad = Aad::from(aad12(seq, header[0], length));
                self.aead.open_in_place(nonce, aad, sealed)
            }
            Version::Tls13 => self.aead.open_in_place(nonce, Aad::from(header), sealed),
        };
        let plain = opened.map_err(|_| Alert::BadRecordMac)?;
        let (content, length) = match self.version {
            Version::Tls12 => (header[0], plain.len()),
            Version::Tls13 => {
                // Zeros pad it; the type is the last byte that is none (RFC 8446, 5.4).
                let last = plain.iter().rposition(|byte| *byte != 0);
                let last = last.ok_or(Alert::UnexpectedMessage)?;
                (plain[last], last)
            }
        };
        if length > CONTENT_MAX {
            return Err(Alert::RecordOverflow);
        }
        let content = match content {
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::Data,
            _ => return Err(Alert::UnexpectedMessage),
        };
        Ok(Opened { content, start, end: start + length })
    }

    /// How long a record with `plain` bytes of content is.
    pub(crate) fn sealed_bytes(&self, plain: usize) -> usize {
        let more = match self.version {
            Version::Tls13 => 1,
            Version::Tls12 if self.has_explicit_nonce() => EXPLICIT_BYTES,
            Version::Tls12 => 0,
        };
        HEADER_BYTES + more + plain + TAG_BYTES
    }

    fn has_explicit_nonce(&self) -> bool {
        self.version == Version::Tls12 && self.suite != Suite::Chacha20Poly1305
    }

    /// The IV xored with the number, as RFC 8446, 5.3 and RFC 7905, 2 have it. With AES-GCM in
    /// TLS 1.2 any nonce that is not used twice will do; this is the one that rustls uses, with
    /// which it does not collide before the switch.
    fn nonce(&self, seq: u64) -> [u8; aead::NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, number) in nonce[SALT_BYTES..].iter_mut().zip(seq.to_be_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// What TLS 1.2 authenticates besides the content (RFC 5246, 6.2.3.3).
fn aad12(seq: u64, kind: u8, plain: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&seq.to_be_bytes());
    aad[8..11].copy_from_slice(&[kind, MAJOR, MINOR]);
    aad[11..].copy_from_slice(&(plain as u16).to_be_bytes());
    aad
}

/// The most content of one record (RFC 8446, 5.1).
pub(crate) const CONTENT_MAX: usize = 16_384;
/// The most that a record is longer than its content when we made it.
pub(crate) const OVERHEAD_MAX: usize = HEADER_BYTES + EXPLICIT_BYTES + TAG_BYTES;
const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 4;
const EXPLICIT_BYTES: usize = 8;
const MAJOR: u8 = 3;
const MINOR: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Vec<Key> {
        let mut keys = Vec::new();
        for version in [Version::Tls12, Version::Tls13] {
            for suite in Suite::ALL {
                let key = vec![3; suite.key_bytes()];
                let traffic = Traffic::tls12(suite, &key, [9; 12], 0).unwrap();
                keys.push(Key::new(version, suite, &traffic).unwrap());
            }
        }
        keys
    }

    #[test]
    fn what_is_sealed_is_opened_and_made_again_alike() {
        for key in keys() {
            for (seq, length) in [(0, 0), (1, 1), (u64::MAX - 1, 100), (7, CONTENT_MAX)] {
                let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let (mut one, mut two) = (Vec::new(), Vec::new());
                key.seal(seq, Content::Data, &plain, &mut one).unwrap();
                key.seal(seq, Content::Data, &plain, &mut two).unwrap();
                assert!(one == two && one.len() == key.sealed_bytes(length));
                assert!(one.len() - length <= OVERHEAD_MAX);
                assert_eq!(whole(key.version, &one), Ok(Some(one.len())));
                assert_eq!(whole(key.version, &one[..one.len() - 1]), Ok(None));
                let opened = key.open(seq, &mut one).unwrap();
                assert_eq!(opened.content, Content::Data);
                assert!(one[opened.start..opened.end] == plain);
            }
            assert_eq!(
                key.seal(1, Content::Data, &vec![0; CONTENT_MAX + 1], &mut Vec::new()),
                None
            );
        }
    }

    #[test]
    fn a_changed_bit_a_wrong_number_and_a_cut_are_refused() {
        for key in keys() {
            let mut sealed = Vec::new();
            key.seal(5, Content::Data, b"some content", &mut sealed).unwrap();
            assert_eq!(key.open(6, &mut sealed.clone()), Err(Alert::BadRecordMac));
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                // In TLS 1.2 neither the version nor the length of the header is authenticated as
                // such: the length is what it is, and the version is fixed.
                if !(key.version == Version::Tls12 && (1..5).contains(&at)) {
                    assert!(key.open(5, &mut changed).is_err(), "byte {at}");
                }
            }
            for length in 0..sealed.len() {
                assert!(key.open(5, &mut sealed[..length].to_vec()).is_err());
            }
        }
    }

    #[test]
    fn headers_that_no_peer_sends_are_refused() {
        for version in [Version::Tls12, Version::Tls13] {
            let refused = |header: &[u8]| whole(version, header).err();
            assert_eq!(refused(&[23, 3, 3, 0x48, 1]), Some(Alert::RecordOverflow));
            assert_eq!(refused(&[24, 3, 3, 0, 1]), Some(Alert::UnexpectedMessage));
            assert_eq!(refused(b"GET / HTTP"), Some(Alert::UnexpectedMessage));
            assert_eq!(whole(version, &[23, 3, 3, 0]), Ok(None));
        }
        assert_eq!(whole(Version::Tls13, &[22, 3, 3, 0, 1]), Err(Alert::UnexpectedMessage));
        assert_eq!(whole(Version::Tls13, &[23, 3, 3, 0x41, 1]), Err(Alert::RecordOverflow));
    }

    #[test]
    fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
        let traffic = Traffic::tls12(Suite::Aes128Gcm, &[3; 16], [9; 12], 0).unwrap();
        let key = Key::new(Version::Tls13, Suite::Aes128Gcm, &traffic).unwrap();
        // Content whose end looks like type and padding to whoever opens it.
        for (plain, wanted) in
            [(&b"ab\x17\0\0"[..], Ok(2)), (b"\0\0\0", Err(Alert::UnexpectedMessage))]
        {
            let mut record = vec![23, 3, 3, 0, (plain.len() + TAG_BYTES) as u8];
            let header: [u8; 5] = record[..].try_into().unwrap();
            let mut body = plain.to_vec();
            let nonce = Nonce::assume_unique_for_key(key.nonce(0));
            key.aead.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
            record.extend(body);
            assert_eq!(key.open(0, &mut record).map(|opened| opened.end - opened.start), wanted);
        }
    }
}
