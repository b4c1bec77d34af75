//! The head of an upstream's answer, and what it means for the connection to it.
//!
//! It reads no socket and keeps no state of an upstream. The upstream side gives it the bytes it has;
//! 1xx heads are heads like others: the caller takes them out and begins with a new parser.

use super::fault::Duplicate;
use super::field_line::{FieldMachine, FieldStep, Underscores};
use super::fields::{FieldSpans, Fields, same_name};
use super::framing::{Persistence, content_length};
use super::request::{MAX_HEADERS_DEFAULT, Progress};
use super::span::HEAD_SIZE_MAX;
use super::status_line::{StatusLine, StatusMachine};
use super::version::Version;
use bytes::Bytes;
use std::borrow::Cow;

/// What an upstream did wrong. All are answered with 502 (or the next upstream is asked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseFault {
    /// The first line is not a status line of HTTP/1.
    InvalidStatusLine,
    /// A field line breaks its grammar; `byte` is the one that does.
    InvalidField {
        /// The line up to the culprit.
        line: Box<[u8]>,
        /// The culprit.
        byte: u8,
    },
    /// The head is larger than `proxy_buffer_size`.
    TooBigHeader,
    /// More field lines than [`RESPONSE_FIELDS_MAX`].
    TooManyFields,
    /// A framing field came twice.
    DuplicateField(Box<Duplicate>),
    /// `Content-Length` is not a number that fits; the line as sent.
    InvalidContentLength {
        /// Name and value, `name: value`.
        line: Box<[u8]>,
    },
    /// `Content-Length` and `Transfer-Encoding` in one head.
    LengthAndTransferEncoding,
    /// A transfer coding other than exactly `chunked`.
    UnknownTransferEncoding {
        /// What it is said to be.
        value: Box<[u8]>,
    },
}

impl ResponseFault {
    /// The words of nginx's error log (level error), without the context behind them
    /// (` while reading response header from upstream, ...`).
    pub fn reason(&self) -> Cow<'static, [u8]> {
        Cow::Borrowed(match self {
            ResponseFault::InvalidStatusLine => b"upstream sent no valid HTTP/1.0 header",
            ResponseFault::TooBigHeader => b"upstream sent too big header",
            ResponseFault::TooManyFields => b"upstream sent too many header lines",
            ResponseFault::LengthAndTransferEncoding => {
                b"upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            ResponseFault::InvalidField { line, byte } => {
                let tail = format!("\\x{byte:02x}...\"");
                let parts = [b"upstream sent invalid header: \"", line.as_ref(), tail.as_bytes()];
                return Cow::Owned(parts.concat());
            }
            ResponseFault::DuplicateField(lines) => {
                let parts = [b"upstream sent duplicate header line: ".as_slice(), &lines.describe()];
                return Cow::Owned(parts.concat());
            }
            ResponseFault::InvalidContentLength { line } => {
                let parts = [b"upstream sent invalid \"Content-Length\" header: \"", &**line, b"\""];
                return Cow::Owned(parts.concat());
            }
            ResponseFault::UnknownTransferEncoding { value } => {
                let parts = [b"upstream sent unknown \"Transfer-Encoding\": \"", &**value, b"\""];
                return Cow::Owned(parts.concat());
            }
        })
    }
}

impl std::fmt::Display for ResponseFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.reason()))
    }
}

impl std::error::Error for ResponseFault {}

/// Reads one answer's head.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    stage: Stage,
    /// The first byte not looked at.
    at: usize,
    lines: Vec<FieldSpans>,
}

#[derive(Clone, Debug)]
enum Stage {
    Line(StatusMachine),
    Fields(StatusLine, FieldMachine),
    Complete(StatusLine),
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Line(StatusMachine::default())
    }
}

impl ResponseParser {
    /// A parser that has seen nothing.
    pub fn new() -> ResponseParser {
        ResponseParser::default()
    }

    /// Reads on. `buffer` is everything of this head so far, beginning with its first byte; the head
    /// may be `size_max` bytes long (`proxy_buffer_size`). Never answers [`Progress::Skip`].
    pub fn parse(&mut self, buffer: &[u8], size_max: usize) -> Result<Progress, ResponseFault> {
        let size_max = size_max.min(HEAD_SIZE_MAX);
        let text = buffer.get(..size_max).unwrap_or(buffer);
        if self.advance(text)? {
            return Ok(Progress::Complete { length: self.at });
        }
        if text.len() == size_max {
            return Err(ResponseFault::TooBigHeader);
        }
        Ok(Progress::More)
    }

