//! The other master: while two programs serve, tunnels can go from one to the other.
//!
//! Symmetric but for who is whose child: the older one made the younger one (`successor`). A worker
//! whose master has died (`orphan`) speaks like an older one that only gives. Here is what is said;
//! giving is `leave`, taking is `come`.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use perdura_conf::errno_text;
use perdura_proxy::Severity;
use perdura_proxy::control::word::{self, Word};
use rustix::process::Pid;

use super::come::Coming;
use super::leave::Leaving;
use super::owned::Owned;
use super::{Ending, Master, Place};

/// The connection to the other master.
pub struct Link {
    socket: Owned,
    pub peer: Peer,
    /// Its process number, also when it has ended and only its worker is left.
    number: i32,
    /// Its worker can take tunnels.
    pub peer_serves: bool,
    pub leaving: Leaving,
    pub coming: Coming,
    /// Tunnels that it did not take, by name: they are not offered again.
    pub refused: HashSet<u64>,
    /// When there may be another move.
    pub rest_until: Instant,
}

/// Who the other one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Our child; `None` once it has ended, while its worker may live.
    Successor(Option<Pid>),
    Predecessor(Pid),
    /// A worker that has lost its master. It says itself who it is, and nothing is given to it.
    Orphan(Pid),
}

impl Link {
    pub fn new(socket: OwnedFd, peer: Peer) -> io::Result<Link> {
        let number = match peer {
            Peer::Successor(Some(pid)) | Peer::Predecessor(pid) | Peer::Orphan(pid) => {
                pid.as_raw_nonzero().get()
            }
            Peer::Successor(None) => 0,
        };
        Ok(Link {
            socket: Owned::new(socket)?,
            peer,
            number,
            peer_serves: false,
            leaving: Leaving::No,
            coming: Coming::No,
            refused: HashSet::new(),
            rest_until: Instant::now(),
        })
    }

    pub fn socket(&self) -> &Owned {
        &self.socket
    }

    pub fn say(&self, word: &Word, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        word::say(self.socket.as_fd(), word, with)
    }

    pub fn peer_pid(&self) -> i32 {
        self.number
    }

    /// Whether a whole program is at the other end, and not only what one has left.
    pub fn is_program(&self) -> bool {
        !matches!(self.peer, Peer::Orphan(_))
    }

    /// Whether it is a program that was started from here.
    pub fn is_successor(&self) -> bool {
        matches!(self.peer, Peer::Successor(_))
    }

    /// Whether this peer may say this word.
    fn may_say(&self, word: &Word) -> bool {
        match self.peer {
            Peer::Successor(_) | Peer::Predecessor(_) => !matches!(word, Word::Sockets { .. }),
            Peer::Orphan(_) => {
                let moves = matches!(word, Word::Offer | Word::Batch { .. } | Word::Frozen);
                moves || matches!(word, Word::Go | Word::Abort)
            }
        }
    }

    /// The numbers that a sweep keeps.
    pub fn numbers(&self) -> Vec<i32> {
        let mut numbers = self.coming.numbers();
        numbers.push(self.socket.number());
        numbers
    }

    /// The next moment at which something is overdue.
    pub fn deadline(&self) -> Option<Instant> {
        [self.leaving.deadline(), self.coming.deadline()].into_iter().flatten().min()
    }
}

impl Master {
    /// Hears everything that the other master says now.
    pub(super) fn hear_link(&mut self) {
        while let Some(link) = &self.link {
            match word::hear(link.socket.as_fd()) {
                Ok(Some((word, with))) if link.may_say(&word) => self.heed_link(word, with),
                Ok(Some(_)) => {
                    self.logs.line(Severity::Alert, "the other master process speaks out of turn");
                    return self.lose_link();
                }
                Ok(None) => return self.lose_link(),
                Err(error) if word::is_nothing(&error) => return,
                Err(error) => {
                    let text = format!("the other master process: {}", errno_text(&error));
                    self.logs.line(Severity::Alert, &text);
                    return self.lose_link();
                }
            }
        }
    }

    fn heed_link(&mut self, word: Word, with: Vec<OwnedFd>) {
        match word {
            Word::Serving { version } => self.peer_serves(version),
            Word::Resting => {
                if let Some(link) = &mut self.link {
                    link.peer_serves = false;
                }
            }
            Word::Offer => self.take_offer(with),
            Word::Batch { names } => self.take_batch(&names, with),
            Word::Frozen => self.look_again(),
            Word::Verified { refused } => self.verified(refused),
            Word::Go => self.take_over(),
            Word::Prepared { refused } => self.batch_prepared(refused),
            Word::Live { count } => self.release_gone(count),
            // Only at a start, before there is a link.
            Word::Sockets { .. } => {}
            Word::Abort => {
                self.forget_coming();
                self.not_taken();
            }
        }
    }

    fn peer_serves(&mut self, version: u32) {
        let Some(link) = &mut self.link else { return };
        link.peer_serves = version == word::VERSION;
        let text = match link.peer_serves {
            true => format!("master process {} serves", link.peer_pid()),
            false => format!(
                "master process {} moves tunnels in another way (version {version}): ours stay",
                link.peer_pid()
            ),
        };
        self.logs.line(Severity::Notice, &text);
        self.successor_serves();
    }

    /// Says whether our worker can take tunnels.
    pub(super) fn say_how_we_are(&mut self) {
        let serves = match &self.worker {
            Place::Living(worker) => worker.ready && !worker.draining && self.ending == Ending::No,
            Place::Pausing(_) | Place::Empty => false,
        };
        let word = match serves {
            true => Word::Serving { version: word::VERSION },
            false => Word::Resting,
        };
        self.say_to_peer(&word);
    }

    pub(super) fn say_to_peer(&mut self, word: &Word) {
        if let Some(link) = &self.link
            && link.say(word, &[]).is_err()
        {
            self.lose_link();
        }
    }

    /// The other side is gone: all its processes have closed the socket, or it speaks nonsense.
    pub(super) fn lose_link(&mut self) {
        self.forget_coming();
        self.take_back();
        let Some(link) = self.link.take() else { return };
        if let Peer::Successor(Some(pid)) = link.peer {
            self.lost_successor = Some(pid);
        }
        if !link.socket.is_intact() {
            link.socket.abandon();
        }
        let text = match link.peer {
            Peer::Orphan(pid) => {
                format!("worker process {} without a master has ended", pid.as_raw_nonzero())
            }
            Peer::Successor(_) | Peer::Predecessor(_) => "the other master process has gone".into(),
        };
        self.logs.line(Severity::Notice, &text);
    }

    /// A crash of the worker may have cost the socket.
    pub(super) fn repair_link(&mut self) {
        if self.link.as_ref().is_some_and(|link| !link.socket.is_intact()) {
            self.lose_link();
        }
    }
}
