//! Compresses and unpacks a body as it passes by (RFC 1952): bytes in, bytes out, no sockets and no
//! fields. `send` owns one for each response that is coded.

use super::coding::Coding;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What one step makes at most: a small body may unpack to a thousand times its size.
pub const STEP_MAX: usize = 64 * 1024;

/// Compressed bytes that are collected before they are handed on.
const ROOM: usize = 16 * 1024;

/// A body's coding under way.
pub enum Coder {
    Identity,
    Gzip(Box<Gzip>),
    Gunzip(Box<Gunzip>),
}

/// A compression under way.
pub struct Gzip {
    stream: Compress,
    /// Bytes were taken that have not come out yet.
    is_behind: bool,
}

/// An unpacking under way.
pub struct Gunzip {
    stream: Decompress,
    /// The last member has ended, and no other has begun.
    is_between: bool,
}

/// How much of the bytes a step has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    All,
    /// So many; call again with the others, of which there may be none.
    Part(usize),
}

/// What is coded is not what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingFault {
    /// The bytes are no gzip.
    NotGzip,
    /// They end before their end.
    Unfinished,
}

impl CodingFault {
    /// The words of the error log; the numbers are zlib's.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotGzip => "inflate() failed: 0, -3",
            Self::Unfinished => "inflate() returned -5 on response end",
        }
    }
}

impl Coder {
    pub fn new(coding: Coding) -> Self {
        match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip { level, window_bits } => Self::Gzip(Box::new(Gzip {
                stream: Compress::new_gzip(Compression::new(level), window_bits),
                is_behind: false,
            })),
            Coding::Gunzip => {
                Self::Gunzip(Box::new(Gunzip { stream: new_member(), is_between: true }))
            }
        }
    }

    /// Takes bytes of the body and appends what comes of them to `out`.
    pub fn step(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Taken, CodingFault> {
        match self {
            Self::Identity => {
                out.extend_from_slice(data);
                Ok(Taken::All)
            }
            Self::Gzip(gzip) => {
                gzip.step(data, FlushCompress::None, out)?;
                gzip.is_behind |= !data.is_empty();
                Ok(Taken::All)
            }
            Self::Gunzip(gunzip) => gunzip.step(data, out),
        }
    }

    /// Brings out what was taken, because nothing more comes for a while.
    pub fn pause(&mut self, out: &mut Vec<u8>) -> Result<(), CodingFault> {
        match self {
            Self::Gzip(gzip) if gzip.is_behind => {
                gzip.is_behind = false;
                gzip.step(&[], FlushCompress::Sync, out)
            }
            _ => Ok(()),
        }
    }

    /// Ends the body.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), CodingFault> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip(gzip) => gzip.step(&[], FlushCompress::Finish, out),
            Self::Gunzip(gunzip) if gunzip.is_between => Ok(()),
            Self::Gunzip(_) => Err(CodingFault::Unfinished),
        }
    }

    /// Bytes that were compressed, and what they came to.
    pub fn totals(&self) -> Option<(u64, u64)> {
        match self {
            Self::Gzip(gzip) => Some((gzip.stream.total_in(), gzip.stream.total_out())),
            _ => None,
        }
    }
}

impl Gzip {
    fn step(
        &mut self,
        mut data: &[u8],
        flush: FlushCompress,
        out: &mut Vec<u8>,
    ) -> Result<(), CodingFault> {
        loop {
            out.reserve(ROOM);
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(data, out, flush);
            data = &data[(self.stream.total_in() - before) as usize..];
            let is_done = match status {
                Ok(Status::StreamEnd) | Err(_) => true,
                // Room that is left says that nothing is.
                Ok(_) => data.is_empty() && out.len() < out.capacity(),
            };
            if is_done {
                return Ok(());
            }
        }
    }
}

