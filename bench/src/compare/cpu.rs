//! How long processes have run, in nanoseconds, from `/proc/PID/task/TID/schedstat`.
//!
//! `/proc/PID/stat` counts ticks of 10 ms, too coarse for windows of a second; `schedstat` is the
//! scheduler's own sum. Both leave out what the kernel does for a process in other threads
//! (`ksoftirqd`), for every proxy alike. Called by `measure`.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::fault::Fault;

/// The run time of every thread of some processes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunTime {
    threads: BTreeMap<(u32, u32), u64>,
}

impl RunTime {
    /// Reads the run time of all threads of `pids` now.
    pub fn read(pids: &[u32]) -> Result<RunTime, Fault> {
        let mut threads = BTreeMap::new();
        for &pid in pids {
            let folder = fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| gone(pid))?;
            for entry in folder {
                let name = entry.map_err(|_| gone(pid))?.file_name();
                let Some(tid) = name.to_str().and_then(|tid| tid.parse().ok()) else { continue };
                // A thread may end between the list and the look; its process has not.
                let Ok(line) = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat"))
                else {
                    continue;
                };
                let first = line.split_whitespace().next();
                if let Some(run_ns) = first.and_then(|word| word.parse().ok()) {
                    threads.insert((pid, tid), run_ns);
                }
            }
        }
        Ok(RunTime { threads })
    }

    /// How many nanoseconds were run between `before` and this moment. Threads that are new count
    /// whole; of threads that have ended since the last moments are lost.
    pub fn since(&self, before: &RunTime) -> u64 {
        let ran = |(thread, now): (_, &u64)| {
            now.saturating_sub(before.threads.get(thread).copied().unwrap_or(0))
        };
        self.threads.iter().map(ran).sum()
    }
}

/// Waits until the processes that `list` names are quiet, so that nothing of one window is charged
/// to the next; gives up waiting after [`SETTLE_MAX`], for something may be busy for ever. The list
/// is taken anew each time: a proxy may have children that only help it to start.
pub fn settle(list: &dyn Fn() -> Vec<u32>) {
    let begun = Instant::now();
    let mut before = None;
    while begun.elapsed() < SETTLE_MAX {
        let now = RunTime::read(&list()).ok();
        if let (Some(now), Some(before)) = (&now, &before)
            && now.since(before) < QUIET_NS
        {
            return;
        }
        before = now;
        std::thread::sleep(SETTLE_INTERVAL);
    }
}

const SETTLE_MAX: Duration = Duration::from_secs(3);
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);
/// Who runs less than this in one interval (1 %) is quiet.
const QUIET_NS: u64 = 200_000;

fn gone(pid: u32) -> Fault {
    Fault::Vanished { pid }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(threads: &[((u32, u32), u64)]) -> RunTime {
        RunTime { threads: threads.iter().copied().collect() }
    }

    #[test]
    fn new_threads_count_whole_and_ended_ones_not_at_all() {
        let before = moment(&[((1, 1), 100), ((1, 2), 50), ((2, 2), 7)]);
        let after = moment(&[((1, 1), 160), ((2, 2), 7), ((2, 3), 5)]);
        assert_eq!(after.since(&before), 65);
    }

    #[test]
    fn work_is_seen() {
        let me = [std::process::id()];
        let before = RunTime::read(&me).unwrap();
        let begun = Instant::now();
        while RunTime::read(&me).unwrap().since(&before) < 1_000_000 {
            assert!(begun.elapsed() < Duration::from_secs(10), "no run time is counted here");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_a_fault() {
        // Numbers end at 2^22 (proc(5), pid_max).
        assert_eq!(RunTime::read(&[u32::MAX]), Err(Fault::Vanished { pid: u32::MAX }));
    }
}
