//! The binary upgrade: a new program from the file on disk serves beside this one, and takes over.
//!
//! As in nginx: the pid file becomes `.oldbin`, the new program inherits the listening sockets, both
//! serve, and signals decide who ends. `perdura -s upgrade` does it all in one.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::Severity;
use perdura_proxy::control::word;
use rustix::io::FdFlags;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitStatus, getrlimit, kill_process, setrlimit,
};

use super::link::{Link, Peer};
use super::process::{self, Forked};
use super::{Ending, Master, Place, heritage, reader, sweep};
use crate::control::Reply;
use crate::signal;

/// A whole upgrade that the operator asked for.
pub struct Upgrade {
    client: u64,
    /// When the new program must serve.
    until: Instant,
    serves: bool,
}

impl Upgrade {
    pub fn deadline(&self) -> Option<Instant> {
        (!self.serves).then_some(self.until)
    }
}

impl Master {
    /// USR2: starts the new program.
    pub(super) fn change_binary(&mut self) {
        if let Err(text) = self.start_successor() {
            self.logs.line(Severity::Alert, &text);
        }
    }

    /// `perdura -s upgrade`.
    pub(super) fn upgrade(&mut self, client: u64) {
        match self.start_successor() {
            Ok(()) => {
                let until = Instant::now() + self.start_time();
                self.upgrade = Some(Upgrade { client, until, serves: false });
            }
            Err(text) => {
                self.logs.line(Severity::Alert, &text);
                self.answer(client, &Reply::Refused(text));
            }
        }
    }

    /// How long a new program may take until it serves.
    fn start_time(&self) -> Duration {
        Duration::from_millis(self.config.process().upgrade_start_timeout_ms)
    }

    fn start_successor(&mut self) -> Result<(), String> {
        if self.link.is_some() {
            return Err("changing binary: two programs serve already; one must end first".into());
        }
        if std::env::args_os().nth(1).is_some_and(|word| word == "demo") {
            return Err("changing binary: a demo begins in a folder of its own each time".into());
        }
        if self.ending != Ending::No {
            return Err("changing binary: this program is ending".into());
        }
        let failed = |what: &str, error: io::Error| {
            format!("changing binary: {what} failed {}", errno_text(&error))
        };
        let (ours, theirs) = word::pair().map_err(|error| failed("socketpair()", error))?;
        let program = program().map_err(|error| failed("finding the program", error))?;
        self.move_aside().map_err(|error| failed("rename() of the pid file", error))?;
        let numbers: Vec<RawFd> = self.listeners.numbers().into_iter().map(|(_, fd)| fd).collect();
        let started = match process::fork() {
            Ok(Forked::Child) => become_program(&program, &theirs, &numbers, self.descriptors),
            Ok(Forked::Parent(pid)) => {
                Link::new(ours, Peer::Successor(Some(pid))).map(|link| (pid, link))
            }
            Err(error) => Err(error),
        };
        match started {
            Ok((pid, link)) => {
                let text = format!("start new binary process {}", pid.as_raw_nonzero());
                self.logs.line(Severity::Notice, &text);
                self.link = Some(link);
                self.say_how_we_are();
                Ok(())
            }
            Err(error) => {
                self.move_back();
                Err(failed("fork()", error))
            }
        }
    }

    /// The new program writes its number to the pid file's name.
    fn move_aside(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.pid_file else { return Ok(()) };
        let old = with_suffix(file.path());
        file.rename(&old)?;
        if let Some(control) = &mut self.control {
            // Without it, the new program takes its place.
            let _ = control.rename(&old);
        }
        Ok(())
    }

    fn move_back(&mut self) {
        let pid = self.config.process().pid.clone();
        let Some(file) = &mut self.pid_file else { return };
        if let Err(error) = file.rename(&pid) {
            let (path, why) = (pid.display(), errno_text(&error));
            let text = format!("rename() of the pid file back to \"{path}\" failed {why}");
            self.logs.line(Severity::Alert, &text);
        }
        if let Some(control) = &mut self.control {
            let _ = control.rename(&pid);
        }
    }

    /// Whether this child is the new program.
    pub(super) fn is_successor(&self, pid: Pid) -> bool {
        self.link.as_ref().is_some_and(|link| link.peer == Peer::Successor(Some(pid)))
            || self.lost_successor == Some(pid)
    }

