//! A connected stream socket of either side, plain TCP or unix.
//!
//! Reads and writes are tried first and waited for only when the kernel says so; every wait has a
//! timeout.

use bytes::BytesMut;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
pub enum Channel {
    Tcp(TcpStream),
    Unix(UnixStream),
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
    /// Reads what there is behind `buffer`'s content; `WouldBlock` when there is nothing.
    pub fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read_buf(buffer),
            Self::Unix(stream) => stream.try_read_buf(buffer),
        }
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Sends a stretch of a file without copying it through this process.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        length: usize,
    ) -> io::Result<usize> {
        let send = |socket: BorrowedFd<'_>, offset: &mut u64| {
            rustix::fs::sendfile(socket, file, Some(offset), length).map_err(io::Error::from)
        };
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || send(stream.as_fd(), offset)),
            Self::Unix(stream) => {
                stream.try_io(Interest::WRITABLE, || send(stream.as_fd(), offset))
            }
        }
    }

    pub async fn ready(&self, interest: Interest) -> io::Result<tokio::io::Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads at least one byte, or the end, within `limit`.
    pub async fn read(&self, buffer: &mut BytesMut, limit: Duration) -> Result<Read, ChannelFault> {
        loop {
            match self.try_read(buffer) {
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
            match self.peek_one() {
                Ok(0) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
                Ok(_) => std::future::pending::<()>().await,
            }
        }
    }

    fn peek_one(&self) -> io::Result<usize> {
        let peek = |socket: BorrowedFd<'_>| {
            let mut byte = [0u8; 1];
            let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
            rustix::net::recv(socket, &mut byte, flags)
                .map(|(count, _)| count)
                .map_err(io::Error::from)
        };
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream.as_fd())),
        }
    }

    pub fn set_nodelay(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that is already broken says so at the next read.
            let _ = stream.set_nodelay(true);
        }
    }

    /// Makes the close that follows send a reset.
    pub fn set_reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Sends FIN; the other direction stays open.
    pub fn shutdown_write(&self) {
        let _ = match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
            Self::Unix(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Write),
        };
    }

    /// The descriptor, out of the runtime's hands.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => Ok(stream.into_std()?.into()),
            Self::Unix(stream) => Ok(stream.into_std()?.into()),
        }
    }
}
