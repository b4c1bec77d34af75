//! The side-by-side runner: the same load through every proxy in turn, in the same minute.
//!
//! Not the load. It starts everything, on free ports and in a temporary folder, and ends it again.
//! Called by `main`.

mod conf;
mod cpu;
pub mod document;
mod ends;
mod fault;
mod goal;
mod machine;
mod measure;
pub mod memory;
mod peer;
mod process;
mod statistics;
mod table;

pub use fault::Fault;
pub use machine::{Busy, Machine, today};
pub use process::{Process, ourselves};

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::load::{Plan, Times};
use ends::Echo;
use measure::{Places, Series, Setting};
use peer::Peer;

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The reference.
    pub nginx: PathBuf,
    /// Ours; `None`: nginx with itself only, which shows what the machine's noise is.
    pub perdura: Option<PathBuf>,
    /// What to run; empty: [`PLANS`].
    pub plans: Vec<Plan>,
    /// How many windows each proxy gets of each plan.
    pub rounds: usize,
    /// How long a window is.
    pub times: Times,
    /// Whether the figures go to the page, too.
    pub destination: Destination,
    /// The command as it was given, for the page.
    pub command: String,
}

/// Where the figures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the terminal.
    Terminal,
    /// To the terminal and into [`document::PATH`].
    Page,
}

/// What is run when nothing is named: every goal, and two for the picture.
pub const PLANS: [Plan; 11] = [
    Plan::Ping { size: 64, tunnels: 1 },
    Plan::Ping { size: 64, tunnels: 100 },
    Plan::Ping { size: 64, tunnels: 1000 },
    Plan::Ping { size: 16384, tunnels: 100 },
    Plan::Churn { concurrency: 32 },
    Plan::Connect { concurrency: 32 },
    Plan::Http { connections: 64 },
    Plan::Idle { tunnels: 9000 },
    Plan::IdleConnect { tunnels: 9000 },
    Plan::Rate { size: 64, tunnels: 1000, per_second: 10_000 },
    Plan::Bulk { tunnels: 4 },
];

/// How many rounds a comparison has at most.
pub const ROUNDS_MAX: usize = 1000;

/// Compares, prints, and writes if told so.
pub fn run(options: &Options) -> Result<(), Fault> {
    let peers = peers(options);
    let versions = peers.iter().map(Peer::version).collect::<Result<Vec<_>, _>>()?;
    let folder = Folder::make()?;
    let machine = Machine::read();
    let busy = Busy::read();
    let all = measure_all(options, &peers, folder.path(), &machine)?;
    let others = Busy::read().others_percent_since(&busy);
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let mut figures = preface(options, &peers, &versions, &machine, others);
    let goals = table::goals(&names, &all);
    if !goals.is_empty() {
        let _ = write!(figures, "### Goals\n\n{goals}\n");
    }
    let _ = write!(figures, "### All figures\n\n{}", table::details(&names, &all));
    println!("{figures}");
    match options.destination {
        Destination::Terminal => Ok(()),
        Destination::Page => {
            document::write(Path::new(document::PATH), document::COMPARE, &figures)
        }
    }
}

/// nginx twice: what it differs from itself is what no figure here can show.
fn peers(options: &Options) -> Vec<Peer> {
    let mut peers = vec![
        Peer { name: "nginx", program: options.nginx.clone() },
        Peer { name: "nginx again", program: options.nginx.clone() },
    ];
    if let Some(program) = &options.perdura {
        peers.push(Peer { name: table::PERDURA, program: program.clone() });
    }
    peers
}

fn measure_all(
    options: &Options,
    peers: &[Peer],
    folder: &Path,
    machine: &Machine,
) -> Result<Vec<Series>, Fault> {
    let places = match machine.processors {
        0 | 1 => Places { proxy: None, ends: None },
        _ => Places { proxy: Some(0), ends: Some(1) },
    };
    let echo = Echo::start(places.ends)?;
    let setting = Setting { folder, places, times: options.times, rounds: options.rounds };
    let plans = if options.plans.is_empty() { &PLANS[..] } else { &options.plans };
    let mut all = Vec::new();
    for plan in plans {
        eprintln!("{plan}: {} rounds through {} proxies", options.rounds, peers.len());
        all.push(measure::series(*plan, peers, &echo, &setting)?);
    }
    Ok(all)
}

fn preface(
    options: &Options,
    peers: &[Peer],
    versions: &[String],
    machine: &Machine,
    others_percent: f64,
) -> String {
    let mut text = format!("Made by `{}` on {}.\n\n", options.command, today());
    let _ = writeln!(
        text,
        "* Machine: {} processors ({}), Linux {}. Other processes took {others_percent:.0} % of it \
         meanwhile.",
        machine.processors, machine.model, machine.kernel
    );
    for (peer, version) in peers.iter().zip(versions) {
        let _ = writeln!(text, "* {}: {version}", peer.name);
    }
    let Times { warm, window } = options.times;
    let _ = writeln!(
        text,
        "* One worker each; {} interleaved rounds of {} s after {} s of warming up.\n",
        options.rounds,
        Duration::as_secs_f64(&window),
        Duration::as_secs_f64(&warm)
    );
    text
}

/// A temporary folder that goes when this does.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it, empty, with the number of this process in its name.
    pub fn make() -> Result<Folder, Fault> {
        let path = std::env::temp_dir().join(format!("perdura-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Fault::file(&path))?;
        Ok(Folder { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
