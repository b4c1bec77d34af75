//! One thread of the worker: its runtime, its listeners, its engine, its kept connections.

use super::accept::Listeners;
use super::moving::Moving;
use super::obey::{self, Master};
use super::roll::Word;
use super::tasks::{self, Task};
use super::{Life, Shared, tunnels};
use crate::channel::Channel;
use crate::config::Config;
use crate::log_buffer::LINE_WAITS;
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::resolver::Resolvers;
use crate::upgrade::{self, Ends, Switched};
use crate::upstream::Pool;
use bytes::BytesMut;
use perdura_tunnel::{Close, Death, Engine, Handoff, Seat, Seats, Side};
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// How often kept upstream connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// So long before `worker_shutdown_timeout` ends, the tunnels that are left are told.
const LAST_MOMENTS: Duration = Duration::from_millis(500);

/// Passwords that are looked at beside each other, at most; others wait, and no tunnel for them.
const PASSWORD_THREADS_MAX: usize = 4;

/// How often an ending thread looks whether everything has ended.
const END_CHECK_EVERY: Duration = Duration::from_millis(20);

/// What the tasks of one thread share.
pub struct Thread {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: RefCell<Engine>,
    /// A tunnel began or ended: timers may have changed.
    pub(super) tunnels_changed: Notify,
    pool: RefCell<Pool>,
    /// Answers of name servers.
    pub resolvers: Resolvers,
    /// Requests that are being worked on.
    busy: Rc<Cell<usize>>,
    /// Connections of this thread.
    pub(super) open: Rc<Cell<usize>>,
    ending: Cell<bool>,
    ending_begins: Notify,
    /// Tunnels that leave or come.
    pub(super) moving: Moving,
    pub(super) adoption: tunnels::Adoption,
}

/// Counts a request while it is worked on.
pub struct Busy(Rc<Cell<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Thread {
    /// The configuration that holds now.
    pub fn config(&self) -> Arc<Config> {
        self.shared.config()
    }

    pub fn seats(&self) -> &Arc<Seats> {
        &self.shared.seats
    }

    pub fn pool(&self) -> RefMut<'_, Pool> {
        self.pool.borrow_mut()
    }

    pub fn busy(&self) -> Busy {
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(&self.busy))
    }

    pub fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Resolves when the worker begins to end.
    pub async fn ending(&self) {
        let begins = self.ending_begins.notified();
        if !self.ending.get() {
            begins.await;
        }
    }

    /// Registers a connection that may become a leg where its tunnel will be.
    pub fn expect(&self, channel: &Channel, seat: &Seat, side: Side) {
        channel.expect(|socket| self.engine.borrow().expect(seat, side, socket));
    }

    /// Gives two connections to the engine.
    pub fn begin_tunnel(
        &self,
        proof: Switched,
        seat: Seat,
        ends: Ends,
        request: Box<Request>,
        head: BytesMut,
    ) {
        let handoff = match upgrade::hand_over(proof, seat, ends, request, head) {
            Ok(handoff) => handoff,
            Err(error) => {
                let reason = crate::errno_text(&error);
                return self
                    .shared
                    .log(Severity::Error, &format!("a tunnel cannot begin ({reason})"));
            }
        };
        if let Some(handoff) = self.moving.keep(handoff) {
            self.adopt(handoff);
        }
    }

    pub(super) fn adopt(&self, handoff: Handoff) {
        let adopted = self.engine.borrow_mut().adopt(handoff, crate::now_ms());
        if let Err(refused) = adopted {
            let message = format!("a tunnel cannot begin: {:?}", refused.fault);
            self.shared.log(Severity::Error, &message);
            tunnels::close_account(&refused.handoff.note, &self.config());
        }
        self.tunnels_changed.notify_one();
    }
}

/// Runs the thread to its end.
pub fn run(
    shared: Arc<Shared>,
    index: u16,
    recover: Option<Death>,
    words: mpsc::Sender<Word>,
    queue: Option<mpsc::Receiver<Task>>,
    master: Option<Master>,
) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(PASSWORD_THREADS_MAX)
        .build_local(Default::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let reason = crate::errno_text(&error);
            shared.log(Severity::Emerg, &format!("a runtime cannot be made ({reason})"));
            return 2;
        }
    };
    let engine = match tunnels::engine(&shared, index, recover) {
        Ok(engine) => engine,
        Err(error) => {
            let reason = crate::errno_text(&error);
            shared.log(Severity::Emerg, &format!("the tunnel engine cannot be made ({reason})"));
            return 2;
        }
    };
    let log = Arc::clone(&shared);
    let resolvers = Resolvers::new(move |line| log.log(Severity::Error, line));
    let thread = Rc::new(Thread {
        shared,
        engine: RefCell::new(engine),
        tunnels_changed: Notify::new(),
        pool: RefCell::default(),
        resolvers,
        busy: Rc::default(),
        open: Rc::default(),
        ending: Cell::new(false),
        ending_begins: Notify::new(),
        moving: Moving::default(),
        adoption: tunnels::Adoption::default(),
    });
    runtime.block_on(async {
        if let Some(queue) = queue {
            spawn_vital(tasks::work(Rc::clone(&thread), queue));
        }
        let (tell, adopted) = oneshot::channel();
        spawn_vital(tunnels::drive(Rc::clone(&thread), index, recover, tell));
        spawn_vital(sweep(Rc::clone(&thread)));
        if index == 0 {
            spawn_vital(flush_logs(Rc::clone(&thread)));
        }
        // Whoever comes now is counted beside all who are here.
        let _ = adopted.await;
        live(thread, index, words, master).await;
    });
    0
}

