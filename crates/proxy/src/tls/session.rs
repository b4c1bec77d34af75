//! One TLS connection over a socket: rustls, fed with whole records only.
//!
//! What comes from the socket waits in a buffer of ours until a record is whole, and no record is
//! given away while plaintext of the one before it waits. So rustls never holds ciphertext, and at
//! any moment the session can leave it ([`Session::leave`]). It waits for nothing and knows no
//! sockets: whoever calls has a [`Wire`].

use super::secrets::{self, Captured, LeaveFault};
use bytes::{Buf, BytesMut};
use perdura_tunnel::tls::Secrets;
use rustls::Connection;
use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};

/// The socket underneath, which does not block.
pub trait Wire {
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// A connection of either side.
pub struct Session {
    connection: Connection,
    /// Ciphertext that has come and is not used.
    inbox: BytesMut,
    /// Plaintext that rustls has opened and nobody has read.
    opened: usize,
    /// Plaintext that is sealed already, of a write that has not been told so yet.
    owed: usize,
    end: End,
    reading: Reading,
    captured: Captured,
}

/// What a look at the peer's side showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Plaintext that is not to be read yet.
    Bytes,
    End,
}

/// How much is taken from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// What there is.
    Ahead,
    /// Not more than makes a record whole.
    Exactly,
}

/// Whether more comes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// It has said that it ends.
    Said,
    /// It has ended without saying so: somebody else may have cut the connection.
    Cut,
}

/// How much is read from the socket at once: one record of the largest kind.
pub const READ_MAX: usize = HEADER + RECORD_MAX;

/// Bytes before the content of a record (RFC 8446, 5.1).
const HEADER: usize = 5;

/// The content of a record at most: that of TLS 1.2, which is larger (RFC 5246, 6.2.3).
const RECORD_MAX: usize = (1 << 14) + 2048;

/// How much plaintext is sealed before the socket is asked to take it.
const SEAL_MAX: usize = 64 * 1024;

