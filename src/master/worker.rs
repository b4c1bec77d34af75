//! The worker's process: how it begins and which kinds of end it can have.
//!
//! What it does is `perdura_proxy::run_worker`; when it is started again is `master`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::control::{self, ToWorker};
use perdura_proxy::{Config, Inheritance, Options, Severity, run_worker};
use perdura_tunnel::Table;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, WaitStatus, prlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities};

use super::logs::Logs;
use super::owned::Owned;
use super::process::{self, Forked};
use crate::signal;

/// A worker that lives.
pub struct Worker {
    pub pid: Pid,
    control: Owned,
    /// Its end of the control socket closed, or spoke nonsense: it is no longer listened to.
    deaf: bool,
    pub ready: bool,
    pub born: Instant,
    /// It was told to end gracefully, and will not take part in a reload.
    pub draining: bool,
}

/// What a worker begins with.
pub struct Birth<'a> {
    pub config: &'a Arc<Config>,
    pub options: &'a Options,
    pub table: &'a Arc<Table>,
    pub listeners: Vec<(String, RawFd)>,
    /// The operator's socket, for when the master has died.
    pub door: Option<RawFd>,
    pub logs: &'a Logs,
    pub descriptors: u64,
    /// There was a worker before, whose tunnels it adopts.
    pub recover: bool,
    /// That worker died of a fault of its own.
    pub crashed: bool,
}

impl Worker {
    /// Makes a worker that shares the descriptor table.
    pub fn start(birth: &Birth<'_>) -> io::Result<Worker> {
        let (ours, theirs) = control::pair()?;
        let control = Owned::new(ours)?;
        match process::fork_sharing_descriptors()? {
            Forked::Child => live(birth, theirs),
            Forked::Parent(pid) => {
                // One number in one table: it is the worker's to close, and the sweep's after it.
                let _ = theirs.into_raw_fd();
                let born = Instant::now();
                Ok(Worker { pid, control, deaf: false, ready: false, born, draining: false })
            }
        }
    }

    /// The socket to wait on, while it makes sense.
    pub fn ear(&self) -> Option<&Owned> {
        (!self.deaf).then_some(&self.control)
    }

    pub fn stop_listening(&mut self) {
        self.deaf = true;
    }

    pub fn tell(&self, message: &ToWorker) -> io::Result<()> {
        use std::os::fd::AsFd;
        if self.control.is_intact() {
            return control::send(self.control.as_fd(), &message.encode());
        }
        Err(io::Error::other("the control socket is not ours any more"))
    }

    /// Changes how many descriptors it may have.
    pub fn limit(&self, descriptors: u64) -> io::Result<()> {
        prlimit(Some(self.pid), Resource::Nofile, limit(descriptors))?;
        Ok(())
    }

    /// Gives up a control socket that is no longer the master's.
    pub fn abandon_if_lost(self) {
        if !self.control.is_intact() {
            self.control.abandon();
        }
    }
}

/// Whose doing a worker's end was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Somebody else's: it was killed.
    Others,
    /// Its own: a crash, or an exit that nobody asked for.
    Own,
}

impl Fault {
    pub fn of(status: WaitStatus) -> Fault {
        match status.terminating_signal() {
            Some(
                libc::SIGSEGV
                | libc::SIGABRT
                | libc::SIGBUS
                | libc::SIGILL
                | libc::SIGFPE
                | libc::SIGSYS
                | libc::SIGTRAP,
            )
            | None => Fault::Own,
            Some(_) => Fault::Others,
        }
    }
}

/// How long the next worker waits: not at all, unless workers die of their own faults again and
/// again.
#[derive(Debug, Default)]
pub struct Pauses {
    own_faults: u32,
}

impl Pauses {
    /// The pause after an end, `lived` after the beginning.
    pub fn after(&mut self, fault: Fault, lived: Duration) -> Duration {
        if lived >= LIVED_WELL {
            self.own_faults = 0;
        }
        if fault == Fault::Others {
            return Duration::ZERO;
        }
        self.own_faults = self.own_faults.saturating_add(1);
        match self.own_faults {
            0 | 1 => Duration::ZERO,
            more => PAUSE_FIRST.saturating_mul(1 << (more - 2).min(16)).min(PAUSE_MAX),
        }
    }
}

