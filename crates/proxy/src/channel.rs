//! A connected stream socket of either side, plain TCP or unix.
//!
//! Reads and writes are tried first and waited for only when the kernel says so; every wait has a
//! timeout.

use crate::config::Address;
use crate::socket::Socket;
use bytes::BytesMut;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;
use tokio::io::Interest;

/// A connected socket.
pub struct Channel {
    socket: Socket,
    nagle: Cell<Nagle>,
}

/// Whether the kernel may hold a small piece back until what went before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    /// Nothing has been written: there is nothing that a piece could wait for.
    Unwritten,
    /// One piece is under way; the next one must not wait for it.
    Written,
    Off,
}

/// How much one read gives at most, whatever was asked.
pub const READ_MAX: usize = 64 * 1024;

thread_local! {
    /// Where bytes are read to first, so that a buffer is as large as what came and not as what
    /// might have come.
    static LANDING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into());
}

/// Why a wait ended without the bytes.
#[derive(Debug)]
pub enum ChannelFault {
    TimedOut,
    Io(io::Error),
}

impl From<io::Error> for ChannelFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    Closed,
}

impl Channel {
    fn over(socket: Socket) -> Self {
        let nagle = if socket.is_tcp() { Nagle::Unwritten } else { Nagle::Off };
        Self { socket, nagle: Cell::new(nagle) }
    }

    /// A client's connection that was just accepted.
    pub fn accepted(fd: OwnedFd, is_tcp: bool) -> Self {
        Self::over(Socket::accepted(fd, is_tcp))
    }

    /// A new connection to an upstream server.
    ///
    /// # Errors
    /// Those of [`Socket::connect`].
    pub async fn connect(address: &Address) -> io::Result<Self> {
        Socket::connect(address).await.map(Self::over)
    }

    /// Reads what there is behind `buffer`'s content, at most `max` bytes; `WouldBlock` when there
    /// is nothing.
    pub fn try_read(&self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        LANDING.with_borrow_mut(|landing| {
            let into = &mut landing[..max.clamp(1, READ_MAX)];
            let count = self.socket.try_read(into)?;
            buffer.extend_from_slice(&into[..count]);
            Ok(count)
        })
    }

    /// Open, and nothing waits to be read.
    pub fn is_quiet(&self) -> bool {
        self.socket.doubt();
        matches!(self.socket.try_peek(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.nagle.get() == Nagle::Written {
            self.set_nodelay();
        }
        let count = self.socket.try_write(bytes)?;
        if self.nagle.get() == Nagle::Unwritten {
            self.nagle.set(Nagle::Written);
        }
        Ok(count)
    }

    /// Sends a stretch of a file without copying it through this process.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        length: usize,
    ) -> io::Result<usize> {
        if self.nagle.get() == Nagle::Written {
            self.set_nodelay();
        }
        self.socket.attempt(Interest::WRITABLE, |socket| {
            rustix::fs::sendfile(socket, file, Some(offset), length)
        })
    }

    pub async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
        self.socket.ready(interest).await
    }

    /// Reads at least one byte and at most `max`, or the end, within `limit`.
    pub async fn read(
        &self,
        buffer: &mut BytesMut,
        max: usize,
        limit: Duration,
    ) -> Result<Read, ChannelFault> {
        loop {
            match self.try_read(buffer, max) {
                Ok(0) => return Ok(Read::Closed),
                Ok(count) => return Ok(Read::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            match tokio::time::timeout(limit, self.ready(Interest::READABLE)).await {
                Ok(ready) => ready?,
                Err(_) => return Err(ChannelFault::TimedOut),
            };
        }
    }

    /// Writes all of `bytes`; each pause is bounded by `limit`.
    pub async fn write_all(&self, mut bytes: &[u8], limit: Duration) -> Result<(), ChannelFault> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            match tokio::time::timeout(limit, self.ready(Interest::WRITABLE)).await {
                Ok(ready) => ready?,
                Err(_) => return Err(ChannelFault::TimedOut),
            };
        }
        Ok(())
    }

