//! How many descriptors there may be, and how large the table of tunnels is.
//!
//! The worker's limit stays below the master's, because both fill one table: when the worker meets
//! its limit, the master can still open a log or a socket.

use perdura_conf::{Fault, Level, Place};
use perdura_proxy::Process;
use perdura_tunnel::Limits;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

/// The descriptors that only the master can have: the last of the table.
pub const RESERVED: u64 = 64;

/// Raises the master's own limit so far that the worker can have what it should, and gives the
/// worker's.
pub fn raise(process: &Process) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let wanted = wanted(process, now.current);
    let master = wanted.saturating_add(RESERVED);
    let hard = now.maximum.unwrap_or(UNLIMITED);
    if now.current.is_some_and(|current| current < master) {
        let raised = |current, maximum| Rlimit { current: Some(current), maximum: Some(maximum) };
        // Above the hard limit only root may go, only up to the kernel's `nr_open`, and only when
        // somebody asked for it.
        let asked = process.worker_rlimit_nofile.is_some() && master > hard;
        let higher = asked && setrlimit(Resource::Nofile, raised(master, master)).is_ok();
        if !higher {
            // Within the hard limit this does not fail.
            let _ = setrlimit(Resource::Nofile, raised(master.min(hard), hard));
        }
    }
    let got = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    wanted.min(got.saturating_sub(RESERVED)).max(1)
}

/// What all threads together would have in nginx, where each is a process with a table of its own:
/// `worker_rlimit_nofile`, or the limit in force, for each.
fn wanted(process: &Process, current: Option<u64>) -> u64 {
    let each = process.worker_rlimit_nofile.or(current).unwrap_or(UNLIMITED);
    each.saturating_mul(process.worker_processes as u64).min(UNLIMITED)
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

/// Warns of a limit that all threads together can meet before each has its `worker_connections`,
/// which stand at `place`.
pub fn shared_warning(process: &Process, place: Option<Place>) -> Option<Fault> {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(UNLIMITED);
    let may_exceed = process.worker_rlimit_nofile.is_some() && geteuid().is_root();
    let most = if may_exceed { UNLIMITED } else { hard.saturating_sub(RESERVED) };
    let limit = wanted(process, now.current).min(most);
    let (threads, each) = (process.worker_processes as u64, u64::from(process.worker_connections));
    let needed = each.saturating_mul(threads);
    if needed <= limit {
        return None;
    }
    let message = format!(
        "{each} worker_connections of each of {threads} worker_processes need {needed} descriptors, \
         and there are {limit}"
    );
    let fault = Fault { level: Level::Warn, place, ..Fault::nowhere(message) };
    let line = each.saturating_add(ROOM.div_ceil(threads.max(1)));
    Some(fault.hint(match needed + ROOM <= most {
        true => format!("write in the main context: worker_rlimit_nofile {line};"),
        false => format!(
            "the hard limit is {hard}: raise it to {} where the service is started \
             (LimitNOFILE= of systemd), and write in the main context: worker_rlimit_nofile {line};",
            needed + ROOM + RESERVED
        ),
    }))
}

/// Descriptors of listeners, logs and threads, beside those of connections.
const ROOM: u64 = 256;

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
