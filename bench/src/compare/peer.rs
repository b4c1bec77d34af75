//! The proxies that are compared, and how each is started.
//!
//! Not what is measured. Every proxy runs in the foreground, in a folder of its own, with the text
//! of `conf`. Called by `measure`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::conf;
use super::fault::Fault;
use super::process::{Process, ourselves};

/// One program to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How the tables call it.
    pub name: &'static str,
    /// Where it is.
    pub program: PathBuf,
}

/// A peer that runs; dropping it ends it.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
}

/// How long a proxy may take until it listens.
const START_PATIENCE: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How many bytes of a failed proxy's last words are shown.
const SAID_MAX: usize = 2000;

impl Peer {
    /// What it says about its version.
    pub fn version(&self) -> Result<String, Fault> {
        let output = Command::new(&self.program).arg("-v").output().map_err(|error| {
            Fault::NoProgram { program: self.program.clone(), kind: error.kind() }
        })?;
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        let first = said.lines().next().unwrap_or("").trim();
        Ok(first.strip_prefix("nginx version: ").unwrap_or(first).to_owned())
    }

    /// Starts it under `folder` on processor `cpu`, in front of `upstream`, and waits until it
    /// listens.
    pub fn start(
        &self,
        folder: &Path,
        cpu: Option<usize>,
        upstream: SocketAddr,
    ) -> Result<Running, Fault> {
        let folder = folder.join(self.name.replace(' ', "-"));
        fs::create_dir_all(&folder).map_err(Fault::file(&folder))?;
        let address = free_address().map_err(Fault::file(&folder))?;
        let conf = folder.join("nginx.conf");
        // By what the program says of itself: any may be measured in Perdura's place.
        let connect = match self.version() {
            Ok(said) if said.contains("perdura") => conf::Connect::Known,
            _ => conf::Connect::Unknown,
        };
        let text = conf::text(&folder, address, upstream, connect);
        fs::write(&conf, text).map_err(Fault::file(&conf))?;
        let said = folder.join("said");
        let words = fs::File::create(&said).map_err(Fault::file(&said))?;
        let mut command = Command::new(ourselves()?);
        command.arg("leash").arg(&self.program).arg("-p").arg(&folder).arg("-c").arg(&conf);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(words);
        let mut process = Process::start(&mut command, cpu)?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if process.has_ended() || begun.elapsed() > START_PATIENCE {
                return Err(Fault::NotListening {
                    proxy: self.name.to_owned(),
                    said: last_words(&[said, folder.join("error.log")]),
                });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Ok(Running { address, process })
    }
}

impl Running {
    /// The numbers of all its processes.
    pub fn pids(&self) -> Vec<u32> {
        self.process.family()
    }
}

/// An address of this machine that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn last_words(files: &[PathBuf]) -> String {
    let said = files.iter().map(|file| fs::read(file).unwrap_or_default()).collect::<Vec<_>>();
    let said = said.concat();
    String::from_utf8_lossy(&said[said.len().saturating_sub(SAID_MAX)..]).trim().to_owned()
}
