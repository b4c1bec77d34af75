//! The master: one thread that reads, binds, starts the worker, and obeys signals.
//!
//! It holds everything that must outlive a worker: the listening sockets, the logs, the table of
//! tunnels and, because both share one descriptor table, every connection. No byte from the network
//! reaches it. Not here: HTTP and tunnels; the worker's life is `perdura_proxy::run_worker`.

pub mod clock;
mod come;
mod control;
mod heritage;
mod leave;
mod limits;
mod link;
mod listeners;
mod logs;
mod operator;
mod orders;
mod orphan;
mod owned;
mod pid_file;
mod process;
mod reader;
mod reload;
mod single;
mod start;
mod succession;
mod successor;
mod sweep;
mod worker;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::control::{ToWorker, word};
use perdura_proxy::{Config, Options, Severity};
use perdura_tunnel::Table;
use rustix::event::PollFlags;
use rustix::process::{Pid, kill_process};

use crate::notify::{Notify, State};
use crate::signal::{Signals, Woken};

pub use limits::{shared_warning as shared_limit_warning, warning as limit_warning};
pub use listeners::Listeners;
pub use logs::Logs;
pub use process::{Forked, exit, fork};
pub use start::{run, serve};

use control::Control;
use link::Link;
use pid_file::PidFile;
use reload::Reload;
use successor::Upgrade;
use worker::{Pauses, Worker};

/// Everything that the master holds.
pub struct Master {
    options: Options,
    config: Arc<Config>,
    logs: Logs,
    /// The service manager's ear.
    notify: Notify,
    listeners: Listeners,
    table: Arc<Table>,
    signals: Signals,
    pid_file: Option<PidFile>,
    control: Option<Control>,
    /// Clients of the control socket that wait for the worker, and which tunnel is to end: at most
    /// one each.
    closing: Vec<(u64, u64)>,
    /// The other master, while two programs serve.
    link: Option<Link>,
    /// Our child that was its end of a link that is lost.
    lost_successor: Option<Pid>,
    upgrade: Option<Upgrade>,
    /// What the worker is told once its tunnels have left.
    after_move: Option<ToWorker>,
    /// The worker's limit of descriptors.
    descriptors: u64,
    worker: Place,
    pauses: Pauses,
    reload: Reload,
    /// Logs are opened again when the worker has written what waits, or then.
    reopen_at: Option<Instant>,
    /// A reload was asked for while another was under way.
    reload_again: bool,
    ending: Ending,
    /// Whether any worker was ever ready: before that, an end of one is the end of the start.
    served: bool,
    started_workers: u64,
    /// The last worker died of a fault of its own.
    crashed: bool,
}

/// The place of the one worker.
///
/// ```text
///  Pausing --time--> Living --end--> Pausing
///                      |  told to drain, and it did
///                      +-----------------------------> Empty --reload--> Living
/// ```
enum Place {
    Living(Worker),
    /// The next one starts then.
    Pausing(Instant),
    Empty,
}

/// Whether the master is to end, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// When the worker has served everyone.
    Gracefully,
    /// Now; a worker that is still there then is killed.
    AtOnce {
        kill_at: Instant,
    },
}

/// How long a worker may take to end at once (nginx).
const STOP_TIME_MAX: Duration = Duration::from_secs(1);

impl Master {
    /// Serves until told to end; gives the exit code.
    fn serve(mut self) -> u8 {
        self.open_control();
        self.logs.line(Severity::Notice, "start worker processes");
        self.start_worker();
        loop {
            if let Some(code) = self.finished() {
                return self.end(code);
            }
            match self.wait() {
                Woken::Readable => {
                    self.hear();
                    self.hear_link();
                    self.serve_control();
                }
                Woken::Signal | Woken::Timeout => {}
            }
            while let Some(arrived) = self.signals.take() {
                self.obey(arrived);
            }
            self.keep_time();
            self.notify();
        }
    }

    /// Tells the service manager how things are. Once per turn is enough: nothing that it wants to
    /// know begins and ends within one.
    fn notify(&mut self) {
        if let Err(error) = self.notify.tell(self.state()) {
            let text = format!("telling the service manager failed {}", errno_text(&error));
            self.logs.line(Severity::Warn, &text);
        }
    }

    fn state(&self) -> State {
        let peer = self.link.as_ref().filter(|link| link.is_program());
        match (self.ending, peer) {
            // Until the predecessor has named its successor, the main process is the predecessor.
            (_, Some(link)) if !link.is_successor() => State::Starting,
            (Ending::No, _) if !matches!(self.reload, Reload::Idle) => State::Reloading,
            (Ending::No, _) if self.served => State::Ready,
            (Ending::No, _) => State::Starting,
            (_, Some(link)) if link.peer_serves => State::Succeeded { by: link.peer_pid() },
            _ => State::Stopping,
        }
    }

