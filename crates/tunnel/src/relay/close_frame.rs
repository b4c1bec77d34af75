//! The Close frame that a drain sends to one side (RFC 6455, 5.5.1): eight bytes at most, the same
//! however often they are asked for.
//!
//! It goes into the sink's stream at a frame boundary, so that the sink's position alone tells how
//! much of it was sent: a crash in the middle neither doubles nor loses a byte of it.

use crate::Side;

/// The bytes of one Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseFrame {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl CloseFrame {
    /// To the client unmasked, to the upstream masked (RFC 6455, 5.1: it sees a client in us).
    pub(crate) fn to(sink: Side, code: u16, mask: u32) -> CloseFrame {
        let [high, low] = code.to_be_bytes();
        match sink {
            Side::Client => CloseFrame { bytes: [FIN_CLOSE, 2, high, low, 0, 0, 0, 0], len: 4 },
            Side::Upstream => {
                let [a, b, c, d] = mask.to_be_bytes();
                let bytes = [FIN_CLOSE, MASKED | 2, a, b, c, d, high ^ a, low ^ b];
                CloseFrame { bytes, len: BYTES_MAX }
            }
        }
    }

    /// How long the frame to `sink` is.
    pub(crate) fn len_to(sink: Side) -> u64 {
        CloseFrame::to(sink, 0, 0).len as u64
    }

    /// What is left of it once `sent` bytes were sent.
    pub(crate) fn rest(&self, sent: u64) -> &[u8] {
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        self.bytes[..self.len].get(sent..).unwrap_or(&[])
    }
}

const FIN_CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;
const BYTES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_by_both_sides() {
        let frame = CloseFrame::to(Side::Client, 1012, 7);
        assert_eq!(frame.rest(0), [0x88, 2, 0x03, 0xf4]);
        let frame = CloseFrame::to(Side::Upstream, 1001, 0x0102_0304);
        assert_eq!(frame.rest(0), [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
        assert_eq!(frame.rest(7), [0xe9 ^ 2]);
        assert_eq!((frame.rest(8).len(), frame.rest(u64::MAX).len()), (0, 0));
        assert_eq!((CloseFrame::len_to(Side::Client), CloseFrame::len_to(Side::Upstream)), (4, 8));
    }
}
