//! One worker after another: started, heard, buried, succeeded.
//!
//! Between a death and the next birth lies everything that keeps a crash small: the master looks
//! whether its own descriptors are still its own, closes what belonged to nobody but the dead, and
//! lets the next one adopt the rest.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use perdura_conf::errno_text;
use perdura_proxy::Severity;
use perdura_proxy::control::{self, ToMaster, ToWorker};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use super::control::Control;
use super::link::Link;
use super::reload::Reload;
use super::worker::{Birth, Fault, Worker};
use super::{Ending, Master, Place, reader, sweep};

impl Master {
    pub(super) fn start_worker(&mut self) {
        let birth = Birth {
            config: &self.config,
            options: &self.options,
            table: &self.table,
            listeners: self.listeners.numbers(),
            door: self.control.as_ref().and_then(Control::door),
            logs: &self.logs,
            descriptors: self.descriptors,
            recover: self.started_workers > 0,
            crashed: self.crashed,
        };
        match Worker::start(&birth) {
            Ok(worker) => {
                let text = format!("start worker process {}", worker.pid.as_raw_nonzero());
                self.logs.line(Severity::Notice, &text);
                self.worker = Place::Living(worker);
                self.started_workers += 1;
            }
            Err(error) => {
                let text = format!("starting a worker process failed {}", errno_text(&error));
                self.logs.line(Severity::Alert, &text);
                self.worker = match self.served {
                    true => Place::Pausing(Instant::now() + START_FAILED_PAUSE),
                    false => Place::Empty,
                };
            }
        }
    }

    /// Takes everything that the worker says now.
    pub(super) fn hear(&mut self) {
        loop {
            let Place::Living(worker) = &mut self.worker else { return };
            let Some(ear) = worker.ear() else { return };
            let packet = match control::receive(ear.as_fd()) {
                Ok(Some(packet)) => packet,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Closed: the worker is about to end, or does nothing sensible any more.
                Ok(None) | Err(_) => return worker.stop_listening(),
            };
            match ToMaster::decode(&packet) {
                Ok(message) => self.heed(message),
                Err(fault) => {
                    worker.stop_listening();
                    let text = format!("the worker process sent {fault}");
                    self.logs.line(Severity::Alert, &text);
                    return;
                }
            }
        }
    }

    fn heed(&mut self, message: ToMaster) {
        match message {
            ToMaster::Ready => {
                if let Place::Living(worker) = &mut self.worker {
                    worker.ready = true;
                }
                self.served = true;
                self.greet();
            }
            ToMaster::Reloaded => self.take_reload(),
            ToMaster::Refused { why } => {
                let text = format!("the worker process refused the configuration: {why}");
                self.logs.line(Severity::Emerg, &text);
                self.drop_reload();
                self.reload_if_asked();
            }
            // A master that stays keeps them for the next worker.
            ToMaster::Released if self.ending == Ending::No => {}
            ToMaster::Released => self.listeners.retain(&[]),
            ToMaster::Finished => {}
            ToMaster::Frozen => self.frozen(),
            ToMaster::GaveUp => self.gave_up(),
            ToMaster::Flushed => self.reopen_now(),
            ToMaster::Thawed => self.thawed(),
            ToMaster::Prepared { refused } => self.prepared(refused),
            ToMaster::Verified { refused, ended } => self.looked_again(refused, ended),
            ToMaster::Live { count } => self.live(count),
            ToMaster::Closed { request, found } => self.tunnel_closed(request, found),
        }
    }

    /// What a new worker has to be told that its predecessor was told.
    fn greet(&mut self) {
        match self.ending {
            Ending::Gracefully => self.tell(&ToWorker::Quit(self.afterwards())),
            Ending::AtOnce { .. } => self.tell(&ToWorker::Stop),
            Ending::No => self.reload_if_asked(),
        }
        self.come_again();
        self.say_how_we_are();
    }

    /// Every child that has ended.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
            let reads = matches!(&self.reload, Reload::Reading(reader) if reader.child() == pid);
            let works = matches!(&self.worker, Place::Living(worker) if worker.pid == pid);
            if reads {
                self.prepare_reload(status);
            }
            if works {
                self.bury(pid, status);
            }
            if self.is_successor(pid) {
                self.successor_ended(pid, status);
            }
        }
    }

    /// The worker has ended: what it left is put in order before there is a next one.
    fn bury(&mut self, pid: Pid, status: WaitStatus) {
        // What it said last may not have been heard yet.
        self.hear();
        let Place::Living(worker) = std::mem::replace(&mut self.worker, Place::Empty) else {
            return;
        };
        self.log_end(pid, status);
        self.refuse_closing();
        let asked = worker.draining || self.ending != Ending::No;
        let in_peace = asked && status.exit_status() == Some(0);
        let lived = worker.born.elapsed();
        worker.abandon_if_lost();
        let interrupted = matches!(self.reload, Reload::Handing(_));
        self.drop_reload();
        self.repair();
        self.repair_link();
        self.after_move = None;
        self.coming_died();
        let waits = self.leaving_died();
        self.sweep();
        let fault = Fault::of(status);
        self.crashed = fault == Fault::Own && !in_peace;
        if waits || in_peace || matches!(self.ending, Ending::AtOnce { .. }) || !self.served {
            return;
        }
        // A reload that a kill interrupted is done again; one that killed the worker is not.
        self.reload_again |= interrupted && fault == Fault::Others;
        let pause = self.pauses.after(fault, lived);
        if pause.is_zero() {
            return self.start_worker();
        }
        let text = format!("the next worker process starts in {} ms", pause.as_millis());
        self.logs.line(Severity::Alert, &text);
        self.worker = Place::Pausing(Instant::now() + pause);
    }

    fn log_end(&self, pid: Pid, status: WaitStatus) {
        let pid = pid.as_raw_nonzero();
        let how = reader::how(status);
        let severity = match status.terminating_signal() {
            Some(_) => Severity::Alert,
            None => Severity::Notice,
        };
        self.logs.line(severity, &format!("worker process {pid} {how}"));
        if !self.served {
            self.logs.line(Severity::Alert, "the first worker process did not come up");
        }
    }

    /// Looks whether the master's own descriptors are still what it opened. A worker that shared
    /// them has crashed: nobody knows what it did before.
    fn repair(&mut self) {
        let logs = self.logs.repair().into_iter().map(|path| path.display().to_string());
        let mut lost: Vec<String> = logs.chain(self.listeners.repair()).collect();
        if self.control.as_mut().is_some_and(Control::repair) {
            lost.push("the control socket".into());
        }
        for name in lost {
            let text = format!("the descriptor of \"{name}\" was lost and has been opened again");
            self.logs.line(Severity::Alert, &text);
        }
    }

    /// Closes what the dead worker had open and nobody needs: connections that are no tunnels, and
    /// its runtime's epoll instances, which would otherwise go on collecting events.
    pub(super) fn sweep(&self) {
        let mut keep: Vec<i32> = self.table.keep_list();
        keep.push(self.table.fd().as_raw_fd());
        keep.extend(self.listeners.numbers().into_iter().map(|(_, number)| number));
        keep.extend(self.logs.numbers().into_iter().map(|(_, number)| number));
        keep.extend(self.link.iter().flat_map(Link::numbers));
        keep.extend(self.control.iter().flat_map(Control::numbers));
        if let Reload::Reading(reader) = &self.reload {
            keep.push(reader.memory().number());
        }
        sweep::close_all_but(keep);
    }
}

/// After a failed start of a worker: out of memory or processes.
const START_FAILED_PAUSE: Duration = Duration::from_secs(1);
