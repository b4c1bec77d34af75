//! The chunked coding (RFC 9112, 7.1), both ways.
//!
//! It holds no data: it says which bytes of its input are data. Extensions and trailers are checked and
//! dropped. The body readers of both sides drive [`ChunkedDecoder`]; their writers use [`chunk_head`].
//!
//! ```text
//! Size -> [Blank] -> [ExtensionName -> ExtensionValue|Quoted] -> SizeLf -> Data -> DataCr -> DataLf -> Size
//!   `--- 0 ---------------------------------------------------> TrailerStart -> .. -> Done
//! ```

use super::class::{self, TOKEN, VALUE};

/// What the input came to. `consumed` bytes of it are done with; call again with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// All of the input is read and the body goes on.
    More {
        /// How many bytes were read.
        consumed: usize,
    },
    /// `input[start..end]` is data.
    Data {
        /// Its first byte.
        start: usize,
        /// The byte behind its last one.
        end: usize,
        /// How many bytes were read: up to `end`.
        consumed: usize,
    },
    /// The body is complete, its trailers read; what follows does not belong to it.
    End {
        /// How many bytes were read.
        consumed: usize,
    },
}

/// Why a body is refused: 400 from a client ("client sent invalid chunked body"), and from an upstream
/// the end of the response ("upstream sent invalid chunked response").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkFault {
    /// Something else than hexadecimal digits where a size must stand.
    BadSize,
    /// A size above [`super::BODY_SIZE_MAX`].
    SizeOverflow,
    /// An extension that breaks its grammar.
    BadExtension,
    /// More than [`CHUNK_EXTENSIONS_SIZE_MAX`] bytes of extensions and leading zeros in one body.
    ExtensionsTooLong,
    /// A line that does not end in CRLF.
    BadLineEnd,
    /// A chunk longer or shorter than its size.
    BadDataEnd,
    /// A trailer line that is not a field line.
    BadTrailer,
    /// More than [`TRAILERS_SIZE_MAX`] bytes of trailers.
    TrailersTooLong,
    /// Input behind the end.
    AfterEnd,
}

/// Takes the coding off one body. No byte is looked at twice, whatever the input is cut into.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of extensions and leading zeros so far, in the whole body.
    extensions_size: usize,
    trailers_size: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Inside the size; `digits` of it have come.
    Size {
        size: u64,
        digits: Digits,
    },
    /// Blanks behind the size: an extension must follow (RFC 9112, 7.1.1: BWS).
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
        part: Extension,
    },
    /// Behind the CR of the line with the size.
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailer(Trailer),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Digits {
    None,
    Some,
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    /// Behind `;`.
    NameStart,
    Name,
    /// Behind `=`.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash inside quotes.
    QuotedPair,
    /// Behind the closing quote.
    QuotedEnd,
    /// Blanks behind a name or a value.
    Blank {
        after: Before,
    },
}

/// What blanks stand behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Name,
    Value,
}

#[derive(Clone, Copy, Debug)]
enum Trailer {
    LineStart,
    Name,
    Value,
    LineFeed,
    LastLineFeed,
}

