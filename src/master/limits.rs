//! How many descriptors there may be, and how large the table of tunnels is.
//!
//! The worker's limit stays below the master's, because both fill one table: when the worker meets
//! its limit, the master can still open a log or a socket.

use perdura_proxy::Process;
use perdura_tunnel::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that only the master can have: the last of the table.
pub const RESERVED: u64 = 64;

/// Raises the master's own limit so far that the worker can have what it should, and gives the
/// worker's. The worker's is what nginx's would be: `worker_rlimit_nofile`, or the one in force.
pub fn raise(process: &Process) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let wanted = process.worker_rlimit_nofile.or(now.current).unwrap_or(UNLIMITED);
    let master = wanted.saturating_add(RESERVED);
    let hard = now.maximum.unwrap_or(UNLIMITED);
    if now.current.is_some_and(|current| current < master) {
        let raised = |current, maximum| Rlimit { current: Some(current), maximum: Some(maximum) };
        // Above the hard limit only root may go, and only up to the kernel's `nr_open`.
        let higher = master > hard && setrlimit(Resource::Nofile, raised(master, master)).is_ok();
        if !higher {
            // Within the hard limit this does not fail.
            let _ = setrlimit(Resource::Nofile, raised(master.min(hard), hard));
        }
    }
    let got = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    wanted.min(got.saturating_sub(RESERVED)).max(1)
}

/// nginx's warning, when there is reason for it.
pub fn warning(process: &Process) -> Option<String> {
    let connections = u64::from(process.worker_connections);
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    let set = process.worker_rlimit_nofile;
    if connections <= limit || set.is_some_and(|set| connections <= set) {
        return None;
    }
    Some(format!("{connections} worker_connections exceed open file resource limit: {limit}"))
}

/// The table for the most tunnels that there can ever be: two descriptors each. It is sparse, so
/// its size costs nothing; a reload only moves a bound inside it.
pub fn of_table() -> Limits {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED);
    let records = u32::try_from(hard / 2).unwrap_or(u32::MAX).clamp(RECORDS_MIN, RECORDS_MAX);
    Limits {
        records,
        chunks: records.min(CHUNKS_MAX),
        note_bytes: u64::from(records) * NOTE_BYTES_EACH,
        threads: THREADS_MAX,
    }
}

/// What stands for "unlimited" in sums.
const UNLIMITED: u64 = 1 << 30;

const RECORDS_MIN: u32 = 512;
const RECORDS_MAX: u32 = 1 << 20;

/// Directions that may hold bytes which their sink does not take, at a time: 4 GiB of memory.
const CHUNKS_MAX: u32 = 1 << 16;

/// Room for a log line and addresses of every tunnel.
const NOTE_BYTES_EACH: u64 = 1024;

/// As many as `worker_processes` may be.
const THREADS_MAX: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_within_what_a_table_may_be() {
        let limits = of_table();
        assert!((RECORDS_MIN..=RECORDS_MAX).contains(&limits.records));
        assert!(perdura_tunnel::Table::create(limits).is_ok());
    }
}
