//! The master's side: makes a worker by `clone(CLONE_FILES)`, kills it, makes the next.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use perdura_tunnel::{Batch, Death, Engine, Framing, Handoff, Limits, Seats, Table, Terms};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::Forgets;
use crate::traffic::Inner;

/// The master: the table, and one worker at a time.
pub struct Master {
    table: Arc<Table>,
    seats: Arc<Seats>,
    engine: Option<Engine>,
    worker: Option<Pid>,
}

impl Master {
    pub fn new(tunnels: u32) -> Master {
        let limits =
            Limits { records: tunnels, chunks: 4 * tunnels + 8, note_bytes: 4096, threads: 1 };
        let table = Arc::new(Table::create(limits).expect("a table"));
        let seats = Seats::rebuild(Arc::clone(&table));
        let engine = Engine::new(Arc::clone(&table), Arc::clone(&seats), 0).expect("an engine");
        Master { table, seats, engine: Some(engine), worker: None }
    }

    pub fn adopt(&mut self, legs: [Inner; 2]) {
        let [(client, client_tls), (upstream, upstream_tls)] = legs;
        let handoff = Handoff {
            seat: self.seats.reserve().expect("a seat"),
            legs: [client.into(), upstream.into()],
            first: [Vec::new(), Vec::new()],
            tls: [client_tls, upstream_tls],
            keeping: perdura_tunnel::Keeping::Shared,
            framing: Framing::WebSocket { head: 0 },
            terms: Terms::default(),
            keys: [0; 2],
            note: Vec::new(),
            started_ms: 0,
        };
        let engine = self.engine.as_mut().expect("before the first worker");
        engine.adopt(handoff, now_ms()).expect("a tunnel");
    }

    /// The first engine dies without a word, as if its worker had been killed.
    pub fn abandon(&mut self) {
        std::mem::forget(self.engine.take());
    }

    pub fn start(&mut self, forgets: Forgets) {
        self.forget(forgets);
        let flags = libc::CLONE_FILES | libc::SIGCHLD;
        // SAFETY: without CLONE_VM the child has a copy of this memory, as after a fork, and this
        // process has one thread, so that no lock is held by another.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        assert!(pid >= 0, "{}", std::io::Error::last_os_error());
        if pid == 0 {
            self.work();
        }
        self.worker = Pid::from_raw(pid as i32);
    }

    /// Kills the worker; false if it had ended by itself.
    pub fn kill(&mut self) -> bool {
        let pid = self.worker.take().expect("a worker");
        rustix::process::kill_process(pid, Signal::KILL).expect("a child not waited for");
        let status = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        let (_, status) = status.expect("a child").expect("its status");
        status.terminating_signal() == Some(libc::SIGKILL)
    }

    /// Wipes notes of the station of thread 0: it begins at the second page with the owner's token
    /// (8 bytes), the scratch's base (8) and the count of noted events (4).
    fn forget(&self, forgets: Forgets) {
        let wipe = |at: u64, bytes: usize| {
            rustix::io::pwrite(self.table.fd(), &[0; 8][..bytes], at).expect("a memfd");
        };
        match forgets {
            Forgets::Nothing => {}
            Forgets::TheOwner => wipe(4096, 8),
            Forgets::TheEvents => wipe(4096 + 16, 4),
        }
    }

    fn work(&self) -> ! {
        let seats = Seats::rebuild(Arc::clone(&self.table));
        let engine = Engine::resume(Arc::clone(&self.table), seats, 0, Death::Killed, now_ms());
        let Ok(mut engine) = engine else { std::process::exit(2) };
        loop {
            if engine.ready(now_ms()).is_err() {
                std::process::exit(4);
            }
            // So slowly that many a worker is killed before it has taken all.
            if !engine.take_more(1, now_ms()).dropped.is_empty() {
                std::process::exit(3);
            }
            engine.reports();
            if engine.is_taking() {
                continue;
            }
            if engine.next_expiry_ms() == Some(0) {
                engine.expire(now_ms());
            } else if engine.ready(now_ms()).is_ok_and(|batch| batch == Batch::Short) {
                wait(engine.fd());
            }
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.worker.is_some() {
            self.kill();
        }
        for number in self.table.keep_list() {
            // The memfd closes with the table.
            if number != std::os::fd::AsRawFd::as_raw_fd(&self.table.fd()) {
                // SAFETY: no memory is passed; the legs and the epoll instance have no other owner
                // any more.
                unsafe { libc::close(number) };
            }
        }
    }
}

fn wait(fd: BorrowedFd<'_>) {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    // Interrupted or not: the caller looks for itself.
    let _ = rustix::event::poll(&mut polled, None);
}

fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
