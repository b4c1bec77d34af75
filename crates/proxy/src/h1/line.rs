//! The request line, read byte by byte as nginx reads it.
//!
//! It finds places and refuses what nginx refuses; it decodes nothing (that is `uri.rs`) and knows no
//! field lines. [`super::request::RequestParser`] drives it; no byte is looked at twice.
//!
//! ```text
//! Method -> BeforeUri -> [Scheme -> Slashes -> HostStart -> Host|Literal -> HostEnd|Port] -> Path -> Args
//!     `-- CONNECT --> BeforeHost --------^                                                     |
//!   Done <- LineFeed <- AfterVersion <- Minor <- .. <- Protocol <- AfterUri <------------------'
//! ```

use super::class::{self, ARGS, HOST, METHOD, PATH, REGNAME};
use super::fault::HeadFault;
use super::span::Span;
use super::version::Version;

/// Where the parts of the request line lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestLine {
    /// The whole line without its end.
    pub line: Span,
    pub method: Span,
    /// The target as sent.
    pub target: Span,
    /// What nginx calls `unparsed_uri`: path and arguments.
    pub uri: Span,
    /// Where the arguments begin, behind the `?`.
    pub args: Option<u32>,
    pub scheme: Option<Span>,
    /// Host and port of an absolute target or of CONNECT.
    pub authority: Option<Span>,
    /// `HTTP/1.1` and what follows it up to the end of the line; empty in HTTP/0.9.
    pub protocol: Span,
    pub version: Version,
    /// The path holds `%`, `//` or `/.`, and so must be normalised.
    pub is_special: bool,
}

/// What has been read so far of the line.
#[derive(Clone, Copy, Debug)]
enum LineState {
    Method,
    BeforeUri,
    Scheme {
        start: usize,
    },
    /// Behind `scheme:`; `seen` slashes of two.
    Slashes {
        seen: u8,
    },
    /// CONNECT: blanks before the host.
    BeforeHost,
    HostStart,
    Host {
        start: usize,
    },
    /// Inside `[...]`.
    Literal {
        start: usize,
    },
    /// Behind `]`.
    HostEnd {
        start: usize,
    },
    Port {
        start: usize,
    },
    Path,
    Args,
    AfterUri,
    /// Inside `HTTP/`, of which `seen` bytes have come.
    Protocol {
        start: usize,
        seen: u8,
    },
    MajorFirst,
    Major,
    MinorFirst,
    Minor,
    AfterVersion,
    /// Behind a CR, which stands at `end`.
    LineFeed {
        end: usize,
    },
    Done,
}

/// The machine. `at` of its caller is the first byte that it has not seen.
#[derive(Clone, Debug)]
pub(crate) struct LineMachine {
    state: LineState,
    parts: RequestLine,
}

impl LineMachine {
    pub fn new() -> LineMachine {
        LineMachine { state: LineState::Method, parts: RequestLine::default() }
    }

