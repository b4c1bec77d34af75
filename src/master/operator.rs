//! What the master does when the operator asks it through the control socket.

use perdura_conf::errno_text;
use perdura_proxy::Severity;
use perdura_proxy::control::ToWorker;

use super::control::Control;
use super::{Master, Place};
use crate::control::{Ask, Reply};

impl Master {
    /// Opens the control socket. Without it the master serves all the same.
    pub(super) fn open_control(&mut self) {
        let Some(file) = &self.pid_file else { return };
        match Control::bind(file.path()) {
            Ok(control) => self.control = Some(control),
            Err(error) => {
                let path = crate::control::path(file.path());
                let why = errno_text(&error);
                let text = format!("control socket \"{}\" failed {why}", path.display());
                self.logs.line(Severity::Alert, &text);
            }
        }
    }

    /// Hears everyone who asks.
    pub(super) fn serve_control(&mut self) {
        let Some(control) = &mut self.control else { return };
        for (client, ask) in control.serve(&self.table) {
            self.do_asked(client, ask);
        }
    }

    fn do_asked(&mut self, client: u64, ask: Ask) {
        match ask {
            // Answered where it was heard.
            Ask::List => {}
            Ask::Upgrade => self.upgrade(client),
            Ask::TakeOver { .. } => {
                self.answer(client, &Reply::Refused("this program has its master".into()));
            }
            Ask::Close(tunnel) => self.close_tunnel(client, tunnel),
        }
    }

    /// The worker answers; one that is ending or starting cannot be asked.
    fn close_tunnel(&mut self, client: u64, tunnel: u64) {
        let Place::Living(worker) = &self.worker else {
            return self.answer(client, &Reply::Refused(NO_WORKER.into()));
        };
        match worker.tell(&ToWorker::Close { request: client, tunnel }) {
            Ok(()) => self.closing.push((client, tunnel)),
            Err(_) => self.answer(client, &Reply::Refused(NO_WORKER.into())),
        }
    }

    /// The worker has answered.
    pub(super) fn tunnel_closed(&mut self, request: u64, found: bool) {
        let Some(at) = self.closing.iter().position(|(client, _)| *client == request) else {
            return;
        };
        let (client, tunnel) = self.closing.swap_remove(at);
        let reply = match found {
            true => {
                let text = format!("tunnel {tunnel} was closed by the operator");
                self.logs.line(Severity::Notice, &text);
                Reply::Done(text)
            }
            false => Reply::Refused(format!("there is no tunnel {tunnel}")),
        };
        self.answer(client, &reply);
    }

    /// The worker that was asked is no more: the next one is not asked by itself, because the
    /// answer would come much later than the question.
    pub(super) fn refuse_closing(&mut self) {
        for (client, _) in std::mem::take(&mut self.closing) {
            self.answer(client, &Reply::Refused(NO_WORKER.into()));
        }
    }

    pub(super) fn answer(&mut self, client: u64, reply: &Reply) {
        if let Some(control) = &mut self.control {
            control.answer(client, reply);
        }
    }
}

const NO_WORKER: &str = "there is no worker process to ask; try again";
