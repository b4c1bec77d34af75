//! The proxy under examination: how it is started, killed, reloaded and replaced.
//!
//! Not `compare::peer`, whose proxies live quietly. Nothing is ended but by its number, and only
//! what descends from the process that was started. Called by the runs.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::crowd::GUEST;
use super::fault::Fault;
use crate::compare::{Process, ourselves};
use crate::handshake;
use crate::head::Head;

/// How long anything may take that the proxy is told to do.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// How many bytes of its last words are shown.
const SAID_MAX: usize = 3000;
/// The descriptors that a process may have at most.
const DESCRIPTORS_MAX: u32 = 20_000;

/// A proxy that runs; dropping it ends it and its successors.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    program: PathBuf,
    folder: PathBuf,
    workers: u32,
    upstream: SocketAddr,
    /// The first master, which may have been replaced.
    process: Process,
}

/// How it is started.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where its files go.
    pub folder: &'a Path,
    /// How many threads its worker has.
    pub workers: u32,
    /// The upstream.
    pub upstream: SocketAddr,
}

impl Proxy {
    /// Starts it and waits until it serves.
    pub fn start(setting: &Setting) -> Result<Proxy, Fault> {
        let own = |error: std::io::Error| Fault::Own(error.to_string());
        fs::create_dir_all(setting.folder).map_err(own)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(own)?;
        let address = listener.local_addr().map_err(own)?;
        drop(listener);
        let words = fs::File::create(setting.folder.join("said")).map_err(own)?;
        let mut command = Command::new(ourselves()?);
        command.arg("leash").arg(setting.program).args(arguments(setting.folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        fs::write(setting.folder.join("nginx.conf"), conf(setting, address, 0)).map_err(own)?;
        let process = Process::start(&mut command, None)?;
        let Setting { program, folder, workers, upstream } = *setting;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let proxy = Proxy { address, program, folder, workers, upstream, process };
        proxy.until("it serves", || TcpStream::connect(address).is_ok())?;
        proxy.until("there is a worker", || proxy.worker().is_some())?;
        Ok(proxy)
    }

    /// The master that the pid file names.
    pub fn master(&self) -> Option<Pid> {
        self.pid_in("pid")
    }

    /// The worker: the youngest child of the master that is not about to end.
    pub fn worker(&self) -> Option<Pid> {
        worker_of(self.master()?)
    }

    /// The numbers of the master and its worker.
    pub fn pids(&self) -> Vec<u32> {
        let master = self.master();
        let both = [master, master.and_then(worker_of)];
        both.into_iter().flatten().map(|pid| pid.as_raw_nonzero().get() as u32).collect()
    }

    /// How many descriptors the table that master and worker share has.
    pub fn descriptors(&self) -> usize {
        let Some(master) = self.master() else { return 0 };
        fs::read_dir(format!("/proc/{}/fd", master.as_raw_nonzero())).map_or(0, Iterator::count)
    }

    /// Kills the worker; when.
    pub fn kill_worker(&self) -> Result<(Pid, Instant), Fault> {
        let mut worker = None;
        self.until("there is a worker", || {
            worker = self.worker();
            worker.is_some()
        })?;
        let Some(worker) = worker else { return Err(self.late("there is a worker")) };
        let at = Instant::now();
        send(worker, Signal::KILL);
        Ok((worker, at))
    }

    /// Waits until there is a worker that is not `before`.
    pub fn wait_for_next(&self, before: Pid) -> Result<(), Fault> {
        self.until("there is another worker", || self.worker().is_some_and(|next| next != before))
    }

    /// Gives it its configuration anew, of this generation, and waits until it serves by it.
    pub fn reload(&self, generation: usize) -> Result<(), Fault> {
        let setting = Setting {
            program: &self.program,
            folder: &self.folder,
            workers: self.workers,
            upstream: self.upstream,
        };
        let text = conf(&setting, self.address, generation);
        let written = fs::write(self.folder.join("nginx.conf"), text);
        written.map_err(|error| Fault::Own(error.to_string()))?;
        self.signal(Signal::HUP)?;
        let wanted = format!("generation {generation}.");
        self.until("it serves by the new configuration", || {
            page(self.address, "/generation").is_ok_and(|text| text.ends_with(&wanted))
        })
    }

    /// Replaces the program: the new one serves, the tunnels move, the old one ends.
    pub fn upgrade(&self) -> Result<(), Fault> {
        let before = self.master();
        let mut command = Command::new(&self.program);
        command.args(arguments(&self.folder)).args(["-s", "upgrade"]).stdin(Stdio::null());
        let output = command.output().map_err(|error| Fault::Own(error.to_string()))?;
        if !output.status.success() {
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(Fault::Order { order: "-s upgrade".to_owned(), said });
        }
        self.until("there is another master", || self.master() != before)?;
        self.until("the old master has ended", || before.is_none_or(|pid| !lives(pid)))?;
        self.until("the new one has a worker", || self.worker().is_some())
    }

    /// Starts a successor. That of before may be dead and not known to be: then again.
    pub fn change_binary(&self) -> Result<(), Fault> {
        let count = |text: &str| self.error_log().matches(text).count();
        self.until("a successor is started", || {
            let (begun, refused) = (count(STARTED), count(REFUSED));
            let sent = self.signal(Signal::USR2);
            let known = || count(STARTED) > begun || count(REFUSED) > refused;
            sent.is_ok()
                && self.until("the signal is obeyed", known).is_ok()
                && count(STARTED) > begun
        })
    }

    /// Waits until the successor of `old` serves.
    pub fn wait_for_successor(&self, old: Pid) -> Result<(), Fault> {
        let said = |new: Pid| format!("master process {} serves", new.as_raw_nonzero());
        self.until("the successor serves", || {
            let new = self.master().filter(|new| *new != old);
            new.is_some_and(|new| self.error_log().contains(&said(new)))
        })?;
        self.until("the successor has a worker", || self.worker().is_some())
    }

    /// Kills the successor of `old` with its worker, if there is one.
    pub fn kill_successor(&self, old: Pid) -> Result<(), Fault> {
        for new in children_of(old).into_iter().filter(|pid| !is_worker(*pid)) {
            // It makes no more children, and those that it has are all known.
            send(new, Signal::STOP);
            children_of(new).into_iter().chain([new]).for_each(|pid| send(pid, Signal::KILL));
        }
        Ok(())
    }

    /// Waits until `old` is the only master again.
    pub fn wait_for_rollback(&self, old: Pid) -> Result<(), Fault> {
        self.until("the old master is the only one again", || {
            self.master() == Some(old)
                && self.pid_in("pid.oldbin").is_none()
                && children_of(old).into_iter().all(is_worker)
        })
    }

    /// Waits until a master that moves its tunnels has ended.
    pub fn wait_for_end_of(&self, master: Pid) -> Result<(), Fault> {
        self.until("the old master has ended", || !lives(master))?;
        self.until("the old master's name is free", || self.pid_in("pid.oldbin").is_none())?;
        self.until("the new one has a worker", || self.worker().is_some())
    }

    /// Sends a signal to the master.
    pub fn signal(&self, signal: Signal) -> Result<(), Fault> {
        let master = self.master().ok_or_else(|| self.late("there is a master"))?;
        kill_process(master, signal).map_err(|errno| Fault::Own(errno.to_string()))
    }

    /// Opens a tunnel and closes it again; how long after `since` its 101 was there. What is
    /// refused or cut off is tried again, and the time goes on.
    pub fn handshake(&self, since: Instant) -> Result<Duration, Fault> {
        loop {
            if shake_hands(self.address).is_ok() {
                return Ok(since.elapsed());
            }
            if since.elapsed() > PATIENCE {
                return Err(self.late("it answers a handshake"));
            }
        }
    }

    /// The text of its error log.
    pub fn error_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("error.log")).unwrap_or_default())
            .into_owned()
    }

    /// Looks until `fact` holds.
    pub fn until(&self, what: &'static str, mut fact: impl FnMut() -> bool) -> Result<(), Fault> {
        let begun = Instant::now();
        while !fact() {
            if begun.elapsed() > PATIENCE {
                return Err(self.late(what));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn late(&self, what: &'static str) -> Fault {
        let said = fs::read_to_string(self.folder.join("said")).unwrap_or_default();
        let all = format!("{said}{}", self.error_log());
        let from = all.len().saturating_sub(SAID_MAX);
        let said = String::from_utf8_lossy(&all.as_bytes()[from..]).into_owned();
        Fault::Late { what, patience: PATIENCE, said }
    }

    fn pid_in(&self, name: &str) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join(name)).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The first master is ended by its `Process`; who came later is known by the pid files.
        let first = self.process.child().id();
        let masters = ["pid", "pid.oldbin"].map(|name| self.pid_in(name));
        let masters = masters.into_iter().flatten();
        for master in masters.filter(|pid| pid.as_raw_nonzero().get() as u32 != first) {
            let worker = worker_of(master);
            let _ = kill_process(master, Signal::TERM);
            let _ = self.until("a successor ends", || !lives(master));
            for pid in [Some(master), worker].into_iter().flatten().filter(|pid| lives(*pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// What the error log says to a USR2.
const STARTED: &str = "start new binary process";
const REFUSED: &str = "two programs serve already";

fn arguments(folder: &Path) -> [String; 6] {
    let text = |path: &Path| path.display().to_string();
    let (conf, log) = (folder.join("nginx.conf"), folder.join("error.log"));
    ["-p".into(), text(folder), "-c".into(), text(&conf), "-e".into(), text(&log)]
}

/// Whether a process runs; one that only waits to be reaped does not.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let state = stat.ok().and_then(|line| line.rsplit_once(") ")?.1.chars().next());
    test_kill_process(pid).is_ok() && state.is_some_and(|state| state != 'Z')
}

/// The worker of a master: its youngest child that is one and lives.
pub fn worker_of(master: Pid) -> Option<Pid> {
    children_of(master).into_iter().rfind(|pid| is_worker(*pid))
}

/// Sends a signal to a process, which may have ended by itself.
pub fn send(pid: Pid, signal: Signal) {
    let _ = kill_process(pid, signal);
}

/// The children of a process that live.
fn children_of(pid: Pid) -> Vec<Pid> {
    let number = pid.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
    let children = children.unwrap_or_default();
    let numbers = children.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.filter_map(Pid::from_raw).filter(|pid| lives(*pid)).collect()
}

/// Whether it is not a successor, which runs the program anew, nor a short-lived reader.
fn is_worker(pid: Pid) -> bool {
    let comm = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
    comm.is_ok_and(|name| name.contains("worker"))
}

fn shake_hands(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let key = handshake::key(7);
    stream.write_all(handshake::request("unbroken", GUEST, &key).as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..count]);
        match Head::find(&answer) {
            Ok(Some(head)) if handshake::agreed(&head, &key) => return Ok(()),
            Ok(None) if count > 0 => {}
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

/// What a GET of `target` brings.
fn page(address: SocketAddr, target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: unbroken\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn conf(setting: &Setting, listen: SocketAddr, generation: usize) -> String {
    let Setting { folder, workers, upstream, .. } = setting;
    let folder = folder.display();
    format!(
        "\
daemon off;
worker_processes {workers};
worker_rlimit_nofile {DESCRIPTORS_MAX};
pid {folder}/pid;
error_log {folder}/error.log notice;

events {{
    worker_connections {DESCRIPTORS_MAX};
}}

http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;

    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ''      close;
    }}

    server {{
        listen {listen};

        location = /generation {{
            return 200 'generation {generation}.';
        }}

        location /ws/ {{
            proxy_pass http://{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 1h;
            upgrade_fin_timeout 1h;
        }}
    }}
}}
"
    )
}