/// A worker that lived so long ends the row of faults.
const LIVED_WELL: Duration = Duration::from_secs(60);
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The worker's life. Nothing of the master's memory is dropped here: the descriptors are shared.
fn live(birth: &Birth<'_>, control: OwnedFd) -> ! {
    birth.logs.forget_held();
    if let Err(text) = settle(birth) {
        birth.logs.line(Severity::Emerg, &text);
        process::exit(CANNOT_SETTLE);
    }
    let inheritance = Inheritance {
        config: Arc::clone(birth.config),
        listeners: birth.listeners.clone(),
        logs: birth.logs.numbers(),
        table: Arc::clone(birth.table),
        control,
        door: birth.door,
        options: birth.options.clone(),
        recover: birth.recover,
        crashed: birth.crashed,
    };
    let code = catch_unwind(AssertUnwindSafe(|| run_worker(inheritance))).unwrap_or(PANICKED);
    process::exit(code)
}

/// What nginx exits with when a worker's user or limits cannot be had.
const CANNOT_SETTLE: i32 = 2;
const PANICKED: i32 = 101;

/// Signals, limit, name, and last of all the user: with it go the rights to do the others.
fn settle(birth: &Birth<'_>) -> Result<(), String> {
    let failed = |what: &str, error: io::Error| format!("{what} failed {}", errno_text(&error));
    signal::reset_in_worker().map_err(|error| failed("sigaction()", error))?;
    setrlimit(Resource::Nofile, limit(birth.descriptors))
        .map_err(|errno| failed("setrlimit(RLIMIT_NOFILE)", errno.into()))?;
    // The names are for people; without them the worker works.
    let _ = rustix::thread::set_name(NAME);
    let _ = process::set_title(TITLE);
    let process = birth.config.process();
    if let (Some((uid, gid)), true) = (process.user, rustix::process::geteuid().is_root()) {
        let kept = match process.binds_transparently {
            true => CapabilitySet::NET_RAW,
            false => CapabilitySet::empty(),
        };
        become_user((uid, gid), &process.groups, kept)?;
        // The worker shares the descriptors of a master that is root: another process of its user
        // must not look into it. (`setuid` has the kernel do this, unless `fs.suid_dumpable` says
        // otherwise.)
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| failed("prctl(PR_SET_DUMPABLE)", errno.into()))?;
    }
    Ok(())
}

/// Becomes another user, who keeps no more than these capabilities, as nginx's workers do.
fn become_user((uid, gid): (u32, u32), groups: &[u32], kept: CapabilitySet) -> Result<(), String> {
    let failed = |what: &str, errno: Errno| format!("{what} failed {}", errno_text(&errno.into()));
    let keeps = !kept.is_empty();
    if keeps {
        set_keep_capabilities(true).map_err(|errno| failed("prctl(PR_SET_KEEPCAPS)", errno))?;
    }
    process::become_user(uid, gid, groups).map_err(|error| error.to_string())?;
    if keeps {
        let inheritable = CapabilitySet::empty();
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable };
        set_capabilities(None, sets).map_err(|errno| failed("capset()", errno))?;
    }
    Ok(())
}

/// Both limits: the worker cannot take the descriptors that are reserved for the master.
fn limit(descriptors: u64) -> Rlimit {
    Rlimit { current: Some(descriptors), maximum: Some(descriptors) }
}

/// What `top` and `pkill` see; the kernel keeps 15 bytes.
const NAME: &CStr = c"perdura: worker";

/// What `ps` shows in place of the command line.
const TITLE: &[u8] = b"perdura: worker process";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_own_faults_only() {
        let mut pauses = Pauses::default();
        let soon = Duration::from_secs(1);
        for _ in 0..100 {
            assert_eq!(pauses.after(Fault::Others, soon), Duration::ZERO);
        }
        let row: Vec<_> = (0..10).map(|_| pauses.after(Fault::Own, soon).as_millis()).collect();
        assert_eq!(row, [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(pauses.after(Fault::Others, soon), Duration::ZERO, "a kill waits for nothing");
        assert_eq!(pauses.after(Fault::Own, soon).as_millis(), 10_000, "and forgives nothing");
        assert_eq!(pauses.after(Fault::Own, LIVED_WELL), Duration::ZERO, "a long life does");
        for _ in 0..100 {
            assert!(pauses.after(Fault::Own, soon) <= PAUSE_MAX);
        }
    }
}
