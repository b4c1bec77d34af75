//! What the first thread asks of the thread that carries a tunnel: its engine is in no other
//! thread's reach.
//!
//! `obey` asks, each thread answers. Not here: orders that hold for all (`Orders`).

use super::Thread;
use super::moving::{self, Coming, Meanwhile, Verified};
use super::tunnels;
use perdura_tunnel::{Close, Table, TunnelId};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// One thing to do, and where the answer goes.
pub enum Task {
    /// End a tunnel by the operator's will; whether there was one.
    Close {
        tunnel: TunnelId,
        answer: oneshot::Sender<bool>,
    },
    /// Turn no more until the thaw.
    Freeze {
        answer: oneshot::Sender<()>,
    },
    /// Give up these tunnels, which go on elsewhere; those of other threads are passed over.
    Release {
        gone: Arc<Vec<u64>>,
        answer: oneshot::Sender<()>,
    },
    Thaw {
        meanwhile: Meanwhile,
        answer: oneshot::Sender<()>,
    },
    /// Prepare these tunnels of another process; the names of those that cannot be.
    Prepare {
        table: Arc<Table>,
        coming: Vec<Coming>,
        answer: oneshot::Sender<Vec<u64>>,
    },
    /// Look at what was prepared once more: it stands still.
    Verify {
        table: Arc<Table>,
        answer: oneshot::Sender<Verified>,
    },
    /// Go on with what was prepared; how many.
    Go {
        answer: oneshot::Sender<u32>,
    },
    /// Drop what was prepared.
    Forget {
        answer: oneshot::Sender<()>,
    },
}

/// How many tasks may wait for a thread; who asks waits for room.
pub const TASKS_MAX: usize = 64;

/// Does what is asked for as long as the thread lives.
pub async fn work(thread: Rc<Thread>, mut tasks: mpsc::Receiver<Task>) {
    while let Some(task) = tasks.recv().await {
        work_on(&thread, task);
    }
}

/// Nobody may wait for an answer any more: then the worker is ending.
fn work_on(thread: &Rc<Thread>, task: Task) {
    match task {
        Task::Close { tunnel, answer } => {
            let thread = Rc::clone(thread);
            // The thaw comes through the queue as well.
            tokio::task::spawn_local(async move {
                thread.moving.thawed().await;
                let _ = answer.send(tunnels::close(&thread, tunnel, Close::Operator));
            });
        }
        Task::Freeze { answer } => {
            tunnels::adopt_the_rest(thread);
            thread.moving.freeze();
            let _ = answer.send(());
        }
        Task::Release { gone, answer } => {
            moving::release(thread, &gone);
            let _ = answer.send(());
        }
        Task::Thaw { meanwhile, answer } => {
            moving::thaw(thread, meanwhile);
            let _ = answer.send(());
        }
        Task::Prepare { table, coming, answer } => {
            let _ = answer.send(moving::prepare(thread, &table, coming));
        }
        Task::Verify { table, answer } => {
            let _ = answer.send(moving::verify(thread, &table));
        }
        Task::Go { answer } => {
            let _ = answer.send(moving::go(thread));
        }
        Task::Forget { answer } => {
            moving::forget(thread);
            let _ = answer.send(());
        }
    }
}

/// Asks one thread and waits for its answer; `None` when it has ended.
pub async fn ask<T>(
    thread: &mpsc::Sender<Task>,
    task: impl FnOnce(oneshot::Sender<T>) -> Task,
) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    thread.send(task(answer)).await.ok()?;
    answered.await.ok()
}