async fn live(thread: Rc<Thread>, index: u16, words: mpsc::Sender<Word>, master: Option<Master>) {
    let obeying = master.map(|master| spawn_vital(obey::obey(Arc::clone(&thread.shared), master)));
    let mut listeners = Listeners::default();
    let mut orders = thread.shared.orders.subscribe();
    loop {
        let now = Arc::clone(&orders.borrow_and_update());
        match now.life {
            Life::Serving => listeners.set(&thread, &now.listeners),
            Life::Ending { .. } | Life::Stopped => listeners.clear(),
        }
        let _ = words.send(Word::Confirmed { thread: index, number: now.number }).await;
        match now.life {
            Life::Serving => {
                if orders.changed().await.is_err() {
                    break;
                }
            }
            Life::Ending { limit_ms, drain, code } => {
                if let Some(drain) = drain {
                    tunnels::drain(&thread, drain, code);
                }
                end_gracefully(&thread, limit_ms, code, &mut orders).await;
                break;
            }
            Life::Stopped => break,
        }
    }
    tunnels::close_all(&thread, Close::Shutdown);
    let _ = words.send(Word::Ended { thread: index }).await;
    if let Some(obeying) = obeying {
        let _ = obeying.await;
    }
}

/// Waits until requests and tunnels have ended, the time is over, or a stop is ordered.
async fn end_gracefully(
    thread: &Rc<Thread>,
    limit_ms: Option<u64>,
    code: u16,
    orders: &mut tokio::sync::watch::Receiver<Arc<super::Orders>>,
) {
    thread.ending.set(true);
    thread.ending_begins.notify_waiters();
    thread.pool().clear();
    let deadline = limit_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let last_moments = limit_ms.map(|ms| {
        let before = LAST_MOMENTS.min(Duration::from_millis(ms / 2));
        Instant::now() + Duration::from_millis(ms) - before
    });
    let mut is_taking_leave = false;
    loop {
        let quiet = thread.busy.get() == 0 && thread.engine.borrow().is_empty();
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        // While tunnels leave, it is not known which are still here.
        let moves = thread.moving.is_frozen();
        if (!moves && (quiet || late)) || orders.borrow().life == Life::Stopped {
            return;
        }
        if !is_taking_leave && last_moments.is_some_and(|begin| Instant::now() >= begin) {
            is_taking_leave = true;
            tunnels::take_leave(thread, code);
        }
        tokio::select! {
            () = tokio::time::sleep(END_CHECK_EVERY) => {}
            _ = orders.changed() => {}
        }
    }
}

/// Writes log lines that have waited long enough. One thread does it for all.
async fn flush_logs(thread: Rc<Thread>) {
    loop {
        let config = thread.config();
        let now = crate::now_ms();
        let next = config.logs.iter().filter_map(|log| log.flush_due(now)).min();
        drop(config);
        match next {
            // Another line may have an earlier moment.
            Some(at) => tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(at.saturating_sub(now))) => {}
                () = LINE_WAITS.notified() => {}
            },
            None => LINE_WAITS.notified().await,
        }
    }
}

async fn sweep(thread: Rc<Thread>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if !thread.pool().is_empty() {
            thread.pool().sweep(Instant::now());
        }
        thread.resolvers.sweep(crate::now_ms());
        thread.shared.old_configs.sweep();
        // Said once in a while, so that a full disk does not fill what is left of it.
        let lost = crate::log_file::take_lost();
        if lost > 0 {
            thread.shared.log(Severity::Alert, &format!("{lost} log lines could not be written"));
        }
    }
}

/// Spawns a task without which the thread is useless: a panic in it ends the process, and the
/// master makes a new worker that goes on with the tunnels.
fn spawn_vital(task: impl Future<Output = ()> + 'static) -> tokio::task::JoinHandle<()> {
    let handle = tokio::task::spawn_local(task);
    tokio::task::spawn_local(async move {
        if let Err(error) = handle.await
            && error.is_panic()
        {
            std::process::abort();
        }
    })
}

impl Thread {
    /// Counts a connection of this thread; `None` when there may be no more.
    pub(super) fn admit(self: &Rc<Self>) -> Option<Admitted> {
        let limit = u64::from(self.shared.config.load().process.worker_connections);
        let limit = limit * self.shared.threads as u64;
        let tunnels = 2 * u64::from(self.shared.seats.in_use());
        let open = self.shared.connections.load(Ordering::Relaxed) as u64;
        if open + tunnels >= limit {
            return None;
        }
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        self.open.set(self.open.get() + 1);
        Some(Admitted(Rc::clone(self)))
    }
}

/// A connection that counts among those of its thread.
pub struct Admitted(Rc<Thread>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}
