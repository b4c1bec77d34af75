//! A reload on its way: read by a child, prepared by the master, taken by the worker.
//!
//! ```text
//!          HUP                child ended            Reloaded
//!  Idle ---------> Reading ----------------> Handing ---------> Idle (new configuration)
//!   ^                 |  fault, timeout         |  Refused, worker's end
//!   +-----------------+-------------------------+  (the old one stays)
//! ```
//!
//! Until the worker has said `Reloaded`, nothing of the old configuration is given up.

use std::sync::Arc;

use perdura_conf::{Level, errno_text, first_line};
use perdura_proxy::control::ToWorker;
use perdura_proxy::{Config, Options, Severity, build};
use rustix::process::WaitStatus;

use super::link::Link;
use super::listeners::{self, Listeners};
use super::logs::{self, Logs};
use super::owned::Owned;
use super::pid_file::PidFile;
use super::reader::{Reader, Reading};
use super::{Ending, Master, Place, limits};

/// Where a reload stands.
pub enum Reload {
    Idle,
    Reading(Reader),
    Handing(Prepared),
}

/// A new configuration with everything that it has and the old one had not.
pub struct Prepared {
    pub config: Arc<Config>,
    pub listeners: listeners::Added,
    pub logs: logs::Added,
    /// The snapshot that the worker builds from.
    pub memory: Owned,
}

impl Prepared {
    /// Builds, binds and opens; every fault is a line in the log, and `None` means that nothing
    /// has changed.
    pub fn new(
        reading: Reading,
        options: &Options,
        listeners: &Listeners,
        logs: &Logs,
    ) -> Option<Prepared> {
        let built = build(&reading.snapshot, options);
        for fault in built.faults.iter().filter(|fault| fault.level != Level::Notice) {
            let severity = match fault.level {
                Level::Emerg => Severity::Emerg,
                Level::Warn | Level::Notice => Severity::Warn,
            };
            let line = first_line(fault, &built.sources);
            logs.line(severity, line.split_once(' ').map_or(line.as_str(), |(_, text)| text));
        }
        let config = built.config?;
        let say = |text: String| logs.line(Severity::Emerg, &text);
        let new_logs =
            logs.open_added(config.log_files()).map_err(|fault| say(fault.to_string())).ok()?;
        let new_listeners = listeners.bind_added(config.listens()).map_err(say).ok()?;
        Some(Prepared { config, listeners: new_listeners, logs: new_logs, memory: reading.memory })
    }

    /// The message that hands it over: everything that the new configuration has, old and new.
    pub fn message(&self, listeners: &Listeners, logs: &Logs) -> ToWorker {
        let listens = self.config.listens();
        let wanted = |key: &String| listens.iter().any(|listen| listen.key == *key);
        let mut all_listeners = listeners.numbers();
        all_listeners.retain(|(key, _)| wanted(key));
        all_listeners
            .extend(self.listeners.iter().map(|(listen, fd)| (listen.key.clone(), fd.number())));
        let mut all_logs = logs.numbers();
        all_logs.retain(|(path, _)| self.config.log_files().contains(path));
        all_logs.extend(self.logs.iter().map(|(path, fd)| (path.clone(), fd.number())));
        ToWorker::Reload {
            snapshot: self.memory.number(),
            listeners: all_listeners,
            logs: all_logs,
        }
    }

    /// The old configuration stays: sockets that were bound for the new one leave no files.
    pub fn discard(self) {
        let mut bound = Listeners::default();
        bound.add(self.listeners, &[]);
        bound.remove_files();
    }
}

/// The new configuration holds; what only the old one had is closed.
pub fn swap(
    listeners: &mut Listeners,
    logs: &mut Logs,
    config: &mut Arc<Config>,
    prepared: Prepared,
) {
    let new = prepared.config;
    listeners.add(prepared.listeners, new.listens());
    listeners.retain(new.listens());
    logs.add(prepared.logs);
    logs.direct(&new.process().error_logs);
    logs.retain(new.log_files());
    *config = new;
}

