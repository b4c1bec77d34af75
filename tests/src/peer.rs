//! A real peer: a server or a client in another language, started as a process. It says
//! `ready PORT` or its results on standard output, one line each, and is ended by its id.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::program::root;

#[derive(Debug)]
pub struct Peer {
    child: Child,
    lines: Receiver<String>,
    name: String,
}

impl Peer {
    /// A script of `tests/peers` in the virtual environment's Python.
    #[track_caller]
    pub fn python(script: &str, arguments: &[&str]) -> Self {
        let python = target().join("venv/bin/python");
        assert!(python.exists(), "no {}: cargo xtask test makes it", python.display());
        let mut command = Command::new(python);
        command.arg("-u").arg(root().join("tests/peers").join(script));
        Self::start(script, command, arguments)
    }

    /// A script of `tests/peers` in Node, with the packages under `target/npm`.
    #[track_caller]
    pub fn node(script: &str, arguments: &[&str]) -> Self {
        let packages = target().join("npm/node_modules");
        assert!(packages.exists(), "no {}: cargo xtask test makes it", packages.display());
        let mut command = Command::new("node");
        command.env("NODE_PATH", packages).arg(root().join("tests/peers").join(script));
        Self::start(script, command, arguments)
    }

    /// A script of `tests/peers` in Node that drives a headless Chromium; the browser's path is its
    /// last argument.
    #[track_caller]
    pub fn browser(script: &str, arguments: &[&str]) -> Self {
        let paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
        let chromium = paths.into_iter().find(|path| std::path::Path::new(path).exists());
        let chromium = chromium.expect("no chromium: cargo xtask test installs it");
        Self::node(script, &[arguments, &[chromium]].concat())
    }

    #[track_caller]
    pub fn start(name: &str, mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let output = child.stdout.take().expect("a pipe was asked for");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, name: name.to_owned() }
    }

    /// The next line of its output.
    #[track_caller]
    pub fn line(&self, limit: Duration) -> String {
        match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} said nothing in {limit:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.name),
        }
    }

    /// Waits for `ready PORT`, and gives the port.
    #[track_caller]
    pub fn ready(&self) -> u16 {
        let line = self.line(START);
        let port = line.strip_prefix("ready ").and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} said {line:?} instead of its port", self.name))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the packages of the peers are, see `cargo xtask test`.
fn target() -> PathBuf {
    match std::env::var_os("PERDURA_PEERS") {
        Some(path) => PathBuf::from(path),
        None => root().join("target"),
    }
}

const START: Duration = Duration::from_secs(20);
