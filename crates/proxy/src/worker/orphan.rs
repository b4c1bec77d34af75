//! The worker when its master has died: it serves on, and answers at the operator's socket in the
//! master's place, until the next master comes for its sockets and tunnels.
//!
//! ```text
//!            TakeOver         Serving           every tunnel has moved or ended
//!  Alone --------------> Asked -------> Leaving ------------------------------> the worker ends
//!    ^                     |  gone, or too late
//!    +---------------------+
//! ```
//!
//! `obey` calls it when the master has gone. Not here: the one conversation with an operator
//! (`door`), and a move of tunnels (`giving`).

use super::door::{self, Successor};
use super::giving::{self, Given};
use super::obey::{self, Master};
use super::obey_move::{self, Source};
use super::{Life, Shared};
use crate::control::Afterwards;
use crate::control::word::{self, SOCKETS_MAX, Word};
use crate::inherited;
use crate::modules::error_log::Severity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::net::sockopt;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// How long a new master may take from its first word until it serves. Nothing stands still
/// meanwhile, but nobody else can come.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// How long the next move waits after one: requests in flight may have become tunnels.
const REST: Duration = Duration::from_millis(250);

/// The same after a move that failed: each try is a pause for every tunnel.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// The connection to the new master.
pub struct Link {
    socket: AsyncFd<OwnedFd>,
    pub pid: i32,
}

impl Link {
    pub fn say(&self, word: &Word, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        word::say(self.socket.get_ref().as_fd(), word, with)
    }

    /// Its next word; an error when it has gone or speaks nonsense. No word to us brings
    /// descriptors; what comes all the same is closed.
    pub async fn hear(&self) -> io::Result<Word> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| word::hear(socket.as_fd())) {
                Err(_) => continue,
                Ok(Ok(Some((word, _)))) => return Ok(word),
                Ok(Ok(None)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }
}

/// Serves without a master, to the end of the worker.
pub async fn outlive(shared: Arc<Shared>, mut master: Master, source: Source) {
    shared.log(Severity::Alert, "the master process has gone; the worker serves on");
    // It may have died in a move that it had begun.
    obey_move::settle(&shared, source).await;
    let Some(door) = master.door else {
        return master.roll.all_ended().await;
    };
    // No master closes it any more. A duplicate would want a descriptor, and there may be none.
    let door = match inherited::watch(inherited::own(door)) {
        Ok(door) => door,
        Err(error) => {
            let reason = crate::errno_text(&error);
            let message = format!("the control socket is lost ({reason}): no master can take over");
            shared.log(Severity::Alert, &message);
            return master.roll.all_ended().await;
        }
    };
    loop {
        let Successor { socket, pid } = tokio::select! {
            successor = door::open(&shared, &door) => successor,
            () = master.roll.all_ended() => return,
        };
        let socket = match inherited::watch(socket) {
            Ok(socket) => socket,
            Err(error) => {
                let reason = crate::errno_text(&error);
                shared.log(Severity::Alert, &format!("a new master is turned away ({reason})"));
                continue;
            }
        };
        let link = Link { socket, pid };
        if serves(&shared, &link).await {
            drop(door);
            return leave(&shared, &mut master, link).await;
        }
    }
}

/// Gives the sockets that listen, and waits until the new master serves on them. Until then both
/// the sockets and the clients are ours.
async fn serves(shared: &Shared, link: &Link) -> bool {
    let pid = link.pid;
    shared.log(Severity::Notice, &format!("process {pid} begins to take over"));
    let heard = match give_sockets(shared, link) {
        Ok(()) => tokio::time::timeout(START_TIME_MAX, serving(link)).await,
        Err(error) => Ok(Err(error)),
    };
    let why = match heard {
        Ok(Ok(())) => return true,
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => "it has gone".into(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it did not serve within {} s", START_TIME_MAX.as_secs()),
    };
    let message = format!("process {pid} did not take over: {why}; the worker serves on");
    shared.log(Severity::Alert, &message);
    false
}

async fn serving(link: &Link) -> io::Result<()> {
    loop {
        match link.hear().await? {
            Word::Serving { .. } => return Ok(()),
            Word::Resting => {}
            _ => return Err(io::Error::other("it speaks out of turn")),
        }
    }
}

fn give_sockets(shared: &Shared, link: &Link) -> io::Result<()> {
    let numbers = listeners(shared);
    let mut batches = numbers.chunks(SOCKETS_MAX).peekable();
    let say = |batch: &[RawFd], more| {
        let with: Vec<_> = batch.iter().map(|number| inherited::borrow(*number)).collect();
        let count = u32::try_from(batch.len()).unwrap_or_default();
        link.say(&Word::Sockets { count, more }, &with)
    };
    if numbers.is_empty() {
        return say(&[], false);
    }
    while let Some(batch) = batches.next() {
        say(batch, batches.peek().is_some())?;
    }
    Ok(())
}

/// What the dead master has left open to listen on. Once the worker is ending there is nothing:
/// the numbers may name other files by then.
fn listeners(shared: &Shared) -> Vec<RawFd> {
    let orders = shared.orders.borrow();
    if orders.life != Life::Serving {
        return Vec::new();
    }
    let numbers = orders.listeners.iter().map(|(_, number)| *number);
    numbers
        .filter(|number| sockopt::socket_acceptconn(inherited::borrow(*number)) == Ok(true))
        .collect()
}

/// Another worker serves now: everything moves there, and what cannot move is served to its end.
async fn leave(shared: &Arc<Shared>, master: &mut Master, link: Link) {
    let pid = link.pid;
    shared.log(Severity::Notice, &format!("master process {pid} serves now"));
    let mut refused = HashSet::new();
    let mut rest = report(shared, &link, giving::give(shared, &link, &mut refused).await);
    stop_listening(shared, master).await;
    loop {
        let wait = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                // The link is lost: what is left is served to its end.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            () = master.roll.all_ended() => return,
        }
        rest = report(shared, &link, giving::give(shared, &link, &mut refused).await);
    }
}

/// Says what became of a move; gives when there may be another one.
fn report(shared: &Shared, link: &Link, given: Given) -> Option<Duration> {
    let pid = link.pid;
    match given {
        Given::Nothing => Some(REST),
        Given::Moved { count, stay, ms } => {
            let message =
                format!("moved {count} tunnels to master process {pid} in {ms} ms, {stay} stay");
            shared.log(Severity::Notice, &message);
            Some(REST)
        }
        Given::Stay { why } => {
            shared.log(Severity::Error, &format!("the tunnels stay: {why}"));
            Some(REST_AFTER_FAILURE)
        }
        Given::Alone => {
            let message = format!("master process {pid} has gone; the worker keeps its tunnels");
            shared.log(Severity::Alert, &message);
            None
        }
    }
}

/// As on the master's `Quit`; the sockets are nobody's any more and are closed.
async fn stop_listening(shared: &Arc<Shared>, master: &mut Master) {
    let numbers = listeners(shared);
    obey::end(shared, master, Afterwards::Another).await;
    // No master closes them, and no thread uses them.
    numbers.into_iter().for_each(|number| drop(inherited::own(number)));
}
