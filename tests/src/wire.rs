//! One end of a byte stream with a bounded patience: the ground of [`crate::Client`] and
//! [`crate::Upstream`]. It cuts messages out of the stream, but does not judge them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustls::Connection;

use crate::secure::Secured;

/// How a read came to an end without the bytes that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side sent FIN.
    Closed,
    /// The other side sent RST.
    Reset,
    /// Nothing came within the patience.
    Silent,
}

#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// TLS over the stream, once both sides have shaken hands.
    secured: Option<Box<Secured>>,
    buffer: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        // A unix socket, which a client may have made a stream of, has no such option.
        let _ = stream.set_nodelay(true);
        let wire = Self { stream, secured: None, buffer: Vec::new() };
        wire.patience(PATIENCE);
        wire
    }

    /// How long a read or a write may wait for the other side.
    pub fn patience(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a read timeout");
        self.stream.set_write_timeout(Some(limit)).expect("a write timeout");
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Shakes hands; gives in one line what that came to, or how the other side refused.
    pub fn secure(&mut self, connection: Connection) -> Result<String, String> {
        let stream = self.stream.try_clone().expect("a second handle");
        let secured = Secured::new(stream, connection)?;
        let told = secured.told();
        self.secured = Some(Box::new(secured));
        Ok(told)
    }

    /// Writes everything; says how it ended when the other side did not take it.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        let sent = match &mut self.secured {
            Some(secured) => secured.write_all(bytes),
            None => self.stream.write_all(bytes),
        };
        sent.map_err(|error| end_of(error.kind()))
    }

    /// Reads once from the socket into the buffer.
    fn fill(&mut self) -> Result<(), End> {
        let start = self.buffer.len();
        self.buffer.resize(start + READ, 0);
        let result = match &mut self.secured {
            Some(secured) => secured.read(&mut self.buffer[start..]),
            None => self.stream.read(&mut self.buffer[start..]),
        };
        self.buffer.truncate(start + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(end_of(error.kind())),
        }
    }

    /// Cuts the first `count` bytes off, waiting for them.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, End> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Cuts off everything up to and with the next line end.
    pub fn line(&mut self) -> Result<Vec<u8>, End> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                return Ok(self.buffer.drain(..=seen + at).collect());
            }
            seen = self.buffer.len();
            self.fill()?;
        }
    }

    /// Cuts off a head: all lines up to and with the empty one.
    pub fn head(&mut self) -> Result<Vec<u8>, End> {
        let mut seen = 0;
        loop {
            if let Some(end) = head_end(&self.buffer, seen) {
                return Ok(self.buffer.drain(..end).collect());
            }
            seen = self.buffer.len().saturating_sub(3);
            self.fill()?;
        }
    }

    /// Everything until the other side ends, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Err(end) = self.fill() {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    /// What has been read, but not cut off.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Some bytes: the buffer's, or those of one read.
    pub fn some(&mut self) -> Result<Vec<u8>, End> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(self.take_buffer())
    }

    /// Sends FIN and goes on reading.
    pub fn fin(&mut self) {
        if let Some(secured) = &mut self.secured {
            secured.say_goodbye();
        }
        // The other side may have reset the connection already; that is no fault of this one.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("SO_LINGER");
    }
}

/// Where the head that begins at 0 ends; bytes before `from` hold no end.
fn head_end(buffer: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(step) = buffer[at..].iter().position(|byte| *byte == b'\n') {
        at += step + 1;
        if buffer[at..].starts_with(b"\n") {
            return Some(at + 1);
        }
        if buffer[at..].starts_with(b"\r\n") {
            return Some(at + 2);
        }
    }
    None
}

fn end_of(kind: ErrorKind) -> End {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silent,
        _ => End::Reset,
    }
}

/// Long enough for a loaded machine, short enough to end a stuck test.
const PATIENCE: Duration = Duration::from_secs(8);
const READ: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_end_at_the_empty_line_however_it_is_written() {
        assert_eq!(head_end(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(head_end(b"a\n\nb", 0), Some(3));
        assert_eq!(head_end(b"a\r\nb: c\r\n", 0), None);
        assert_eq!(head_end(b"abc\r\n\r\n", 3), Some(7));
    }
}
