//! From a command line to a server: nginx's steps in nginx's order.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use perdura_conf::errno_text;
use perdura_proxy::{Config, Options, Severity, build};
use perdura_tunnel::Table;

use super::heritage::Heritage;
use super::link::{Link, Peer};
use super::listeners::Listeners;
use super::logs::Logs;
use super::orphan::{self, Orphan};
use super::pid_file::PidFile;
use super::reader::Reader;
use super::reload::Reload;
use super::worker::Pauses;
use super::{Ending, Master, Place, limits, single};
use crate::cli::Command;
use crate::notify::Notify;
use crate::report::Report;
use crate::signal::{self, Signals};
use crate::{daemon, paths, version};

/// Starts and serves; gives the exit code.
pub fn run(command: &Command, report: &mut Report) -> u8 {
    serve(paths::options(command), report, || {})
}

/// The same for who has options instead of a command line; `listening` is called once every socket
/// listens and the signals are heard.
pub fn serve(options: Options, report: &mut Report, listening: impl FnOnce()) -> u8 {
    let heritage = Heritage::take();
    let Some(config) = read(&options, report) else { return 1 };
    // Whoever can connect may also send a signal: from the first socket that listens on, it waits
    // until it is heard and does not do what it does to any program.
    if let Err(error) = signal::hold() {
        report.say(Severity::Emerg, &format!("sigprocmask() failed {}", errno_text(&error)));
        return 1;
    }
    let mut past = match Past::find(heritage, &config) {
        Ok(past) => past,
        Err(text) => {
            report.say(Severity::Emerg, &text);
            return 1;
        }
    };
    let Some(opened) = Opened::new(&config, past.take_listeners(), report) else {
        return 1;
    };
    match settle(options, config, opened, past) {
        Ok(settled) => {
            report.end();
            listening();
            match settled {
                Settled::Master(master) => master.serve(),
                Settled::Single(single) => single.serve(),
            }
        }
        Err(text) => {
            report.say(Severity::Emerg, &text);
            1
        }
    }
}

/// Reads the configuration in a child and builds it here; every fault is reported.
fn read(options: &Options, report: &mut Report) -> Option<Arc<Config>> {
    let reading = Reader::read_now(options)
        .map_err(|fault| report.say(Severity::Emerg, &fault.to_string()))
        .ok()?;
    let built = build(&reading.snapshot, options);
    report.faults(&built.faults, &built.sources);
    built.config
}

/// What there was before this program.
enum Past {
    Nothing,
    /// An older program, which has started this one.
    Program(Heritage),
    /// What a master that died has left.
    Orphan(Orphan),
}

impl Past {
    fn find(heritage: Option<Heritage>, config: &Config) -> Result<Past, String> {
        if let Some(heritage) = heritage {
            return Ok(Past::Program(heritage));
        }
        // Without a master there is nobody to take anything over.
        if !config.process().master_process {
            return Ok(Past::Nothing);
        }
        let found = orphan::find(&config.process().pid)?;
        Ok(found.map_or(Past::Nothing, Past::Orphan))
    }

    fn take_listeners(&mut self) -> Vec<OwnedFd> {
        match self {
            Past::Nothing => Vec::new(),
            Past::Program(heritage) => std::mem::take(&mut heritage.listeners),
            Past::Orphan(orphan) => std::mem::take(&mut orphan.listeners),
        }
    }

    /// The connection over which tunnels come and go.
    fn link(self) -> Option<Link> {
        match self {
            Past::Nothing => None,
            Past::Program(heritage) => {
                let parent = rustix::process::getppid()?;
                Link::new(heritage.link, Peer::Predecessor(parent)).ok()
            }
            Past::Orphan(orphan) => Link::new(orphan.link, Peer::Orphan(orphan.pid)).ok(),
        }
    }
}

/// What has to be open before anything else makes sense.
struct Opened {
    logs: Logs,
    listeners: Listeners,
}

impl Opened {
    fn new(config: &Config, inherited: Vec<OwnedFd>, report: &mut Report) -> Option<Opened> {
        let logs = Logs::open(config.log_files())
            .map_err(|fault| report.say(Severity::Emerg, &fault.to_string()))
            .ok()?;
        let listeners = Listeners::bind(config.listens(), inherited, |severity, text| {
            report.say(severity, text);
        })?;
        if let Some(text) = limits::warning(config.process()) {
            report.say(Severity::Warn, &text);
        }
        Some(Opened { logs, listeners })
    }
}

enum Settled {
    Master(Box<Master>),
    Single(Box<single::Single>),
}

/// Leaves the terminal, writes the pid file, hands stderr to the log, and makes the table.
fn settle(
    options: Options,
    config: Arc<Config>,
    opened: Opened,
    past: Past,
) -> Result<Settled, String> {
    let failed = |what: &str, error: io::Error| format!("{what} failed {}", errno_text(&error));
    let Opened { mut logs, listeners } = opened;
    let process = config.process();
    let descriptors = limits::raise(process);
    // The predecessor has left the terminal already (nginx).
    if process.daemon && !matches!(past, Past::Program(_)) {
        daemon::detach().map_err(|error| failed("fork()", error))?;
    }
    let pid = &process.pid;
    let pid_file = PidFile::write(pid)
        .map_err(|error| failed(&format!("open() \"{}\"", pid.display()), error))?;
    let table = Table::create(limits::of_table())
        .map_err(|error| failed("making the table of tunnels", error))?;
    let signals = Signals::install().map_err(|error| failed("sigaction()", error))?;
    logs.direct(&process.error_logs);
    logs.line(Severity::Notice, version::PERDURA);
    logs.line(Severity::Notice, &format!("built by {}", version::COMPILER));
    let table = Arc::new(table);
    if let Past::Orphan(orphan) = &past {
        let pid = orphan.pid.as_raw_nonzero();
        let text = format!("taking over from worker process {pid}, which has lost its master");
        logs.line(Severity::Notice, &text);
    }
    let link = past.link();
    let notify = Notify::from_environment().map_err(|error| failed("NOTIFY_SOCKET", error))?;
    if !process.master_process {
        let single =
            single::Single { options, config, logs, listeners, table, signals, pid_file, notify };
        return Ok(Settled::Single(Box::new(single)));
    }
    Ok(Settled::Master(Box::new(Master {
        options,
        config,
        logs,
        notify,
        listeners,
        table,
        signals,
        pid_file: Some(pid_file),
        control: None,
        closing: Vec::new(),
        link,
        lost_successor: None,
        upgrade: None,
        after_move: None,
        descriptors,
        worker: Place::Empty,
        pauses: Pauses::default(),
        reload: Reload::Idle,
        reopen_at: None,
        reload_again: false,
        ending: Ending::No,
        served: false,
        started_workers: 0,
        crashed: false,
    })))
}
