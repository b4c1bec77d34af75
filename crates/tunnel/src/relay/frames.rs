//! Where one direction of a WebSocket tunnel stands in its frames (RFC 6455, 5.2), in two words.
//!
//! Pure, and it keeps no bytes: a header tells where the next one begins, and what lies between is
//! never looked at. It follows the bytes *written* to the sink; `engine::turn` moves it on after
//! each write, and repair after a crash, both from bytes that are still in shared memory.
//!
//! The order of the two stores cannot be wrong: a header of which a part is known counts only while
//! its parity is that of the first word, and whoever finishes it changes that with the same store
//! that moves the position.

/// The frames of one direction. Both words may be anything: what no engine writes is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Where the next header begins in the sink's stream, times two, plus the parity.
    next: u64,
    /// What is known of a header that began at `next` and is not complete.
    begun: u32,
}

/// As much of a header as was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    count: u64,
    is_close: bool,
    is_masked: bool,
    /// Bytes of the extended length: 0, 2 or 8.
    extended: u64,
    length: u64,
}

impl Frames {
    /// A direction that has no frames, or whose frames are not known any more.
    pub(crate) const OPAQUE: Frames = Frames { next: u64::MAX, begun: 0 };

    /// A Close frame was passed on: no frame follows it (RFC 6455, 5.5.1), and none is to be added.
    const CLOSED: Frames = Frames { next: u64::MAX - 2, begun: 0 };

    /// The first header begins at `position`.
    pub(crate) const fn starting_at(position: u64) -> Frames {
        Frames { next: position << 1, begun: 0 }
    }

    #[inline]
    pub(crate) const fn from_words(next: u64, begun: u32) -> Frames {
        Frames { next, begun }
    }

    #[inline]
    pub(crate) const fn words(self) -> (u64, u32) {
        (self.next, self.begun)
    }

    pub(crate) const fn is_opaque(self) -> bool {
        self.position() == Frames::OPAQUE.position()
    }

    /// Whether a Close frame of the peer's own is under way to the sink, or there.
    pub(crate) const fn is_closed(self) -> bool {
        self.position() == Frames::CLOSED.position()
    }

    /// Where the next header begins, or the one of which a part was written.
    #[inline]
    pub(crate) const fn position(self) -> u64 {
        self.next >> 1
    }

    /// Whether a frame ends exactly where the sink stands.
    pub(crate) const fn at_boundary(self, written: u64) -> bool {
        self.position() == written
    }

    /// Moves on to `end`. `byte` gives the byte at a position of the stream, `None` if it is not at
    /// hand. Repeating it changes nothing.
    #[cold]
    pub(crate) fn advance(mut self, end: u64, byte: impl Fn(u64) -> Option<u8>) -> Frames {
        while self.position() < end {
            let next = self.step(end, &byte);
            if next.position() == self.position() {
                return next;
            }
            self = next;
        }
        self
    }

    /// The same for frames up to 64 KiB whose headers are whole, nearly all there are: `advance` does
    /// the rest, if this stops before `end`. `four` gives the four bytes at a position.
    #[inline]
    pub(crate) fn skip(self, end: u64, four: impl Fn(u64) -> Option<[u8; 4]>) -> Frames {
        if self.is_begun() {
            return self;
        }
        let mut start = self.position();
        while start < end {
            let Some([first, second, high, low]) = four(start) else { break };
            let length = u64::from(second & 0x7f);
            // A stop short of the header's end is for `advance`.
            let (header, length) = match length {
                127 => break,
                126 => (4, u64::from(u16::from_be_bytes([high, low]))),
                _ => (2, length),
            };
            if first & 0x0f == OPCODE_CLOSE || start + header > end {
                break;
            }
            start += header + length + u64::from(second >> 7) * MASK_BYTES;
        }
        Frames { next: start << 1 | self.parity(), ..self }
    }

    /// The first boundary behind `from`, which is none itself; `end` if there is none up to it.
    pub(crate) fn boundary(self, from: u64, end: u64, byte: impl Fn(u64) -> Option<u8>) -> u64 {
        let next = if self.position() > from { self } else { self.step(end, &byte) };
        if next.position() > from { next.position().min(end) } else { end }
    }

    /// Reads as much of the header at `position` as lies before `end`.
    fn step(self, end: u64, byte: &impl Fn(u64) -> Option<u8>) -> Frames {
        let (start, known) = (self.position(), self.known());
        let mut header = known;
        while start.saturating_add(header.count) < end {
            let Some(value) = byte(start + header.count) else { return Frames::OPAQUE };
            header.push(value);
            if header.is_complete() {
                let parity = self.parity() ^ u64::from(known.count > 0);
                return header.behind(start, parity, self.begun);
            }
        }
        match header.pack() {
            Some(word) => Frames { begun: word | (self.parity() as u32 * PARITY), ..self },
            None => Frames::OPAQUE,
        }
    }