impl Default for State {
    fn default() -> State {
        State::Size { size: 0, digits: Digits::None }
    }
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder::default()
    }

    /// Whether the end has been read.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Reads on until the next data, the end of the body, or the end of `input`.
    pub fn decode(&mut self, input: &[u8]) -> Result<Chunk, ChunkFault> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            if let State::Data { left } = self.state {
                return Ok(self.data(at, input.len(), left));
            }
            self.state = self.step(byte)?;
            at += 1;
            if let State::Done = self.state {
                return Ok(Chunk::End { consumed: at });
            }
        }
        Ok(Chunk::More { consumed: at })
    }

    fn data(&mut self, start: usize, input_size: usize, left: u64) -> Chunk {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input_size - start);
        let end = start + here;
        self.state = match left - here as u64 {
            0 => State::DataCr,
            left => State::Data { left },
        };
        Chunk::Data { start, end, consumed: end }
    }

    fn step(&mut self, byte: u8) -> Result<State, ChunkFault> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) => self.size(size, digits, byte),
            (State::Blank { size }, b' ' | b'\t' | b';') => {
                self.count_extension()?;
                Ok(match byte {
                    b';' => State::Extension { size, part: Extension::NameStart },
                    _ => State::Blank { size },
                })
            }
            (State::Blank { .. }, _) => Err(ChunkFault::BadExtension),
            (State::Extension { size, part }, _) => self.extension(size, part, byte),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailer(Trailer::LineStart)),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::SizeLf { .. }, _) => Err(ChunkFault::BadLineEnd),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::default()),
            (State::DataCr | State::DataLf | State::Data { .. }, _) => Err(ChunkFault::BadDataEnd),
            (State::Trailer(part), _) => self.trailer(part, byte),
            (State::Done, _) => Err(ChunkFault::AfterEnd),
        }
    }

    fn size(&mut self, size: u64, digits: Digits, byte: u8) -> Result<State, ChunkFault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if size > super::BODY_SIZE_MAX / 16 {
                return Err(ChunkFault::SizeOverflow);
            }
            if size == 0 && digits == Digits::Some {
                // nginx takes zeros without end.
                self.count_extension()?;
            }
            let size = size * 16 + u64::from(digit);
            return Ok(State::Size { size, digits: Digits::Some });
        }
        match (byte, digits) {
            (_, Digits::None) => Err(ChunkFault::BadSize),
            (b'\r', _) => Ok(State::SizeLf { size }),
            (b'\n', _) => Err(ChunkFault::BadLineEnd),
            (b' ' | b'\t', _) => {
                self.count_extension()?;
                Ok(State::Blank { size })
            }
            (b';', _) => {
                self.count_extension()?;
                Ok(State::Extension { size, part: Extension::NameStart })
            }
            _ => Err(ChunkFault::BadSize),
        }
    }

    /// RFC 9112, 7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
    fn extension(&mut self, size: u64, part: Extension, byte: u8) -> Result<State, ChunkFault> {
        use Extension::{Blank, Name, NameStart, Quoted, QuotedEnd, QuotedPair, Value, ValueStart};
        if byte != b'\r' {
            self.count_extension()?;
        }
        let is_blank = matches!(byte, b' ' | b'\t');
        let next = match (part, byte) {
            (Quoted, b'"') => QuotedEnd,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, _) if class::is(byte, VALUE) => Quoted,
            (Quoted | QuotedPair, _) => return Err(ChunkFault::BadExtension),
            (NameStart | ValueStart, _) if is_blank => part,
            (NameStart | Name, _) if class::is(byte, TOKEN) => Name,
            (ValueStart | Value, _) if class::is(byte, TOKEN) => Value,
            (ValueStart, b'"') => Quoted,
            (Name | Blank { after: Before::Name }, b'=') => ValueStart,
            (Name | Value | QuotedEnd | Blank { .. }, b';') => NameStart,
            (Name, _) if is_blank => Blank { after: Before::Name },
            (Value | QuotedEnd, _) if is_blank => Blank { after: Before::Value },
            (Blank { .. }, _) if is_blank => part,
            (Name | Value | QuotedEnd, b'\r') => return Ok(State::SizeLf { size }),
            (Name | Value | QuotedEnd, b'\n') => return Err(ChunkFault::BadLineEnd),
            _ => return Err(ChunkFault::BadExtension),
        };
        Ok(State::Extension { size, part: next })
    }

    /// RFC 9112, 7.1.2: trailers are field lines. They are dropped, so that none can pass for a header.
    fn trailer(&mut self, part: Trailer, byte: u8) -> Result<State, ChunkFault> {
        self.trailers_size += 1;
        if self.trailers_size > TRAILERS_SIZE_MAX {
            return Err(ChunkFault::TrailersTooLong);
        }
        let next = match (part, byte) {
            (Trailer::LineStart, b'\r') => Trailer::LastLineFeed,
            (Trailer::LastLineFeed, b'\n') => return Ok(State::Done),
            (Trailer::LineStart | Trailer::Name, _) if class::is(byte, TOKEN) => Trailer::Name,
            (Trailer::Name, b':') => Trailer::Value,
            (Trailer::Value, b'\r') => Trailer::LineFeed,
            (Trailer::LineFeed, b'\n') => Trailer::LineStart,
            (Trailer::Value, _) if class::is(byte, VALUE) => Trailer::Value,
            (Trailer::LastLineFeed | Trailer::LineFeed, _) | (_, b'\n') => {
                return Err(ChunkFault::BadLineEnd);
            }
            _ => return Err(ChunkFault::BadTrailer),
        };
        Ok(State::Trailer(next))
    }

    fn count_extension(&mut self) -> Result<(), ChunkFault> {
        self.extensions_size += 1;
        if self.extensions_size > CHUNK_EXTENSIONS_SIZE_MAX {
            return Err(ChunkFault::ExtensionsTooLong);
        }
        Ok(())
    }
}