    /// The new program has ended: everything is as before.
    pub(super) fn successor_ended(&mut self, pid: Pid, status: WaitStatus) {
        let how = reader::how(status);
        self.logs
            .line(Severity::Notice, &format!("new binary process {} {how}", pid.as_raw_nonzero()));
        self.lost_successor = None;
        // What it said last may not have been heard yet.
        self.hear_link();
        if let Some(link) = &mut self.link {
            link.peer = Peer::Successor(None);
            link.peer_serves = false;
        }
        self.move_back();
        if let Some(upgrade) = self.upgrade.take() {
            let text =
                format!("the new program {how}; the error log says why. Nothing has changed");
            self.answer(upgrade.client, &Reply::Refused(text));
        }
        // It had drained for its successor (nginx).
        if matches!(self.worker, Place::Empty) && self.ending == Ending::No {
            self.start_worker();
        }
    }

    /// The link has said that the peer serves, or that it does not.
    pub(super) fn successor_serves(&mut self) {
        let serves = self.link.as_ref().is_some_and(|link| link.peer_serves);
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.serves = true;
        if serves {
            self.quit();
        } else {
            // It cannot take the tunnels: they end here when they end.
            self.quit();
            self.upgrade_moved("the new program cannot take the tunnels: they stay");
        }
        if self.table.live_legs().next().is_none() {
            self.upgrade_moved("there were no tunnels to move");
        }
    }

    /// A move has ended: the operator hears how.
    pub(super) fn upgrade_moved(&mut self, how: &str) {
        let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.serves) else { return };
        let pid = self.link.as_ref().map_or(0, Link::peer_pid);
        let text = format!(
            "master process {pid} serves; {how}; process {} ends when it has served its last client",
            std::process::id()
        );
        self.answer(upgrade.client, &Reply::Done(text));
    }

    /// Gives up a new program that does not come to serve.
    pub(super) fn give_up_successor(&mut self) {
        let Some(upgrade) = self.upgrade.take() else { return };
        let limit = self.start_time().as_millis();
        let text = format!("the new program did not serve within {limit} ms and is ended");
        self.logs.line(Severity::Error, &text);
        if let Some(Link { peer: Peer::Successor(Some(pid)), .. }) = &self.link {
            // It has no worker that serves: nothing is lost with it.
            let _ = kill_process(*pid, Signal::TERM);
        }
        self.answer(upgrade.client, &Reply::Refused(text));
    }
}

/// The file that this program was started from; with a name that was looked for in `PATH`, the one
/// that the kernel found.
fn program() -> io::Result<PathBuf> {
    let named = std::env::args_os().next().filter(|name| name.as_bytes().contains(&b'/'));
    if let Some(named) = named {
        return Ok(named.into());
    }
    let found = std::fs::read_link("/proc/self/exe")?.into_os_string().into_vec();
    // What the kernel appends when the file was replaced.
    let path = found.strip_suffix(b" (deleted)").unwrap_or(&found).to_vec();
    Ok(OsString::from_vec(path).into())
}

/// The new program's first moments, still in ours.
fn become_program(program: &Path, link: &OwnedFd, listeners: &[RawFd], descriptors: u64) -> ! {
    let mut keep = listeners.to_vec();
    keep.push(link.as_raw_fd());
    // Above all the copies of the tunnels: while they are here, no end of one is seen.
    sweep::close_all_but(keep.clone());
    for number in keep {
        let _ = rustix::io::fcntl_setfd(process::borrow(number), FdFlags::empty());
    }
    let _ = signal::reset_in_child();
    // Ours was raised for what is reserved; the new one does that itself.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), ..limit });
    let error = exec(program, &heritage::encode(link.as_raw_fd(), listeners));
    crate::report::line(&format!(
        "[alert] execve() of \"{}\" failed {}",
        program.display(),
        errno_text(&error)
    ));
    process::exit(CANNOT_EXECUTE)
}

fn exec(program: &Path, heritage: &str) -> io::Error {
    let text = |bytes: Vec<u8>| CString::new(bytes).unwrap_or_default();
    let arguments: Vec<CString> =
        std::env::args_os().map(|argument| text(argument.into_vec())).collect();
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| name != heritage::VARIABLE)
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    environment.push(text(format!("{}={heritage}", heritage::VARIABLE).into_bytes()));
    process::execute(&text(program.as_os_str().as_bytes().to_vec()), &arguments, &environment)
}

fn with_suffix(pid: &Path) -> PathBuf {
    let mut old = pid.as_os_str().to_owned();
    old.push(OLD_SUFFIX);
    PathBuf::from(old)
}

/// nginx's.
const OLD_SUFFIX: &str = ".oldbin";

/// As a shell says it.
const CANNOT_EXECUTE: i32 = 127;
