//! What each signal makes the master do: nginx's answers to nginx's signals.

use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::Severity;
use perdura_proxy::control::{Afterwards, ToWorker};

use super::leave::Leaving;
use super::{Ending, Master, Place, STOP_TIME_MAX};
use crate::signal::{Arrived, Asked};

/// How long a worker may take to write the log lines that wait.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

impl Master {
    pub(super) fn obey(&mut self, arrived: Arrived) {
        let what = match arrived.asked {
            Asked::ChildEnded => "",
            Asked::Stop => ", exiting",
            Asked::Quit => ", shutting down",
            Asked::Reload => ", reconfiguring",
            Asked::Reopen => ", reopening logs",
            Asked::Upgrade => ", changing binary",
            // A terminal sends it when its size changes: nginx heeds it as a daemon only.
            Asked::Drain if !self.config.process().daemon => ", ignoring",
            Asked::Drain => ", stop accepting connections",
        };
        if arrived.asked == Asked::ChildEnded {
            // It may be the worker, whose tunnels stand still until there is another one.
            self.logs.hold();
        }
        let Arrived { number, name, sender, .. } = arrived;
        let text = format!("signal {number} ({name}) received from {sender}{what}");
        self.logs.line(Severity::Notice, &text);
        match arrived.asked {
            Asked::ChildEnded => self.reap(),
            Asked::Stop => self.stop(),
            Asked::Quit => self.quit(),
            Asked::Reload => self.start_reload(),
            Asked::Reopen => self.reopen_logs(),
            Asked::Upgrade => self.change_binary(),
            Asked::Drain => self.drain(),
        }
        self.logs.let_go();
    }

    fn stop(&mut self) {
        self.abort_leaving("this program ends at once");
        self.forget_coming();
        if !matches!(self.ending, Ending::AtOnce { .. }) {
            self.ending = Ending::AtOnce { kill_at: Instant::now() + STOP_TIME_MAX };
        }
        self.tell(&ToWorker::Stop);
        if !matches!(self.worker, Place::Living(_)) {
            self.worker = Place::Empty;
        }
    }

    pub(super) fn quit(&mut self) {
        if self.ending == Ending::No {
            self.ending = Ending::Gracefully;
        }
        self.end_worker(ToWorker::Quit(self.afterwards()));
    }

    fn drain(&mut self) {
        if !self.config.process().daemon {
            return;
        }
        match &mut self.worker {
            Place::Living(worker) => worker.draining = true,
            Place::Pausing(_) => self.worker = Place::Empty,
            Place::Empty => {}
        }
        self.end_worker(ToWorker::Drain(self.afterwards()));
    }

    pub(super) fn afterwards(&self) -> Afterwards {
        match &self.link {
            Some(link) if link.peer_serves => Afterwards::Another,
            _ => Afterwards::Nobody,
        }
    }

    /// Orders a graceful end: at once, or behind the move of the tunnels. What moves must not be
    /// drained.
    fn end_worker(&mut self, order: ToWorker) {
        self.after_move = Some(order);
        self.leave_if_wanted();
        if self.link.as_ref().is_none_or(|link| matches!(link.leaving, Leaving::No)) {
            self.tell_after_move();
        }
        self.say_how_we_are();
    }

    /// Lines that wait belong into the old files: the worker writes them first.
    fn reopen_logs(&mut self) {
        self.logs.line(Severity::Notice, "reopening logs");
        let ready = matches!(&self.worker, Place::Living(worker) if worker.ready);
        if ready && self.config.logs.iter().any(|log| log.gathers()) {
            self.tell(&ToWorker::Flush);
            self.reopen_at = Some(Instant::now() + FLUSH_TIME_MAX);
        } else {
            self.reopen_now();
        }
    }

    pub(super) fn reopen_now(&mut self) {
        self.reopen_at = None;
        let process = self.config.process();
        let root = rustix::process::geteuid().is_root();
        let worker = process.user.filter(|_| root).map(|(uid, _)| uid);
        for fault in self.logs.reopen(worker) {
            self.logs.line(Severity::Emerg, &fault.to_string());
        }
    }

    /// What cannot be said is no reason to stop: an end at once is enforced in time, and a graceful
    /// one is asked for again of the next worker.
    pub(super) fn tell(&self, message: &ToWorker) {
        let Place::Living(worker) = &self.worker else { return };
        if let Err(error) = worker.tell(message) {
            let text = format!("message to worker process failed {}", errno_text(&error));
            self.logs.line(Severity::Alert, &text);
        }
    }
}
