//! The WebSocket frame: its header and its mask (RFC 6455, 5.2 and 5.3).
//!
//! Not a WebSocket implementation: no fragments are joined and no UTF-8 is checked. Called by
//! `echo`, which reads headers, and by `load`, which only writes them, for it knows every byte that
//! comes back.

/// FIN and opcode 2: a whole binary message in one frame.
pub const BINARY: u8 = 0x82;
/// FIN and opcode 8.
pub const CLOSE: u8 = 0x88;
/// FIN and opcode 9.
pub const PING: u8 = 0x89;
/// FIN and opcode 10.
pub const PONG: u8 = 0x8A;
/// The longest header: two bytes, eight of length, four of mask.
pub const HEADER_SIZE_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455, 5.5).
pub const CONTROL_SIZE_MAX: u64 = 125;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// FIN, the reserved bits and the opcode, as on the wire.
    pub first: u8,
    /// The payload's length in bytes.
    pub length: u64,
    /// The client's mask; a server sends none.
    pub mask: Option<[u8; 4]>,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// A reserved bit is set, and no extension was agreed on (RFC 6455, 5.2).
    ReservedBit,
    /// A longer form than needed, or the highest bit of 64 (RFC 6455, 5.2).
    BadLength,
    /// A control frame that is fragmented or longer than 125 bytes (RFC 6455, 5.5).
    BadControl,
}

impl Header {
    /// Reads the header at the beginning of `bytes`, and how long it is; `None`: more is needed.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Header, usize)>, FrameFault> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameFault::ReservedBit);
        }
        let (length, rest) = match second & 0x7F {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if length_form(length) != form_of(second) || length >> 63 != 0 {
            return Err(FrameFault::BadLength);
        }
        if first & 0x08 != 0 && (first & 0x80 == 0 || length > CONTROL_SIZE_MAX) {
            return Err(FrameFault::BadControl);
        }
        if second & 0x80 == 0 {
            return Ok(Some((Header { first, length, mask: None }, bytes.len() - rest.len())));
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        Ok(Some((Header { first, length, mask: Some(*mask) }, bytes.len() - rest.len())))
    }

    /// Appends the header to `into`, in the shortest form.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let masked = if self.mask.is_some() { 0x80 } else { 0 };
        into.push(self.first);
        match length_form(self.length) {
            Form::Short => into.push(masked | self.length as u8),
            Form::Two => {
                into.push(masked | 126);
                into.extend_from_slice(&(self.length as u16).to_be_bytes());
            }
            Form::Eight => {
                into.push(masked | 127);
                into.extend_from_slice(&self.length.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            into.extend_from_slice(&mask);
        }
    }
}

/// Lays the mask over `bytes`, which begin `offset` bytes into the payload, or takes it off.
pub fn mask(bytes: &mut [u8], key: [u8; 4], offset: u64) {
    let mut turned = key;
    turned.rotate_left((offset % 4) as usize);
    let word = u64::from_ne_bytes([
        turned[0], turned[1], turned[2], turned[3], turned[0], turned[1], turned[2], turned[3],
    ]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key;
    }
}

#[derive(PartialEq, Eq)]
enum Form {
    Short,
    Two,
    Eight,
}

fn length_form(length: u64) -> Form {
    match length {
        0..126 => Form::Short,
        126..=0xFFFF => Form::Two,
        _ => Form::Eight,
    }
}

fn form_of(second: u8) -> Form {
    match second & 0x7F {
        126 => Form::Two,
        127 => Form::Eight,
        _ => Form::Short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_not_before_it_is_whole() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, u64::MAX >> 1] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let header = Header { first: BINARY, length, mask };
                let mut wire = Vec::new();
                header.encode(&mut wire);
                assert!(wire.len() <= HEADER_SIZE_MAX);
                for cut in 0..wire.len() {
                    assert_eq!(Header::decode(&wire[..cut]), Ok(None), "{length} cut at {cut}");
                }
                assert_eq!(Header::decode(&wire), Ok(Some((header, wire.len()))));
            }
        }
    }

    #[test]
    fn wrong_headers_are_refused() {
        assert_eq!(Header::decode(&[0xC2, 0]), Err(FrameFault::ReservedBit));
        assert_eq!(Header::decode(&[0x82, 126, 0, 125]), Err(FrameFault::BadLength));
        let long = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];
        assert_eq!(Header::decode(&long), Err(FrameFault::BadLength));
        assert_eq!(Header::decode(&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0]), BAD_LENGTH);
        assert_eq!(Header::decode(&[0x88, 126, 0, 126]), Err(FrameFault::BadControl));
        assert_eq!(Header::decode(&[0x09, 0]), Err(FrameFault::BadControl));
    }

    const BAD_LENGTH: Result<Option<(Header, usize)>, FrameFault> = Err(FrameFault::BadLength);

    #[test]
    fn the_mask_of_rfc_6455_section_5_7_is_right() {
        let mut hello = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        mask(&mut hello, [0x37, 0xFA, 0x21, 0x3D], 0);
        assert_eq!(&hello, b"Hello");
    }

    #[test]
    fn a_mask_goes_on_where_it_was_left() {
        let plain: Vec<u8> = (0..100).collect();
        let mut whole = plain.clone();
        mask(&mut whole, [9, 8, 7, 6], 0);
        for cut in 0..plain.len() {
            let mut parts = plain.clone();
            let (head, tail) = parts.split_at_mut(cut);
            mask(head, [9, 8, 7, 6], 0);
            mask(tail, [9, 8, 7, 6], cut as u64);
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }
}
