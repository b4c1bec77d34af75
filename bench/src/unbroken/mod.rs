//! What tunnels survive, counted: reloads, kills, upgrades, and how long each pause is.
//!
//! Not speed, which `compare` measures. One process plays both peers of every tunnel, so it knows
//! every byte, every end and every moment; the proxy is the real program. Called by `main`.

mod chance;
mod course;
mod crew;
mod crowd;
mod fault;
mod growth;
mod harm;
mod kill;
mod pause;
mod proxy;
mod reload;
mod role;
mod row;
mod tunnel;
mod upgrade;
mod way;

pub use fault::Fault;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::compare::{Busy, Folder, Machine, document, today};
use crew::{Crew, PATIENCE};
use proxy::{Proxy, Setting};

/// Where a socket's other end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connects to the proxy.
    Client,
    /// To whom the proxy connects.
    Upstream,
}

/// One kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Reloads under traffic.
    Reload,
    /// Kills of the worker under traffic.
    Kill,
    /// Upgrades under traffic, and successors that are killed.
    Upgrade,
    /// How long a tunnel stands still.
    Pause,
    /// What grows.
    Growth,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As the goals are written.
    Full,
    /// A few seconds, to see that all works.
    Short,
}

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The proxy.
    pub program: PathBuf,
    /// What to run; empty: everything.
    pub runs: Vec<Run>,
    /// How long.
    pub length: Length,
    /// How many threads the worker has.
    pub workers: u32,
    /// What everything random follows from.
    pub seed: u64,
    /// Whether the figures go to the page, too.
    pub write: bool,
    /// The command as it was given, for the page.
    pub command: String,
}

/// Runs, prints, and writes if told so.
///
/// # Errors
/// A run could not go on, or a goal about losses is missed.
pub fn run(options: &Options) -> Result<(), Fault> {
    // A successor whose master has ended becomes our child, and not that of process 1.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| Fault::Own(errno.to_string()))?;
    let folder = Folder::make()?;
    let (machine, busy) = (Machine::read(), Busy::read());
    let runs = if options.runs.is_empty() { &Run::ALL[..] } else { &options.runs };
    let mut rows = Vec::new();
    for run in runs {
        eprintln!("{run}, seed {}", options.seed);
        let stage = Stage { options, folder: folder.path(), run: *run };
        rows.extend(match run {
            Run::Reload => reload::run(&stage)?,
            Run::Kill => kill::run(&stage)?,
            Run::Upgrade => upgrade::run(&stage)?,
            Run::Pause => pause::run(&stage)?,
            Run::Growth => growth::run(&stage)?,
        });
    }
    let others = Busy::read().others_percent_since(&busy);
    let figures = format!(
        "Made by `{}` on {}, seed {}, on {} processors ({}), Linux {}, worker_processes {}. Other \
         processes took {others:.0} % of the machine meanwhile.\n\n{}",
        options.command,
        today(),
        options.seed,
        machine.processors,
        machine.model,
        machine.kernel,
        options.workers,
        row::table(&rows)
    );
    println!("{figures}");
    if options.write {
        document::write(Path::new(document::PATH), document::UNBROKEN, &figures)?;
    }
    let broken = rows.iter().filter(|row| row.is_broken()).count();
    match broken {
        0 => Ok(()),
        _ => Err(Fault::Own(format!("{broken} promises are broken"))),
    }
}

/// What all runs have.
pub struct Stage<'a> {
    options: &'a Options,
    folder: &'a Path,
    run: Run,
}

impl Stage<'_> {
    /// `full`, or `short` if the run is to be short.
    fn pick<T>(&self, full: T, short: T) -> T {
        match self.options.length {
            Length::Full => full,
            Length::Short => short,
        }
    }

    /// A crowd without tunnels and a proxy before it.
    fn set(&self) -> Result<(Crew, Proxy), Fault> {
        let crew = Crew::start(self.options.seed, PATIENCE)?;
        let folder = self.folder.join(self.run.to_string());
        // A run may be set twice; what the first left is not the second's.
        let _ = std::fs::remove_dir_all(&folder);
        let proxy = Proxy::start(&Setting {
            program: &self.options.program,
            folder: &folder,
            workers: self.options.workers,
            upstream: crew.upstream,
        })?;
        Ok((crew, proxy))
    }
}

impl Side {
    /// Both, the client first.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Upstream];

    /// The place in an array of two.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The one across the proxy.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Side::Client => "client",
            Side::Upstream => "upstream",
        })
    }
}

impl Run {
    /// In the order in which they are run.
    pub const ALL: [Run; 5] = [Run::Reload, Run::Kill, Run::Upgrade, Run::Pause, Run::Growth];
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Run::Reload => "reload",
            Run::Kill => "kill",
            Run::Upgrade => "upgrade",
            Run::Pause => "pause",
            Run::Growth => "growth",
        })
    }
}

impl FromStr for Run {
    type Err = String;

    fn from_str(word: &str) -> Result<Run, String> {
        let found = Run::ALL.into_iter().find(|run| run.to_string() == word);
        found.ok_or_else(|| {
            format!("no run \"{word}\"; there are reload, kill, upgrade, pause and growth")
        })
    }
}

#[cfg(test)]
mod tests;
