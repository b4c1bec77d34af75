//! What the master orders: a new configuration, an end.

use super::aside::aside;
use super::obey_move::{self, Source};
use super::orphan;
use super::roll::Roll;
use super::tasks::{self, Task};
use super::{Life, Orders, Shared, seat_bound};
use crate::config::{Config, Options, build};
use crate::control::{self, Afterwards, ToMaster, ToWorker};
use crate::inherited;
use crate::log_buffer::LINE_WAITS;
use crate::modules::error_log::Severity;
use crate::modules::upgrade;
use crate::world::{SNAPSHOT_BYTES_MAX, Snapshot};
use perdura_conf::Level;
use perdura_tunnel::TunnelId;
use rustix::fd::{AsFd, OwnedFd, RawFd};
use rustix::process::PidfdFlags;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// The first thread's link to the master and to the other threads.
pub struct Master {
    pub control: OwnedFd,
    /// The operator's socket, for when the master has died.
    pub door: Option<RawFd>,
    pub options: Options,
    pub roll: Roll,
}

/// Tells each log file of a configuration which descriptor it has.
pub fn assign_logs(config: &Config, logs: &[(PathBuf, RawFd)]) {
    let numbers: HashMap<_, _> = logs.iter().map(|(path, number)| (path, *number)).collect();
    for file in &config.logs {
        if let Some(number) = numbers.get(&file.path) {
            file.set_number(*number);
        }
    }
}

/// Obeys until the worker ends.
pub async fn obey(shared: Arc<Shared>, mut master: Master) {
    // The duplicate is non-blocking in the runtime's sense; both ends stay packets.
    if rustix::io::ioctl_fionbio(&master.control, true).is_err() {
        std::process::abort();
    }
    let Ok(socket) = master.control.try_clone().and_then(inherited::watch) else {
        std::process::abort();
    };
    let mut source = Source::default();
    let gone = master_gone(shared.config().process.master_process);
    tokio::pin!(gone);
    master.roll.confirmed(0).await;
    tell(&master, &ToMaster::Ready);
    loop {
        let message = tokio::select! {
            // What it has said last is obeyed, even when it has died since.
            biased;
            message = next(&socket) => message,
            () = &mut gone => Ok(None),
            () = master.roll.all_ended() => {
                return tell(&master, &ToMaster::Finished);
            }
        };
        match message {
            Ok(Some(ToWorker::Reload { snapshot, listeners, logs })) => {
                match reload(&shared, &master.options, snapshot, listeners, logs).await {
                    Ok(number) => {
                        master.roll.confirmed(number).await;
                        tell(&master, &ToMaster::Reloaded);
                    }
                    Err(why) => tell(&master, &ToMaster::Refused { why }),
                }
            }
            Ok(Some(ToWorker::Quit(afterwards) | ToWorker::Drain(afterwards))) => {
                end(&shared, &mut master, afterwards).await;
                tell(&master, &ToMaster::Released);
            }
            Ok(Some(ToWorker::Close { request, tunnel })) => {
                let found = close(&shared, TunnelId::from_number(tunnel)).await;
                tell(&master, &ToMaster::Closed { request, found });
            }
            Ok(Some(ToWorker::Stop)) => {
                order(&shared, |orders| orders.life = Life::Stopped);
            }
            Ok(Some(ToWorker::Flush)) => {
                shared.config().logs.iter().for_each(|log| log.flush());
                tell(&master, &ToMaster::Flushed);
            }
            Ok(Some(order)) => {
                if let Some(answer) = obey_move::obey(&shared, &mut source, order).await {
                    tell(&master, &answer);
                }
            }
            // Without a master the worker serves on: it is what users are connected to.
            Ok(None) => {
                // There may be no other descriptor for who comes next.
                drop(socket);
                return orphan::outlive(shared, master, source).await;
            }
            Err(error) => {
                let reason = crate::errno_text(&error);
                shared.log(Severity::Alert, &format!("the control socket failed ({reason})"));
                return master.roll.all_ended().await;
            }
        }
    }
}

/// Begins to end gracefully; every thread has stopped to listen then. Said again it changes nothing:
/// a thread that is ending hears of no other orders but to stop.
pub async fn end(shared: &Shared, master: &mut Master, afterwards: Afterwards) {
    if shared.orders.borrow().life != Life::Serving {
        return;
    }
    let config = shared.config();
    let limit_ms = config.process.worker_shutdown_timeout_ms;
    let drain = config.drain();
    let code = drain.and_then(|drain| drain.code).unwrap_or(match afterwards {
        Afterwards::Nobody => upgrade::GOING_AWAY,
        Afterwards::Another => upgrade::SERVICE_RESTART,
    });
    let number = order(shared, |orders| orders.life = Life::Ending { limit_ms, drain, code });
    master.roll.confirmed(number).await;
}

