//! Heads that are sent, to either side: the only place where a line of a head is written.
//!
//! It chooses no fields and knows no framing; it sees to it that no byte gets into a head that could end
//! a line or a head early (invariant T12). The response filters and `modules/proxy` write with it.

use super::class::{self, TOKEN, VALUE};
use super::status::status_text;
use super::version::Version;
use bytes::BufMut;

/// Writes one head into a buffer. A refused line leaves the buffer as it was.
#[derive(Debug)]
pub struct HeadWriter<'a, B> {
    buffer: &'a mut B,
}

/// The culprit in a computed head; `at` is the place of the byte that may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsafeHead {
    /// A method that is not a token.
    Method {
        /// Where.
        at: usize,
    },
    /// A target with a control or a blank, or none at all.
    Target {
        /// Where.
        at: usize,
    },
    /// A reason with a control other than HT.
    Reason {
        /// Where.
        at: usize,
    },
    /// A field name that is empty or holds a control, a blank or a colon.
    Name {
        /// Where.
        at: usize,
    },
    /// A field value with a control other than HT.
    Value {
        /// Where.
        at: usize,
    },
}

impl<'a, B: BufMut> HeadWriter<'a, B> {
    /// A writer that appends to `buffer`.
    pub fn new(buffer: &'a mut B) -> HeadWriter<'a, B> {
        HeadWriter { buffer }
    }

    /// `METHOD target HTTP/1.x`. A target with blanks or controls must be escaped first
    /// (`uri::escape_unsafe`).
    pub fn request_line(
        &mut self,
        method: &[u8],
        target: &[u8],
        version: Version,
    ) -> Result<(), UnsafeHead> {
        demand(method, |byte| class::is(byte, TOKEN)).map_err(|at| UnsafeHead::Method { at })?;
        demand(target, |byte| class::is(byte, VALUE) && !matches!(byte, b' ' | b'\t'))
            .map_err(|at| UnsafeHead::Target { at })?;
        self.put(&[method, b" ", target, b" ", protocol(version), b"\r\n"]);
        Ok(())
    }

    /// The status line of an answer to a client, in HTTP/1.1 as nginx always says, with nginx's words.
    pub fn status_line(&mut self, status: u16) {
        let reason = status_text(status).unwrap_or_default();
        self.put(&[b"HTTP/1.1 ", &digits(status), b" ", reason.as_bytes(), b"\r\n"]);
    }

    /// The status line of an answer to a client with words that came from an upstream or a variable.
    pub fn status_line_with(&mut self, status: u16, reason: &[u8]) -> Result<(), UnsafeHead> {
        demand_value(reason).map_err(|at| UnsafeHead::Reason { at })?;
        self.put(&[b"HTTP/1.1 ", &digits(status), b" ", reason, b"\r\n"]);
        Ok(())
    }

    /// `name: value`. Names that are no tokens but harmless pass, as `ignore_invalid_headers off`
    /// demands.
    pub fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), UnsafeHead> {
        demand_name(name).map_err(|at| UnsafeHead::Name { at })?;
        demand_value(value).map_err(|at| UnsafeHead::Value { at })?;
        self.put(&[name, b": ", value, b"\r\n"]);
        Ok(())
    }

    /// The empty line that ends the head.
    pub fn end(self) {
        self.buffer.put_slice(b"\r\n");
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.buffer.put_slice(part);
        }
    }
}

/// The place of the first byte that is not allowed, or 0 if there is none at all.
fn demand(text: &[u8], allowed: impl Fn(u8) -> bool) -> Result<(), usize> {
    if text.is_empty() {
        return Err(0);
    }
    text.iter().position(|&byte| !allowed(byte)).map_or(Ok(()), Err)
}

/// The place of the first byte that no name may hold, or 0 if there is none at all.
fn demand_name(text: &[u8]) -> Result<(), usize> {
    let is_safe = |byte: u8| (byte > b' ') & (byte != 0x7f) & (byte != b':');
    if !text.is_empty() && text.iter().fold(true, |all, &byte| all & is_safe(byte)) {
        return Ok(());
    }
    demand(text, is_safe)
}

/// The place of the first byte that no value may hold.
fn demand_value(text: &[u8]) -> Result<(), usize> {
    // Without a branch per byte the compiler looks at many at once; hardly ever is there a culprit.
    let is_safe = |byte: u8| (byte >= b' ') & (byte != 0x7f) | (byte == b'\t');
    if text.iter().fold(true, |all, &byte| all & is_safe(byte)) {
        return Ok(());
    }
    text.iter().position(|&byte| !is_safe(byte)).map_or(Ok(()), Err)
}

fn protocol(version: Version) -> &'static [u8] {
    if version < Version::HTTP_11 { b"HTTP/1.0" } else { b"HTTP/1.1" }
}

/// Three digits; a status has no more.
fn digits(status: u16) -> [u8; 3] {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    [digit(status / 100), digit(status / 10), digit(status)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_response() -> Result<(), UnsafeHead> {
        let mut buffer = Vec::new();
        let mut head = HeadWriter::new(&mut buffer);
        head.request_line(b"GET", b"/a?b", Version::HTTP_10)?;
        head.field(b"Host", b"h")?;
        head.field(b"X", b"")?;
        head.end();
        let mut head = HeadWriter::new(&mut buffer);
        head.status_line(404);
        head.status_line(299);
        head.status_line_with(200, b"Fine")?;
        assert_eq!(
            buffer,
            b"GET /a?b HTTP/1.0\r\nHost: h\r\nX: \r\n\r\n\
              HTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\nHTTP/1.1 200 Fine\r\n"
        );
        Ok(())
    }

    #[test]
    fn no_byte_that_could_end_a_line_is_written() {
        for byte in 0..=255u8 {
            let mut buffer = Vec::new();
            let text = [b'a', byte];
            let is_control = (byte < 0x20 && byte != b'\t') || byte == 0x7f;
            let mut head = HeadWriter::new(&mut buffer);
            assert_eq!(head.field(b"n", &text).is_err(), is_control, "value {byte:#x}");
            let blank = matches!(byte, b' ' | b'\t');
            let in_name = is_control || blank || byte == b':';
            assert_eq!(head.field(&text, b"v").is_err(), in_name, "name {byte:#x}");
            let target = head.request_line(b"GET", &text, Version::HTTP_11);
            assert_eq!(target.is_err(), is_control || blank, "target {byte:#x}");
            assert_eq!(head.status_line_with(200, &text).is_err(), is_control, "reason {byte:#x}");
        }
    }

    #[test]
    fn a_refused_line_leaves_nothing_behind() {
        let mut buffer = Vec::new();
        let mut head = HeadWriter::new(&mut buffer);
        assert_eq!(head.field(b"A", b"b\r\nC: d"), Err(UnsafeHead::Value { at: 1 }));
        assert_eq!(head.field(b"", b"b"), Err(UnsafeHead::Name { at: 0 }));
        let line = head.request_line(b"GET ", b"/", Version::HTTP_11);
        assert_eq!(line, Err(UnsafeHead::Method { at: 3 }));
        let line = head.request_line(b"GET", b"", Version::HTTP_11);
        assert_eq!(line, Err(UnsafeHead::Target { at: 0 }));
        assert_eq!(head.status_line_with(200, b"\0"), Err(UnsafeHead::Reason { at: 0 }));
        assert!(buffer.is_empty());
    }
}