    /// Reads on from `at` to the end of `text` or of the line, whichever comes first; the line once
    /// it is complete.
    pub fn run(&mut self, text: &[u8], at: &mut usize) -> Result<Option<RequestLine>, HeadFault> {
        loop {
            match self.state {
                LineState::Method => *at = class::skip(text, *at, METHOD),
                LineState::Path => *at = class::skip(text, *at, PATH),
                LineState::Args => *at = class::skip(text, *at, ARGS),
                _ => {}
            }
            let Some(&byte) = text.get(*at) else { return Ok(None) };
            self.state = self.step(text, *at, byte)?;
            *at += 1;
            if matches!(self.state, LineState::Done) {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn step(&mut self, text: &[u8], at: usize, byte: u8) -> Result<LineState, HeadFault> {
        match self.state {
            LineState::Method => self.after_method(text, at, byte),
            LineState::BeforeUri => self.before_uri(at, byte),
            LineState::Scheme { .. }
            | LineState::Slashes { .. }
            | LineState::BeforeHost
            | LineState::HostStart
            | LineState::Host { .. }
            | LineState::Literal { .. }
            | LineState::HostEnd { .. }
            | LineState::Port { .. } => self.authority(at, byte),
            LineState::Path => self.path(text, at, byte),
            LineState::Args => self.args(at, byte),
            LineState::AfterUri | LineState::Protocol { .. } => self.protocol(at, byte),
            LineState::MajorFirst
            | LineState::Major
            | LineState::MinorFirst
            | LineState::Minor
            | LineState::AfterVersion => self.version(at, byte),
            LineState::LineFeed { end } if byte == b'\n' => Ok(self.end(end)),
            LineState::LineFeed { .. } | LineState::Done => Err(HeadFault::InvalidRequest),
        }
    }

    fn after_method(&mut self, text: &[u8], at: usize, byte: u8) -> Result<LineState, HeadFault> {
        if byte != b' ' || at == 0 {
            return Err(HeadFault::InvalidMethod);
        }
        self.parts.method = Span::new(0, at);
        if self.parts.method.of(text) == b"CONNECT" {
            return Ok(LineState::BeforeHost);
        }
        Ok(LineState::BeforeUri)
    }

    fn before_uri(&mut self, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        match byte {
            b' ' => return Ok(LineState::BeforeUri),
            b'/' => {}
            b'a'..=b'z' | b'A'..=b'Z' => {
                self.parts.target = Span::new(at, at);
                return Ok(LineState::Scheme { start: at });
            }
            _ => return Err(HeadFault::InvalidRequest),
        }
        self.parts.target = Span::new(at, at);
        self.parts.uri = Span::new(at, at);
        Ok(LineState::Path)
    }

    /// `scheme://host:port` of an absolute target, `host:port` of CONNECT.
    fn authority(&mut self, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        match self.state {
            LineState::Scheme { start } => match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.' => Ok(self.state),
                b':' => {
                    self.parts.scheme = Some(Span::new(start, at));
                    Ok(LineState::Slashes { seen: 0 })
                }
                _ => Err(HeadFault::InvalidRequest),
            },
            LineState::Slashes { seen } => match (byte, seen) {
                (b'/', 0) => Ok(LineState::Slashes { seen: 1 }),
                (b'/', _) => Ok(LineState::HostStart),
                _ => Err(HeadFault::InvalidRequest),
            },
            LineState::BeforeHost if byte == b' ' => Ok(LineState::BeforeHost),
            LineState::BeforeHost => {
                self.parts.target = Span::new(at, at);
                self.host(at, at, byte)
            }
            LineState::HostStart => self.host(at, at, byte),
            LineState::Host { start } => self.host(start, at, byte),
            LineState::Literal { start } => match byte {
                b']' => Ok(LineState::HostEnd { start }),
                // nginx looks for the bytes of an address only, not for its form.
                b':' => Ok(self.state),
                _ if class::is(byte, REGNAME) => Ok(self.state),
                _ => Err(HeadFault::InvalidRequest),
            },
            LineState::Port { .. } if byte.is_ascii_digit() => Ok(self.state),
            LineState::HostEnd { start } | LineState::Port { start } => {
                self.behind_host(start, at, byte)
            }
            _ => Err(HeadFault::InvalidRequest),
        }
    }

    fn host(&mut self, start: usize, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        if byte == b'[' && at == start {
            return Ok(LineState::Literal { start });
        }
        if class::is(byte, HOST) {
            return Ok(LineState::Host { start });
        }
        self.behind_host(start, at, byte)
    }

    /// The first byte behind a host or a port, which begins at `start`.
    fn behind_host(&mut self, start: usize, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        let has_port = matches!(self.state, LineState::Port { .. });
        if byte == b':' && !has_port {
            return Ok(LineState::Port { start });
        }
        self.parts.authority = Some(Span::new(start, at));
        let Some(scheme) = self.parts.scheme else {
            // CONNECT: nginx 1.31 wants a port, and nothing but a blank behind it.
            if !has_port || byte != b' ' {
                return Err(HeadFault::InvalidRequest);
            }
            self.parts.target.end = at as u32;
            return Ok(LineState::AfterUri);
        };
        match byte {
            b'/' => {
                self.parts.uri = Span::new(at, at);
                Ok(LineState::Path)
            }
            b'?' => {
                self.parts.uri = Span::new(at, at);
                self.parts.args = Some(at as u32 + 1);
                Ok(LineState::Args)
            }
            b' ' => {
                // No path: nginx takes the first slash of `://` for it, so that it needs no copy.
                self.parts.uri = Span { start: scheme.end + 1, end: scheme.end + 2 };
                self.parts.target.end = at as u32;
                Ok(LineState::AfterUri)
            }
            _ => Err(HeadFault::InvalidRequest),
        }
    }

    fn path(&mut self, text: &[u8], at: usize, byte: u8) -> Result<LineState, HeadFault> {
        match byte {
            b'/' | b'.' => {
                let begins = at > self.parts.uri.start as usize;
                if begins && text.get(at - 1) == Some(&b'/') {
                    self.parts.is_special = true;
                }
                Ok(LineState::Path)
            }
            b'%' => {
                self.parts.is_special = true;
                Ok(LineState::Path)
            }
            b'?' => {
                self.parts.args = Some(at as u32 + 1);
                Ok(LineState::Args)
            }
            _ => self.args(at, byte),
        }
    }

    /// A byte that may not stand in the target: its end, or a fault.
    fn args(&mut self, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        let next = match byte {
            b' ' => LineState::AfterUri,
            b'\r' => LineState::LineFeed { end: at },
            b'\n' => self.end(at),
            b'#' => return Err(HeadFault::FragmentInTarget),
            _ => return Err(HeadFault::InvalidRequest),
        };
        self.parts.target.end = at as u32;
        self.parts.uri.end = at as u32;
        Ok(next)
    }

    fn protocol(&mut self, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        match (self.state, byte) {
            (LineState::AfterUri, b' ') => Ok(LineState::AfterUri),
            (LineState::AfterUri, b'\r') => Ok(LineState::LineFeed { end: at }),
            (LineState::AfterUri, b'\n') => Ok(self.end(at)),
            (LineState::AfterUri, b'H') => Ok(LineState::Protocol { start: at, seen: 1 }),
            (LineState::Protocol { start, seen: 4 }, b'/') => {
                self.parts.protocol = Span::new(start, at);
                if self.parts.scheme.is_none() && self.parts.authority.is_some() {
                    // CONNECT has no path: nginx takes this slash for it.
                    self.parts.uri = Span::new(at, at + 1);
                }
                Ok(LineState::MajorFirst)
            }
            (LineState::Protocol { start, seen }, _)
                if b"HTTP".get(seen as usize) == Some(&byte) =>
            {
                Ok(LineState::Protocol { start, seen: seen + 1 })
            }
            _ => Err(HeadFault::InvalidRequest),
        }
    }

    fn version(&mut self, at: usize, byte: u8) -> Result<LineState, HeadFault> {
        let version = &mut self.parts.version;
        let digit = u16::from(byte.wrapping_sub(b'0'));
        match (self.state, byte) {
            (LineState::MajorFirst, b'1'..=b'9') | (LineState::Major, b'0'..=b'9') => {
                version.major = version.major * 10 + digit;
                if version.major > 1 {
                    return Err(HeadFault::InvalidVersion);
                }
                Ok(LineState::Major)
            }
            (LineState::Major, b'.') => Ok(LineState::MinorFirst),
            (LineState::MinorFirst, b'0'..=b'9') => {
                version.minor = digit;
                Ok(LineState::Minor)
            }
            (LineState::Minor, b'0'..=b'9') if version.minor <= 99 => {
                version.minor = version.minor * 10 + digit;
                Ok(LineState::Minor)
            }
            (LineState::Minor | LineState::AfterVersion, b' ') => Ok(LineState::AfterVersion),
            (LineState::Minor | LineState::AfterVersion, b'\r') => {
                Ok(LineState::LineFeed { end: at })
            }
            (LineState::Minor | LineState::AfterVersion, b'\n') => Ok(self.end(at)),
            _ => Err(HeadFault::InvalidRequest),
        }
    }

    fn end(&mut self, end: usize) -> LineState {
        self.parts.line = Span::new(0, end);
        LineState::Done
    }

    fn finish(&mut self) -> RequestLine {
        let mut parts = self.parts;
        if parts.version.major == 0 {
            // That only GET may do so is for the caller, who has the text.
            parts.version = Version::HTTP_09;
            parts.protocol = Span::default();
        } else {
            parts.protocol.end = parts.line.end;
        }
        parts
    }
}
