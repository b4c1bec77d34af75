//! The bytes of one direction of a tunnel, known by their position alone.
//!
//! A course is an endless row of WebSocket frames of one size, so that the proxy can follow the
//! frames. Not a parser: what arrives is compared. Called by `way`.

use crate::frame::{BINARY, Header};
use crate::pattern::{Pattern, mask_key};

use super::Side;

/// The largest payload of a frame, in bytes.
pub const PAYLOAD_MAX: usize = 16 * 1024;

/// One direction's bytes.
#[derive(Clone, Debug)]
pub struct Course {
    key: u32,
    size: usize,
    source: Side,
    header: usize,
}

impl Course {
    /// The course of `source` in the tunnel named `key`, in frames with payloads of `size` bytes,
    /// at most [`PAYLOAD_MAX`]. A client's frames are masked (RFC 6455, 5.1); as all that is
    /// compared is what is on the wire, the payload stands there as it is in the pattern.
    pub fn new(key: u32, source: Side, size: usize) -> Course {
        let size = size.min(PAYLOAD_MAX);
        let mut course = Course { key, size, source, header: 0 };
        course.header = course.header_of(0).len();
        course
    }

    /// How long a frame is, its header included.
    pub fn frame(&self) -> u64 {
        (self.header + self.size) as u64
    }

    /// Writes what begins at position `at` into `room`.
    pub fn fill(&self, pattern: &Pattern, at: u64, room: &mut [u8]) {
        self.walk(pattern, at, room.len(), |range, bytes| {
            room[range].copy_from_slice(bytes);
            true
        });
    }

    /// Compares `found` with what begins at position `at`; `Err`: the position of the first byte
    /// that differs.
    pub fn check(&self, pattern: &Pattern, at: u64, found: &[u8]) -> Result<(), u64> {
        let mut wrong = None;
        self.walk(pattern, at, found.len(), |range, bytes| {
            let part = &found[range.clone()];
            if part != bytes {
                let inside = part.iter().zip(bytes).position(|(found, right)| found != right);
                wrong = Some(at + (range.start + inside.unwrap_or(0)) as u64);
            }
            wrong.is_none()
        });
        wrong.map_or(Ok(()), Err)
    }

    /// Hands out the pieces of the course from `at` on, `count` bytes in all, with their place
    /// among them, until `take` refuses one.
    fn walk(
        &self,
        pattern: &Pattern,
        at: u64,
        count: usize,
        mut take: impl FnMut(std::ops::Range<usize>, &[u8]) -> bool,
    ) {
        let mut done = 0;
        while done < count {
            let position = at + done as u64;
            let (number, inside) = (position / self.frame(), (position % self.frame()) as usize);
            let header;
            let rest = if inside < self.header {
                header = self.header_of(number);
                &header[inside..]
            } else {
                &pattern.payload(self.key, number)[inside - self.header..self.size]
            };
            let piece = &rest[..rest.len().min(count - done)];
            if !take(done..done + piece.len(), piece) {
                return;
            }
            done += piece.len();
        }
    }

    fn header_of(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mask = match self.source {
            Side::Client => Some(mask_key(self.key, number)),
            Side::Upstream => None,
        };
        Header { first: BINARY, length: self.size as u64, mask }.encode(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_the_same_however_it_is_cut() {
        let pattern = Pattern::new(PAYLOAD_MAX);
        for source in Side::BOTH {
            let course = Course::new(5, source, 200);
            let mut whole = vec![0; 1000];
            course.fill(&pattern, 0, &mut whole);
            for cut in 0..whole.len() {
                let mut tail = vec![0; whole.len() - cut];
                course.fill(&pattern, cut as u64, &mut tail);
                assert_eq!(tail, whole[cut..], "from {cut}");
                assert_eq!(course.check(&pattern, cut as u64, &tail), Ok(()));
            }
        }
    }

    #[test]
    fn a_flipped_bit_a_lost_and_a_doubled_byte_are_seen() {
        let pattern = Pattern::new(PAYLOAD_MAX);
        let course = Course::new(1, Side::Client, 64);
        let mut whole = vec![0; 500];
        course.fill(&pattern, 0, &mut whole);
        for at in 0..whole.len() {
            let mut wrong = whole.clone();
            wrong[at] ^= 0x20;
            assert_eq!(course.check(&pattern, 0, &wrong), Err(at as u64));
        }
        // A byte may equal its neighbour, but not the hundred that follow.
        for at in 0..400 {
            let lost = [&whole[..at], &whole[at + 1..]].concat();
            assert!(course.check(&pattern, 0, &lost).is_err(), "lost {at}");
            let doubled = [&whole[..=at], &whole[at..]].concat();
            assert!(course.check(&pattern, 0, &doubled).is_err(), "doubled {at}");
        }
    }

    #[test]
    fn frames_are_frames() {
        for (source, size) in [(Side::Client, 16), (Side::Upstream, 200), (Side::Client, 16_384)] {
            let course = Course::new(9, source, size);
            let mut bytes = vec![0; course.frame() as usize];
            course.fill(&Pattern::new(PAYLOAD_MAX), 3 * course.frame(), &mut bytes);
            let (header, length) = Header::decode(&bytes).unwrap().unwrap();
            assert_eq!((header.length, length + size), (size as u64, bytes.len()));
            assert_eq!(header.mask.is_some(), source == Side::Client);
        }
    }
}
