//! Tunnels leave for the other master's worker.
//!
//! ```text
//!     draining, peer serves     every batch Prepared     Frozen          Verified      Live
//!  No --------------> Sending ------------> Freezing -------> Verifying ------> Going ----+
//!   ^                    | late, Abort, peer |  gone             |                |       |
//!   +--------------------+-------------------+-------------------+  peer gone,    |       |
//!   |                        (all stays)                            Abort:        |       |
//!   +--------------------------------------------------------------- taken back --+       |
//!   |              Thawed           GaveUp                                                |
//!   +----- Thawing <------ Releasing <----------------------------------------------------+
//! ```
//!
//! The tunnels stand still from `Frozen` to `Live` only: what takes time happens before, while they
//! are served. Until `Go` they are ours, behind it they are the other's: so behind it nothing gives
//! them back but the end of *all* its processes, which the socket shows, or its word that it had
//! dropped them before it heard `Go`. At every moment at most one worker reads.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use perdura_proxy::Severity;
use perdura_proxy::control::word::{BATCH_MAX, Word};
use perdura_proxy::control::{RELEASED_MAX, ToWorker};
use perdura_tunnel::TunnelId;
use std::os::fd::AsFd;

use super::process::borrow;
use super::{Ending, Master, Place};

/// Where a move stands.
pub enum Leaving {
    No,
    Sending {
        since: Instant,
        /// When the peer is too slow with its answer.
        until: Instant,
        /// Not sent yet.
        left: Vec<(u64, [i32; 2])>,
        /// Sent, without an answer: batches in their order, at most [`BATCHES_UNDER_WAY_MAX`].
        sent: VecDeque<Vec<u64>>,
        /// Prepared there.
        gone: Vec<u64>,
    },
    Freezing {
        since: Instant,
        until: Instant,
        gone: Vec<u64>,
    },
    Verifying {
        times: Times,
        until: Instant,
        gone: Vec<u64>,
    },
    Going {
        times: Times,
        gone: Vec<u64>,
    },
    Releasing {
        times: Times,
        gone: Vec<u64>,
        told: usize,
    },
    Thawing {
        times: Times,
        gone: Vec<u64>,
    },
}

/// When a move began, and when nobody read the tunnels.
#[derive(Clone, Copy)]
pub struct Times {
    since: Instant,
    frozen: Instant,
    /// When they went on there; at first, when they were frozen.
    live: Instant,
}

impl Leaving {
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Leaving::Sending { until, .. }
            | Leaving::Freezing { until, .. }
            | Leaving::Verifying { until, .. } => Some(*until),
            _ => None,
        }
    }

    pub fn is_going(&self) -> bool {
        matches!(self, Leaving::Going { .. })
    }

    /// Whether everything can still stay as it was.
    fn is_open(&self) -> bool {
        self.deadline().is_some()
    }
}

/// Whether the worker is to look if somebody has read meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checked {
    No,
    Yes,
}

/// How long a step of a move may take: the worker's freeze, the peer's answer to a batch, its second
/// look, while which the tunnels stand still.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// How many batches are under way: enough that neither master waits for the other while its worker
/// prepares, few enough for the buffer of a socket.
const BATCHES_UNDER_WAY_MAX: usize = 8;

/// How long they wait after a move that was given up: a worker that died has a successor soon.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The same after a step that took too long: it would again, and each try is a pause for everyone.
const REST_AFTER_DELAY: Duration = Duration::from_secs(60);

/// How long the next move waits after one: requests in flight may have become tunnels.
const REST: Duration = Duration::from_millis(250);

impl Master {
    /// Moves what there is to move, when it is time for it.
    pub(super) fn leave_if_wanted(&mut self) {
        if self.leave_at().is_none_or(|at| at > Instant::now()) {
            return;
        }
        let left: Vec<_> = self.tunnels_to_leave().collect();
        let Some(link) = &mut self.link else { return };
        let since = Instant::now();
        if left.is_empty() {
            link.rest_until = since + REST;
            return;
        }
        let (sent, gone) = (VecDeque::new(), Vec::new());
        link.leaving = Leaving::Sending { since, until: since + STEP_TIME_MAX, left, sent, gone };
        match link.say(&Word::Offer, &[self.table.fd().as_fd()]) {
            Ok(()) => self.send_batches(),
            Err(_) => self.abort_leaving("they cannot be offered"),
        }
    }

    /// When to look; `None` while there is no reason to.
    pub(super) fn leave_at(&self) -> Option<Instant> {
        let link = self.link.as_ref()?;
        let Place::Living(worker) = &self.worker else { return None };
        let leaves = worker.ready && (worker.draining || self.ending == Ending::Gracefully);
        let idle = matches!(link.leaving, Leaving::No);
        (leaves && idle && link.peer_serves).then_some(link.rest_until)
    }

