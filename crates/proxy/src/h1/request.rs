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
