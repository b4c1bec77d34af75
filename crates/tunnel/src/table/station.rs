//! What one worker thread notes in the shared memory: whose bytes lie in its scratch, and its batch
//! of events.
//!
//! Written by the engine of that thread; read by the engine that follows it after a crash.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::token::Token;

/// The notes of one thread. The event array and the scratch follow at their own offsets.
#[repr(C, align(64))]
pub(crate) struct Station {
    /// The owner's token: the direction for which the last `recv` or `send` was or will be made.
    owner: AtomicU64,
    /// The position of the first byte in the scratch, in the owner's stream.
    owner_base: AtomicU64,
    /// How many entries of the event array may hold events that were taken and not handled.
    events: AtomicU32,
    /// The epoll instance, as descriptor + 1, so that 0 is none.
    epoll: AtomicI32,
}

impl Station {
    /// Notes the owner. The base goes first: an older owner has nothing left in the scratch, so
    /// that a kill between the two stores gives it a base that it does not use.
    #[inline]
    pub(crate) fn own(&self, token: Token, base: u64) {
        crash_point();
        self.owner_base.store(base, Ordering::Release);
        crash_point();
        self.owner.store(token.pack(), Ordering::Release);
        crash_point();
    }

    pub(crate) fn owner(&self) -> Option<(Token, u64)> {
        let token = Token::unpack(self.owner.load(Ordering::Acquire))?;
        Some((token, self.owner_base.load(Ordering::Acquire)))
    }

    #[inline]
    pub(crate) fn set_events(&self, count: u32) {
        self.events.store(count, Ordering::Release);
    }

    pub(crate) fn events(&self) -> u32 {
        self.events.load(Ordering::Acquire)
    }

    pub(crate) fn set_epoll(&self, fd: i32) {
        self.epoll.store(fd.wrapping_add(1), Ordering::Release);
    }

    pub(crate) fn epoll(&self) -> Option<i32> {
        let word = self.epoll.load(Ordering::Acquire);
        (word > 0).then(|| word - 1)
    }

    /// As if nothing had been noted.
    pub(crate) fn clear(&self) {
        self.owner.store(0, Ordering::Release);
        self.events.store(0, Ordering::Release);
        self.epoll.store(0, Ordering::Release);
    }
}

/// In tests, a place where the simulated process may vanish; nothing otherwise.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn crash_point() {}

#[cfg(test)]
pub(crate) fn crash_point() {
    crate::relay::sim::crash_point();
}
