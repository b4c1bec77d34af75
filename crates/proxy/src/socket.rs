//! A connected socket that does not block, plain TCP or unix: tries first, and registers with the
//! runtime only when something must be waited for.
//!
//! A socket that is read to its end, or handed on, before that was never in an epoll instance. Not
//! here: buffers, time limits, what the bytes mean (`channel`).

use crate::config::Address;
use perdura_tunnel::{Lodging, Readiness};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// A connected socket. Every try is made without blocking; after one that failed with `WouldBlock`,
/// `ready` is to be awaited before the next.
pub struct Socket {
    /// Stands before the descriptor, so that the registration ends first.
    watch: OnceCell<Watch>,
    /// Not registered, and known to have nothing to read: a try would be in vain.
    is_dry: Cell<bool>,
    is_tcp: bool,
    fd: OwnedFd,
}

/// Where it is registered.
enum Watch {
    Runtime(AsyncFd<Number>),
    /// In the tunnel engine's epoll instance, under the name of the tunnel that may come of it.
    Engine(Lodging),
}

/// The number of a descriptor that the `Socket` beside it owns.
struct Number(RawFd);

impl AsRawFd for Number {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Socket {
    /// A connection that was just accepted: what its client has to say may be there already.
    pub fn accepted(fd: OwnedFd, is_tcp: bool) -> Self {
        Self { watch: OnceCell::new(), is_dry: Cell::new(false), is_tcp, fd }
    }

    /// Begins to connect to `address`; [`connected`](Self::connected) waits for the end of it.
    ///
    /// # Errors
    /// Those of `socket` and `connect`.
    pub fn connect(address: &Address) -> io::Result<Self> {
        Self::connect_prepared(address, |_| Ok(()))
    }

