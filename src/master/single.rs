//! `master_process off`: everything in one process, for debugging.
//!
//! One thread obeys the signals, the others are the worker. Nothing outlives a crash here, and that
//! is said. Not here: the steps before (`start`), which are the same.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use perdura_conf::errno_text;
use perdura_proxy::control::{self, Afterwards, ToMaster, ToWorker};
use perdura_proxy::{Config, Disk, Inheritance, Options, Severity, run_worker};
use perdura_tunnel::Table;
use rustix::event::PollFlags;

use super::listeners::Listeners;
use super::logs::Logs;
use super::owned::Owned;
use super::pid_file::PidFile;
use super::reader::Reading;
use super::reload::{self, Prepared};
use crate::notify::{Notify, State};
use crate::signal::{Arrived, Asked, Signals, Woken};

/// Everything that the one process holds.
pub struct Single {
    pub options: Options,
    pub config: Arc<Config>,
    pub logs: Logs,
    pub listeners: Listeners,
    pub table: Arc<Table>,
    pub signals: Signals,
    pub pid_file: PidFile,
    pub notify: Notify,
}

impl Single {
    /// Serves until told to end; gives the exit code.
    pub fn serve(self) -> u8 {
        self.logs.line(
            Severity::Notice,
            "\"master_process\" is off: tunnels will not survive a crash of this process",
        );
        let (ours, theirs) = match control::pair() {
            Ok(pair) => pair,
            Err(error) => return self.fail("socketpair()", &error),
        };
        let inheritance = Inheritance {
            config: Arc::clone(&self.config),
            listeners: self.listeners.numbers(),
            logs: self.logs.numbers(),
            table: Arc::clone(&self.table),
            control: theirs,
            door: None,
            options: self.options.clone(),
            recover: false,
            crashed: false,
        };
        // The signals are blocked here and in every thread that this one makes, but for the waits
        // of the obeying thread below.
        let worker = std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || run_worker(inheritance));
        let worker = match worker {
            Ok(worker) => worker,
            Err(error) => return self.fail("starting a thread", &error),
        };
        let obeying = Obeying { single: self, control: ours, prepared: None };
        let single = obeying.until(|| worker.is_finished());
        let code = worker.join().unwrap_or(PANICKED);
        single.end(u8::try_from(code).unwrap_or(PANICKED as u8))
    }

    fn fail(self, what: &str, error: &std::io::Error) -> u8 {
        self.logs.line(Severity::Emerg, &format!("{what} failed {}", errno_text(error)));
        self.end(1)
    }

    fn end(self, code: u8) -> u8 {
        // Somebody may have removed it already.
        let _ = self.pid_file.remove();
        self.listeners.remove_files();
        self.logs.line(Severity::Notice, "exit");
        code
    }
}

struct Obeying {
    single: Single,
    control: OwnedFd,
    prepared: Option<Prepared>,
}

impl Obeying {
    /// Obeys until the worker has finished, which closes its end of the socket.
    fn until(mut self, finished: impl Fn() -> bool) -> Single {
        while !finished() {
            let woken = self.single.signals.wait(&[(self.control.as_fd(), PollFlags::IN)], None);
            match woken {
                Ok(Woken::Readable) if !self.hear() => break,
                Ok(_) => {}
                Err(_) => break,
            }
            while let Some(arrived) = self.single.signals.take() {
                self.obey(arrived);
            }
        }
        self.single
    }

    /// Takes a message; no more will come when it gives false.
    fn hear(&mut self) -> bool {
        let Ok(Some(packet)) = control::receive(self.control.as_fd()) else { return false };
        match (ToMaster::decode(&packet), self.prepared.take()) {
            (Ok(ToMaster::Ready), prepared) => {
                self.prepared = prepared;
                self.notify(State::Ready);
            }
            (Ok(ToMaster::Flushed), prepared) => {
                self.prepared = prepared;
                let logs = &mut self.single.logs;
                for fault in logs.reopen(None) {
                    logs.line(Severity::Emerg, &fault.to_string());
                }
            }
            (Ok(ToMaster::Reloaded), Some(prepared)) => self.take(prepared),
            (Ok(ToMaster::Refused { why }), Some(prepared)) => {
                self.single.logs.line(Severity::Emerg, &format!("configuration refused: {why}"));
                prepared.discard();
                self.notify(State::Ready);
            }
            (_, prepared) => self.prepared = prepared,
        }
        true
    }

    fn obey(&mut self, arrived: Arrived) {
        let logs = &mut self.single.logs;
        let Arrived { number, name, sender, .. } = arrived;
        logs.line(Severity::Notice, &format!("signal {number} ({name}) received from {sender}"));
        match arrived.asked {
            Asked::Stop => self.end(&ToWorker::Stop),
            Asked::Quit => self.end(&ToWorker::Quit(Afterwards::Nobody)),
            Asked::Reload => self.reload(),
            // The answer opens them.
            Asked::Reopen => self.tell(&ToWorker::Flush),
            Asked::Upgrade | Asked::Drain | Asked::ChildEnded => {}
        }
    }

    fn end(&mut self, order: &ToWorker) {
        self.notify(State::Stopping);
        self.tell(order);
    }

    /// Tells the service manager how things are.
    fn notify(&mut self, state: State) {
        if let Err(error) = self.single.notify.tell(state) {
            let text = format!("telling the service manager failed {}", errno_text(&error));
            self.single.logs.line(Severity::Warn, &text);
        }
    }

    fn tell(&self, message: &ToWorker) {
        if let Err(error) = control::send(self.control.as_fd(), &message.encode()) {
            let text = format!("message to the worker failed {}", errno_text(&error));
            self.single.logs.line(Severity::Alert, &text);
        }
    }

    /// Reads here and not in a child: a process with threads must not fork, and has no secrets from
    /// itself.
    fn reload(&mut self) {
        if self.prepared.is_some() {
            return;
        }
        self.notify(State::Reloading);
        let single = &self.single;
        let disk = Disk::new();
        drop(perdura_proxy::build(&disk, &single.options));
        let prepared = memory_of(disk)
            .map_err(|error| {
                let text = format!("memfd failed {}", errno_text(&error));
                single.logs.line(Severity::Alert, &text);
            })
            .ok()
            .and_then(|reading| {
                Prepared::new(reading, &single.options, &single.listeners, &single.logs)
            });
        if let Some(prepared) = prepared {
            self.tell(&prepared.message(&single.listeners, &single.logs));
            self.prepared = Some(prepared);
        } else {
            self.notify(State::Ready);
        }
    }

    fn take(&mut self, prepared: Prepared) {
        let single = &mut self.single;
        reload::swap(&mut single.listeners, &mut single.logs, &mut single.config, prepared);
        self.notify(State::Ready);
    }
}

fn memory_of(disk: Disk) -> std::io::Result<Reading> {
    let snapshot = disk.into_snapshot();
    let memory = rustix::fs::memfd_create("perdura-snapshot", rustix::fs::MemfdFlags::CLOEXEC)?;
    let copy = memory.try_clone()?;
    std::io::Write::write_all(&mut std::fs::File::from(copy), &snapshot.encode())?;
    Ok(Reading { snapshot, memory: Owned::new(memory)? })
}

const PANICKED: i32 = 101;
