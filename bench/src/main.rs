//! `perdura-bench`: the upstream, the load and the side-by-side runner of all measurements.
//!
//! Not part of the product and ignorant of its inside: it sees processes, sockets and `/proc`.
//! Called by hand, by `cargo xtask bench` and, as a child of itself, by `compare`.

#![forbid(unsafe_code)]

mod compare;
mod echo;
mod frame;
mod handshake;
mod head;
mod load;
mod page;
mod pattern;
mod poll;
mod sha1;
mod unbroken;

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use lexopt::prelude::*;

const USAGE: &str = "\
usage: perdura-bench echo [--port PORT]
       perdura-bench load PLAN --proxy ADDRESS [--warm SECONDS] [--window SECONDS] [--gate]
       perdura-bench compare [PLAN ...] [--perdura PATH | --without-perdura] [--nginx PATH]
                             [--rounds NUMBER] [--warm SECONDS] [--window SECONDS] [--write]
       perdura-bench unbroken [RUN ...] [--perdura PATH] [--short] [--workers NUMBER]
                              [--seed NUMBER] [--write]

plans: ping:SIZE:TUNNELS  rate:SIZE:TUNNELS:PER_SECOND  bulk:TUNNELS  churn:CONCURRENCY
       connect:CONCURRENCY  idle:TUNNELS  idle-connect:TUNNELS  http:CONNECTIONS
runs:  reload  kill  upgrade  pause  growth";

fn main() -> ExitCode {
    match command(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("perdura-bench: {complaint}");
            ExitCode::FAILURE
        }
    }
}

fn command(mut words: lexopt::Parser) -> Result<(), String> {
    let name = match words.next().map_err(say)? {
        Some(Value(name)) => name.string().map_err(say)?,
        _ => return Err(USAGE.to_owned()),
    };
    raise_descriptor_limit()?;
    match name.as_str() {
        "echo" => echo_command(words),
        "load" => load_command(words),
        "compare" => compare_command(words),
        "unbroken" => unbroken_command(words),
        "leash" => leash_command(words),
        _ => Err(USAGE.to_owned()),
    }
}

/// Serves until the standard input ends, so that an echo never outlives who started it.
fn echo_command(mut words: lexopt::Parser) -> Result<(), String> {
    let mut port = 0;
    while let Some(word) = words.next().map_err(say)? {
        match word {
            Long("port") => port = words.value().and_then(|value| value.parse()).map_err(say)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let (listener, address) = echo::bind(port).map_err(say)?;
    println!("listening {address}");
    std::io::stdout().flush().map_err(say)?;
    echo::serve(listener, std::io::stdin()).map_err(say)
}

fn load_command(mut words: lexopt::Parser) -> Result<(), String> {
    let mut plan = None;
    let mut proxy: Option<SocketAddr> = None;
    let mut times =
        load::Times { warm: Duration::from_millis(200), window: Duration::from_millis(700) };
    let mut gated = false;
    while let Some(word) = words.next().map_err(say)? {
        match word {
            Value(word) => plan = Some(word.parse::<load::Plan>().map_err(say)?),
            Long("proxy") => proxy = Some(words.value().and_then(|v| v.parse()).map_err(say)?),
            Long("warm") => times.warm = seconds(&mut words)?,
            Long("window") => times.window = seconds(&mut words)?,
            Long("gate") => gated = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let (Some(plan), Some(proxy)) = (plan, proxy) else { return Err(USAGE.to_owned()) };
    if gated {
        let (lines, words) = (std::io::stdin().lock(), std::io::stdout().lock());
        let mut gate = load::PipeGate { lines, words };
        return load::run(plan, proxy, times, &mut gate).map(|_| ()).map_err(say);
    }
    let report = load::run(plan, proxy, times, &mut load::OpenGate).map_err(say)?;
    println!("{report}");
    Ok(())
}

fn compare_command(mut words: lexopt::Parser) -> Result<(), String> {
    let given = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut options = compare::Options {
        nginx: PathBuf::from("nginx"),
        perdura: Some(PathBuf::from("target/release/perdura")),
        plans: Vec::new(),
        rounds: 7,
        times: DEFAULT_TIMES,
        destination: compare::Destination::Terminal,
        command: format!("cargo run --release -p perdura-bench -- {given}"),
    };
    while let Some(word) = words.next().map_err(say)? {
        match word {
            Value(word) => options.plans.push(word.parse().map_err(say)?),
            Long("perdura") => options.perdura = Some(words.value().map_err(say)?.into()),
            Long("without-perdura") => options.perdura = None,
            Long("nginx") => options.nginx = words.value().map_err(say)?.into(),
            Long("rounds") => {
                options.rounds = words.value().and_then(|v| v.parse()).map_err(say)?;
            }
            Long("warm") => options.times.warm = seconds(&mut words)?,
            Long("window") => options.times.window = seconds(&mut words)?,
            Long("write") => options.destination = compare::Destination::Page,
            _ => return Err(USAGE.to_owned()),
        }
    }
    if !(1..=compare::ROUNDS_MAX).contains(&options.rounds) {
        return Err(format!("--rounds is a number from 1 to {}", compare::ROUNDS_MAX));
    }
    compare::run(&options).map_err(say)
}

fn unbroken_command(mut words: lexopt::Parser) -> Result<(), String> {
    let given = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut options = unbroken::Options {
        program: PathBuf::from("target/release/perdura"),
        runs: Vec::new(),
        length: unbroken::Length::Full,
        workers: 1,
        seed: now.map_or(1, |since| since.as_secs()),
        write: false,
        command: format!("cargo run --release -p perdura-bench -- {given}"),
    };
    while let Some(word) = words.next().map_err(say)? {
        match word {
            Value(word) => options.runs.push(word.parse().map_err(say)?),
            Long("perdura") => options.program = words.value().map_err(say)?.into(),
            Long("short") => options.length = unbroken::Length::Short,
            Long("workers") => {
                options.workers = words.value().and_then(|v| v.parse()).map_err(say)?;
            }
            Long("seed") => options.seed = words.value().and_then(|v| v.parse()).map_err(say)?,
            Long("write") => options.write = true,
            _ => return Err(USAGE.to_owned()),
        }
    }
    unbroken::run(&options).map_err(say)
}

/// Becomes another program, which is asked to end when the process that started us has ended,
/// however it ended: no proxy outlives its comparison. For `compare`, not for the command line.
fn leash_command(mut words: lexopt::Parser) -> Result<(), String> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    let mut given = words.raw_args().map_err(say)?;
    let program = given.next().ok_or(USAGE)?;
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(say)?;
    let error = Command::new(&program).args(given).exec();
    Err(format!("cannot start {}: {error}", program.display()))
}

fn seconds(words: &mut lexopt::Parser) -> Result<Duration, String> {
    let seconds: f64 = words.value().and_then(|value| value.parse()).map_err(say)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= SECONDS_MAX => Ok(duration),
        _ => Err("a duration is a number of seconds from 0 to 3600".to_owned()),
    }
}

const DEFAULT_TIMES: load::Times =
    load::Times { warm: Duration::from_millis(200), window: Duration::from_millis(700) };
/// No window is longer: a run is meant to be watched.
const SECONDS_MAX: Duration = Duration::from_secs(3600);

/// Takes all the descriptors that the hard limit allows: each tunnel is one here and one in the
/// echo.
fn raise_descriptor_limit() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).map_err(say)
}

fn say(complaint: impl std::fmt::Display) -> String {
    complaint.to_string()
}
