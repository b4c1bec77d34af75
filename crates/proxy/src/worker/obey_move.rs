//! What the master orders while tunnels leave or come: one order for all threads, one answer.
//!
//! `obey` calls it. Not here: what a thread does (`moving`).

use super::Shared;
use super::moving::{Coming, Meanwhile};
use super::tasks::{self, Task};
use crate::control::word::{self, Word};
use crate::control::{ToMaster, ToWorker};
use crate::inherited;
use crate::modules::error_log::Severity;
use perdura_tunnel::Table;
use rustix::fd::{AsRawFd, RawFd};
use rustix::net::{SocketType, sockopt};
use std::sync::Arc;

/// What is known of the move that is under way.
#[derive(Default)]
pub struct Source {
    /// The table of the process from which tunnels come.
    open: Option<(RawFd, Arc<Table>)>,
    /// What came last, and the socket to the master from which it came.
    came: Option<(RawFd, Came)>,
    /// What was let go, and the socket over which.
    let_go: Option<(RawFd, Vec<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Prepared,
    Live { count: u32 },
}

/// Does one of the orders of a move; gives the answer, if it has one.
pub async fn obey(shared: &Shared, source: &mut Source, order: ToWorker) -> Option<ToMaster> {
    match order {
        ToWorker::Freeze => {
            each(shared, |answer| Task::Freeze { answer }).await;
            Some(ToMaster::Frozen)
        }
        ToWorker::Release { gone } => {
            let gone = Arc::new(gone);
            each(shared, |answer| Task::Release { gone: Arc::clone(&gone), answer }).await;
            Some(ToMaster::GaveUp)
        }
        ToWorker::Thaw { checked } => {
            let meanwhile = if checked { Meanwhile::Maybe } else { Meanwhile::Nobody };
            source.let_go = None;
            each(shared, |answer| Task::Thaw { meanwhile, answer }).await;
            Some(ToMaster::Thawed)
        }
        ToWorker::LetGo { link, gone } => {
            let (_, all) = source.let_go.get_or_insert((link, Vec::new()));
            all.extend(gone);
            None
        }
        ToWorker::Prepare { table, link, coming } => {
            source.came = link.map(|link| (link, Came::Prepared));
            let refused = prepare(shared, source, table, coming).await;
            Some(ToMaster::Prepared { refused })
        }
        ToWorker::Verify => Some(verify(shared, source).await),
        ToWorker::Go => {
            source.open = None;
            let count = each(shared, |answer| Task::Go { answer }).await.into_iter().sum();
            source.came = source.came.map(|(link, _)| (link, Came::Live { count }));
            Some(ToMaster::Live { count })
        }
        ToWorker::Forget => {
            (source.open, source.came) = (None, None);
            each(shared, |answer| Task::Forget { answer }).await;
            None
        }
        _ => None,
    }
}

/// Brings a move to its end when the master that made it has died: the other side must know whose the
/// tunnels are, and at every moment at most one of the two reads.
pub async fn settle(shared: &Shared, source: Source) {
    if let Some((link, gone)) = source.let_go {
        // If it was not said, it is now; said twice it changes nothing.
        say(link, &Word::Go);
        let gone = Arc::new(gone);
        each(shared, |answer| Task::Release { gone: Arc::clone(&gone), answer }).await;
    }
    match source.came {
        Some((link, Came::Prepared)) => {
            each(shared, |answer| Task::Forget { answer }).await;
            say(link, &Word::Abort);
        }
        // That may not have been said either.
        Some((link, Came::Live { count })) => say(link, &Word::Live { count }),
        None => {}
    }
    let meanwhile = Meanwhile::Nobody;
    each(shared, |answer| Task::Thaw { meanwhile, answer }).await;
}

/// The number may name another file by now: then nothing is said.
fn say(link: RawFd, word: &Word) {
    let link = inherited::borrow(link);
    if sockopt::socket_type(link) == Ok(SocketType::SEQPACKET) {
        let _ = word::say(link, word, &[]);
    }
}

/// The same of every thread, one after the other: each answers within a turn.
pub async fn each<T>(
    shared: &Shared,
    task: impl Fn(tokio::sync::oneshot::Sender<T>) -> Task,
) -> Vec<T> {
    let mut answers = Vec::new();
    for thread in &shared.tasks {
        answers.extend(tasks::ask(thread, &task).await);
    }
    answers
}

/// Deals the tunnels out to the threads. The descriptors are ours from here on.
async fn prepare(
    shared: &Shared,
    source: &mut Source,
    table: RawFd,
    coming: Vec<(u64, RawFd, RawFd)>,
) -> Vec<u64> {
    let names: Vec<u64> = coming.iter().map(|(name, ..)| *name).collect();
    let own = |(name, client, upstream)| Coming {
        name,
        legs: [inherited::own(client), inherited::own(upstream)],
    };
    let coming: Vec<Coming> = coming.into_iter().map(own).collect();
    // The master, who received them, may have more descriptors than this worker. With those it
    // would have none left for clients.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| RawFd::try_from(limit).ok()).unwrap_or(RawFd::MAX);
    let table = match open(source, table) {
        Ok(table) => table,
        Err(why) => {
            shared.log(Severity::Error, &format!("tunnels cannot be taken over: {why}"));
            return names;
        }
    };
    let (coming, too_high): (Vec<_>, Vec<_>) =
        coming.into_iter().partition(|one| one.legs.iter().all(|leg| leg.as_raw_fd() < limit));
    let mut shares: Vec<Vec<Coming>> = shared.tasks.iter().map(|_| Vec::new()).collect();
    for (at, one) in coming.into_iter().enumerate() {
        let threads = shares.len();
        shares[at % threads].push(one);
    }
    let mut refused: Vec<u64> = too_high.iter().map(|one| one.name).collect();
    for (thread, coming) in shared.tasks.iter().zip(shares) {
        let names: Vec<u64> = coming.iter().map(|one| one.name).collect();
        let table = Arc::clone(&table);
        let task = |answer| Task::Prepare { table, coming, answer };
        // A thread that has ended takes none of its share.
        refused.extend(tasks::ask(thread, task).await.unwrap_or(names));
    }
    refused
}

/// Looks at what was prepared once more. What fits into no word is cut: the master gives all up
/// then.
async fn verify(shared: &Shared, source: &Source) -> ToMaster {
    let (mut refused, mut ended) = (Vec::new(), 0);
    if let Some((_, table)) = &source.open {
        let task = |answer| Task::Verify { table: Arc::clone(table), answer };
        for verified in each(shared, task).await {
            refused.extend(verified.refused);
            ended += verified.ended;
        }
    }
    refused.truncate(word::BATCH_MAX + 1);
    ToMaster::Verified { refused, ended }
}

fn open(source: &mut Source, number: RawFd) -> Result<Arc<Table>, String> {
    if let Some((known, table)) = &source.open
        && *known == number
    {
        return Ok(Arc::clone(table));
    }
    let memory = inherited::duplicate(number).map_err(|error| crate::errno_text(&error))?;
    let table = Table::open(memory).map_err(|fault| format!("{fault:?}"))?;
    let table = Arc::new(table);
    source.open = Some((number, Arc::clone(&table)));
    Ok(table)
}
