//! Readiness: one epoll instance, every socket registered once, edge-triggered.
//!
//! Not an event loop: who waits decides what to do. Called by `echo` and by `load`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// How many events one wait brings at most.
pub const EVENTS_MAX: usize = 512;

/// One epoll instance and its last batch of events.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

/// What epoll says about one socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The number the socket was registered under.
    pub token: usize,
    /// There may be bytes, an end or an error to read.
    pub readable: bool,
    /// There may be room to write, or a connection is made.
    pub writable: bool,
    /// The other side has ended: a short read is not the last one.
    pub ended: bool,
}

impl Poll {
    /// An empty instance.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poll { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Registers a stream for everything, edge-triggered.
    pub fn add(&self, socket: impl AsFd, token: usize) -> Result<(), Errno> {
        use epoll::EventFlags as Flag;
        self.register(socket, token, Flag::IN | Flag::OUT | Flag::RDHUP | Flag::ET)
    }

    /// Registers a listener or a timer, level-triggered: a turn may leave work for the next.
    pub fn add_level(&self, socket: impl AsFd, token: usize) -> Result<(), Errno> {
        self.register(socket, token, epoll::EventFlags::IN)
    }

    /// Waits for events, at most `patience` (`None`: for ever), and returns how many came.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<usize, Errno> {
        let limit = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Err(Errno::INTR) => Ok(0),
            result => result,
        }
    }

    /// Event number `at` of the last wait.
    pub fn event(&self, at: usize) -> Ready {
        use epoll::EventFlags as Flag;
        let epoll::Event { flags, data } = self.events[at];
        let ended = flags.intersects(Flag::RDHUP | Flag::HUP | Flag::ERR);
        Ready {
            token: data.u64() as usize,
            readable: ended || flags.contains(Flag::IN),
            writable: flags.intersects(Flag::OUT | Flag::ERR | Flag::HUP),
            ended,
        }
    }

    fn register(
        &self,
        socket: impl AsFd,
        token: usize,
        flags: epoll::EventFlags,
    ) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token as u64), flags)
    }
}