    /// Resolves when the peer has closed its sending side or the connection is broken; bytes that
    /// wait unread do not hide that.
    pub async fn closed(&self) {
        loop {
            match self.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_read_closed() || ready.is_error() => return,
                Err(_) => return,
                Ok(_) => {}
            }
            // Bytes of the next request wait here, and are not to be read. Looking one up makes the
            // runtime forget a readiness that is no longer true.
            match self.socket.try_peek() {
                Ok(0) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
                Ok(_) => std::future::pending::<()>().await,
            }
        }
    }

    /// No piece waits for the acknowledgement of another from here on. The second write does it by
    /// itself: the first has nothing to wait for.
    pub fn set_nodelay(&self) {
        if self.socket.is_tcp() && self.nagle.replace(Nagle::Off) != Nagle::Off {
            // A socket that is already broken says so at the next read.
            let _ = rustix::net::sockopt::set_tcp_nodelay(&self.socket, true);
        }
    }

    /// Lets the system probe the peer when nothing comes for long.
    pub fn set_keepalive(&self) {
        if self.socket.is_tcp() {
            // It is a wish: a socket that refuses it works all the same.
            let _ = rustix::net::sockopt::set_socket_keepalive(&self.socket, true);
        }
    }

    /// Makes the close that follows send a reset.
    pub fn set_reset_on_close(&self) {
        if self.socket.is_tcp() {
            let now = Some(Duration::ZERO);
            let _ = rustix::net::sockopt::set_socket_linger(&self.socket, now);
        }
    }

    /// Sends FIN; the other direction stays open.
    pub fn shutdown_write(&self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }

    /// The descriptor, out of the runtime's hands.
    pub fn into_fd(self) -> OwnedFd {
        self.socket.into_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::Shutdown;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A channel and its peer.
    async fn pair() -> (Channel, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Inet(listener.local_addr().unwrap());
        (Channel::connect(&address).await.unwrap(), listener.accept().unwrap().0)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn what_comes_behind_a_short_read_is_heard() {
        run(async {
            let (channel, mut peer) = pair().await;
            let mut buffer = BytesMut::new();
            for round in 1..=3 {
                peer.write_all(b"abc").unwrap();
                let read = channel.read(&mut buffer, 16, LIMIT).await.unwrap();
                assert_eq!((read, buffer.len()), (Read::Bytes(3), 3 * round));
            }
            peer.write_all(b"d").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(channel.read(&mut buffer, 16, LIMIT).await.unwrap(), Read::Bytes(1));
            assert_eq!(channel.read(&mut buffer, 16, LIMIT).await.unwrap(), Read::Closed);
        });
    }

    #[test]
    fn a_read_gives_at_most_what_was_asked_and_forgets_nothing() {
        run(async {
            let (channel, mut peer) = pair().await;
            peer.write_all(&vec![7; READ_MAX + 10]).unwrap();
            let mut buffer = BytesMut::new();
            assert_eq!(channel.read(&mut buffer, 4, LIMIT).await.unwrap(), Read::Bytes(4));
            while buffer.len() < READ_MAX + 10 {
                let before = buffer.len();
                assert_ne!(
                    channel.read(&mut buffer, usize::MAX, LIMIT).await.unwrap(),
                    Read::Closed
                );
                assert!(buffer.len() - before <= READ_MAX);
            }
        });
    }

    #[test]
    fn the_second_write_waits_for_no_acknowledgement() {
        run(async {
            let (channel, _peer) = pair().await;
            let nodelay = || rustix::net::sockopt::tcp_nodelay(&channel.socket).unwrap();
            channel.write_all(b"a", LIMIT).await.unwrap();
            assert!(!nodelay());
            channel.write_all(b"b", LIMIT).await.unwrap();
            assert!(nodelay());
        });
    }
}
