//! A connected stream of either side: TCP or unix, plain or TLS.
//!
//! Reads and writes are tried first and waited for only when the kernel says so; every wait has a
//! timeout. Whoever reads and writes does not know whether the bytes travel sealed.

use crate::config::Address;
use crate::socket::Socket;
use crate::tls::{Ahead, Session, Wire};
use bytes::BytesMut;
use perdura_tunnel::Lodging;
use perdura_tunnel::tls::Secrets;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::{Interest, Ready};

/// A connected socket, and the TLS session that it carries if it does.
pub struct Channel {
    socket: Socket,
    nagle: Cell<Nagle>,
    tls: Option<Box<RefCell<Session>>>,
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
        Self { socket, nagle: Cell::new(nagle), tls: None }
    }

    /// A client's connection that was just accepted.
    pub fn accepted(fd: OwnedFd, is_tcp: bool) -> Self {
        Self::over(Socket::accepted(fd, is_tcp))
    }

    /// Begins a connection to an upstream server; [`connected`](Self::connected) waits for it.
    ///
    /// # Errors
    /// Those of [`Socket::connect`].
    pub fn connect(address: &Address) -> io::Result<Self> {
        Socket::connect(address).map(Self::over)
    }

    /// Waits for the connection attempt.
    ///
    /// # Errors
    /// The one that it ended with.
    pub async fn connected(&self) -> io::Result<()> {
        self.socket.connected().await
    }

    /// It may become a leg: registers it where its tunnel will be, unless it is registered already.
    pub fn expect(&self, lodge: impl FnOnce(BorrowedFd<'_>) -> io::Result<Lodging>) {
        self.socket.expect(lodge);
    }

    /// It does not become a leg.
    pub fn unexpect(&mut self) {
        self.socket.unexpect();
    }

    /// The same connection, whose bytes go through `session` from here on.
    pub fn secured(self, session: Session) -> Self {
        Self { tls: Some(Box::new(RefCell::new(session))), ..self }
    }

    /// The socket itself, for what happens before and below TLS.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether the bytes travel sealed.
    pub fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// Asks the TLS session, if there is one.
    pub fn with_tls<R>(&self, ask: impl FnOnce(&Session) -> R) -> Option<R> {
        self.tls.as_ref().map(|session| ask(&session.borrow()))
    }

    /// A new connection by a socket that `prepare` has set up.
    ///
    /// # Errors
    /// Those of [`Socket::connect_prepared`].
    pub async fn connect_prepared(
        address: &Address,
        prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let channel = Self::prepared(address, prepare)?;
        channel.connected().await?;
        Ok(channel)
    }

    /// The beginning of a connection by a socket that `prepare` has set up.
    ///
    /// # Errors
    /// Those of [`Socket::connect_prepared`].
    pub fn prepared(
        address: &Address,
        prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        Socket::connect_prepared(address, prepare).map(Self::over)
    }

    /// Whether both ends have the same address: then the connection leads to this machine.
    pub fn is_home(&self) -> bool {
        let near = rustix::net::getsockname(&self.socket);
        let far = rustix::net::getpeername(&self.socket).ok().flatten();
        let ip = |address: rustix::net::SocketAddrAny| {
            std::net::SocketAddr::try_from(address).ok().map(|address| address.ip())
        };
        match (near.ok().and_then(ip), far.and_then(ip)) {
            (Some(near), Some(far)) => near == far,
            _ => false,
        }
    }

    /// Reads what there is behind `buffer`'s content, at most `max` bytes; `WouldBlock` when there
    /// is nothing.
    pub fn try_read(&self, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
        LANDING.with_borrow_mut(|landing| {
            let into = &mut landing[..max.clamp(1, READ_MAX)];
            let count = match &self.tls {
                None => self.socket.try_read(into)?,
                Some(session) => session.borrow_mut().read(&self.socket, into)?,
            };
            buffer.extend_from_slice(&into[..count]);
            Ok(count)
        })
    }

    /// Open, and nothing waits to be read.
    pub fn is_quiet(&self) -> bool {
        self.socket.doubt();
        matches!(self.look_for_end(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Writes what is taken now. A write that would block is tried again with the same bytes.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.nagle.get() == Nagle::Written {
            self.set_nodelay();
        }
        let count = match &self.tls {
            None => self.socket.try_write(bytes)?,
            Some(session) => session.borrow_mut().write(&self.socket, bytes)?,
        };
        if self.nagle.get() == Nagle::Unwritten {
            self.nagle.set(Nagle::Written);
        }
        Ok(count)
    }

    /// Sends a stretch of a file, without copying it through this process where nothing has to be
    /// sealed.
    pub fn try_send_file(
        &self,
        file: BorrowedFd<'_>,
        offset: &mut u64,
        length: usize,
    ) -> io::Result<usize> {
        if self.nagle.get() == Nagle::Written {
            self.set_nodelay();
        }
        let Some(session) = &self.tls else {
            return self.socket.attempt(Interest::WRITABLE, |socket| {
                rustix::fs::sendfile(socket, file, Some(offset), length)
            });
        };
        LANDING.with_borrow_mut(|landing| {
            let room = length.min(READ_MAX);
            let count = rustix::io::pread(file, &mut landing[..room], *offset)?;
            let sent = session.borrow_mut().write(&self.socket, &landing[..count])?;
            *offset += sent as u64;
            Ok(sent)
        })
    }

    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if interest.is_readable() && self.with_tls(Session::is_readable) == Some(true) {
            return Ok(Ready::READABLE);
        }
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
            match self.socket.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_read_closed() || ready.is_error() => return,
                Err(_) => return,
                Ok(_) => {}
            }
            // Bytes of the next request wait here, and are not to be read. Looking one up makes the
            // runtime forget a readiness that is no longer true.
            match self.look_for_end() {
                Ok(Ahead::End) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
                Ok(Ahead::Bytes) => std::future::pending::<()>().await,
            }
        }
    }

    fn look_for_end(&self) -> io::Result<Ahead> {
        match &self.tls {
            Some(session) => session.borrow_mut().look_for_end(&self.socket),
            None => match self.socket.try_peek(&mut [0])? {
                0 => Ok(Ahead::End),
                _ => Ok(Ahead::Bytes),
            },
        }
    }

    /// The peer's end came without the peer's saying so, which TLS makes visible.
    pub fn was_cut(&self) -> bool {
        self.with_tls(Session::was_cut) == Some(true)
    }

    /// Tells the peer that nothing more comes, where TLS has a word for it.
    pub fn say_goodbye(&self) {
        if let Some(session) = &self.tls {
            session.borrow_mut().say_goodbye(&self.socket);
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
        self.say_goodbye();
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }

    /// Takes from the socket no more than whole records from here on, so that the connection can
    /// leave without waiting.
    pub fn read_exactly(&self) {
        if let Some(session) = &self.tls {
            session.borrow_mut().read_exactly();
        }
    }

    /// Makes ready for [`leave`](Self::leave): nothing is under way on either side, and what has
    /// been read ahead stands in `buffer`.
    pub async fn settle(&self, buffer: &mut BytesMut, limit: Duration) -> Result<(), ChannelFault> {
        let Some(session) = &self.tls else {
            return Ok(());
        };
        loop {
            match session.borrow_mut().settle(&self.socket, buffer) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let interest = match session.borrow().wants_write() {
                true => Interest::WRITABLE,
                false => Interest::READABLE,
            };
            match tokio::time::timeout(limit, self.socket.ready(interest)).await {
                Ok(ready) => ready?,
                Err(_) => return Err(ChannelFault::TimedOut),
            };
        }
    }

    /// The descriptor, out of the runtime's hands, with the secrets of TLS.
    ///
    /// # Errors
    /// When the TLS session cannot be left.
    pub fn leave(self) -> io::Result<(OwnedFd, Option<Secrets>)> {
        let secrets = match self.tls {
            None => None,
            Some(session) => {
                let left = session.into_inner().leave();
                Some(left.map_err(|fault| io::Error::other(fault.to_string()))?)
            }
        };
        Ok((self.socket.into_fd(), secrets))
    }
}

impl Wire for Socket {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.try_read(into)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_pieces(slices)
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
        let near = Channel::connect(&address).unwrap();
        near.connected().await.unwrap();
        (near, listener.accept().unwrap().0)
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