    /// The head, out of exactly the bytes that [`Progress::Complete`] counted.
    pub fn finish(self, text: Bytes) -> ResponseHead {
        debug_assert!(matches!(self.stage, Stage::Complete(_)) && text.len() == self.at);
        let line = match self.stage {
            Stage::Complete(line) => line,
            _ => StatusLine::default(),
        };
        ResponseHead { line, fields: Fields::new(text, self.lines) }
    }

    /// Reads up to the end of `text`; whether the head is complete.
    fn advance(&mut self, text: &[u8]) -> Result<bool, ResponseFault> {
        if let Stage::Line(machine) = &mut self.stage {
            let line =
                machine.run(text, &mut self.at).map_err(|_| ResponseFault::InvalidStatusLine)?;
            let Some(line) = line else { return Ok(false) };
            self.lines.reserve(FIELDS_EXPECTED);
            self.stage = Stage::Fields(line, FieldMachine::default());
        }
        let Stage::Fields(line, machine) = &mut self.stage else { return Ok(true) };
        loop {
            // nginx asks no directive here: names with `_` and odd bytes pass.
            let step = machine.run(text, &mut self.at, Underscores::Allowed).map_err(|fault| {
                let byte = text.get(fault.line.end as usize).copied().unwrap_or_default();
                ResponseFault::InvalidField { line: fault.line.of(text).into(), byte }
            })?;
            match step {
                FieldStep::More => return Ok(false),
                FieldStep::End => break,
                FieldStep::Line { spans, .. } if self.lines.len() < RESPONSE_FIELDS_MAX => {
                    self.lines.push(spans);
                }
                FieldStep::Line { .. } => return Err(ResponseFault::TooManyFields),
            }
        }
        self.stage = Stage::Complete(*line);
        Ok(true)
    }
}

/// The head of one answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    line: StatusLine,
    fields: Fields,
}

impl ResponseHead {
    /// The version; 1.x.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// The status, 100 to 999.
    pub fn status(&self) -> u16 {
        self.line.status
    }

    /// The words behind the status as sent; may be empty.
    pub fn reason(&self) -> &[u8] {
        self.line.reason.of(self.fields.text())
    }

    /// The field lines as sent.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How long the head was, its end included.
    pub fn length(&self) -> usize {
        self.fields.text().len()
    }
}

/// How the end of an answer's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is none, whatever the fields say (HEAD, 1xx, 204, 304).
    None,
    /// Exactly this many bytes (which may be none).
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// All until the upstream closes.
    UntilClose,
}

/// What the head says about its connection, once it has been found consistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseFraming {
    /// The body.
    pub body: ResponseBody,
    /// The length that is announced, even if there is no body (HEAD): what the client is told.
    pub content_length: Option<u64>,
    /// Whether the upstream lets the connection live on behind a body that was read to its end.
    pub persistence: Persistence,
}

/// What was asked, as far as it decides about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: the answer has no body.
    Head,
    /// Any other method.
    Other,
}

/// Checks the framing of an answer as nginx 1.31: contradictions are refused, not resolved.
pub fn response_framing(
    head: &ResponseHead,
    asked: Asked,
) -> Result<ResponseFraming, ResponseFault> {
    let length = single(head.fields(), "content-length")?;
    let coding = single(head.fields(), "transfer-encoding")?;
    if length.is_some() && coding.is_some() {
        return Err(ResponseFault::LengthAndTransferEncoding);
    }
    let length = match length {
        Some((name, value)) => Some(content_length(value).ok_or_else(|| {
            ResponseFault::InvalidContentLength { line: [name, b": ", value].concat().into() }
        })?),
        None => None,
    };
    if let Some((_, value)) = coding
        && !value.eq_ignore_ascii_case(b"chunked")
    {
        return Err(ResponseFault::UnknownTransferEncoding { value: value.into() });
    }
    let body = match (asked, head.status(), coding, length) {
        (Asked::Head, ..) | (_, 100..=199 | 204 | 304, ..) => ResponseBody::None,
        (.., Some(_), _) => ResponseBody::Chunked,
        (.., Some(length)) => ResponseBody::Length(length),
        (.., None) => ResponseBody::UntilClose,
    };
    let says_close = head.fields().all("connection").any(|value| {
        // nginx looks for the word anywhere in the value.
        value.windows(5).any(|window| window.eq_ignore_ascii_case(b"close"))
    });
    // nginx never keeps a connection of HTTP/1.0, even if the upstream offers it.
    let lives =
        head.version() > Version::HTTP_10 && !says_close && body != ResponseBody::UntilClose;
    let persistence = if lives { Persistence::KeepAlive } else { Persistence::Close };
    Ok(ResponseFraming { body, content_length: length, persistence })
}