    fn tunnels_to_leave(&self) -> impl Iterator<Item = (u64, [i32; 2])> {
        let refused = self.link.as_ref().map(|link| &link.refused);
        let all = self.table.live_legs().map(|(id, legs)| (id.number(), legs));
        all.filter(move |(name, _)| !refused.is_some_and(|refused| refused.contains(name)))
    }

    /// The oldest batch is prepared, but for what was refused.
    pub(super) fn batch_prepared(&mut self, not_taken: Vec<u64>) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Sending { until, sent, gone, .. } = &mut link.leaving else { return };
        let batch = sent.pop_front().unwrap_or_default();
        gone.extend(batch.into_iter().filter(|name| !not_taken.contains(name)));
        *until = Instant::now() + STEP_TIME_MAX;
        link.refused.extend(not_taken);
        self.send_batches();
    }

    /// Sends as much as may be under way; when nothing is left to wait for, the worker freezes.
    fn send_batches(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Sending { left, sent, .. } = &mut link.leaving else { return };
        let mut next = Vec::new();
        while sent.len() < BATCHES_UNDER_WAY_MAX && !left.is_empty() {
            let batch = left.split_off(left.len().saturating_sub(BATCH_MAX));
            sent.push_back(batch.iter().map(|(name, _)| *name).collect());
            next.push(batch);
        }
        if sent.is_empty() {
            return self.freeze();
        }
        for batch in next {
            let legs: Vec<_> = batch.iter().flat_map(|(_, legs)| legs.map(borrow)).collect();
            let word = Word::Batch { names: batch.iter().map(|(name, _)| *name).collect() };
            if link.say(&word, &legs).is_err() {
                return self.abort_leaving("they cannot be sent");
            }
        }
    }

    /// Everything is prepared there.
    fn freeze(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Sending { since, gone, .. } = &mut link.leaving else { return };
        if gone.is_empty() {
            return self.abort_leaving("none was taken");
        }
        let until = Instant::now() + STEP_TIME_MAX;
        link.leaving = Leaving::Freezing { since: *since, until, gone: std::mem::take(gone) };
        self.tell(&ToWorker::Freeze);
    }

    /// The worker reads no more: the other one looks once more.
    pub(super) fn frozen(&mut self) {
        let Some(link) = &mut self.link else {
            return self.thaw(Checked::No);
        };
        let Leaving::Freezing { since, gone, .. } = &mut link.leaving else { return };
        let (frozen, mut gone) = (Instant::now(), std::mem::take(gone));
        // What has ended meanwhile, the other one finds to have ended.
        gone.retain(|name| self.table.is_live(TunnelId::from_number(*name)));
        if gone.is_empty() {
            return self.abort_leaving("they have ended meanwhile");
        }
        let times = Times { since: *since, frozen, live: frozen };
        link.leaving = Leaving::Verifying { times, until: frozen + STEP_TIME_MAX, gone };
        if link.say(&Word::Frozen, &[]).is_err() {
            self.abort_leaving("they cannot be sent");
        }
    }

    /// The other worker has looked at what stands still, and takes it but for this.
    pub(super) fn verified(&mut self, not_taken: Vec<u64>) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Verifying { gone, .. } = &mut link.leaving else { return };
        gone.retain(|name| !not_taken.contains(name));
        let none_is_left = gone.is_empty();
        link.refused.extend(not_taken);
        if none_is_left {
            return self.abort_leaving("none was taken");
        }
        self.let_go();
    }

    /// From here on they are theirs.
    fn let_go(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Verifying { times, gone, .. } = &mut link.leaving else { return };
        let (times, gone) = (*times, std::mem::take(gone));
        let number = link.socket().number();
        link.leaving = Leaving::Going { times, gone: gone.clone() };
        // First of all: whoever dies behind this, the worker knows that they are not its.
        for gone in gone.chunks(RELEASED_MAX) {
            self.tell(&ToWorker::LetGo { link: number, gone: gone.to_vec() });
        }
        let Some(link) = &mut self.link else { return };
        if link.say(&Word::Go, &[]).is_err() {
            // It was not said: they are ours as before.
            let until = Instant::now();
            link.leaving = Leaving::Verifying { times, until, gone };
            self.abort_leaving("they cannot be let go");
        }
    }

    /// They go on there: here they are given up.
    pub(super) fn release_gone(&mut self, count: u32) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Going { times, gone } = &mut link.leaving else { return };
        let (times, gone) = (Times { live: Instant::now(), ..*times }, std::mem::take(gone));
        if gone.len() != count as usize {
            let text = format!("of {} tunnels that have left, {count} go on", gone.len());
            self.logs.line(Severity::Alert, &text);
        }
        link.leaving = Leaving::Releasing { times, gone, told: 0 };
        match self.worker {
            Place::Living(_) => self.gave_up(),
            // It died meanwhile, and the next one waits for this.
            Place::Pausing(_) | Place::Empty => self.bury_gone(),
        }
    }

    /// The worker has released what it was told.
    pub(super) fn gave_up(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Releasing { times, gone, told } = &mut link.leaving else { return };
        let next: Vec<u64> = gone[*told..].iter().take(RELEASED_MAX).copied().collect();
        *told += next.len();
        if !next.is_empty() {
            return self.tell(&ToWorker::Release { gone: next });
        }
        link.leaving = Leaving::Thawing { times: *times, gone: std::mem::take(gone) };
        self.thaw(Checked::No);
    }

    /// Lets the worker turn again, with what it was to be told when the tunnels have left.
    fn thaw(&mut self, checked: Checked) {
        self.tell_after_move();
        self.tell(&ToWorker::Thaw { checked: checked == Checked::Yes });
    }

    pub(super) fn tell_after_move(&mut self) {
        if let Some(order) = self.after_move.take() {
            self.tell(&order);
        }
    }

    pub(super) fn thawed(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Leaving::Thawing { times, gone } = &link.leaving else { return };
        let text = format!(
            "moved {} tunnels to master process {} in {} ms ({} ms at a standstill), {} stay",
            gone.len(),
            link.peer_pid(),
            times.since.elapsed().as_millis(),
            times.live.duration_since(times.frozen).as_millis(),
            link.refused.len(),
        );
        link.leaving = Leaving::No;
        link.rest_until = Instant::now() + REST;
        self.logs.line(Severity::Notice, &text);
        self.upgrade_moved(&text);
    }

    /// A step takes too long.
    pub(super) fn leave_too_late(&mut self) {
        self.abort_leaving("it takes too long");
        if let Some(link) = &mut self.link {
            link.rest_until = Instant::now() + REST_AFTER_DELAY;
        }
    }

    /// Before `Go`: everything stays as it was.
    pub(super) fn abort_leaving(&mut self, why: &str) {
        let Some(link) = &mut self.link else { return };
        if !link.leaving.is_open() {
            return;
        }
        link.leaving = Leaving::No;
        link.rest_until = Instant::now() + REST_AFTER_FAILURE;
        let text = format!("the tunnels stay: {why}");
        self.logs.line(Severity::Error, &text);
        self.thaw(Checked::No);
        self.upgrade_moved(&text);
        self.say_to_peer(&Word::Abort);
    }

    /// The peer and its worker are gone: what was theirs is ours again.
    pub(super) fn take_back(&mut self) {
        self.abort_leaving("the other master process has gone");
        if let Some(link) = &mut self.link {
            link.peer_serves = false;
        }
        self.take_back_gone(
            "the master process that was taking the tunnels has gone: they are taken back",
        );
    }

    /// The peer has dropped what was let go: its worker died before it heard of that. What says so
    /// was sent behind everything of an earlier move, and is never said by who has taken them.
    pub(super) fn not_taken(&mut self) {
        self.abort_leaving("the other master process does not take them");
        self.take_back_gone("the tunnels stay: the other master process has dropped them");
    }

    fn take_back_gone(&mut self, text: &str) {
        let Some(link) = &mut self.link else { return };
        if !link.leaving.is_going() {
            return;
        }
        link.leaving = Leaving::No;
        link.rest_until = Instant::now() + REST_AFTER_FAILURE;
        self.logs.line(Severity::Alert, text);
        self.upgrade_moved(text);
        match self.worker {
            Place::Living(_) => self.thaw(Checked::Yes),
            Place::Pausing(_) | Place::Empty => self.start_worker(),
        }
    }

    /// The worker has died. Whether the next one must wait, because nobody knows yet whose its
    /// tunnels are.
    pub(super) fn leaving_died(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        match link.leaving {
            Leaving::No => false,
            Leaving::Going { .. } => true,
            Leaving::Sending { .. } | Leaving::Freezing { .. } | Leaving::Verifying { .. } => {
                self.abort_leaving("the worker process has ended");
                false
            }
            Leaving::Releasing { .. } | Leaving::Thawing { .. } => {
                self.forget_gone();
                false
            }
        }
    }

    /// What has left must not be found by the next worker.
    fn forget_gone(&mut self) {
        let Some(link) = &mut self.link else { return };
        let moved = std::mem::replace(&mut link.leaving, Leaving::No);
        if let Leaving::Releasing { gone, .. } | Leaving::Thawing { gone, .. } = moved {
            gone.iter().for_each(|name| self.table.forget(TunnelId::from_number(*name)));
        }
    }

    fn bury_gone(&mut self) {
        self.forget_gone();
        self.sweep();
        if !matches!(self.ending, Ending::AtOnce { .. }) {
            self.start_worker();
        }
    }
}
