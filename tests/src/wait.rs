//! Waiting for a fact in a bounded loop. It never waits for time to pass: who calls names
//! the fact, and the test fails when the fact does not come.

use std::time::{Duration, Instant};

/// Looks again and again until `fact` holds; panics with `what` after `limit`.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !fact() {
        assert!(Instant::now() < end, "did not happen within {limit:?}: {what}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// How long the processor is left to the others between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
