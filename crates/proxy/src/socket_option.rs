//! Options of TCP sockets that no safe wrapper knows: deferred acceptance and fast open.

use rustix::fd::{AsFd, AsRawFd};
use std::io;

/// An option of level TCP whose value is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// A connection is accepted when its first bytes are here; the value is how many seconds the
    /// system waits for them.
    DeferAccept,
    /// The length of the queue of connections that bring bytes with their first packet.
    FastOpen,
}

/// Sets an option of a socket.
pub fn set(socket: &impl AsFd, option: TcpOption, value: i32) -> io::Result<()> {
    let name = match option {
        TcpOption::DeferAccept => libc::TCP_DEFER_ACCEPT,
        TcpOption::FastOpen => libc::TCP_FASTOPEN,
    };
    let descriptor = socket.as_fd().as_raw_fd();
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call, and the pointer is to a number of the length
    // that is given, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(descriptor, libc::IPPROTO_TCP, name, (&raw const value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_socket_takes_them_and_another_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        set(&listener, TcpOption::DeferAccept, 1).unwrap();
        set(&listener, TcpOption::FastOpen, 8).unwrap();
        let (pair, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(set(&pair, TcpOption::DeferAccept, 1).is_err());
    }
}
