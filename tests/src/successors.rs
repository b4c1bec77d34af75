//! New programs of a binary upgrade: what a test starts by a signal or an order, and must end.
//!
//! They are no children of the test. The proxy of the scenario is the first program; whoever comes
//! later is known by the pid files and by the first one's error log.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::census::Census;
use crate::program::Program;
use crate::proxy::Proxy;

/// Whoever follows a proxy; dropping it ends them with their workers.
pub struct Successors {
    folder: PathBuf,
    first: Pid,
}

impl Successors {
    /// To be made before the first of them, and to be dropped before the proxy.
    pub fn of(proxy: &Proxy) -> Self {
        Self { folder: proxy.folder().path().to_owned(), first: proxy.pid() }
    }

    /// The new programs that a proxy and its successors have started so far, in this order.
    pub fn started(proxy: &Proxy) -> Vec<Pid> {
        in_log(&proxy.error_log())
    }

    /// The process number in a pid file of the proxy's folder.
    pub fn pid_in(proxy: &Proxy, name: &str) -> Option<Pid> {
        pid_at(&proxy.folder().path().join(name))
    }
}

impl Drop for Successors {
    fn drop(&mut self) {
        let log = std::fs::read(self.folder.join("error.log")).unwrap_or_default();
        let named = ["proxy.pid", "proxy.pid.oldbin"].map(|name| pid_at(&self.folder.join(name)));
        let known =
            in_log(&String::from_utf8_lossy(&log)).into_iter().chain(named.into_iter().flatten());
        for master in known.filter(|pid| *pid != self.first && is_successor(*pid)) {
            for one in Census::family(master).into_iter().filter(|pid| *pid != self.first) {
                // It may have ended by itself.
                let _ = kill_process(one, Signal::KILL);
            }
        }
    }
}

/// Runs the program with `-s WORD` for a proxy.
pub fn order(proxy: &Proxy, word: &str) -> Output {
    Command::new(Program::Perdura.binary())
        .args(["-p"])
        .arg(proxy.folder().path())
        .args(["-c", "proxy.conf", "-e", "stderr", "-s", word])
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// What a program said on its standard error stream.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether the process was started by an upgrade: a number may be another's by now.
fn is_successor(pid: Pid) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|text| text.split(|byte| *byte == 0).any(|one| one.starts_with(MARK)))
}

/// How a new program is told what it inherits.
const MARK: &[u8] = b"PERDURA=1;";

fn in_log(log: &str) -> Vec<Pid> {
    let numbers = log.lines().filter_map(|line| line.split_once("start new binary process "));
    numbers.filter_map(|(_, number)| Pid::from_raw(number.trim().parse().ok()?)).collect()
}

fn pid_at(path: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(path).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}
