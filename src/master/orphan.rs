//! A worker that has outlived its master, as the next master finds it: behind the operator's socket
//! of the same pid file.
//!
//! What it says is believed no further than it can be checked: the kernel says whose socket it is,
//! its sockets must listen and lie where the configuration wants one (`listeners`), and tunnels
//! are checked by the worker that takes them. Every wait is bounded. Not here: what the worker does
//! (`perdura_proxy::worker::orphan`), and the move itself (`come`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::control::word::{self, Word};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use crate::control::{self, Ask, AskFault, Connection, Who};

/// What it has given so far.
pub struct Orphan {
    pub pid: Pid,
    /// The tunnels come over this.
    pub link: OwnedFd,
    pub listeners: Vec<OwnedFd>,
}

/// How long it may take for a word: a process that is stopped says none at all.
const WORD_TIME_MAX: Duration = Duration::from_secs(5);

/// More sockets than any configuration that could be told to a worker.
const LISTENERS_MAX: usize = 8192;

/// Asks behind the socket beside `pid` for a worker without a master. `None` when nobody is there,
/// or a master is: whether both can serve is seen when the sockets are bound.
///
/// # Errors
/// Somebody is there who has what we need and does not give it; the text is for the operator.
pub fn find(pid: &Path) -> Result<Option<Orphan>, String> {
    let path = control::path(pid);
    let shown = path.display();
    let connection = match Connection::open_within(&path, WORD_TIME_MAX) {
        Ok(connection) => connection,
        // Nobody, or no socket of ours: what is in the way is said when it is.
        Err(AskFault::Connect { error, .. }) if error.kind() != io::ErrorKind::WouldBlock => {
            return Ok(None);
        }
        Err(fault) => {
            let limit = WORD_TIME_MAX.as_secs();
            return Err(format!(
                "the process that listens on \"{shown}\" does not greet within {limit} s \
                 ({fault}): if it is stopped, let it go on or end it"
            ));
        }
    };
    if connection.hello().who == Who::Master {
        return Ok(None);
    }
    let (owner, number) = (connection.owner(), connection.hello().pid);
    if owner != rustix::process::geteuid() && !owner.is_root() {
        let owner = owner.as_raw();
        return Err(format!(
            "the process that listens on \"{shown}\" is that of user {owner}: nothing is taken over \
             from it, and it is in the way"
        ));
    }
    let failed = |why: &str| {
        format!(
            "worker process {number} serves on without its master and cannot be taken over: {why}; \
             end it to start without its tunnels"
        )
    };
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed("it does not say its number"))?;
    let version = word::VERSION;
    connection.ask(Ask::TakeOver { version }).map_err(|fault| failed(&fault.to_string()))?;
    let link = connection.into_socket();
    let listeners = sockets(&link).map_err(|why| failed(&why))?;
    Ok(Some(Orphan { pid, link, listeners }))
}

/// Its sockets that listen, in one word or several.
fn sockets(link: &OwnedFd) -> Result<Vec<OwnedFd>, String> {
    let until = Instant::now() + WORD_TIME_MAX;
    let mut listeners = Vec::new();
    while listeners.len() <= LISTENERS_MAX {
        match next(link, until)? {
            (Word::Sockets { more, .. }, with) => {
                listeners.extend(with);
                if !more {
                    return Ok(listeners);
                }
            }
            (Word::Abort, _) => return Err("it is of another version".into()),
            _ => return Err("it speaks out of turn".into()),
        }
    }
    Err("it has too many sockets".into())
}

fn next(link: &OwnedFd, until: Instant) -> Result<(Word, Vec<OwnedFd>), String> {
    let late = || "it does not answer: if it is stopped, let it go on".to_owned();
    loop {
        match word::hear(link.as_fd()) {
            Ok(Some(heard)) => return Ok(heard),
            Ok(None) => return Err("it has closed the connection".into()),
            Err(error) if word::is_nothing(&error) => {}
            Err(error) => return Err(format!("recvmsg() failed {}", errno_text(&error))),
        }
        let left = until.checked_duration_since(Instant::now()).ok_or_else(late)?;
        let left =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut waited = [PollFd::new(link, PollFlags::IN)];
        // Signals are held at this point of the start; whatever wakes us, we look.
        let _ = rustix::event::poll(&mut waited, Some(&left));
    }
}
