//! One epoll instance, edge-triggered, whose events land in the shared memory.
//!
//! It neither owns nor closes the registered sockets. The engine of the thread calls it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Leg;
use crate::table::{EVENTS_MAX, Span};

/// An epoll instance.
pub(crate) struct Epoll {
    fd: OwnedFd,
}

/// One event: what the leg was registered with, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) mask: u32,
}

impl Epoll {
    pub(crate) fn create() -> io::Result<Epoll> {
        Ok(Epoll { fd: rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)? })
    }

    /// The instance that a dead worker left in the shared descriptor table, or `None` if the number
    /// is not an epoll instance any more.
    pub(crate) fn inherit(fd: i32) -> Option<Epoll> {
        let target = rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new()).ok()?;
        if target.as_bytes() != b"anon_inode:[eventpoll]" {
            return None;
        }
        // SAFETY: the number is open (it was just looked at), and its owner is dead: nobody else
        // will close it.
        Some(Epoll { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub(crate) fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Registers a leg once, for everything. Registering again is no error: that is how a successor
    /// makes sure. The name is the new one then: an old one may be left of a tunnel that was about to
    /// come from another process, which keeps the socket open.
    pub(crate) fn add(&self, leg: Leg, token: u64) -> io::Result<()> {
        match self.control(libc::EPOLL_CTL_ADD, leg, token) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.control(libc::EPOLL_CTL_MOD, leg, token)
            }
            done => done,
        }
    }

    fn control(&self, how: libc::c_int, leg: Leg, token: u64) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is valid for the call; numbers that are not open are the kernel's to
        // refuse.
        let done = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), how, leg.number(), &mut event) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Forgets a leg that stays open. One that was never registered is no error.
    pub(crate) fn remove(&self, leg: Leg) {
        // SAFETY: no memory is passed.
        unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                libc::EPOLL_CTL_DEL,
                leg.number(),
                std::ptr::null_mut(),
            )
        };
    }

    /// Takes up to `EVENTS_MAX` events without waiting, into `array`.
    #[inline]
    pub(crate) fn take(&self, array: Span<'_>) -> io::Result<usize> {
        let room = (array.len() / size_of::<libc::epoll_event>()).min(EVENTS_MAX);
        // SAFETY: `room` events fit into `array`, which is mapped and writable.
        let taken = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), array.ptr().cast(), room as libc::c_int, 0)
        };
        if taken >= 0 {
            return Ok(taken as usize);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Event {
    /// The event at place `at` of an array that `take` filled.
    #[inline]
    pub(crate) fn read(array: Span<'_>, at: usize) -> Event {
        let size = size_of::<libc::epoll_event>();
        let one = array.part(at * size, (at + 1) * size);
        if one.len() < size {
            return Event { token: 0, mask: 0 };
        }
        // SAFETY: `size` bytes are readable, every bit pattern is an event, and the read may be
        // unaligned.
        let event = unsafe { one.ptr().cast::<libc::epoll_event>().read_unaligned() };
        Event { token: event.u64, mask: event.events }
    }

    /// The leg may have bytes, its end, or an error to give.
    #[inline]
    pub(crate) fn readable(self) -> bool {
        self.mask & (libc::EPOLLIN | END) as u32 != 0
    }

    /// The leg may take bytes, or an error is to be had by trying.
    #[inline]
    pub(crate) fn writable(self) -> bool {
        self.mask & (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// The stream from this leg has an end that a short read does not show.
    #[inline]
    pub(crate) fn ending(self) -> bool {
        self.mask & END as u32 != 0
    }

    /// The connection has failed.
    pub(crate) fn failed(self) -> bool {
        self.mask & (libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }

    /// The peer's FIN has come, for certain: after a reset the kernel reports the same, with an
    /// error.
    #[inline]
    pub(crate) fn finned(self) -> bool {
        self.mask & (libc::EPOLLRDHUP | libc::EPOLLERR) as u32 == libc::EPOLLRDHUP as u32
    }
}

const END: libc::c_int = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
