//! The status line of an upstream's answer, read byte by byte.
//!
//! It knows no fields. [`super::response::ResponseParser`] drives it; no byte is looked at twice.

use super::span::Span;
use super::version::Version;

/// A status line that passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StatusLine {
    pub version: Version,
    pub status: u16,
    /// The words behind the status.
    pub reason: Span,
}

/// The line is none of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotHttp;

#[derive(Clone, Copy, Debug)]
enum StatusState {
    /// Inside `HTTP/1.`, of which `seen` bytes have come.
    Protocol {
        seen: usize,
    },
    MinorFirst,
    Minor,
    /// Blanks before the status.
    BeforeStatus,
    /// `digits` of three have come.
    Status {
        digits: u8,
    },
    Reason {
        start: usize,
    },
    /// Behind a CR.
    LineFeed,
    Done,
}

/// The machine. `at` of its caller is the first byte that it has not seen.
#[derive(Clone, Debug)]
pub(crate) struct StatusMachine {
    state: StatusState,
    line: StatusLine,
}

impl Default for StatusMachine {
    fn default() -> StatusMachine {
        let version = Version { major: 1, minor: 0 };
        StatusMachine {
            state: StatusState::Protocol { seen: 0 },
            line: StatusLine { version, ..StatusLine::default() },
        }
    }
}

impl StatusMachine {
    /// Reads on from `at` to the end of the line or of `text`; the line once it is complete.
    pub fn run(&mut self, text: &[u8], at: &mut usize) -> Result<Option<StatusLine>, NotHttp> {
        while let Some(&byte) = text.get(*at) {
            self.state = self.step(*at, byte)?;
            *at += 1;
            if let StatusState::Done = self.state {
                return Ok(Some(self.line));
            }
        }
        Ok(None)
    }

    fn step(&mut self, at: usize, byte: u8) -> Result<StatusState, NotHttp> {
        let digit = u16::from(byte.wrapping_sub(b'0'));
        match (self.state, byte) {
            // An answer in HTTP/0.9 (none of this) or HTTP/2 is not understood by anybody behind us.
            (StatusState::Protocol { seen }, _) => match PROTOCOL.get(seen) {
                Some(&wanted) if wanted == byte && seen + 1 == PROTOCOL.len() => {
                    Ok(StatusState::MinorFirst)
                }
                Some(&wanted) if wanted == byte => Ok(StatusState::Protocol { seen: seen + 1 }),
                _ => Err(NotHttp),
            },
            (StatusState::MinorFirst, b'0'..=b'9') => {
                self.line.version.minor = digit;
                Ok(StatusState::Minor)
            }
            (StatusState::Minor, b'0'..=b'9') if self.line.version.minor <= 99 => {
                self.line.version.minor = self.line.version.minor * 10 + digit;
                Ok(StatusState::Minor)
            }
            (StatusState::Minor | StatusState::BeforeStatus, b' ') => Ok(StatusState::BeforeStatus),
            // A status below 100 has no meaning (RFC 9110, 15); nginx would pass it on.
            (StatusState::BeforeStatus, b'1'..=b'9') => {
                self.line.status = digit;
                Ok(StatusState::Status { digits: 1 })
            }
            (StatusState::Status { digits: digits @ 1..=2 }, b'0'..=b'9') => {
                self.line.status = self.line.status * 10 + digit;
                Ok(StatusState::Status { digits: digits + 1 })
            }
            (StatusState::Status { digits: 3 }, b' ') => Ok(self.reason(at + 1, at + 1)),
            // IIS says 403.1; nginx takes what follows the dot for words.
            (StatusState::Status { digits: 3 }, b'.') => Ok(self.reason(at, at)),
            (StatusState::Status { digits: 3 }, b'\r' | b'\n') => {
                self.reason(at, at);
                Ok(line_end(byte))
            }
            (StatusState::Reason { start }, b'\r' | b'\n') => {
                self.reason(start, at);
                Ok(line_end(byte))
            }
            (StatusState::Reason { .. }, 0) => Err(NotHttp),
            (StatusState::Reason { .. }, _) => Ok(self.state),
            (StatusState::LineFeed, b'\n') => Ok(StatusState::Done),
            _ => Err(NotHttp),
        }
    }

    fn reason(&mut self, start: usize, end: usize) -> StatusState {
        self.line.reason = Span::new(start, end);
        StatusState::Reason { start }
    }
}

fn line_end(byte: u8) -> StatusState {
    if byte == b'\r' { StatusState::LineFeed } else { StatusState::Done }
}

/// How each status line begins: of major versions there is only one.
const PROTOCOL: &[u8] = b"HTTP/1.";
