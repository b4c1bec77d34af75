//! One leg: a socket that is known by its number, because the record owns it and not a Rust value.
//!
//! It reads and writes the shared memory only. Who may use a number is decided by the record's
//! state.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use crate::relay::Fault;
use crate::table::Span;

/// The descriptor of a socket that a live record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg(i32);

/// What reading or writing gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes; 0 from reading is the end of the stream.
    Bytes(usize),
    /// Nothing now; an event will come.
    Blocked,
    /// The connection failed.
    Failed(Fault),
}

impl Leg {
    pub(crate) const fn from_number(number: i32) -> Leg {
        Leg(number)
    }

    /// Takes the descriptor over from its owner.
    pub(crate) fn from_owned(fd: OwnedFd) -> Leg {
        Leg(fd.into_raw_fd())
    }

    pub(crate) const fn number(self) -> i32 {
        self.0
    }

    /// Gives the descriptor to an owner, which will close it.
    pub(crate) fn into_owned(self) -> Option<OwnedFd> {
        // SAFETY: not -1 (checked); the record that named it gives it up, so that this is the one
        // owner.
        (self.0 >= 0).then(|| unsafe { OwnedFd::from_raw_fd(self.0) })
    }

    /// The descriptor for one call.
    pub(crate) fn with<T>(
        self,
        call: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.0 < 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: not -1 (checked). If the number is closed or another's, the call fails or is
        // harmless: callers compare the cookie before anything that changes the socket's life.
        call(unsafe { BorrowedFd::borrow_raw(self.0) })
    }

    /// The kernel's number for this socket, which it gives to no other until it boots again.
    pub(crate) fn cookie(self) -> io::Result<u64> {
        self.with(|fd| Ok(rustix::net::sockopt::socket_cookie(fd)?))
    }

    #[inline]
    pub(crate) fn recv(self, into: Span<'_>) -> Got {
        loop {
            // SAFETY: `into` is mapped and writable for its length.
            let got =
                unsafe { libc::recv(self.0, into.ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
            if let Some(got) = Got::of(got) {
                return got;
            }
        }
    }

    #[inline]
    pub(crate) fn send(self, from: Span<'_>) -> Got {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: `from` is mapped and readable for its length.
            let got = unsafe { libc::send(self.0, from.ptr().cast(), from.len(), flags) };
            if let Some(got) = Got::of(got) {
                return got;
            }
        }
    }

    /// Copies what could be read, and leaves it there.
    #[inline]
    pub(crate) fn peek(self, into: &mut [u8]) -> Got {
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        loop {
            // SAFETY: `into` is writable for its length.
            let got = unsafe { libc::recv(self.0, into.as_mut_ptr().cast(), into.len(), flags) };
            if let Some(got) = Got::of(got) {
                return got;
            }
        }
    }

    /// Takes as many bytes out as `over` is long. TCP does not even copy them (tcp(7), MSG_TRUNC);
    /// other sockets do.
    #[inline]
    pub(crate) fn discard(self, over: Span<'_>) -> Got {
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        loop {
            // SAFETY: `over` is mapped and writable for its length.
            let got = unsafe { libc::recv(self.0, over.ptr().cast(), over.len(), flags) };
            if let Some(got) = Got::of(got) {
                return got;
            }
        }
    }

    #[inline]
    pub(crate) fn send_bytes(self, from: &[u8]) -> Got {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: `from` is readable for its length.
            let got = unsafe { libc::send(self.0, from.as_ptr().cast(), from.len(), flags) };
            if let Some(got) = Got::of(got) {
                return got;
            }
        }
    }

    /// Whether the peer's FIN or an error has come: then what is there to read is all there will
    /// be.
    pub(crate) fn is_ending(self) -> bool {
        let mut poll = libc::pollfd { fd: self.0, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one valid entry.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready != 0
    }

    /// Readies the socket for being looked at without being read: urgent bytes stay in line, so
    /// that what was seen is what is taken out, and a whole record fits into its buffer.
    pub(crate) fn ready_for_peeking(self) -> io::Result<()> {
        self.with(|fd| {
            rustix::net::sockopt::set_socket_oobinline(fd, true)?;
            if rustix::net::sockopt::socket_recv_buffer_size(fd)? < 2 * RECV_BUFFER_MIN {
                self.raise_recv_buffer();
            }
            if rustix::net::sockopt::socket_recv_buffer_size(fd)? < 2 * RECV_BUFFER_MIN {
                rustix::net::sockopt::set_socket_recv_buffer_size(fd, RECV_BUFFER_MIN)?;
            }
            Ok(())
        })
    }

    /// Makes the receive buffer larger without fixing its size: who asks to be woken for so many
    /// bytes gets room for them (the kernel's `tcp_set_rcvlowat`), and the kernel goes on to suit
    /// it to the path.
    fn raise_recv_buffer(self) {
        for bytes in [RECV_BUFFER_MIN as libc::c_int, 1] {
            // SAFETY: the kernel reads one int. A refusal leaves the buffer as it was.
            unsafe {
                libc::setsockopt(
                    self.0,
                    libc::SOL_SOCKET,
                    libc::SO_RCVLOWAT,
                    (&raw const bytes).cast(),
                    size_of::<libc::c_int>() as libc::socklen_t,
                )
            };
        }
    }

    /// Ends our direction. Repeating it changes nothing.
    pub(crate) fn shut(self) -> io::Result<()> {
        self.with(|fd| Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?))
    }

    /// Makes the coming close a reset, which throws away what is not sent.
    pub(crate) fn reset_on_close(self) -> io::Result<()> {
        let now = Some(std::time::Duration::ZERO);
        self.with(|fd| Ok(rustix::net::sockopt::set_socket_linger(fd, now)?))
    }
}

impl Got {
    /// `None` if a signal interrupted the call: it is made again.
    #[inline]
    fn of(result: isize) -> Option<Got> {
        if result >= 0 {
            return Some(Got::Bytes(result as usize));
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => None,
            Some(libc::EAGAIN) => Some(Got::Blocked),
            Some(libc::ECONNRESET | libc::EPIPE) => Some(Got::Failed(Fault::Reset)),
            _ => Some(Got::Failed(Fault::Lost)),
        }
    }
}

/// A segment of which the beginning was taken out is counted in full while the rest of its last
/// record waits, and what follows is dropped when it has no room beside that: on loopback segments
/// are 64 KiB. The kernel keeps twice this, and tells so.
const RECV_BUFFER_MIN: usize = 256 * 1024;

impl AsRawFd for Leg {
    fn as_raw_fd(&self) -> i32 {
        self.0
    }
}
