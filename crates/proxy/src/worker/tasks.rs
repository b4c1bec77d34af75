//! What the first thread asks of the thread that carries a tunnel: its engine is in no other
//! thread's reach.
//!
//! `obey` asks, each thread answers. Not here: orders that hold for all (`Orders`).

use super::Thread;
use super::tunnels;
use perdura_tunnel::{Close, TunnelId};
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

/// One thing to do, and where the answer goes.
pub enum Task {
    /// End a tunnel by the operator's will; whether there was one.
    Close { tunnel: TunnelId, answer: oneshot::Sender<bool> },
}

/// How many tasks may wait for a thread; who asks waits for room.
pub const TASKS_MAX: usize = 64;

/// Does what is asked for as long as the thread lives.
pub async fn work(thread: Rc<Thread>, mut tasks: mpsc::Receiver<Task>) {
    while let Some(task) = tasks.recv().await {
        match task {
            Task::Close { tunnel, answer } => {
                let found = tunnels::close(&thread, tunnel, Close::Operator);
                // Nobody waits any more: the worker is ending.
                let _ = answer.send(found);
            }
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
