//! Tunnels come from the other master's worker.
//!
//! ```text
//!       Offer       Batch, Prepared, ...  Frozen, Verified      Go            Live
//!  No ---------> Offered ---------------------------> Offered -----> Going --------> No
//!   ^              | late, Abort, peer gone, worker's end               |  worker's end:
//!   +--------------+ (nothing has happened)                             +--> Going, asked again
//! ```

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use perdura_proxy::Severity;
use perdura_proxy::control::ToWorker;
use perdura_proxy::control::word::{BATCH_MAX, Word};

use super::owned::Owned;
use super::{Ending, Master, Place};

/// Where a move stands.
pub enum Coming {
    No,
    Offered {
        table: Owned,
        /// What came so far. The worker owns the descriptors.
        tunnels: Vec<(u64, RawFd, RawFd)>,
        until: Instant,
        /// How many of them had ended where they were when they were looked at again.
        ended: u32,
    },
    /// They are ours, whatever happens.
    Going {
        table: Owned,
        tunnels: Vec<(u64, RawFd, RawFd)>,
        since: Instant,
        ended: u32,
    },
}

impl Coming {
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Coming::Offered { until, .. } => Some(*until),
            Coming::No | Coming::Going { .. } => None,
        }
    }

    /// The numbers that a sweep keeps: once they are ours, those that are not live yet as well.
    pub fn numbers(&self) -> Vec<RawFd> {
        match self {
            Coming::No | Coming::Offered { .. } => Vec::new(),
            Coming::Going { table, tunnels, .. } => {
                let legs = tunnels.iter().flat_map(|(_, client, upstream)| [*client, *upstream]);
                legs.chain([table.number()]).collect()
            }
        }
    }
}

/// The most tunnels in a move: more than any table has records.
const TUNNELS_MAX: usize = 1 << 21;

/// How long the other master may take for its next word. Longer than it waits for ours.
const WORD_TIME_MAX: Duration = Duration::from_secs(15);

impl Master {
    pub(super) fn take_offer(&mut self, with: Vec<OwnedFd>) {
        // Memory, or nothing of it is asked: a file could be one whose answers never come.
        let is_memory = |table: &OwnedFd| rustix::fs::fcntl_get_seals(table).is_ok();
        let table = with.into_iter().next().filter(is_memory);
        let table = table.and_then(|table| Owned::new(table).ok());
        let serves = matches!(&self.worker, Place::Living(worker) if worker.ready)
            && self.ending == Ending::No;
        let (Some(table), Some(link), true) = (table, &mut self.link, serves) else {
            return self.say_to_peer(&Word::Abort);
        };
        if matches!(link.coming, Coming::No) {
            let until = Instant::now() + WORD_TIME_MAX;
            link.coming = Coming::Offered { table, tunnels: Vec::new(), until, ended: 0 };
        }
    }

    pub(super) fn take_batch(&mut self, names: &[u64], with: Vec<OwnedFd>) {
        let Some(link) = &mut self.link else { return };
        let socket = link.socket().number();
        let (Coming::Offered { table, tunnels, until, .. }, Place::Living(worker)) =
            (&mut link.coming, &self.worker)
        else {
            // The descriptors close here: they were never used.
            return self.say_to_peer(&Word::Abort);
        };
        // There was no room for the descriptors: where they are there is.
        if with.is_empty() {
            let refused = names.to_vec();
            return self.say_to_peer(&Word::Prepared { refused });
        }
        // Twice would be two readers of one tunnel.
        let known = |name: &u64| tunnels.iter().any(|(known, ..)| known == name);
        if tunnels.len() >= TUNNELS_MAX || names.iter().any(known) {
            return self.lose_link();
        }
        let legs = with.chunks_exact(2).map(|legs| (legs[0].as_raw_fd(), legs[1].as_raw_fd()));
        let named = names.iter().zip(legs);
        let batch: Vec<_> =
            named.map(|(name, (client, upstream))| (*name, client, upstream)).collect();
        let (table, link) = (table.number(), Some(socket));
        let order = ToWorker::Prepare { table, link, coming: batch.clone() };
        if worker.tell(&order).is_err() {
            self.forget_coming();
            return self.say_to_peer(&Word::Abort);
        }
        // The worker owns them now, under the same numbers.
        with.into_iter().for_each(|leg| _ = leg.into_raw_fd());
        tunnels.extend(batch);
        *until = Instant::now() + WORD_TIME_MAX;
    }

