//! The head of a request, from the first byte to the empty line, under nginx's limits.
//!
//! It reads no socket and owns no buffer: the front gives it the bytes it has so far, and when the head
//! is complete takes that many of them out and gets a [`RequestHead`] back. What framing and `Host` mean
//! is [`super::framing`].

use super::fault::{HeadFault, QUOTED_SIZE_MAX};
use super::field_line::{FieldForm, FieldMachine, FieldStep, Underscores};
use super::fields::{FieldSpans, Fields};
use super::head::RequestHead;
use super::line::{LineMachine, RequestLine};
use super::span::{HEAD_SIZE_MAX, Span};
use super::version::Version;
use bytes::Bytes;

/// The directives that rule how a head is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRules {
    /// `underscores_in_headers`.
    pub underscores: Underscores,
    /// `ignore_invalid_headers`.
    pub invalid: InvalidFields,
    /// `client_header_buffer_size`, in bytes.
    pub header_buffer: usize,
    /// `large_client_header_buffers`: how many, and the size of each in bytes.
    pub large_buffers: (usize, usize),
    /// `max_headers`: more lines than this are refused.
    pub max_headers: usize,
}

/// What becomes of a field line whose name is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidFields {
    /// `ignore_invalid_headers on`: it is left out.
    Dropped,
    /// `ignore_invalid_headers off`: it is kept as it came.
    Kept,
}

impl Default for RequestRules {
    /// nginx's defaults.
    fn default() -> RequestRules {
        RequestRules {
            underscores: Underscores::Invalid,
            invalid: InvalidFields::Dropped,
            header_buffer: 1024,
            large_buffers: (4, 8192),
            max_headers: MAX_HEADERS_DEFAULT,
        }
    }
}

/// What the bytes so far come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head goes on: read more, and call again with the same bytes and the new ones behind them.
    More,
    /// The bytes begin with `length` bytes of empty lines: remove them from the front of the buffer
    /// and call again with the rest (which may be empty).
    Skip {
        /// How many.
        length: usize,
    },
    /// The head is complete and `length` bytes long; what follows it belongs to the body or the next
    /// request. Give these bytes to [`RequestParser::finish`].
    Complete {
        /// How many.
        length: usize,
    },
}

/// Reads one request's head.
#[derive(Clone, Debug)]
pub struct RequestParser {
    stage: Stage,
    /// The first byte not looked at.
    at: usize,
    window: Window,
    lines: Vec<FieldSpans>,
    /// Where the latest field line began, for the message of a head that is too large.
    latest_line: Option<usize>,
    has_masked_framing: bool,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Nothing but empty lines so far.
    Blank,
    Line(LineMachine),
    Fields(RequestLine, FieldMachine),
    Complete(RequestLine),
}

/// The buffer of nginx that the bytes would lie in now, as offsets into the head.
///
/// nginx reads into one small buffer; a line that does not end in it moves to a large one.
#[derive(Clone, Copy, Debug)]
struct Window {
    end: usize,
    large_used: usize,
}

impl RequestParser {
    /// A parser that has seen nothing.
    pub fn new(rules: &RequestRules) -> RequestParser {
        RequestParser {
            stage: Stage::Blank,
            at: 0,
            window: Window { end: rules.header_buffer.max(1), large_used: 0 },
            lines: Vec::new(),
            latest_line: None,
            has_masked_framing: false,
        }
    }

