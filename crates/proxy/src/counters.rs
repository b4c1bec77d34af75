//! How many connections and requests there were and are, for `stub_status` and its variables.
//!
//! The worker counts, all threads together; a new worker begins at zero, but for the tunnels that it
//! takes over. Tunnels count as connections that are being written to, as in nginx.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static HANDLED: AtomicU64 = AtomicU64::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static OPEN: AtomicU64 = AtomicU64::new(0);
static READING: AtomicU64 = AtomicU64::new(0);
static WRITING: AtomicU64 = AtomicU64::new(0);
static TUNNELS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What this thread has told of its tunnels.
    static OWN_TUNNELS: Cell<u64> = const { Cell::new(0) };
}

/// One look at all counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub active: u64,
    pub accepted: u64,
    pub handled: u64,
    pub requests: u64,
    pub reading: u64,
    pub writing: u64,
    pub waiting: u64,
}

/// Something that is counted as long as it lives.
pub struct Counted(&'static AtomicU64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn counted(counter: &'static AtomicU64) -> Counted {
    counter.fetch_add(1, Ordering::Relaxed);
    Counted(counter)
}

/// A connection was accepted.
pub fn accepted() {
    ACCEPTED.fetch_add(1, Ordering::Relaxed);
}

/// A connection is served from now on.
pub fn handled() -> Counted {
    HANDLED.fetch_add(1, Ordering::Relaxed);
    counted(&OPEN)
}

/// The head of a request is being read.
pub fn reading() -> Counted {
    REQUESTS.fetch_add(1, Ordering::Relaxed);
    counted(&READING)
}

/// A request is being answered.
pub fn writing() -> Counted {
    counted(&WRITING)
}

/// How many tunnels this thread has now.
pub fn tunnels(count: usize) {
    let count = count as u64;
    let before = OWN_TUNNELS.replace(count);
    if count >= before {
        TUNNELS.fetch_add(count - before, Ordering::Relaxed);
    } else {
        TUNNELS.fetch_sub(before - count, Ordering::Relaxed);
    }
}

/// What the counters are now.
pub fn look() -> Counters {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reading, writing) = (of(&READING), of(&WRITING) + of(&TUNNELS));
    let active = of(&OPEN) + of(&TUNNELS);
    Counters {
        active,
        accepted: of(&ACCEPTED),
        handled: of(&HANDLED),
        requests: of(&REQUESTS),
        reading,
        writing,
        waiting: active.saturating_sub(reading + writing),
    }
}