/// The line before a chunk that is sent: its size in hexadecimal digits, and CRLF.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHead {
    digits: [u8; CHUNK_HEAD_SIZE_MAX],
    start: usize,
}

/// The line before `size` bytes of data, which [`CHUNK_END`] follows. `size` is not 0: that would end
/// the body, which is [`LAST_CHUNK`].
pub fn chunk_head(size: usize) -> ChunkHead {
    debug_assert!(size > 0);
    let mut digits = [0; CHUNK_HEAD_SIZE_MAX];
    let [.., cr, lf] = &mut digits;
    (*cr, *lf) = (b'\r', b'\n');
    let mut start = CHUNK_HEAD_SIZE_MAX - 2;
    let mut left = size;
    for digit in digits.iter_mut().rev().skip(2) {
        let value = (left & 0xf) as u8;
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        start -= 1;
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    ChunkHead { digits, start }
}

impl AsRef<[u8]> for ChunkHead {
    fn as_ref(&self) -> &[u8] {
        self.digits.get(self.start..).unwrap_or_default()
    }
}

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Extensions (and leading zeros) of all chunks of one body together: nobody needs them, and each
/// costs work that no limit on the body counts.
pub const CHUNK_EXTENSIONS_SIZE_MAX: usize = 4096;

/// Trailers of one body together.
pub const TRAILERS_SIZE_MAX: usize = 8192;

/// 16 digits and CRLF.
const CHUNK_HEAD_SIZE_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `text` cut into pieces of `step` bytes: the data and how much was left over.
    fn read(text: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkFault> {
        let mut decoder = ChunkedDecoder::new();
        let mut data = Vec::new();
        let mut read = 0;
        for piece in text.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let consumed = match decoder.decode(rest)? {
                    Chunk::More { consumed } => {
                        assert_eq!(consumed, rest.len());
                        consumed
                    }
                    Chunk::Data { start, end, consumed } => {
                        assert!(start < end && end == consumed);
                        data.extend_from_slice(&rest[start..end]);
                        consumed
                    }
                    Chunk::End { consumed } => {
                        assert!(decoder.is_done());
                        return Ok(Some((data, text.len() - read - consumed)));
                    }
                };
                read += consumed;
                rest = &rest[consumed..];
            }
        }
        Ok(None)
    }

    #[track_caller]
    fn decode(text: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ChunkFault> {
        let whole = read(text, usize::MAX);
        for step in 1..text.len().min(12) {
            assert_eq!(read(text, step), whole, "cut into {step}");
        }
        whole
    }

    #[track_caller]
    fn good(text: &str, data: &str) {
        assert_eq!(decode(text.as_bytes()), Ok(Some((data.as_bytes().to_vec(), 0))), "{text:?}");
    }

    #[test]
    fn bodies() {
        good("0\r\n\r\n", "");
        good("3\r\nabc\r\n0\r\n\r\n", "abc");
        good("1\r\na\r\nB\r\n01234567890\r\n000\r\n\r\n", "a01234567890");
        good("003\r\nabc\r\n0\r\n\r\n", "abc");
        assert_eq!(decode(b"0\r\n\r\nGET"), Ok(Some((vec![], 3))));
        assert_eq!(decode(b"3\r\nabc\r\n0\r\n"), Ok(None));
        let mut done = ChunkedDecoder::new();
        assert_eq!(done.decode(LAST_CHUNK), Ok(Chunk::End { consumed: 5 }));
        assert_eq!(done.decode(b"x"), Err(ChunkFault::AfterEnd));
    }

    #[test]
    fn sizes_that_are_none() {
        for text in [
            "0x2\r\n", " 2\r\n", "-2\r\n", "+2\r\n", "1_0\r\n", "2g\r\n", "\r\n", ";a\r\n", "\n",
            "g",
        ] {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadSize), "{text:?}");
        }
        for text in ["2 \r\n", "2\t\r\n", "2 a\r\n"] {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadExtension), "{text:?}");
        }
        for text in ["2\n", "2\rab", "0\n", "0\r\n\n", "0\r\n\rx"] {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadLineEnd), "{text:?}");
        }
        let sizes = |digits: &str| decode(format!("{digits}\r\n").as_bytes());
        assert_eq!(sizes("7fffffffffffffff"), Ok(None));
        assert_eq!(sizes("8000000000000000"), Err(ChunkFault::SizeOverflow));
        assert_eq!(sizes(&"F".repeat(16)), Err(ChunkFault::SizeOverflow));
        assert_eq!(sizes(&"F".repeat(17)), Err(ChunkFault::SizeOverflow));
    }

    #[test]
    fn data_that_does_not_fit_its_size() {
        for text in
            ["2\r\nabc\r\n", "2\r\nab\n", "2\r\nab\rx", "2\r\nab0\r\n\r\n", "2\r\na\r\n0\r\n\r\n"]
        {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadDataEnd), "{text:?}");
        }
    }

    #[test]
    fn extensions_are_checked_and_dropped() {
        for extension in [
            ";a",
            ";a=b",
            " ; a = b",
            ";a=\"\"",
            ";a=\"b;\\\"c\t\"",
            ";a;b=c ;d=\"e\"",
            ";a=b\t;c",
            " \t;a",
        ] {
            good(&format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n"), "x");
        }
        for extension in [
            ";",
            ";=b",
            ";a=",
            ";a=\"b",
            ";a=\"b\"c",
            ";a b",
            ";a=b ",
            ";a=\0",
            ";a=\"\0\"",
            ";a=b\"",
            ";a=\"\\\r",
        ] {
            let text = format!("1{extension}\r\nx\r\n0\r\n\r\n");
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadExtension), "{extension:?}");
        }
        for text in ["1;a\nx", "1;a=b\nx", "1;a\rx", "1;a=\"b\"\nx"] {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadLineEnd), "{text:?}");
        }
        assert_eq!(decode(b"1;a=\"\n\"\r\n"), Err(ChunkFault::BadExtension));
    }

    #[test]
    fn extensions_of_all_chunks_together_are_bounded() {
        let body = |count: usize| format!("{}0\r\n\r\n", "1;abc\r\nx\r\n".repeat(count));
        let most = read(body(CHUNK_EXTENSIONS_SIZE_MAX / 4).as_bytes(), 100);
        assert!(most.is_ok_and(|found| found.is_some()));
        let text = body(CHUNK_EXTENSIONS_SIZE_MAX / 4 + 1);
        assert_eq!(read(text.as_bytes(), usize::MAX), Err(ChunkFault::ExtensionsTooLong));
        let zeros = format!("{}1\r\n", "0".repeat(CHUNK_EXTENSIONS_SIZE_MAX + 2));
        assert_eq!(read(zeros.as_bytes(), 100), Err(ChunkFault::ExtensionsTooLong));
    }

    #[test]
    fn trailers_are_checked_dropped_and_bounded() {
        good("0\r\nContent-Length: 5\r\nHost:\r\nX: a\tb \u{ff}\r\n\r\n", "");
        for line in [" a: b", "a", ": b", "a b: c", "a: \0", "a: b\u{7f}", "a\0: b"] {
            let text = format!("0\r\n{line}\r\n\r\n");
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadTrailer), "{line:?}");
        }
        for text in ["0\r\na: b\n\r\n", "0\r\na: b\rc", "0\r\na\n"] {
            assert_eq!(decode(text.as_bytes()), Err(ChunkFault::BadLineEnd), "{text:?}");
        }
        let trailer = |size: usize| format!("0\r\nA: {}\r\n\r\n", "b".repeat(size));
        good(&trailer(TRAILERS_SIZE_MAX - 7), "");
        let text = trailer(TRAILERS_SIZE_MAX - 6);
        assert_eq!(read(text.as_bytes(), usize::MAX), Err(ChunkFault::TrailersTooLong));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for size in [1, 9, 10, 15, 16, 255, 4096, 65_535, 70_000] {
            let data = vec![b'x'; size];
            let text = [chunk_head(size).as_ref(), &data, CHUNK_END, LAST_CHUNK].concat();
            assert_eq!(read(&text, 1000), Ok(Some((data, 0))));
        }
        assert_eq!(chunk_head(0xabc0).as_ref(), b"abc0\r\n");
        assert_eq!(chunk_head(usize::MAX).as_ref(), b"ffffffffffffffff\r\n");
    }
}
