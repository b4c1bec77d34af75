//! Descriptors that the master opened and this worker uses by number.
//!
//! Master and worker share one descriptor table, and the master keeps these open as long as the
//! worker lives. This is one of the few modules with `unsafe`: nothing else may turn a number into
//! a descriptor.

use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Borrows a descriptor of the master.
pub fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the numbers come from the master's messages and its memory at the clone. It closes
    // such a descriptor only after this worker has confirmed that it no longer uses it, or has
    // ended. A wrong number gives an error from the kernel (EBADF), not undefined behaviour.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// A descriptor of one's own for the same file.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(number), 0)?)
}

/// Takes a descriptor over that the master has given away with its message.
pub fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the decoder of messages gives no negative numbers, and the master, which has just
    // received this descriptor, neither uses nor closes it after its message.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Registers a descriptor with the runtime.
pub fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value owns its descriptor, whose number therefore stays the same file as long as
    // it is registered, and nothing hands out a mutable reference that could replace it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;

    #[test]
    fn a_duplicate_is_its_own() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let copy = duplicate(writer.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), writer.as_raw_fd());
        drop(copy);
        drop(writer);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 0);
    }
}