impl Gunzip {
    fn step(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Taken, CodingFault> {
        let mut rest = data;
        let end = out.len() + STEP_MAX;
        loop {
            if self.is_between {
                if rest.is_empty() {
                    return Ok(Taken::All);
                }
                self.stream = new_member();
                self.is_between = false;
            }
            if out.len() >= end {
                return Ok(Taken::Part(data.len() - rest.len()));
            }
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let start = out.len();
            out.resize(start + ROOM, 0);
            let status = self.stream.decompress(rest, &mut out[start..], FlushDecompress::None);
            let made = (self.stream.total_out() - before_out) as usize;
            out.truncate(start + made);
            rest = &rest[(self.stream.total_in() - before_in) as usize..];
            let has_room = made < ROOM;
            match status {
                // Another member may follow (RFC 1952, 2.2).
                Ok(Status::StreamEnd) => self.is_between = true,
                Ok(_) if rest.is_empty() && has_room => return Ok(Taken::All),
                Ok(Status::BufError) if has_room => return Err(CodingFault::NotGzip),
                Ok(_) => {}
                Err(_) => return Err(CodingFault::NotGzip),
            }
        }
    }
}

fn new_member() -> Decompress {
    Decompress::new_gzip(WINDOW_BITS_MAX)
}

/// The largest window there is.
const WINDOW_BITS_MAX: u8 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::chance::Chance;

    fn pack(text: &[u8], piece: usize) -> Vec<u8> {
        let mut coder = Coder::new(Coding::Gzip { level: 6, window_bits: 12 });
        let mut out = Vec::new();
        for part in text.chunks(piece) {
            assert_eq!(coder.step(part, &mut out), Ok(Taken::All));
            if part.len() % 2 == 1 {
                coder.pause(&mut out).expect("nothing can go wrong");
            }
        }
        coder.end(&mut out).expect("nothing can go wrong");
        assert_eq!(coder.totals(), Some((text.len() as u64, out.len() as u64)));
        out
    }

    fn unpack(packed: &[u8], piece: usize) -> Result<Vec<u8>, CodingFault> {
        let mut coder = Coder::new(Coding::Gunzip);
        let mut out = Vec::new();
        for part in packed.chunks(piece) {
            let mut rest = part;
            loop {
                let before = out.len();
                let taken = coder.step(rest, &mut out)?;
                assert!(out.len() - before < STEP_MAX + ROOM, "a step has a limit");
                match taken {
                    Taken::All => break,
                    Taken::Part(count) => rest = &rest[count..],
                }
            }
        }
        coder.end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_packed_in_pieces_is_unpacked_in_others() {
        let mut chance = Chance::new(1);
        for length in [0, 1, 20, 1000, 90_000] {
            let text: Vec<u8> = (0..length).map(|_| b"abcdefgh"[chance.below(8)]).collect();
            for piece in [77, 1024, 1 << 20] {
                let packed = pack(&text, piece);
                assert!(length < 1000 || piece < 1000 || packed.len() < text.len(), "{length}");
                for other in [1 + length / 100, 1 << 20] {
                    assert!(unpack(&packed, other).as_deref() == Ok(&text), "{length} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_goes_off_in_steps() {
        let packed = pack(&vec![0; 1 << 20], 1 << 20);
        assert!(packed.len() < 10_000, "{}", packed.len());
        assert_eq!(unpack(&packed, packed.len()).map(|text| text.len()), Ok(1 << 20));
    }

    #[test]
    fn members_follow_each_other() {
        let packed = [pack(b"one ", 9), pack(b"two", 9)].concat();
        assert_eq!(unpack(&packed, 5).as_deref(), Ok(&b"one two"[..]));
    }

    #[test]
    fn what_is_no_gzip_or_ends_early_is_a_fault() {
        assert_eq!(unpack(b"plain text, as it is", 100), Err(CodingFault::NotGzip));
        let packed = pack(&[b'x'; 100], 100);
        assert_eq!(unpack(&packed[..packed.len() - 3], 100), Err(CodingFault::Unfinished));
        let mut broken = packed.clone();
        let at = broken.len() - 6;
        broken[at] ^= 1;
        assert_eq!(unpack(&broken, 100), Err(CodingFault::NotGzip));
    }

    #[test]
    fn a_pause_brings_out_what_was_taken() {
        let mut coder = Coder::new(Coding::Gzip { level: 1, window_bits: 15 });
        let mut packed = Vec::new();
        coder.step(b"data: now\n\n", &mut packed).expect("taken");
        coder.pause(&mut packed).expect("out");
        let mut back = Vec::new();
        Coder::new(Coding::Gunzip).step(&packed, &mut back).expect("so far good");
        assert_eq!(back, b"data: now\n\n");
        let length = packed.len();
        coder.pause(&mut packed).expect("out");
        assert_eq!(packed.len(), length, "a second pause says nothing");
    }
}
