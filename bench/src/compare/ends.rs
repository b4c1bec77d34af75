//! The two ends of every measurement, as processes of this same program.
//!
//! Not what they do, which is in `echo` and `load`. Called by `measure`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use super::fault::Fault;
use super::process::{Process, ourselves};
use crate::load::{Plan, Report, Times};

/// The upstream; it ends when its standard input does, and so when this is dropped.
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

/// A load that stops at its gate; see `load::gate`.
pub struct Load {
    process: Process,
    words: ChildStdin,
    lines: BufReader<ChildStdout>,
    fault: Fault,
}

impl Echo {
    /// Starts it on processor `cpu`.
    pub fn start(cpu: Option<usize>) -> Result<Echo, Fault> {
        let program = ourselves()?;
        let mut command = Command::new(&program);
        command.arg("echo").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, cpu)?;
        let mut line = String::new();
        if let Some(stdout) = process.child().stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(Fault::file(&program))?;
        }
        let address = line.trim().strip_prefix("listening ").and_then(|it| it.parse().ok());
        let fault = Fault::NotListening { proxy: "the echo".to_owned(), said: line };
        Ok(Echo { address: address.ok_or(fault)?, process })
    }

    /// The numbers of its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.process.family()
    }
}

impl Load {
    /// Starts `plan` through the proxy called `name` at `proxy`, on processor `cpu`, and returns
    /// when all is open and quiet.
    pub fn start(
        plan: Plan,
        name: &str,
        proxy: SocketAddr,
        times: Times,
        cpu: Option<usize>,
    ) -> Result<Load, Fault> {
        let program = ourselves()?;
        let mut command = Command::new(&program);
        command.args(["load", &plan.to_string(), "--proxy", &proxy.to_string(), "--gate"]);
        command.args(["--warm", &times.warm.as_secs_f64().to_string()]);
        command.args(["--window", &times.window.as_secs_f64().to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(&mut command, cpu)?;
        let fault = Fault::LoadFailed { plan: plan.to_string(), proxy: name.to_owned() };
        let pipes = (process.child().stdin.take(), process.child().stdout.take());
        let (Some(words), Some(lines)) = pipes else { return Err(fault) };
        let mut load = Load { process, words, lines: BufReader::new(lines), fault };
        match load.hear()?.as_str() {
            "ready" => Ok(load),
            _ => Err(load.fault.clone()),
        }
    }

    /// The numbers of its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.process.family()
    }

    /// Opens the gate and waits until the window is over and all is quiet again.
    pub fn run(&mut self) -> Result<Report, Fault> {
        self.say()?;
        let line = self.hear()?;
        let report = line.strip_prefix("done ").and_then(|figures| figures.parse().ok());
        report.ok_or_else(|| self.fault.clone())
    }

    /// Lets it close everything; a fault that shows only then counts as well.
    pub fn end(mut self) -> Result<(), Fault> {
        self.say()?;
        match self.process.child().wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.fault.clone()),
        }
    }

    fn say(&mut self) -> Result<(), Fault> {
        writeln!(self.words, "go").map_err(|_| self.fault.clone())
    }

    fn hear(&mut self) -> Result<String, Fault> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|_| self.fault.clone())?;
        Ok(line.trim().to_owned())
    }
}