/// The only line of that name; two are a fault even if they say the same.
fn single<'a>(fields: &'a Fields, lower: &str) -> Result<Option<Line<'a>>, ResponseFault> {
    let mut lines = fields.iter().filter(|(name, _)| same_name(name, lower));
    let first = lines.next();
    match (first, lines.next()) {
        (Some(previous), Some(later)) => {
            Err(ResponseFault::DuplicateField(Duplicate::new(later, previous)))
        }
        _ => Ok(first),
    }
}

/// Name and value.
type Line<'a> = (&'a [u8], &'a [u8]);

/// More lines than this no answer may have; nginx sets no number here, only `proxy_buffer_size`.
pub const RESPONSE_FIELDS_MAX: usize = MAX_HEADERS_DEFAULT;

/// Room for this many lines is made at once.
const FIELDS_EXPECTED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &[u8],
        size_max: usize,
        step: usize,
    ) -> Result<Option<(ResponseHead, usize)>, ResponseFault> {
        let mut parser = ResponseParser::new();
        let mut end = 0;
        loop {
            match parser.parse(&text[..end], size_max)? {
                Progress::Complete { length } => {
                    let head = Bytes::copy_from_slice(&text[..length]);
                    return Ok(Some((parser.finish(head), text.len() - length)));
                }
                _ if end == text.len() => return Ok(None),
                _ => end = end.saturating_add(step).min(text.len()),
            }
        }
    }

    fn told(text: &[u8], size_max: usize, step: usize) -> Result<Option<String>, ResponseFault> {
        let found = read(text, size_max, step)?;
        Ok(found.map(|(head, rest)| {
            let fields: Vec<_> = head.fields().iter().collect();
            format!("{:?} {} {:?} {fields:?} {rest}", head.version(), head.status(), head.reason())
        }))
    }

    #[track_caller]
    fn parse(text: &[u8]) -> Result<Option<ResponseHead>, ResponseFault> {
        let whole = told(text, 4096, usize::MAX);
        for step in [1, 2, 3, 7, 19] {
            assert_eq!(told(text, 4096, step), whole, "cut into {step}");
        }
        Ok(read(text, 4096, 1)?.map(|(head, _)| head))
    }

    #[track_caller]
    fn framing(text: &str, asked: Asked) -> Result<ResponseFraming, ResponseFault> {
        let head = parse(text.as_bytes())?.expect("the head is complete");
        response_framing(&head, asked)
    }

    #[test]
    fn a_head() {
        let text = b"HTTP/1.1 404 Not \xffHere \r\nX_a: b\r\n@: c\r\nHost : d\r\n\r\n";
        assert!(parse(text).is_err());
        let text = b"HTTP/1.1  404 Not \xffHere \r\nX_a: b\r\n@: c\r\nno colon\r\n";
        assert!(parse(text).is_err());
        let head = parse(b"HTTP/1.1  404 Not \xffHere \r\nX_a: b\r\n@: c\r\nalone\n\nbody")
            .expect("good")
            .expect("complete");
        assert_eq!((head.status(), head.reason()), (404, b"Not \xffHere ".as_slice()));
        assert_eq!(head.fields().first("x_a"), Some(b"b".as_slice()));
        assert_eq!(head.fields().first("@"), Some(b"c".as_slice()));
        assert_eq!(head.fields().first("alone"), Some(b"".as_slice()));
    }

    #[test]
    fn status_lines() {
        let reason = |line: &str| {
            let head = parse(format!("{line}\r\n\r\n").as_bytes()).ok().flatten();
            head.map(|head| (head.status(), String::from_utf8_lossy(head.reason()).into_owned()))
        };
        assert_eq!(reason("HTTP/1.0 200"), Some((200, String::new())));
        assert_eq!(reason("HTTP/1.1 200 "), Some((200, String::new())));
        assert_eq!(reason("HTTP/1.1 403.1 no"), Some((403, ".1 no".into())));
        assert_eq!(reason("HTTP/1.9 999 x"), Some((999, "x".into())));
        for line in [
            "",
            "hello",
            "http/1.1 200 OK",
            "HTTP/2.0 200 OK",
            "HTTP/0.9 200",
            "HTTP/1 200",
            "HTTP/1.1 20",
            "HTTP/1.1 2000",
            "HTTP/1.1 099",
            "HTTP/1.1 2x0",
            "HTTP/1.1200",
            "HTTP/1.1\t200",
            "HTTP/1.1 200\tOK",
            "HTTP/1.1 200 a\0b",
            "HTTP/1.1 200 a\rb",
            " HTTP/1.1 200",
            "HTTP/1.1 -20",
            "HTTP/1.1111 200",
        ] {
            let fault = parse(format!("{line}\r\n\r\n").as_bytes()).err();
            assert_eq!(fault, Some(ResponseFault::InvalidStatusLine), "{line:?}");
        }
    }

    #[test]
    fn limits_are_reached() {
        let text = b"HTTP/1.1 200 OK\r\nX: 1234567890\r\n\r\n";
        assert!(told(text, text.len(), 1).is_ok_and(|head| head.is_some()));
        for step in [1, 7, usize::MAX] {
            assert_eq!(told(text, text.len() - 1, step), Err(ResponseFault::TooBigHeader));
        }
        let many = |count| ["HTTP/1.1 200 OK\r\n", &"X:\r\n".repeat(count), "\r\n"].concat();
        assert!(told(many(RESPONSE_FIELDS_MAX).as_bytes(), 1 << 20, 4096).is_ok());
        let told = told(many(RESPONSE_FIELDS_MAX + 1).as_bytes(), 1 << 20, 4096);
        assert_eq!(told, Err(ResponseFault::TooManyFields));
    }

    #[test]
    fn field_lines_that_break_the_grammar() {
        for (line, culprit, byte) in [
            (" folded: a", "", b' '),
            ("X: a\0", "X: a", 0),
            ("X : a", "X", b' '),
            (": a", "", b':'),
        ] {
            let fault = parse(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").as_bytes()).err();
            let line = culprit.as_bytes().into();
            assert_eq!(fault, Some(ResponseFault::InvalidField { line, byte }));
        }
    }

    #[test]
    fn how_long_a_body_is() {
        use ResponseBody::{Chunked, Length, None, UntilClose};
        let body = |status: u16, lines: &str, asked| {
            let text = format!("HTTP/1.1 {status} x\r\n{lines}\r\n\r\n");
            framing(&text, asked).map(|framing| framing.body)
        };
        assert_eq!(body(200, "A: b", Asked::Other), Ok(UntilClose));
        assert_eq!(body(200, "Content-Length: 0", Asked::Other), Ok(Length(0)));
        assert_eq!(body(200, "content-length: 12", Asked::Other), Ok(Length(12)));
        assert_eq!(body(200, "Transfer-Encoding: Chunked", Asked::Other), Ok(Chunked));
        for status in [100, 101, 103, 204, 304] {
            assert_eq!(body(status, "Content-Length: 12", Asked::Other), Ok(None), "{status}");
        }
        assert_eq!(body(200, "Transfer-Encoding: chunked", Asked::Head), Ok(None));
        let head = framing("HTTP/1.1 200 x\r\nContent-Length: 12\r\n\r\n", Asked::Head);
        assert_eq!(head.map(|framing| framing.content_length), Ok(Some(12)));
    }

    #[test]
    fn contradictions_are_refused() {
        let fault = |lines: &str| {
            let fault = framing(&format!("HTTP/1.1 200 x\r\n{lines}\r\n\r\n"), Asked::Other).err();
            fault.map(|fault| fault.to_string())
        };
        assert_eq!(
            fault("Content-Length: 1\r\ncontent-length: 1").as_deref(),
            Some(
                "upstream sent duplicate header line: \"content-length: 1\", \
                 previous value: \"Content-Length: 1\""
            )
        );
        assert_eq!(
            fault("Content-Length: +1").as_deref(),
            Some("upstream sent invalid \"Content-Length\" header: \"Content-Length: +1\"")
        );
        let both =
            "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time";
        assert_eq!(fault("Transfer-Encoding: chunked\r\nContent-Length: 1").as_deref(), Some(both));
        assert_eq!(fault("Content-Length: 1\r\nTransfer-Encoding: x").as_deref(), Some(both));
        assert_eq!(
            fault("Transfer-Encoding: gzip, chunked").as_deref(),
            Some("upstream sent unknown \"Transfer-Encoding\": \"gzip, chunked\"")
        );
        assert!(fault("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked").is_some());
    }

    #[test]
    fn whether_the_connection_stays() {
        use Persistence::{Close, KeepAlive};
        let stays = |version: &str, lines: &str| {
            framing(&format!("{version} 200 x\r\n{lines}\r\n\r\n"), Asked::Other)
                .map(|framing| framing.persistence)
        };
        assert_eq!(stays("HTTP/1.1", "Content-Length: 0"), Ok(KeepAlive));
        assert_eq!(
            stays("HTTP/1.1", "Content-Length: 0\r\nA: b\r\nConnection: x, Close"),
            Ok(Close)
        );
        assert_eq!(stays("HTTP/1.0", "Content-Length: 0\r\nConnection: keep-alive"), Ok(Close));
        assert_eq!(stays("HTTP/1.1", "A: b"), Ok(Close));
    }
}