    /// The same by a socket that `prepare` has set up.
    ///
    /// # Errors
    /// Those of [`Socket::connect`], and what `prepare` says.
    pub fn connect_prepared(
        address: &Address,
        prepare: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let make = |family| net::socket_with(family, SocketType::STREAM, flags, None);
        let (fd, begun) = match address {
            Address::Inet(inet) => {
                let family = match inet {
                    SocketAddr::V4(_) => net::AddressFamily::INET,
                    SocketAddr::V6(_) => net::AddressFamily::INET6,
                };
                let fd = make(family)?;
                prepare(fd.as_fd())?;
                let begun = net::connect(&fd, inet);
                (fd, begun)
            }
            Address::Unix(path) => {
                let fd = make(net::AddressFamily::UNIX)?;
                prepare(fd.as_fd())?;
                let begun = net::connect(&fd, &net::SocketAddrUnix::new(path)?);
                (fd, begun)
            }
        };
        // Nothing was asked, so there is nothing to read.
        let is_tcp = matches!(address, Address::Inet(_));
        let socket = Self { watch: OnceCell::new(), is_dry: Cell::new(true), is_tcp, fd };
        match begun {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(socket),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the connection attempt. A peer on this machine has answered it by now.
    ///
    /// # Errors
    /// The one that it ended with.
    pub async fn connected(&self) -> io::Result<()> {
        if net::getpeername(&self.fd).is_ok() {
            return Ok(());
        }
        self.forget(Interest::WRITABLE);
        loop {
            self.ready(Interest::WRITABLE).await?;
            net::sockopt::socket_error(&self.fd)??;
            match net::getpeername(&self.fd) {
                Ok(_) => return Ok(()),
                // A false alarm.
                Err(Errno::NOTCONN) => self.forget(Interest::WRITABLE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn is_tcp(&self) -> bool {
        self.is_tcp
    }

    /// Reads into `into`; 0 is the peer's end.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len();
        let read = self.attempt(Interest::READABLE, |fd| {
            net::recv(fd, into, RecvFlags::DONTWAIT).map(|(count, _)| count)
        });
        if let Ok(count) = read
            && 0 < count
            && count < room
        {
            self.forget(Interest::READABLE);
        }
        read
    }

    /// Looks at bytes that wait, without taking them; 0 is the peer's end.
    pub fn try_peek(&self, into: &mut [u8]) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        self.attempt(Interest::READABLE, |fd| net::recv(fd, into, flags).map(|(count, _)| count))
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.attempt(Interest::WRITABLE, |fd| net::send(fd, bytes, flags))
    }

    /// Writes several pieces as if they were one.
    pub fn try_write_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.attempt(Interest::WRITABLE, |fd| {
            net::sendmsg(fd, pieces, &mut net::SendAncillaryBuffer::default(), flags)
        })
    }

    /// One try of `call`, unless it is known to be in vain.
    pub fn attempt<T>(
        &self,
        interest: Interest,
        call: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let fd = self.fd.as_fd();
        let in_vain = match self.watch.get() {
            Some(Watch::Runtime(watch)) => {
                return watch.try_io(interest, |_| call(fd).map_err(io::Error::from));
            }
            Some(Watch::Engine(lodging)) if interest.is_readable() => !lodging.readiness().readable,
            Some(Watch::Engine(lodging)) => !lodging.readiness().writable,
            None => interest.is_readable() && self.is_dry.get(),
        };
        if in_vain {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = call(fd);
        if matches!(result, Err(Errno::AGAIN)) {
            self.forget(interest);
        }
        result.map_err(io::Error::from)
    }

    /// A read that was not filled has emptied the socket: what comes later makes a new event, and
    /// a try before it would be in vain. The runtime forgets a readiness only when it sees a try
    /// fail, so it is shown one. That the peer has closed is not forgotten by this.
    fn forget(&self, interest: Interest) {
        match self.watch.get() {
            Some(Watch::Runtime(watch)) => {
                let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = watch.try_io(interest, |_| nothing());
            }
            Some(Watch::Engine(lodging)) if interest.is_readable() => lodging.set_drained(),
            Some(Watch::Engine(lodging)) => lodging.set_full(),
            None => self.is_dry.set(self.is_dry.get() || interest.is_readable()),
        }
    }

    /// Makes the next read a real one, whatever is known.
    pub fn doubt(&self) {
        self.is_dry.set(false);
    }

    /// Waits until a try is worth it.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        poll_fn(|context| self.poll_ready(context, interest)).await
    }

    /// The same for a task that waits for other things too. Of each direction only the task that
    /// asked last is woken: a socket is one task's.
    fn poll_ready(&self, context: &mut Context<'_>, interest: Interest) -> Poll<io::Result<Ready>> {
        let (reads, writes) = (interest.is_readable(), interest.is_writable());
        match self.watch()? {
            Watch::Runtime(watch) => {
                if reads && let Poll::Ready(guard) = watch.poll_read_ready(context) {
                    return Poll::Ready(guard.map(|guard| guard.ready()));
                }
                if writes && let Poll::Ready(guard) = watch.poll_write_ready(context) {
                    return Poll::Ready(guard.map(|guard| guard.ready()));
                }
                Poll::Pending
            }
            Watch::Engine(lodging) => {
                lodging.poll(context, reads, writes).map(|ready| Ok(ready_of(ready)))
            }
        }
    }

    /// Registers it where its tunnel will be, if it becomes one and is registered nowhere yet. A
    /// failure is none: the runtime will be asked instead.
    pub fn expect(&self, lodge: impl FnOnce(BorrowedFd<'_>) -> io::Result<Lodging>) {
        if self.watch.get().is_none()
            && let Ok(lodging) = lodge(self.fd.as_fd())
        {
            // It was empty just now.
            let _ = self.watch.set(Watch::Engine(lodging));
        }
    }

    /// No tunnel comes of it.
    pub fn unexpect(&mut self) {
        if matches!(self.watch.get(), Some(Watch::Engine(_))) {
            self.watch = OnceCell::new();
            self.is_dry.set(false);
        }
    }

    fn watch(&self) -> io::Result<&Watch> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let number = Number(self.fd.as_raw_fd());
        // SAFETY: the descriptor is owned by this value, which gives it away only after the
        // registration has ended (`into_fd`, and the order of the fields), and never replaces it.
        let watch = unsafe { AsyncFd::register(number) }?;
        Ok(self.watch.get_or_init(|| Watch::Runtime(watch)))
    }

    /// The descriptor, out of the runtime's hands.
    pub fn into_fd(self) -> OwnedFd {
        let Self { watch, fd, .. } = self;
        if let Some(Watch::Engine(lodging)) = watch.into_inner() {
            lodging.stay();
        }
        fd
    }
}

/// The engine's words in the runtime's.
fn ready_of(readiness: Readiness) -> Ready {
    let Readiness { readable, writable, ended, failed } = readiness;
    let all = [
        (readable, Ready::READABLE),
        (writable, Ready::WRITABLE),
        (ended, Ready::READ_CLOSED),
        (failed, Ready::ERROR),
    ];
    all.into_iter().filter(|(is, _)| *is).fold(Ready::EMPTY, |sum, (_, one)| sum | one)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_peer_on_this_machine_needs_no_registration() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Inet(listener.local_addr().unwrap());
            let near = Socket::connect(&address).unwrap();
            near.connected().await.unwrap();
            let (mut far, _) = listener.accept().unwrap();
            assert!(near.watch.get().is_none());
            assert_eq!(near.try_write(b"abc").unwrap(), 3);
            // Nothing was waited for, so the answer is not looked for either.
            far.write_all(b"de").unwrap();
            let mut into = [0; 8];
            let blocked = near.try_read(&mut into).unwrap_err().kind();
            assert_eq!(blocked, io::ErrorKind::WouldBlock);
            near.ready(Interest::READABLE).await.unwrap();
            assert_eq!(near.try_read(&mut into).unwrap(), 2);
        });
    }

    #[test]
    fn what_an_accepted_client_has_sent_is_read_at_once() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            far.write_all(b"abc").unwrap();
            let near = Socket::accepted(listener.accept().unwrap().0.into(), true);
            let mut into = [0; 8];
            assert_eq!(near.try_read(&mut into).unwrap(), 3);
            assert!(near.watch.get().is_none());
            far.write_all(b"de").unwrap();
            // What came behind the short read is announced by the registration.
            assert!(near.try_read(&mut into).is_err());
            near.ready(Interest::READABLE).await.unwrap();
            assert_eq!(near.try_read(&mut into).unwrap(), 2);
        });
    }

    #[test]
    fn a_refused_connection_says_so() {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Inet(listener.local_addr().unwrap());
            drop(listener);
            let near = Socket::connect(&address).unwrap();
            let error = near.connected().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}