    /// The worker has prepared a batch, but for these.
    pub(super) fn prepared(&mut self, refused: Vec<u64>) {
        let Some(link) = &mut self.link else { return };
        if let Coming::Offered { tunnels, .. } = &mut link.coming {
            tunnels.retain(|(name, ..)| !refused.contains(name));
            self.say_to_peer(&Word::Prepared { refused });
        }
    }

    /// Nobody reads them any more.
    pub(super) fn look_again(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Coming::Offered { until, .. } = &mut link.coming else {
            return self.say_to_peer(&Word::Abort);
        };
        *until = Instant::now() + WORD_TIME_MAX;
        self.tell(&ToWorker::Verify);
    }

    /// The worker has looked at them once more.
    pub(super) fn looked_again(&mut self, refused: Vec<u64>, ended: u32) {
        let Some(link) = &mut self.link else { return };
        match &mut link.coming {
            Coming::No => {}
            // More than one word tells: this is no move.
            Coming::Offered { .. } if refused.len() > BATCH_MAX => {
                self.logs.line(Severity::Error, "too many tunnels have changed while they came");
                self.forget_coming();
                self.say_to_peer(&Word::Abort);
            }
            Coming::Offered { tunnels, ended: count, .. } => {
                tunnels.retain(|(name, ..)| !refused.contains(name));
                *count = ended;
                self.say_to_peer(&Word::Verified { refused });
            }
            // Asked again: what is refused now is lost, and counted as that.
            Coming::Going { ended: count, .. } => *count = ended,
        }
    }

    /// The other master has let them go.
    pub(super) fn take_over(&mut self) {
        let Some(link) = &mut self.link else { return };
        match std::mem::replace(&mut link.coming, Coming::No) {
            Coming::Offered { table, tunnels, ended, .. } => {
                link.coming = Coming::Going { table, tunnels, since: Instant::now(), ended };
                self.tell(&ToWorker::Go);
            }
            // Our worker died meanwhile, and what it had prepared was dropped: they stay there.
            Coming::No => {
                self.logs.line(Severity::Notice, "tunnels were let go that are not prepared");
                self.say_to_peer(&Word::Abort);
            }
            going @ Coming::Going { .. } => link.coming = going,
        }
    }

    /// They are live.
    pub(super) fn live(&mut self, count: u32) {
        let Some(link) = &mut self.link else { return };
        let coming = std::mem::replace(&mut link.coming, Coming::No);
        let Coming::Going { tunnels, since, ended, .. } = coming else { return };
        let text = format!(
            "adopted {count} tunnels of {} process {} in {} ms, {} dropped",
            if link.is_program() { "master" } else { "worker" },
            link.peer_pid(),
            since.elapsed().as_millis(),
            tunnels.len().saturating_sub(count as usize + ended as usize),
        );
        self.logs.line(Severity::Notice, &text);
        self.say_to_peer(&Word::Live { count });
    }

    /// Before `Go`: as if nothing had been offered.
    pub(super) fn forget_coming(&mut self) {
        let Some(link) = &mut self.link else { return };
        if matches!(link.coming, Coming::Offered { .. }) {
            link.coming = Coming::No;
            self.tell(&ToWorker::Forget);
        }
    }

    /// The worker that was taking them has died; the sweep closes what was only prepared.
    pub(super) fn coming_died(&mut self) {
        let Some(link) = &mut self.link else { return };
        if matches!(link.coming, Coming::Offered { .. }) {
            link.coming = Coming::No;
            self.say_to_peer(&Word::Abort);
        }
    }

    /// The next worker is asked again for what is ours and not live.
    pub(super) fn come_again(&mut self) {
        let Some(link) = &mut self.link else { return };
        let Coming::Going { table, tunnels, .. } = &mut link.coming else { return };
        let live = self.table.keep_list();
        let live: std::collections::HashSet<_> = live.into_iter().collect();
        tunnels.retain(|(_, client, _)| !live.contains(client));
        let orders: Vec<_> = tunnels
            .chunks(BATCH_MAX)
            .map(|coming| {
                let (table, coming) = (table.number(), coming.to_vec());
                ToWorker::Prepare { table, link: None, coming }
            })
            .collect();
        orders.iter().for_each(|order| self.tell(order));
        self.tell(&ToWorker::Verify);
        self.tell(&ToWorker::Go);
    }
}