    /// Whether any byte of a request (not of empty lines before it) has been seen.
    pub fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Blank)
    }

    /// What has come of the request line, for the log of a request that is refused or given up.
    /// nginx logs a line that did not fit, and an empty one otherwise.
    pub fn request_line<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        match &self.stage {
            Stage::Blank | Stage::Line(_) => b"",
            Stage::Fields(line, _) | Stage::Complete(line) => line.line.of(buffer),
        }
    }

    /// How many bytes of `buffer` are whole lines that were accepted: what nginx has counted of a
    /// request when it gives it up.
    pub fn complete_lines(&self, buffer: &[u8]) -> usize {
        let seen = buffer.get(..self.at.min(buffer.len())).unwrap_or_default();
        memchr::memrchr(b'\n', seen).map_or(0, |at| at + 1)
    }

    /// Reads on. `buffer` is everything of this head so far, beginning with its first byte.
    pub fn parse(&mut self, buffer: &[u8], rules: &RequestRules) -> Result<Progress, HeadFault> {
        if let Stage::Blank = self.stage {
            let blank = buffer.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
            if blank > 0 {
                return Ok(self.skip(blank, rules));
            }
            if buffer.is_empty() {
                return Ok(Progress::More);
            }
            self.stage = Stage::Line(LineMachine::new());
        }
        loop {
            let end = buffer.len().min(self.window.end);
            if self.advance(buffer.get(..end).unwrap_or_default(), rules)? {
                return Ok(Progress::Complete { length: self.at });
            }
            if end < self.window.end {
                return Ok(Progress::More);
            }
            self.enlarge(buffer, rules)?;
        }
    }

    /// The head, out of exactly the bytes that [`Progress::Complete`] counted.
    pub fn finish(self, text: Bytes) -> RequestHead {
        debug_assert!(matches!(self.stage, Stage::Complete(_)) && text.len() == self.at);
        let line = match self.stage {
            Stage::Complete(line) => line,
            _ => RequestLine::default(),
        };
        RequestHead::new(line, Fields::new(text, self.lines), self.has_masked_framing)
    }

    /// Empty lines before a request are nobody's (RFC 9112, 2.2); they fill nginx's first buffer
    /// again and again without ever being too many.
    fn skip(&mut self, length: usize, rules: &RequestRules) -> Progress {
        let size = rules.header_buffer.max(1);
        let filled = (size - self.window.end.min(size) + length) % size;
        self.window.end = size - filled;
        Progress::Skip { length }
    }

    /// Reads up to the end of `text`; whether the head is complete.
    fn advance(&mut self, text: &[u8], rules: &RequestRules) -> Result<bool, HeadFault> {
        if let Stage::Line(machine) = &mut self.stage {
            let Some(line) = machine.run(text, &mut self.at)? else { return Ok(false) };
            if line.version == Version::HTTP_09 {
                if line.method.of(text) != b"GET" {
                    return Err(HeadFault::InvalidMethodInHttp09);
                }
                self.stage = Stage::Complete(line);
                return Ok(true);
            }
            self.lines.reserve(FIELDS_EXPECTED);
            self.stage = Stage::Fields(line, FieldMachine::default());
        }
        let Stage::Fields(line, mut machine) = std::mem::replace(&mut self.stage, Stage::Blank)
        else {
            return Ok(true);
        };
        let outcome = self.read_fields(&mut machine, text, rules);
        self.stage = match outcome {
            Ok(true) => Stage::Complete(line),
            _ => Stage::Fields(line, machine),
        };
        outcome
    }

    fn read_fields(
        &mut self,
        machine: &mut FieldMachine,
        text: &[u8],
        rules: &RequestRules,
    ) -> Result<bool, HeadFault> {
        loop {
            let step = machine.run(text, &mut self.at, rules.underscores).map_err(|fault| {
                let byte = text.get(fault.line.end as usize).copied().unwrap_or_default();
                HeadFault::InvalidField { line: fault.line.of(text).into(), byte }
            })?;
            match step {
                FieldStep::More => {
                    self.latest_line = machine.line_start().or(self.latest_line);
                    return Ok(false);
                }
                FieldStep::End => return Ok(true),
                FieldStep::Line { spans, form } => self.take(spans, form, text, rules)?,
            }
        }
    }

    fn take(
        &mut self,
        spans: FieldSpans,
        form: FieldForm,
        text: &[u8],
        rules: &RequestRules,
    ) -> Result<(), HeadFault> {
        self.latest_line = Some(spans.name.start as usize);
        match (form, rules.invalid) {
            (FieldForm::Good, _) | (FieldForm::BadName, InvalidFields::Kept) => {}
            (FieldForm::BadName | FieldForm::NoColon, InvalidFields::Dropped) => {
                self.has_masked_framing |= masks_framing(spans.name.of(text));
                return Ok(());
            }
            // Passing it on would mean to add a colon: it would arrive changed.
            (FieldForm::NoColon, InvalidFields::Kept) => {
                let byte = text.get(spans.name.end as usize).copied().unwrap_or_default();
                return Err(HeadFault::InvalidField { line: spans.name.of(text).into(), byte });
            }
        }
        if self.lines.len() >= rules.max_headers {
            return Err(HeadFault::TooManyFields);
        }
        self.lines.push(spans);
        Ok(())
    }

    /// The buffer is full and the head goes on: nginx would take a large buffer now, into which it
    /// copies the line that has begun.
    fn enlarge(&mut self, buffer: &[u8], rules: &RequestRules) -> Result<(), HeadFault> {
        let (count, size) = rules.large_buffers;
        let line_start = match &self.stage {
            Stage::Blank | Stage::Line(_) => Some(0),
            Stage::Fields(_, machine) => machine.line_start(),
            Stage::Complete(_) => None,
        };
        let start = line_start.unwrap_or(self.at);
        let fits = line_start.is_none() || self.at - start < size;
        if !fits || self.window.large_used >= count || start + size > HEAD_SIZE_MAX {
            return Err(self.too_large(buffer));
        }
        self.window = Window { end: start + size.max(1), large_used: self.window.large_used + 1 };
        Ok(())
    }

    fn too_large(&self, buffer: &[u8]) -> HeadFault {
        if !matches!(self.stage, Stage::Fields(..)) {
            return HeadFault::TargetTooLong;
        }
        let Some(start) = self.latest_line else { return HeadFault::HeadTooLarge };
        let end = self.window.end.min(start + QUOTED_SIZE_MAX);
        HeadFault::FieldTooLong { line: Span::new(start, end).of(buffer).into() }
    }
}