impl Master {
    pub(super) fn start_reload(&mut self) {
        if self.ending != Ending::No {
            return;
        }
        if !matches!(self.reload, Reload::Idle) {
            self.reload_again = true;
            return;
        }
        self.logs.line(Severity::Notice, "reconfiguring");
        match Reader::start(&self.options) {
            Ok(reader) => self.reload = Reload::Reading(reader),
            Err(fault) => self.logs.line(Severity::Alert, &fault.to_string()),
        }
    }

    /// The child has read.
    pub(super) fn prepare_reload(&mut self, status: WaitStatus) {
        let Reload::Reading(reader) = std::mem::replace(&mut self.reload, Reload::Idle) else {
            return;
        };
        match reader.finish(status) {
            Ok(reading) => {
                let prepared = Prepared::new(reading, &self.options, &self.listeners, &self.logs);
                if let Some(prepared) = prepared {
                    return self.hand_over(prepared);
                }
            }
            Err(fault) => self.logs.line(Severity::Alert, &fault.to_string()),
        }
        self.reload_if_asked();
    }

    fn hand_over(&mut self, prepared: Prepared) {
        let serving = match &self.worker {
            Place::Living(worker) => (!worker.draining && worker.ready).then_some(worker),
            Place::Pausing(_) | Place::Empty => None,
        };
        let Some(worker) = serving else {
            return self.take_without_worker(prepared);
        };
        match worker.tell(&prepared.message(&self.listeners, &self.logs)) {
            Ok(()) => self.reload = Reload::Handing(prepared),
            Err(error) => {
                let text = format!("message to worker process failed {}", errno_text(&error));
                self.logs.line(Severity::Alert, &text);
                prepared.discard();
            }
        }
    }

    /// Nobody serves now: the next worker begins with the new configuration. One that is on its way
    /// is asked again when it is ready.
    fn take_without_worker(&mut self, prepared: Prepared) {
        match self.worker {
            Place::Living(_) => {
                prepared.discard();
                self.reload_again = true;
            }
            Place::Pausing(_) => self.take(prepared),
            Place::Empty => {
                self.take(prepared);
                self.start_worker();
            }
        }
    }

    pub(super) fn take_reload(&mut self) {
        match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Handing(prepared) => self.take(prepared),
            other => self.reload = other,
        }
        self.reload_if_asked();
    }

    fn take(&mut self, prepared: Prepared) {
        self.move_pid_file(&prepared.config);
        swap(&mut self.listeners, &mut self.logs, &mut self.config, prepared);
        let descriptors = limits::raise(self.config.process());
        if descriptors == self.descriptors {
            return;
        }
        self.descriptors = descriptors;
        if let Place::Living(worker) = &self.worker
            && let Err(error) = worker.limit(descriptors)
        {
            let text = format!("prlimit(RLIMIT_NOFILE) failed {}", errno_text(&error));
            self.logs.line(Severity::Alert, &text);
        }
    }

    /// As nginx: another name in the new configuration is a new file, and the old one goes.
    fn move_pid_file(&mut self, config: &Config) {
        let path = &config.process().pid;
        // Beside a successor the name is not ours to change.
        let aside = self.link.as_ref().is_some_and(Link::is_program);
        if aside || self.pid_file.as_ref().is_none_or(|file| file.path() == path) {
            return;
        }
        match PidFile::write(path) {
            Ok(file) => {
                if let Some(old) = self.pid_file.replace(file) {
                    // Somebody may have removed it already.
                    let _ = old.remove();
                }
                if let Some(control) = &mut self.control {
                    // It stays where it was if it cannot go along, and goes at the end.
                    let _ = control.rename(path);
                }
            }
            Err(error) => {
                let path = path.display();
                let text = format!("open() \"{path}\" failed {}", errno_text(&error));
                self.logs.line(Severity::Emerg, &text);
            }
        }
    }

    pub(super) fn drop_reload(&mut self) {
        match std::mem::replace(&mut self.reload, Reload::Idle) {
            Reload::Handing(prepared) => prepared.discard(),
            // The child goes on; only its own end ends it.
            other => self.reload = other,
        }
    }

    pub(super) fn reload_if_asked(&mut self) {
        if std::mem::take(&mut self.reload_again) {
            self.start_reload();
        }
    }
}
