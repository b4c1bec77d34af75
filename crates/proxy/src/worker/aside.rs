//! Work that takes longer than a tunnel may stand still, done beside the threads that serve: building a
//! configuration, and freeing one.
//!
//! Not here: what is built. Called by `obey` and, once in a while, by the first thread.

use crate::config::Config;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// How much such a thread stands back behind those that serve (nice(2)).
const NICE: i32 = 10;

/// As much as a main thread has: what it reads may be nested.
const STACK_BYTES: usize = 8 << 20;

/// Runs `work` in a thread of its own and waits for what comes of it. A panic ends that thread only.
pub async fn aside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (tell, told) = oneshot::channel();
    let started = thread(name).spawn(move || {
        stand_back();
        let _ = tell.send(work());
    });
    started.map_err(|error| format!("a thread cannot be started ({error})"))?;
    told.await.unwrap_or_else(|_| Err("the thread that built it has panicked".to_owned()))
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES)
}

fn stand_back() {
    // On Linux the priority is the thread's own. Without it the work is done as well.
    let _ = setpriority_process(Some(gettid()), NICE);
}

/// Configurations that requests may still use: whoever let go of one last would have to free it.
#[derive(Default)]
pub struct OldConfigs(Mutex<Vec<Arc<Config>>>);

impl OldConfigs {
    pub fn add(&self, config: Arc<Config>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(config);
    }

    /// Frees those that nobody else has any more.
    pub fn sweep(&self) {
        let mut configs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            configs.extract_if(.., |config| Arc::strong_count(config) == 1).collect();
        if gone.is_empty() {
            return;
        }
        // Where there can be no thread, they are freed here.
        let _ = thread("freeing").spawn(move || {
            stand_back();
            drop(gone);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(aside("sum", || Ok(1 + 1))), Ok(2));
        let fault =
            runtime.block_on(aside("panic", || -> Result<(), String> { panic!("planted") }));
        assert_eq!(fault, Err("the thread that built it has panicked".to_owned()));
    }
}
