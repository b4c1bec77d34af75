//! One move of all tunnels to another master, as a worker without one does it: sent in batches,
//! frozen, verified, let go, given up.
//!
//! The same words in the same order as between two masters (`master::leave`): until `Go` the
//! tunnels are ours, behind it they are the other's, and nothing gives them back but the end of
//! *all* its processes, which the socket shows, or its word that it had dropped them before.
//! `orphan` calls it.

use super::Shared;
use super::moving::Meanwhile;
use super::obey_move::each;
use super::orphan::Link;
use super::tasks::Task;
use crate::control::word::{BATCH_MAX, Word};
use crate::inherited;
use perdura_tunnel::TunnelId;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What became of a move.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    /// There was no tunnel to move.
    Nothing,
    Moved {
        count: u32,
        stay: usize,
        ms: u128,
    },
    /// The other side does not take them now.
    Stay {
        why: String,
    },
    /// The other side is no more.
    Alone,
}

/// How long the other side may take for its answer to a batch. The tunnels stand still meanwhile.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a move ended before its end.
enum Halt {
    Stay(String),
    Alone,
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        match error.kind() {
            io::ErrorKind::WouldBlock => Halt::Stay("the other side does not listen".into()),
            _ => Halt::Alone,
        }
    }
}

/// Moves what there is, but for what was refused before.
pub async fn give(shared: &Shared, link: &Link, refused: &mut HashSet<u64>) -> Given {
    if tunnels(shared, refused).is_empty() {
        return Given::Nothing;
    }
    let began = Instant::now();
    let sent = async {
        let gone = send(shared, link, refused).await?;
        each(shared, |answer| Task::Freeze { answer }).await;
        let gone = verify(shared, link, refused, gone).await?;
        link.say(&Word::Go, &[])?;
        Ok(gone)
    };
    let gone = match sent.await {
        Ok(gone) => gone,
        Err(halt) => {
            thaw(shared).await;
            return match halt {
                Halt::Stay(why) => {
                    // It may be waiting for more.
                    let _ = link.say(&Word::Abort, &[]);
                    Given::Stay { why }
                }
                Halt::Alone => Given::Alone,
            };
        }
    };
    let count = match live(link).await {
        Ok(count) => count,
        Err(halt) => {
            // Nobody reads them now; somebody may have.
            each(shared, |answer| Task::Thaw { meanwhile: Meanwhile::Maybe, answer }).await;
            return match halt {
                Halt::Stay(why) => Given::Stay { why },
                Halt::Alone => Given::Alone,
            };
        }
    };
    let gone = Arc::new(gone);
    each(shared, |answer| Task::Release { gone: Arc::clone(&gone), answer }).await;
    thaw(shared).await;
    let stay = shared.table.live_legs().count();
    Given::Moved { count, stay, ms: began.elapsed().as_millis() }
}

/// Lets every thread turn again.
async fn thaw(shared: &Shared) {
    each(shared, |answer| Task::Thaw { meanwhile: Meanwhile::Nobody, answer }).await;
}

/// Sends everything, while it is still read here; gives what has been prepared there.
async fn send(shared: &Shared, link: &Link, refused: &mut HashSet<u64>) -> Result<Vec<u64>, Halt> {
    link.say(&Word::Offer, &[shared.table.fd()])?;
    let mut gone = Vec::new();
    for batch in tunnels(shared, refused).chunks(BATCH_MAX) {
        let names: Vec<u64> = batch.iter().map(|(name, _)| *name).collect();
        let legs: Vec<_> = batch.iter().flat_map(|(_, legs)| legs.map(inherited::borrow)).collect();
        link.say(&Word::Batch { names: names.clone() }, &legs)?;
        let not_taken = match tokio::time::timeout(STEP_TIME_MAX, prepared(link)).await {
            Ok(prepared) => prepared?,
            Err(_) => return Err(Halt::Stay("it takes too long".into())),
        };
        gone.extend(names.into_iter().filter(|name| !not_taken.contains(name)));
        refused.extend(not_taken);
    }
    if gone.is_empty() {
        return Err(Halt::Stay("none was taken".into()));
    }
    Ok(gone)
}

/// Has the other side look once more, now that nobody reads; gives what can go.
async fn verify(
    shared: &Shared,
    link: &Link,
    refused: &mut HashSet<u64>,
    mut gone: Vec<u64>,
) -> Result<Vec<u64>, Halt> {
    // As the other side finds it.
    gone.retain(|name| shared.table.is_live(TunnelId::from_number(*name)));
    link.say(&Word::Frozen, &[])?;
    let not_taken = match tokio::time::timeout(STEP_TIME_MAX, verified(link)).await {
        Ok(verified) => verified?,
        Err(_) => return Err(Halt::Stay("it takes too long".into())),
    };
    gone.retain(|name| !not_taken.contains(name));
    refused.extend(not_taken);
    if gone.is_empty() { Err(Halt::Stay("none was taken".into())) } else { Ok(gone) }
}

async fn prepared(link: &Link) -> Result<Vec<u64>, Halt> {
    match next(link).await? {
        Word::Prepared { refused } => Ok(refused),
        _ => Err(Halt::Alone),
    }
}

async fn verified(link: &Link) -> Result<Vec<u64>, Halt> {
    match next(link).await? {
        Word::Verified { refused } => Ok(refused),
        _ => Err(Halt::Alone),
    }
}

/// The next word that is an answer.
async fn next(link: &Link) -> Result<Word, Halt> {
    loop {
        match link.hear().await? {
            Word::Serving { .. } | Word::Resting => {}
            Word::Abort => {
                return Err(Halt::Stay("the other master process does not take them".into()));
            }
            word => return Ok(word),
        }
    }
}

/// How many of them live there. There is no limit: whatever the other side does now, they are its,
/// unless it says that it had dropped them before.
async fn live(link: &Link) -> Result<u32, Halt> {
    loop {
        match link.hear().await? {
            Word::Live { count } => return Ok(count),
            Word::Abort => {
                return Err(Halt::Stay("the other master process has dropped them".into()));
            }
            _ => {}
        }
    }
}

fn tunnels(shared: &Shared, refused: &HashSet<u64>) -> Vec<(u64, [i32; 2])> {
    let all = shared.table.live_legs().map(|(id, legs)| (id.number(), legs));
    all.filter(|(name, _)| !refused.contains(name)).collect()
}
