//! What the master needs to know of a configuration.

use crate::log_file::LogFile;
use crate::modules::error_log::Severity;
use std::path::PathBuf;
use std::sync::Arc;

/// The settings of the process.
#[derive(Clone, Debug)]
pub struct Process {
    pub daemon: bool,
    pub master_process: bool,
    /// Threads of the worker; `auto` is resolved.
    pub worker_processes: usize,
    pub worker_connections: u32,
    pub worker_rlimit_nofile: Option<u64>,
    pub worker_shutdown_timeout_ms: Option<u64>,
    /// How long a new program may take to serve when the upgrade is done in one.
    pub upgrade_start_timeout_ms: u64,
    /// The user and group numbers that the worker takes, when `user` is given.
    pub user: Option<(u32, u32)>,
    /// All groups of that user by its name, looked up when the configuration is read: what the
    /// worker's start had to wait for would stop every tunnel.
    pub groups: Vec<u32>,
    /// Some connection to an upstream comes from an address that may be another machine's.
    pub binds_transparently: bool,
    pub pid: PathBuf,
    /// What relative paths are relative to.
    pub prefix: PathBuf,
    pub error_logs: Arc<[ErrorTarget]>,
}

/// One place for error lines.
#[derive(Clone, Debug)]
pub struct ErrorTarget {
    /// `None` is the standard error stream.
    pub file: Option<Arc<LogFile>>,
    pub severity: Severity,
}

impl ErrorTarget {
    /// The syslog server, if it is one.
    pub fn syslog(&self) -> Option<&Arc<LogFile>> {
        self.file.as_ref().filter(|file| !file.is_file())
    }

    /// The file, unless it is the standard error stream.
    pub fn path(&self) -> Option<&PathBuf> {
        self.file.as_ref().filter(|file| file.is_file()).map(|file| &file.path)
    }
}