    /// The part of a header that counts.
    fn known(self) -> Header {
        let counts = u64::from(self.begun & PARITY != 0) == self.parity();
        if counts { Header::unpack(self.begun) } else { Header::default() }
    }

    /// Whether a part of a header may count.
    #[inline]
    const fn is_begun(self) -> bool {
        self.begun & COUNT != 0 && (self.begun & PARITY != 0) == (self.parity() != 0)
    }

    #[inline]
    const fn parity(self) -> u64 {
        self.next & 1
    }
}

impl Header {
    fn push(&mut self, value: u8) {
        match self.count {
            0 => self.is_close = value & 0x0f == OPCODE_CLOSE,
            1 => {
                self.is_masked = value & 0x80 != 0;
                match value & 0x7f {
                    126 => self.extended = 2,
                    127 => self.extended = 8,
                    length => self.length = u64::from(length),
                }
            }
            _ => self.length = self.length << 8 | u64::from(value),
        }
        self.count += 1;
    }

    /// The mask counts as payload: nobody here needs it.
    const fn is_complete(&self) -> bool {
        self.count >= 2 && self.count >= 2 + self.extended
    }

    /// The frames behind this one, which began at `start`.
    fn behind(&self, start: u64, parity: u64, begun: u32) -> Frames {
        if self.is_close {
            return Frames::CLOSED;
        }
        let mask = if self.is_masked { MASK_BYTES } else { 0 };
        let position = start.saturating_add(self.count + mask).saturating_add(self.length);
        if position >= POSITION_MAX {
            return Frames::OPAQUE;
        }
        Frames { next: position << 1 | parity, begun }
    }

    /// `None` if the length does not fit: then the direction has no boundary any more.
    fn pack(&self) -> Option<u32> {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let fits = self.length < 1 << (u32::BITS - LENGTH_SHIFT);
        fits.then(|| {
            self.count as u32
                | flag(self.is_close, CLOSE)
                | flag(self.is_masked, MASKED)
                | flag(self.extended > 0, EXTENDED)
                | flag(self.extended == 8, LONG)
                | (self.length as u32) << LENGTH_SHIFT
        })
    }

    fn unpack(word: u32) -> Header {
        let flag = |bit: u32| word & bit != 0;
        let extended = match (flag(EXTENDED), flag(LONG)) {
            (false, _) => 0,
            (true, false) => 2,
            (true, true) => 8,
        };
        let header = Header {
            count: u64::from(word & COUNT),
            is_close: flag(CLOSE),
            is_masked: flag(MASKED),
            extended,
            length: u64::from(word >> LENGTH_SHIFT),
        };
        // A complete one is never kept.
        if header.is_complete() { Header::default() } else { header }
    }
}

const OPCODE_CLOSE: u8 = 8;
const MASK_BYTES: u64 = 4;
/// Positions and the ends of frames beyond this are not followed.
const POSITION_MAX: u64 = 1 << 62;

