//! Reading a configuration in a short-lived child, which answers through anonymous memory.
//!
//! The child has a descriptor table of its own: what it opens (secrets, name servers) no worker can
//! see, and a name server that does not answer holds up nobody but the child. It builds the
//! configuration to find out what is to be read, and throws it away.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::world::SNAPSHOT_BYTES_MAX;
use perdura_proxy::{Disk, Options, Snapshot, SnapshotFault, build};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::owned::Owned;
use super::process::{self, Forked};
use super::sweep;
use crate::signal;

/// How long a reload may read before it is given up; a start waits as long as it takes.
const TIME_MAX: Duration = Duration::from_secs(120);

/// A child that reads.
pub struct Reader {
    child: Pid,
    memory: Owned,
    /// `None` once it was given up.
    deadline: Option<Instant>,
}

/// What it read, and the memory in which that stands for the worker.
pub struct Reading {
    pub snapshot: Snapshot,
    pub memory: Owned,
}

/// Why there is no [`Reading`].
#[derive(Debug)]
pub enum ReaderFault {
    Fork(io::Error),
    Memory(io::Error),
    /// The child did not end well.
    Ended(String),
    Snapshot(SnapshotFault),
}

impl fmt::Display for ReaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = "reading the configuration";
        match self {
            ReaderFault::Fork(error) => write!(f, "{what}: fork() failed {}", errno_text(error)),
            ReaderFault::Memory(error) => write!(f, "{what}: memfd failed {}", errno_text(error)),
            ReaderFault::Ended(how) => write!(f, "{what}: the process that does it {how}"),
            ReaderFault::Snapshot(fault) => write!(f, "{what}: {fault}"),
        }
    }
}

impl Reader {
    /// Starts to read; the end of the child says when to [`finish`](Reader::finish).
    pub fn start(options: &Options) -> Result<Reader, ReaderFault> {
        let memory = rustix::fs::memfd_create("perdura-snapshot", MemfdFlags::CLOEXEC)
            .map_err(io::Error::from)
            .and_then(Owned::new)
            .map_err(ReaderFault::Memory)?;
        match process::fork().map_err(ReaderFault::Fork)? {
            Forked::Child => read(options, memory),
            Forked::Parent(child) => {
                Ok(Reader { child, memory, deadline: Some(Instant::now() + TIME_MAX) })
            }
        }
    }

    /// Reads and waits for it.
    pub fn read_now(options: &Options) -> Result<Reading, ReaderFault> {
        let reader = Reader::start(options)?;
        let ended = rustix::io::retry_on_intr(|| waitpid(Some(reader.child), WaitOptions::empty()))
            .map_err(|errno| ReaderFault::Fork(errno.into()))?;
        match ended {
            Some((_, status)) => reader.finish(status),
            None => Err(ReaderFault::Ended("is not there".into())),
        }
    }

    pub fn child(&self) -> Pid {
        self.child
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The number of the memory, for the list of what is kept.
    pub fn memory(&self) -> &Owned {
        &self.memory
    }

    /// Ends the child, whose end is then reported like any other.
    pub fn give_up(&mut self) {
        self.deadline = None;
        // It may have ended by itself.
        let _ = kill_process(self.child, Signal::KILL);
    }

    /// Takes what the ended child wrote.
    pub fn finish(self, status: WaitStatus) -> Result<Reading, ReaderFault> {
        if status.exit_status() != Some(0) {
            return Err(ReaderFault::Ended(how(status)));
        }
        let bytes = content(&self.memory).map_err(ReaderFault::Memory)?;
        let snapshot = Snapshot::decode(&bytes).map_err(ReaderFault::Snapshot)?;
        Ok(Reading { snapshot, memory: self.memory })
    }
}

/// How a process ended, for a message: `exited with code 1`, `exited on signal 9`.
pub fn how(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (_, Some(signal)) => format!("exited on signal {signal}"),
        _ => "ended".into(),
    }
}

/// The child's life.
fn read(options: &Options, memory: Owned) -> ! {
    let written = catch_unwind(AssertUnwindSafe(|| -> io::Result<()> {
        signal::reset_in_child()?;
        // The copies of the worker's sockets must go at once: while they are here, closing one
        // there does not end the connection.
        sweep::close_all_but(vec![memory.number()]);
        let disk = Disk::new();
        drop(build(&disk, options));
        let bytes = disk.into_snapshot().encode();
        if bytes.len() > SNAPSHOT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file(&memory)?.write_all(&bytes)
    }));
    process::exit(match written {
        Ok(Ok(())) => 0,
        Ok(Err(_)) => TOO_LARGE_OR_NO_MEMORY,
        Err(_) => PANICKED,
    })
}

const TOO_LARGE_OR_NO_MEMORY: i32 = 1;
const PANICKED: i32 = 101;

fn content(memory: &Owned) -> io::Result<Vec<u8>> {
    let mut file = file(memory)?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(SNAPSHOT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The memory as a file, through a number of its own.
fn file(memory: &Owned) -> io::Result<std::fs::File> {
    let copy: OwnedFd = rustix::io::fcntl_dupfd_cloexec(memory, 0)?;
    debug_assert_ne!(copy.as_raw_fd(), memory.number());
    Ok(copy.into())
}
