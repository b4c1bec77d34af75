//! The body of a 206 with several ranges: `multipart/byteranges` (RFC 9110, 14.6), laid out as
//! nginx lays it out.
//!
//! It reads no file; the pieces say what the front reads from it. The file handler calls it.

use crate::response::Piece;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the last boundary of this process. All workers' threads count on.
static BOUNDARY: AtomicU64 = AtomicU64::new(0);

/// A body in parts.
pub struct Multipart {
    pub content_type: Vec<u8>,
    pub length: u64,
    pub pieces: VecDeque<Piece>,
}

/// Lays out `ranges` of a file of `size` bytes under a boundary that was not used before.
pub fn lay_out(ranges: &[Range<u64>], size: u64, media_type: Option<&[u8]>) -> Multipart {
    let number = BOUNDARY.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    // nginx pads its number to the digits that 64 bits can have.
    lay_out_with(&format!("{number:020}"), ranges, size, media_type)
}

fn lay_out_with(
    boundary: &str,
    ranges: &[Range<u64>],
    size: u64,
    media_type: Option<&[u8]>,
) -> Multipart {
    let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(media_type) = media_type {
        head.extend_from_slice(b"Content-Type: ");
        head.extend_from_slice(media_type);
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"Content-Range: ");
    let mut pieces = VecDeque::with_capacity(2 * ranges.len() + 1);
    for range in ranges {
        let mut text = head.clone();
        text.extend_from_slice(content_range(range, size).as_bytes());
        text.extend_from_slice(b"\r\n\r\n");
        pieces.push_back(Piece::Text(Bytes::from(text)));
        pieces.push_back(Piece::Range { offset: range.start, length: range.end - range.start });
    }
    pieces.push_back(Piece::Text(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    let length = pieces.iter().map(length_of).sum();
    let content_type = format!("multipart/byteranges; boundary={boundary}").into_bytes();
    Multipart { content_type, length, pieces }
}

/// The value of `Content-Range` for a part of a file of `size` bytes; the part is not empty.
pub fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

fn length_of(piece: &Piece) -> u64 {
    match piece {
        Piece::Text(text) => text.len() as u64,
        Piece::Range { length, .. } => *length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(multipart: &Multipart, file: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &multipart.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Range { offset, length } => {
                    out.extend_from_slice(&file[*offset as usize..(offset + length) as usize]);
                }
            }
        }
        out
    }

    /// The bytes are those of nginx 1.22.1 for `Range: bytes=0-1,5-`.
    #[test]
    fn parts_are_laid_out_as_by_nginx() {
        let boundary = "00000000000000000001";
        let multipart = lay_out_with(boundary, &[0..2, 5..10], 10, Some(b"text/plain"));
        let body = "\r\n--00000000000000000001\r\nContent-Type: text/plain\r\n\
                    Content-Range: bytes 0-1/10\r\n\r\n01\
                    \r\n--00000000000000000001\r\nContent-Type: text/plain\r\n\
                    Content-Range: bytes 5-9/10\r\n\r\n56789\
                    \r\n--00000000000000000001--\r\n";
        assert_eq!(written(&multipart, b"0123456789"), body.as_bytes());
        assert_eq!(multipart.length, body.len() as u64);
        assert_eq!(multipart.content_type, b"multipart/byteranges; boundary=00000000000000000001");
    }

    #[test]
    fn parts_of_an_unknown_type_have_none() {
        let multipart = lay_out_with("b", &[0..1, 1..2], 2, None);
        let body = "\r\n--b\r\nContent-Range: bytes 0-0/2\r\n\r\nx\
                    \r\n--b\r\nContent-Range: bytes 1-1/2\r\n\r\ny\r\n--b--\r\n";
        assert_eq!(written(&multipart, b"xy"), body.as_bytes());
    }

    #[test]
    fn no_boundary_is_used_twice() {
        let first = lay_out(&[0..1, 1..2], 2, None).content_type;
        assert_eq!(first.len(), "multipart/byteranges; boundary=".len() + 20);
        assert_ne!(first, lay_out(&[0..1, 1..2], 2, None).content_type);
    }
}
