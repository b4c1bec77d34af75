//! A descriptor of the master's that it can recognise.
//!
//! Master and worker share one descriptor table: a worker gone wrong can close or replace what the
//! master holds. So the master notes what it opened, and looks before it goes on with it after a
//! worker's crash.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use rustix::fs::fstat;

/// An open file, and which one it is.
#[derive(Debug)]
pub struct Owned {
    fd: OwnedFd,
    identity: Identity,
}

/// Device and inode. All anonymous files (epoll, signalfd) share one: they cannot be told apart and
/// must not be held like this. Files, sockets, pipes and memfds can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Owned {
    pub fn new(fd: OwnedFd) -> io::Result<Owned> {
        let identity = identity(fd.as_fd())?;
        Ok(Owned { fd, identity })
    }

    /// Whether the number still stands for what was opened.
    pub fn is_intact(&self) -> bool {
        identity(self.fd.as_fd()).is_ok_and(|found| found == self.identity)
    }

    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Puts another file under the same number, for everyone who uses it, in one step.
    pub fn replace(&mut self, with: &OwnedFd) -> io::Result<()> {
        rustix::io::dup3(with, &mut self.fd, rustix::io::DupFlags::CLOEXEC)?;
        self.identity = identity(self.fd.as_fd())?;
        Ok(())
    }

    /// The descriptor itself, for tests that put something else there.
    #[cfg(test)]
    pub fn fd_for_test(&mut self) -> &mut OwnedFd {
        &mut self.fd
    }

    /// Gives the number up without closing it: it is not ours any more.
    pub fn abandon(self) {
        let _ = self.fd.into_raw_fd();
    }
}

impl AsFd for Owned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<Identity> {
    let status = fstat(fd)?;
    Ok(Identity { device: status.st_dev, inode: status.st_ino })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_replaced_descriptor_is_noticed() {
        let mut ours = Owned::new(File::open("/dev/null").unwrap().into()).unwrap();
        assert!(ours.is_intact());
        // What a worker gone wrong would do.
        let other: OwnedFd = File::open("/dev/zero").unwrap().into();
        rustix::io::dup3(&other, &mut ours.fd, rustix::io::DupFlags::CLOEXEC).unwrap();
        assert!(!ours.is_intact());
        ours.replace(&other).unwrap();
        assert!(ours.is_intact(), "what the master itself puts there is its own");
    }

    #[test]
    fn sockets_and_memfds_can_be_told_apart() {
        let (one, two) = perdura_proxy::control::pair().unwrap();
        let (one, two) = (Owned::new(one).unwrap(), Owned::new(two).unwrap());
        assert_ne!(one.identity, two.identity);
        let memory = || {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            Owned::new(rustix::fs::memfd_create("test", flags).unwrap()).unwrap()
        };
        assert_ne!(memory().identity, memory().identity);
    }
}
