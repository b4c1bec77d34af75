//! The worker: threads that each run one runtime, accept clients and drive one tunnel engine.
//!
//! The master makes it by `clone` and calls [`run_worker`]; from then on it hears of the master
//! only through the control socket.

mod accept;
mod aside;
mod door;
mod giving;
mod moving;
mod obey;
mod obey_move;
mod orphan;
mod roll;
mod tasks;
#[cfg(test)]
mod tests;
mod thread;
mod tunnels;

pub use thread::Thread;

use crate::config::{Config, Options};
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::modules::upgrade::Drain;
use arc_swap::ArcSwap;
use aside::OldConfigs;
use perdura_tunnel::{Death, Seats, Table};
use roll::Roll;
use rustix::fd::{OwnedFd, RawFd};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tasks::Task;
use tokio::sync::{mpsc, watch};

/// What the master leaves to a new worker.
pub struct Inheritance {
    pub config: Arc<Config>,
    /// Key and descriptor of each socket that listens.
    pub listeners: Vec<(String, RawFd)>,
    pub logs: Vec<(PathBuf, RawFd)>,
    pub table: Arc<Table>,
    /// The worker's end of the control socket.
    pub control: OwnedFd,
    /// The operator's socket, which the worker answers when the master has died.
    pub door: Option<RawFd>,
    pub options: Options,
    /// The table holds tunnels of a worker that died.
    pub recover: bool,
    /// It died of a fault of its own.
    pub crashed: bool,
}

/// What all threads share.
pub struct Shared {
    config: ArcSwap<Config>,
    table: Arc<Table>,
    seats: Arc<Seats>,
    orders: watch::Sender<Arc<Orders>>,
    /// Numbers for `$connection`.
    connection_number: AtomicU64,
    /// Clients' connections that are open.
    connections: AtomicUsize,
    threads: usize,
    /// One queue for each thread.
    tasks: Vec<mpsc::Sender<Task>>,
    old_configs: OldConfigs,
}

/// What the threads are to do; each confirms when it does.
#[derive(Clone, Debug)]
pub struct Orders {
    pub number: u64,
    pub life: Life,
    pub listeners: Vec<(String, RawFd)>,
}

/// The life of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Serving,
    /// No new clients; what is open is served to its end, or for this many milliseconds. Tunnels
    /// are drained, if there is an order for it.
    Ending {
        limit_ms: Option<u64>,
        drain: Option<Drain>,
        /// Of the Close frames.
        code: u16,
    },
    Stopped,
}

impl Shared {
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Writes a line that belongs to no request.
    pub fn log(&self, severity: Severity, message: &str) {
        error_log::process(&self.config.load().process.error_logs, severity, message);
    }

    fn next_connection(&self) -> u64 {
        self.connection_number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Runs the worker until it is told to end; the result is its exit code.
pub fn run_worker(inheritance: Inheritance) -> i32 {
    let Inheritance { config, listeners, logs, table, control, door, options, recover, crashed } =
        inheritance;
    let death = if crashed { Death::Crashed } else { Death::Killed };
    let recover = recover.then_some(death);
    error_log::set_process(rustix::process::getpid().as_raw_nonzero().get().unsigned_abs());
    obey::assign_logs(&config, &logs);
    obey::keep_secrets_in(&config);
    let threads = config.process.worker_processes.clamp(1, usize::from(table.limits().threads));
    let seats = Seats::rebuild(Arc::clone(&table));
    seats.set_bound(seat_bound(&config, threads));
    let orders = Orders { number: 0, life: Life::Serving, listeners };
    let (tasks, mut queues): (Vec<_>, VecDeque<_>) =
        (0..threads).map(|_| mpsc::channel(tasks::TASKS_MAX)).unzip();
    let shared = Arc::new(Shared {
        config: ArcSwap::new(config),
        table,
        seats,
        orders: watch::Sender::new(Arc::new(orders)),
        connection_number: AtomicU64::new(0),
        connections: AtomicUsize::new(0),
        threads,
        tasks,
        old_configs: OldConfigs::default(),
    });
    // As many words wait as threads can say before the first one listens: orders come one by one.
    let (words, heard) = mpsc::channel(threads * WORDS_PER_THREAD);
    let roll = Roll::new(heard, 0..threads as u16);
    let mut others = Vec::new();
    let first_queue = queues.pop_front();
    for index in 1..threads {
        let (its_own, words) = (Arc::clone(&shared), words.clone());
        let name = format!("perdura {index}");
        let queue = queues.pop_front();
        let body = move || thread::run(its_own, index as u16, recover, words, queue, None);
        match std::thread::Builder::new().name(name).spawn(body) {
            Ok(handle) => others.push(handle),
            Err(error) => {
                let reason = crate::errno_text(&error);
                shared.log(Severity::Alert, &format!("a thread cannot be started ({reason})"));
                return 2;
            }
        }
    }
    let master = obey::Master { control, door, options, roll };
    let logs = Arc::clone(&shared);
    let code = thread::run(shared, 0, recover, words, first_queue, Some(master));
    for handle in others {
        // A thread that panicked has ended the process already.
        let _ = handle.join();
    }
    logs.config().logs.iter().for_each(|log| log.flush());
    code
}

/// How many words of one thread may wait.
const WORDS_PER_THREAD: usize = 16;

/// How many tunnels there may be: each holds two of the `worker_connections`.
fn seat_bound(config: &Config, threads: usize) -> u32 {
    let connections = u64::from(config.process.worker_connections) * threads as u64;
    u32::try_from(connections / 2).unwrap_or(u32::MAX)
}
