//! The program: what the command line asks for, done.
//!
//! `cli` reads the command line; `check` is `-t`, `explain` the manual, `order` is `-s`, `tunnels`
//! shows and ends tunnels, `master` is the server itself, `demo` shows it without any configuration,
//! `notify` is the service manager's ear. Not here: HTTP (`perdura-proxy`) and tunnels
//! (`perdura-tunnel`).

mod check;
mod cli;
mod control;
mod daemon;
mod demo;
mod explain;
mod master;
mod notify;
mod order;
mod paths;
mod report;
mod signal;
mod tunnels;
mod usage;
mod version;

use std::process::ExitCode;

use cli::{Command, Deed};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let command = match cli::read(arguments) {
        Ok(command) => command,
        Err(fault) => {
            report::line(&fault.to_string());
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(run(command))
}

fn run(command: Command) -> u8 {
    version::show(&command);
    let mut report = report::Report::new(&command);
    match command.deed {
        Deed::Nothing => 0,
        Deed::Test { dump } => check::run(&command, dump, &mut report),
        Deed::Order(order) => order::run(&command, order, &mut report),
        Deed::Serve => master::run(&command, &mut report),
        Deed::Tunnels(deed) => tunnels::run(&command, deed, &mut report),
        Deed::Demo => demo::run(),
        Deed::Explain => explain::run(&command.explain.unwrap_or_default()),
    }
}