/// Ends a tunnel on whichever thread carries it.
async fn close(shared: &Shared, tunnel: TunnelId) -> bool {
    for thread in &shared.tasks {
        let closed = tasks::ask(thread, |answer| Task::Close { tunnel, answer }).await;
        if closed == Some(true) {
            return true;
        }
    }
    false
}

/// Resolves when the master has died. Its end of the control socket says nothing then: it lives on
/// in the descriptor table that this worker shares with it.
async fn master_gone(has_master: bool) {
    let parent = if has_master { rustix::process::getppid() } else { None };
    let watched = parent
        .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        .and_then(|descriptor| inherited::watch(descriptor).ok());
    match watched {
        Some(process) => {
            let _ = process.readable().await;
        }
        // Without a process to watch nobody will be missed.
        None => std::future::pending().await,
    }
}

async fn next(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<ToWorker>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| control::receive(socket.as_fd())) {
            Err(_) => continue,
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(packet))) => match ToWorker::decode(&packet) {
                Ok(message) => return Ok(Some(message)),
                Err(fault) => return Err(io::Error::other(fault)),
            },
            Ok(Err(error)) => return Err(error),
        }
    }
}

fn tell(master: &Master, message: &ToMaster) {
    // A master that does not listen has gone, which the next read says.
    let _ = control::send(master.control.as_fd(), &message.encode());
}

/// Gives all threads new orders; the result is their number.
fn order(shared: &Shared, change: impl FnOnce(&mut Orders)) -> u64 {
    let mut number = 0;
    shared.orders.send_modify(|orders| {
        let mut next = Orders::clone(orders);
        next.number += 1;
        change(&mut next);
        number = next.number;
        *orders = Arc::new(next);
    });
    number
}

/// Swaps to the new configuration; on any fault the old one stays. It is built beside the threads
/// that serve: thousands of servers take longer than a tunnel may stand still.
async fn reload(
    shared: &Arc<Shared>,
    options: &Options,
    snapshot: RawFd,
    listeners: Vec<(String, RawFd)>,
    logs: Vec<(PathBuf, RawFd)>,
) -> Result<u64, String> {
    let options = options.clone();
    let config = aside("reload", move || {
        let config = configuration(snapshot, &options)?;
        assign_logs(&config, &logs);
        Ok(config)
    });
    let config = config.await?;
    if let Some(why) = config.zones.conflict_with(&shared.config().zones) {
        return Err(why);
    }
    carry(&shared.config(), &config);
    shared.seats.set_bound(seat_bound(&config, shared.threads));
    if config.process.worker_processes != shared.threads {
        let message = "a changed \"worker_processes\" takes effect at the next start";
        shared.log(Severity::Notice, message);
    }
    keep_secrets_in(&config);
    let old = shared.config.swap(Arc::clone(&config));
    let stay: HashSet<_> = config.logs.iter().map(|log| &log.path).collect();
    old.logs.iter().for_each(|log| log.retire(stay.contains(&log.path)));
    shared.old_configs.add(old);
    LINE_WAITS.notify_one();
    Ok(order(shared, |orders| orders.listeners = listeners))
}

/// Builds a configuration from the memory that the master has filled.
fn configuration(snapshot: RawFd, options: &Options) -> Result<Arc<Config>, String> {
    let snapshot = read_snapshot(snapshot).map_err(|error| error.to_string())?;
    let built = build(&snapshot, options);
    built.config.ok_or_else(|| {
        let first = built.faults.into_iter().find(|fault| fault.level == Level::Emerg);
        first.map(|fault| fault.message).unwrap_or_default()
    })
}

/// Where there are keys, no core dump is written and no process of the same user looks in; what the
/// kernel has been told once stays so.
pub(super) fn keep_secrets_in(config: &Config) {
    if config.speaks_tls {
        // The kernel refuses no process this.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// What goes on from one configuration to the next: what upstream peers and limits count.
fn carry(old: &Config, new: &Config) {
    new.zones.carry_from(&old.zones);
    for (name, group) in &new.groups {
        if let Some(before) = old.groups.get(name) {
            group.carry_from(before);
        }
    }
}

fn read_snapshot(number: RawFd) -> io::Result<Snapshot> {
    let mut file = std::fs::File::from(inherited::duplicate(number)?);
    io::Seek::rewind(&mut file)?;
    let mut bytes = Vec::new();
    file.take(SNAPSHOT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Snapshot::decode(&bytes).map_err(io::Error::other)
}