// The word of a header that is not complete. Of a length of which seven bytes are known, 24 bits
// are kept: a frame of 4 GiB whose header comes in pieces ends the following.
const COUNT: u32 = 0x0f;
const PARITY: u32 = 1 << 4;
const CLOSE: u32 = 1 << 5;
const MASKED: u32 = 1 << 6;
const EXTENDED: u32 = 1 << 7;
const LONG: u32 = 1 << 8;
const LENGTH_SHIFT: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with this payload; text unless told otherwise.
    fn frame(opcode: u8, masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..126 => bytes.push(mask | payload as u8),
            126..65536 => {
                bytes.push(mask | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        // Payload that looks like headers.
        bytes.extend(std::iter::repeat_n(0x88, payload + if masked { 4 } else { 0 }));
        bytes
    }

    fn stream() -> (Vec<u8>, Vec<u64>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (at, payload) in
            [0, 5, 126, 1, 0, 300, 125, 70_000, 2, 65_536, 65_535, 0].iter().enumerate()
        {
            bytes.extend(frame([1, 2, 9, 0][at % 4], at % 3 != 0, *payload));
            ends.push(bytes.len() as u64);
        }
        (bytes, ends)
    }

    /// Only the bytes from `from` on are at hand, as after a write.
    fn since(bytes: &[u8], from: u64) -> impl Fn(u64) -> Option<u8> {
        move |at| if at < from { None } else { bytes.get(at as usize).copied() }
    }

    #[test]
    fn boundaries_are_known_after_every_split() {
        let (bytes, ends) = stream();
        let end = bytes.len() as u64;
        let near = |at: &u64| ends.iter().any(|end| at.abs_diff(*end) < 16);
        for split in (0..=end).filter(near) {
            for second in [split, split + 1, split + 3, split + 9, end] {
                let second = second.min(end);
                let mut frames = Frames::starting_at(0).advance(split, since(&bytes, 0));
                assert_eq!(
                    frames.at_boundary(split),
                    split == 0 || ends.contains(&split),
                    "{split}"
                );
                frames = frames.advance(second, since(&bytes, split));
                assert_eq!(frames.at_boundary(second), second == 0 || ends.contains(&second));
                frames = frames.advance(end, since(&bytes, second));
                assert!(frames.at_boundary(end), "{split}, {second}");
            }
        }
    }

    #[test]
    fn byte_by_byte_and_after_every_lost_store() {
        let (bytes, ends) = stream();
        let mut kept = Frames::starting_at(0);
        for end in 1..=bytes.len() as u64 {
            let next = kept.advance(end, since(&bytes, end - 1));
            assert_eq!(next, next.advance(end, since(&bytes, end)), "twice is once");
            // A death between the two stores: only the first word counts, and it is done again.
            let torn = Frames { next: next.next, begun: kept.begun };
            assert_eq!(torn.advance(end, since(&bytes, end - 1)).position(), next.position());
            assert_eq!(torn.advance(end, since(&bytes, end - 1)).known(), next.known());
            assert_eq!(next.at_boundary(end), ends.contains(&end), "{end}");
            kept = next;
        }
    }

    #[test]
    fn skipping_agrees_with_walking() {
        let (bytes, _) = stream();
        let four = |at: u64| bytes.get(at as usize..at as usize + 4)?.try_into().ok();
        for from in (0..400).chain(70_000..71_000) {
            let frames = Frames::starting_at(0).advance(from, since(&bytes, 0));
            for end in (from..from + 40).chain([70_500, bytes.len() as u64]) {
                let skipped = frames.skip(end, four);
                let both = skipped.advance(end, since(&bytes, from));
                assert_eq!(both.position(), frames.advance(end, since(&bytes, from)).position());
                assert_eq!(both.known(), frames.advance(end, since(&bytes, from)).known());
            }
        }
    }

    #[test]
    fn the_next_boundary_is_found_without_going_there() {
        let (bytes, ends) = stream();
        let all = bytes.len() as u64;
        for from in (1..all).filter(|from| !ends.contains(from)).take(3_000) {
            let frames = Frames::starting_at(0).advance(from, since(&bytes, 0));
            let wanted = *ends.iter().find(|end| **end > from).unwrap();
            assert_eq!(frames.boundary(from, all, since(&bytes, from)), wanted);
            assert!(frames.boundary(from, wanted - 1, since(&bytes, from)) < wanted);
        }
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut bytes = frame(2, true, 9);
        bytes.extend(frame(8, true, 2));
        for split in 0..bytes.len() as u64 {
            let frames = Frames::starting_at(0).advance(split, since(&bytes, 0));
            let frames = frames.advance(bytes.len() as u64, since(&bytes, split));
            assert!(frames.is_closed() && !frames.is_opaque() && !frames.at_boundary(99));
        }
    }

    #[test]
    fn what_cannot_be_followed_is_opaque() {
        let huge = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        for split in 0..=10 {
            let frames =
                Frames::starting_at(7).advance(7 + split, |at| huge.get(at as usize - 7).copied());
            let frames = frames.advance(17, |at| huge.get(at as usize - 7).copied());
            assert!(frames.is_opaque(), "{split}");
        }
        assert!(Frames::OPAQUE.advance(1 << 61, |_| panic!("nothing is looked at")).is_opaque());
        // 1 TiB in one piece can be.
        let large = [0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0];
        let frames = Frames::starting_at(0).advance(10, |at| large.get(at as usize).copied());
        assert!(frames.at_boundary((1 << 40) + 10));
    }

    #[test]
    fn any_two_words_are_harmless() {
        let mut seed = 1_u64;
        for _ in 0..200_000 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let next = seed >> (seed >> 58);
            let frames = Frames::from_words(next, (seed >> 13) as u32);
            let from = frames.position().saturating_sub(3);
            let frames = frames.advance(from.saturating_add(40), |at| Some(at as u8));
            let _ = frames.boundary(from, from.saturating_add(9), |at| Some(at as u8));
        }
    }
}