    fn wait(&self) -> Woken {
        let ear = match &self.worker {
            Place::Living(worker) => worker.ear(),
            Place::Pausing(_) | Place::Empty => None,
        };
        let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let ear = ear.map(|ear| (ear.as_fd(), PollFlags::IN));
        let operators = self.control.iter().flat_map(Control::wait_for);
        let link = self.link.as_ref().map(|link| (link.socket().as_fd(), PollFlags::IN));
        let sockets: Vec<_> = ear.into_iter().chain(link).chain(operators).collect();
        match self.signals.wait(&sockets, timeout) {
            Ok(woken) => woken,
            Err(error) => {
                self.logs.line(Severity::Alert, &format!("ppoll() failed {}", errno_text(&error)));
                // Not a loop that burns: whatever is wrong, it is looked at again in a while.
                // The wait itself has failed.
                std::thread::sleep(WAIT_FAILED_PAUSE);
                Woken::Timeout
            }
        }
    }

    /// The next moment at which something is to be done without being asked.
    fn deadline(&self) -> Option<Instant> {
        let worker = match self.worker {
            Place::Pausing(until) => Some(until),
            Place::Living(_) | Place::Empty => None,
        };
        let reload = match &self.reload {
            Reload::Reading(reader) => reader.deadline(),
            Reload::Idle | Reload::Handing(_) => None,
        };
        let ending = match self.ending {
            Ending::AtOnce { kill_at } => Some(kill_at),
            Ending::No | Ending::Gracefully => None,
        };
        let control = self.control.as_ref().and_then(Control::deadline);
        let link = self.link.as_ref().and_then(Link::deadline);
        let upgrade = self.upgrade.as_ref().and_then(Upgrade::deadline);
        let leave = self.leave_at();
        [worker, reload, ending, control, link, upgrade, leave, self.reopen_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if let Place::Pausing(until) = self.worker
            && until <= now
        {
            self.start_worker();
        }
        if let Reload::Reading(reader) = &mut self.reload
            && reader.deadline().is_some_and(|deadline| deadline <= now)
        {
            reader.give_up();
        }
        if let (Ending::AtOnce { kill_at }, Place::Living(worker)) = (self.ending, &self.worker)
            && kill_at <= now
        {
            // It may have ended in this moment.
            let _ = kill_process(worker.pid, rustix::process::Signal::KILL);
            self.ending = Ending::AtOnce { kill_at: now + STOP_TIME_MAX };
        }
        if self.control.as_ref().and_then(Control::deadline).is_some_and(|at| at <= now) {
            self.serve_control();
        }
        if self.reopen_at.is_some_and(|at| at <= now) {
            self.reopen_now();
        }
        self.keep_time_of_upgrade(now);
    }

    fn keep_time_of_upgrade(&mut self, now: Instant) {
        let late = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if late(self.link.as_ref().and_then(|link| link.leaving.deadline())) {
            self.leave_too_late();
        }
        if late(self.link.as_ref().and_then(|link| link.coming.deadline())) {
            self.forget_coming();
            self.say_to_peer(&word::Word::Abort);
        }
        if late(self.upgrade.as_ref().and_then(Upgrade::deadline)) {
            self.give_up_successor();
        }
        self.leave_if_wanted();
    }

    /// The exit code, once there is nothing left to wait for.
    fn finished(&self) -> Option<u8> {
        // Nobody knows yet whose the tunnels are.
        if self.link.as_ref().is_some_and(|link| link.leaving.is_going()) {
            return None;
        }
        match (&self.worker, self.ending) {
            (Place::Living(_) | Place::Pausing(_), _) => None,
            // Drained, until a reload starts the next one.
            (Place::Empty, Ending::No) if self.served => None,
            // The first worker did not come up.
            (Place::Empty, Ending::No) => Some(1),
            (Place::Empty, _) => Some(0),
        }
    }

    fn end(mut self, code: u8) -> u8 {
        if let Reload::Reading(reader) = &mut self.reload {
            reader.give_up();
        }
        self.drop_reload();
        if let Some(file) = self.pid_file.take() {
            let path = file.path().display().to_string();
            if let Err(error) = file.remove() {
                let text = format!("unlink() \"{path}\" failed {}", errno_text(&error));
                self.logs.line(Severity::Alert, &text);
            }
        }
        if let Some(control) = &mut self.control {
            // An answer may be on its way.
            let _ = control.serve(&self.table);
            control.remove_file();
        }
        // While another program serves, they are its files too.
        if self.link.as_ref().is_none_or(|link| !link.is_program()) {
            self.listeners.remove_files();
        }
        self.logs.line(Severity::Notice, "exit");
        code
    }
}

/// After a failed wait.
const WAIT_FAILED_PAUSE: Duration = Duration::from_millis(100);