/// Whether a dropped name could be taken for a framing field by a reader less strict: then nobody
/// may read what follows this request on the same connection.
fn masks_framing(name: &[u8]) -> bool {
    let resembles = |framing: &[u8]| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
        letters.map(u8::to_ascii_lowercase).eq(framing.iter().copied())
    };
    resembles(b"transferencoding") || resembles(b"contentlength")
}

/// `max_headers` of nginx 1.29.
pub const MAX_HEADERS_DEFAULT: usize = 1000;

/// Room for this many lines is made at once; browsers send about as many.
const FIELDS_EXPECTED: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::uri::Slashes;

    type OwnedField = (Vec<u8>, Vec<u8>);

    /// Reads one request that is cut into pieces of `step` bytes; the head and what is left over.
    pub(crate) fn read(
        text: &[u8],
        rules: &RequestRules,
        step: usize,
    ) -> Result<Option<(RequestHead, Vec<u8>)>, HeadFault> {
        let mut parser = RequestParser::new(rules);
        let mut buffer = Vec::new();
        let mut pieces = text.chunks(step);
        loop {
            match parser.parse(&buffer, rules)? {
                Progress::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok(None),
                },
                Progress::Skip { length } => drop(buffer.drain(..length)),
                Progress::Complete { length } => {
                    let head: Vec<u8> = buffer.drain(..length).collect();
                    pieces.for_each(|piece| buffer.extend_from_slice(piece));
                    return Ok(Some((parser.finish(head.into()), buffer)));
                }
            }
        }
    }

    /// All that a head says, to compare two readings.
    fn dump(head: &RequestHead) -> Vec<Vec<u8>> {
        let mut all = vec![head.method().to_vec(), head.target().to_vec()];
        all.push(head.request_line().to_vec());
        all.push(head.unparsed_uri().to_vec());
        all.push(head.protocol().to_vec());
        all.push(head.scheme().unwrap_or(b"none").to_vec());
        all.push(head.target_authority().unwrap_or(b"none").to_vec());
        all.push(head.raw_path().to_vec());
        all.push(head.args().unwrap_or(b"none").to_vec());
        all.push(format!("{:?}", head.path(Slashes::Merged)).into_bytes());
        for (name, value) in head.fields().iter() {
            all.push(name.to_vec());
            all.push(value.to_vec());
        }
        all
    }

    /// Reads in one go, and asserts that every other way to cut the bytes gives the same.
    #[track_caller]
    fn parse(text: &[u8], rules: &RequestRules) -> Result<Option<Vec<Vec<u8>>>, HeadFault> {
        let told = |answer: Result<Option<(RequestHead, Vec<u8>)>, HeadFault>| {
            answer.map(|found| {
                found.map(|(head, rest)| {
                    let mut all = dump(&head);
                    all.push(rest);
                    all
                })
            })
        };
        let whole = told(read(text, rules, usize::MAX));
        for step in [1, 2, 3, 5, 8, 13, 127, 128, 129] {
            let cut = told(read(text, rules, step));
            assert_eq!(cut, whole, "cut into {step}: {}", String::from_utf8_lossy(text));
        }
        whole
    }

    #[track_caller]
    fn good(text: &[u8]) -> RequestHead {
        let rules = RequestRules::default();
        assert!(parse(text, &rules).is_ok());
        match read(text, &rules, 1) {
            Ok(Some((head, _))) => head,
            other => panic!("{} gave {other:?}", String::from_utf8_lossy(text)),
        }
    }

    #[track_caller]
    fn fault_of_line(line: &str) -> Option<HeadFault> {
        let text = [line.as_bytes(), b"\r\nHost: h\r\n\r\n"].concat();
        parse(&text, &RequestRules::default()).err()
    }

    #[track_caller]
    fn fields_of(lines: &[u8], rules: &RequestRules) -> Result<Vec<OwnedField>, HeadFault> {
        let text = [b"GET / HTTP/1.1\r\n", lines, b"\r\n\r\n"].concat();
        parse(&text, rules)?;
        let (head, _) = read(&text, rules, usize::MAX)?.expect("the head is complete");
        Ok(head.fields().iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect())
    }

    #[test]
    fn a_head_and_what_follows_it() {
        let text = b"POST /a/./b?c=d HTTP/1.1\r\nHost: h\r\nX-A:  b c \t\r\n\r\nbody";
        let all = parse(text, &RequestRules::default()).expect("good").expect("complete");
        assert_eq!(all.last().map(Vec::as_slice), Some(b"body".as_slice()));
        let head = good(text);
        assert_eq!(head.method(), b"POST");
        assert_eq!(head.target(), b"/a/./b?c=d");
        assert_eq!(head.request_line(), b"POST /a/./b?c=d HTTP/1.1");
        assert_eq!(head.raw_path(), b"/a/./b");
        assert_eq!(head.path(Slashes::Merged).as_deref(), Ok(b"/a/b".as_slice()));
        assert_eq!(head.args(), Some(b"c=d".as_slice()));
        assert_eq!(head.version(), Version::HTTP_11);
        assert_eq!(head.protocol(), b"HTTP/1.1");
        assert_eq!(head.fields().first("x-a"), Some(b"b c".as_slice()));
        assert_eq!(head.length(), text.len() - 4);
    }

    #[test]
    fn the_forms_of_a_target() {
        let head = good(b"GET http://Ex.org:80/a?b HTTP/1.0\r\n\r\n");
        assert_eq!(head.scheme(), Some(b"http".as_slice()));
        assert_eq!(head.target_authority(), Some(b"Ex.org:80".as_slice()));
        assert_eq!(head.unparsed_uri(), b"/a?b");
        assert_eq!(head.target(), b"http://Ex.org:80/a?b");

        let head = good(b"GET http://e HTTP/1.1\r\n\r\n");
        assert_eq!((head.unparsed_uri(), head.raw_path()), (b"/".as_slice(), b"/".as_slice()));

        let head = good(b"GET http://e?a=b HTTP/1.1\r\n\r\n");
        assert_eq!((head.unparsed_uri(), head.raw_path()), (b"?a=b".as_slice(), b"".as_slice()));
        assert_eq!(head.path(Slashes::Merged).as_deref(), Ok(b"/".as_slice()));

        let head = good(b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n");
        assert_eq!(head.target_authority(), Some(b"[::1]:443".as_slice()));
        assert_eq!((head.target(), head.unparsed_uri()), (&b"[::1]:443"[..], &b"/"[..]));

        for line in [
            "CONNECT h HTTP/1.1",
            "CONNECT h:1/ HTTP/1.1",
            "CONNECT / HTTP/1.1",
            "GET * HTTP/1.1",
            "GET h:80 HTTP/1.1",
            "GET http:/h/ HTTP/1.1",
            "GET http://u@h/ HTTP/1.1",
            "GET http://[a b]/ HTTP/1.1",
            "GET a HTTP/1.1",
            "GET 1h://a/ HTTP/1.1",
        ] {
            assert_eq!(fault_of_line(line), Some(HeadFault::InvalidRequest), "{line}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!(good(b"GET / HTTP/1.999\n\n").version(), Version { major: 1, minor: 999 });
        assert_eq!(good(b"GET /a \n").version(), Version::HTTP_09);
        assert_eq!(good(b"GET /a\r\nrest").protocol(), b"");
        for line in ["GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/10.1"] {
            let expected = if line.starts_with("PRI") {
                HeadFault::InvalidRequest
            } else {
                HeadFault::InvalidVersion
            };
            assert_eq!(fault_of_line(line), Some(expected), "{line}");
        }
        for version in
            ["http/1.1", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/1.1000", "HTTP/1.1x", "HTTP/0.9"]
        {
            let line = format!("GET / {version}");
            assert_eq!(fault_of_line(&line), Some(HeadFault::InvalidRequest), "{line}");
        }
        assert_eq!(fault_of_line("POST /"), Some(HeadFault::InvalidMethodInHttp09));
    }

    #[test]
    fn request_lines_nginx_refuses_and_those_it_takes() {
        for line in
            ["get / HTTP/1.1", "G1T / HTTP/1.1", " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "\u{7f}"]
        {
            assert_eq!(fault_of_line(line), Some(HeadFault::InvalidMethod), "{line}");
        }
        for line in
            ["GET /\tHTTP/1.1", "GET /a\0 HTTP/1.1", "GET /a?\u{7f} HTTP/1.1", "GET /a b HTTP/1.1"]
        {
            assert_eq!(fault_of_line(line), Some(HeadFault::InvalidRequest), "{line}");
        }
        for line in ["GET /a#b HTTP/1.1", "GET /a?b#c HTTP/1.1", "GET /# HTTP/1.1"] {
            assert_eq!(fault_of_line(line), Some(HeadFault::FragmentInTarget), "{line}");
        }
        for line in [
            "GET  /  HTTP/1.1  ",
            "G_E-T / HTTP/1.1",
            "GET /|\"^<>`{} HTTP/1.1",
            "GET /\u{ff} HTTP/1.1",
        ] {
            assert_eq!(fault_of_line(line), None, "{line}");
        }
        assert_eq!(good(b"\r\n\n\rGET / HTTP/1.0\n\n").request_line(), b"GET / HTTP/1.0");
    }

    #[test]
    fn field_lines_nginx_refuses() {
        let rules = RequestRules::default();
        let cases: [(&[u8], &[u8], u8); 12] = [
            (b" X: folded", b"", b' '),
            (b"X : y", b"X", b' '),
            (b"X\t: y", b"X", b'\t'),
            (b": y", b"", b':'),
            (b"X\0: y", b"X", 0),
            (b"X\x01: y", b"X", 1),
            (b"X\x7f: y", b"X", 0x7f),
            (b"X: a\0b", b"X: a", 0),
            (b"X: \0", b"X: ", 0),
            (b"X: a\rb", b"X: a", b'\r'),
            (b"X: a \rb", b"X: a", b' '),
            (b"X\rY: b", b"X", b'\r'),
        ];
        for (lines, line, byte) in cases {
            let expected = HeadFault::InvalidField { line: line.into(), byte };
            assert_eq!(fields_of(lines, &rules), Err(expected), "{lines:?}");
        }
        let folded = fields_of(b"X: a\r\n b", &rules);
        assert_eq!(folded, Err(HeadFault::InvalidField { line: [].into(), byte: b' ' }));
    }

    #[test]
    fn names_are_dropped_or_kept_as_told() {
        let strict = RequestRules::default();
        let lax = RequestRules {
            underscores: Underscores::Allowed,
            invalid: InvalidFields::Kept,
            ..strict
        };
        for name in ["X_a", "_", "X@", "X(y)", "X\"", "X/y", "X\u{e9}"] {
            let line = format!("{name}: v\r\nY: w");
            let kept = fields_of(line.as_bytes(), &strict).expect("no fault");
            assert_eq!(kept, [(b"Y".to_vec(), b"w".to_vec())], "{name}");
            let kept = fields_of(line.as_bytes(), &lax).expect("no fault");
            assert_eq!(kept.first(), Some(&(name.as_bytes().to_vec(), b"v".to_vec())), "{name}");
        }
        assert_eq!(fields_of(b"X", &strict), Ok(vec![]));
        let expected = HeadFault::InvalidField { line: b"X".as_slice().into(), byte: b'\r' };
        assert_eq!(fields_of(b"X", &lax), Err(expected));
        assert_eq!(fields_of(b"X:\r\r\nY:", &strict).map(|fields| fields.len()), Ok(2));
    }

    #[test]
    fn each_limit_is_reached() {
        let rules =
            RequestRules { header_buffer: 64, large_buffers: (2, 128), ..RequestRules::default() };
        let line = |size: usize| {
            [b"GET /", "a".repeat(size - 16).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat()
        };
        // nginx gives up when the buffer is full and the line is not at its end.
        assert_eq!(parse(&line(128), &rules).map(|_| ()), Ok(()));
        assert_eq!(parse(&line(129), &rules).err(), Some(HeadFault::TargetTooLong));
        let field = |size: usize| {
            let value = "a".repeat(size - 5);
            [b"GET / HTTP/1.1\r\nX: ", value.as_bytes(), b"\r\n\r\n"].concat()
        };
        assert_eq!(parse(&field(128), &rules).map(|_| ()), Ok(()));
        let status = |text: &[u8]| parse(text, &rules).err().map(|fault| fault.status());
        assert_eq!(status(&field(129)), Some(494));
        let many = |count: usize| {
            let lines = format!("X: {}\r\n", "a".repeat(45)).repeat(count);
            [b"GET / HTTP/1.1\r\n", lines.as_bytes(), b"\r\n"].concat()
        };
        assert_eq!(status(&many(4)), None);
        assert_eq!(status(&many(6)), Some(494));
        let rules = RequestRules { max_headers: 3, ..RequestRules::default() };
        assert_eq!(fields_of(b"A:\r\nB:\r\nC:", &rules).map(|fields| fields.len()), Ok(3));
        assert_eq!(fields_of(b"A:\r\nB:\r\nC:\r\nD:", &rules), Err(HeadFault::TooManyFields));
    }

    #[test]
    fn a_head_that_never_ends_is_refused_when_the_buffer_is_full() {
        let rules =
            RequestRules { header_buffer: 16, large_buffers: (1, 32), ..RequestRules::default() };
        let text = [b"GET / HTTP/1.1\r\n", "Abcd: efghijkl\r\n".repeat(2).as_bytes()].concat();
        let text = text.as_slice();
        assert_eq!(parse(&text[..47], &rules), Ok(None));
        assert!(matches!(parse(text, &rules), Err(HeadFault::FieldTooLong { .. })), "no byte more");
        let none = RequestRules { large_buffers: (0, 32), ..rules };
        assert_eq!(parse(text, &none), Err(HeadFault::HeadTooLarge));
    }

    #[test]
    fn empty_lines_fill_the_first_buffer_again_and_again() {
        let rules =
            RequestRules { header_buffer: 16, large_buffers: (0, 32), ..RequestRules::default() };
        let after =
            |count| parse(&["\r\n".repeat(count), "GET /a\n".into()].concat().into_bytes(), &rules);
        assert!(after(0).is_ok_and(|found| found.is_some()));
        assert!(after(4).is_ok_and(|found| found.is_some()));
        assert_eq!(after(6), Err(HeadFault::TargetTooLong));
        assert!(after(8).is_ok_and(|found| found.is_some()));
        assert_eq!(after(1006), Err(HeadFault::TargetTooLong));
        assert!(after(1008).is_ok_and(|found| found.is_some()));
    }

    #[test]
    fn a_thousand_requests_in_one_buffer() {
        let rules = RequestRules::default();
        let mut text: Vec<u8> = (0..1000)
            .flat_map(|index| format!("GET /{index} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes())
            .collect();
        for index in 0..1000 {
            let (head, rest) = read(&text, &rules, usize::MAX).expect("good").expect("complete");
            assert_eq!(head.raw_path(), format!("/{index}").as_bytes());
            text = rest;
        }
        assert!(text.is_empty());
    }

    #[test]
    fn random_bytes_give_the_same_answer_however_they_are_cut() {
        let words: [&[u8]; 22] = [
            b"GET",
            b"CONNECT",
            b" ",
            b"/",
            b"http://",
            b"h",
            b":",
            b"80",
            b"?",
            b"%2f",
            b"..",
            b"HTTP/1.1",
            b"\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"X",
            b"_",
            b"\t",
            b"Host: h\r\n",
            b"[::1]",
            b"\xff",
        ];
        let rules =
            RequestRules { header_buffer: 24, large_buffers: (2, 40), ..RequestRules::default() };
        for seed in 1..4000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut text = if seed % 2 == 0 { b"GET / HTTP/1.1\r\n".to_vec() } else { Vec::new() };
            for _ in 0..seed % 17 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.extend_from_slice(words[(state >> 33) as usize % words.len()]);
            }
            let told = |step| {
                let answer = read(&text, &rules, step);
                answer.map(|found| found.map(|(head, rest)| (dump(&head), rest)))
            };
            let whole = told(usize::MAX);
            for step in [1, 2, 3, 7] {
                assert_eq!(told(step), whole, "seed {seed}, cut into {step}: {text:?}");
            }
        }
    }
}