impl Session {
    /// `inbox` is ciphertext that was read already and not given to `connection`.
    pub fn new(mut connection: Connection, inbox: BytesMut, captured: Captured) -> Self {
        connection.set_buffer_limit(None);
        Self {
            connection,
            inbox,
            opened: 0,
            owed: 0,
            end: End::Open,
            reading: Reading::Ahead,
            captured,
        }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads plaintext that is there; 0 when the peer has ended ([`was_cut`](Self::was_cut) tells
    /// how). `WouldBlock` when there is none.
    pub fn read(&mut self, wire: &impl Wire, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.opened -= self.opened.min(*done.as_ref().unwrap_or(&0));
                    return done;
                }
            }
            if self.end != End::Open {
                return Ok(0);
            }
            self.next_record(wire)?;
        }
    }

    /// Whether a read gives something without the socket's help.
    pub fn is_readable(&self) -> bool {
        self.opened > 0 || self.end != End::Open || whole_record(&self.inbox).is_some()
    }

    /// Whether the peer ended without saying so.
    pub fn was_cut(&self) -> bool {
        self.end == End::Cut
    }

    /// Looks for the peer's end as far as nothing must be read for it. `WouldBlock` when it has
    /// not come.
    pub fn look_for_end(&mut self, wire: &impl Wire) -> io::Result<Ahead> {
        loop {
            match self {
                Self { opened: 1.., .. } => return Ok(Ahead::Bytes),
                Self { end: End::Said | End::Cut, .. } => return Ok(Ahead::End),
                _ => self.next_record(wire)?,
            }
        }
    }

    /// Writes plaintext. As with OpenSSL, a write that would block must be tried again with the
    /// same bytes: they are sealed already, and are counted when the socket has taken them.
    pub fn write(&mut self, wire: &impl Wire, bytes: &[u8]) -> io::Result<usize> {
        self.flush(wire)?;
        if self.owed > 0 {
            debug_assert!(self.owed <= bytes.len(), "a write is tried again with the same bytes");
            return Ok(std::mem::take(&mut self.owed));
        }
        let mut done = 0;
        while done < bytes.len() {
            let piece = &bytes[done..][..SEAL_MAX.min(bytes.len() - done)];
            self.connection.writer().write_all(piece)?;
            match self.flush(wire) {
                Ok(()) => done += piece.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.owed = piece.len();
                    return if done > 0 { Ok(done) } else { Err(error) };
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// From here on the socket is read record by record, so that it stands between two of them
    /// once those that were read ahead are used up.
    pub fn read_exactly(&mut self) {
        self.reading = Reading::Exactly;
    }

    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Gives the socket what is sealed.
    pub fn flush(&mut self, wire: &impl Wire) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sink(wire)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Leads the handshake on: what there is to send is sent, and records are read while one is
    /// waited for. `Ok` when the handshake is over and everything of it is sent.
    pub fn shake_hands(&mut self, wire: &impl Wire) -> io::Result<()> {
        loop {
            self.flush(wire)?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            self.next_record(wire)?;
        }
    }

    /// Brings the socket between two records: what was read ahead is opened and its plaintext put
    /// into `out`, and what is sealed is sent. `WouldBlock` when the rest of a record is missing or
    /// the socket takes nothing; then it is tried again.
    pub fn settle(&mut self, wire: &impl Wire, out: &mut BytesMut) -> io::Result<()> {
        self.reading = Reading::Exactly;
        loop {
            self.flush(wire)?;
            while self.opened > 0 {
                let mut piece = [0; 4096];
                let count = self.connection.reader().read(&mut piece)?;
                out.extend_from_slice(&piece[..count]);
                self.opened -= self.opened.min(count.max(1));
            }
            if self.end != End::Open {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.inbox.is_empty() {
                return Ok(());
            }
            self.next_record(wire)?;
        }
    }

    /// Leaves rustls: gives away what the connection goes on with. It has been settled before.
    pub fn leave(self) -> Result<Secrets, LeaveFault> {
        debug_assert!(self.inbox.is_empty() && !self.connection.wants_write());
        secrets::leave(self.connection, &self.captured)
    }

    /// Says that nothing more comes. What the socket does not take now is lost with it.
    pub fn say_goodbye(&mut self, wire: &impl Wire) {
        self.connection.send_close_notify();
        let _ = self.flush(wire);
    }

    /// Takes one record from the socket and lets rustls open it.
    fn next_record(&mut self, wire: &impl Wire) -> io::Result<()> {
        loop {
            if let Some(length) = whole_record(&self.inbox) {
                return self.open(length, wire);
            }
            let room = self.room();
            if fill(&mut self.inbox, wire, room)? == 0 {
                self.end = End::Cut;
                return match self.connection.is_handshaking() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(()),
                };
            }
        }
    }

    /// How much may be read from the socket now.
    fn room(&self) -> usize {
        match self.reading {
            Reading::Ahead => READ_MAX,
            Reading::Exactly => missing(&self.inbox),
        }
    }

    fn open(&mut self, length: usize, wire: &impl Wire) -> io::Result<()> {
        let mut record = &self.inbox[..length];
        while !record.is_empty() {
            if self.connection.read_tls(&mut record)? == 0 {
                break;
            }
        }
        let opened = secrets::capture(&mut self.captured, || self.connection.process_new_packets());
        self.inbox.advance(length);
        if self.inbox.is_empty() {
            // An idle connection holds no buffer.
            self.inbox = BytesMut::new();
        }
        match opened {
            Ok(state) => {
                self.opened = state.plaintext_bytes_to_read();
                if state.peer_has_closed() {
                    self.end = End::Said;
                }
                Ok(())
            }
            Err(fault) => {
                // The alert is a courtesy.
                let _ = self.flush(wire);
                Err(io::Error::new(io::ErrorKind::InvalidData, fault))
            }
        }
    }
}

/// The length of the record that `bytes` begins with, header included, if it is whole. Of one that
/// is too long the header must do: rustls says what is wrong with it.
pub fn whole_record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER>()?;
    match HEADER + usize::from(u16::from_be_bytes([header[3], header[4]])) {
        length if length > READ_MAX => Some(HEADER),
        length if length <= bytes.len() => Some(length),
        _ => None,
    }
}

/// How many bytes are missing to a whole header, or to the record that it begins.
fn missing(bytes: &[u8]) -> usize {
    match bytes.first_chunk::<HEADER>() {
        None => HEADER - bytes.len(),
        Some(header) => {
            let length = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
            length.saturating_sub(bytes.len()).min(READ_MAX)
        }
    }
}

/// Reads at most `room` bytes from the socket behind what waits; 0 at the end.
pub fn fill(inbox: &mut BytesMut, wire: &impl Wire, room: usize) -> io::Result<usize> {
    thread_local! {
        static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into());
    }
    LANDING.with_borrow_mut(|landing| {
        let count = wire.read(&mut landing[..room])?;
        inbox.extend_from_slice(&landing[..count]);
        Ok(count)
    })
}

/// A wire as rustls writes to it.
pub struct Sink<'w, W>(pub &'w W);

impl<W: Wire> Write for Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
