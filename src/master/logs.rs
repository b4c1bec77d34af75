//! The log files: opened, written by the master, opened again on USR1.
//!
//! The worker writes to the same descriptors by number; a rotation puts a new file under the number
//! while both go on. Not here: what the lines say.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use perdura_conf::errno_text;
use perdura_proxy::{ErrorTarget, LogFile, Severity};
use rustix::fs::{FileType, Mode, OFlags, Uid, fstat};
use rustix::io::Errno;

use super::clock;
use super::owned::Owned;
use crate::paths;

/// Every log file of a configuration, and those of them that the master's own lines go to.
#[derive(Debug)]
pub struct Logs {
    list: Vec<(PathBuf, Owned)>,
    targets: Vec<Target>,
    /// Lines that wait, while they do ([`Logs::hold`]).
    held: RefCell<Option<Vec<(Severity, String)>>>,
}

/// Where the master's own lines go.
#[derive(Debug)]
struct Target {
    /// `None` is the standard error stream, or a syslog server.
    path: Option<PathBuf>,
    syslog: Option<Arc<LogFile>>,
    severity: Severity,
}

/// Why a log cannot be used.
#[derive(Debug)]
pub struct LogFault {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open() \"{}\" failed {}", self.path.display(), errno_text(&self.error))
    }
}

/// Log files that a new configuration has and the old one had not.
pub type Added = Vec<(PathBuf, Owned)>;

impl Logs {
    /// Opens all files; the master's own lines go nowhere yet.
    pub fn open(paths: &[PathBuf]) -> Result<Logs, LogFault> {
        let empty = Logs { list: Vec::new(), targets: Vec::new(), held: RefCell::default() };
        Ok(Logs { list: empty.open_added(paths)?, ..empty })
    }

    /// Opens what is not open yet.
    pub fn open_added(&self, paths: &[PathBuf]) -> Result<Added, LogFault> {
        let mut added = Added::new();
        for path in paths {
            let known = |list: &[(PathBuf, Owned)]| list.iter().any(|(other, _)| other == path);
            if known(&self.list) || known(&added) {
                continue;
            }
            let fault = |error| LogFault { path: path.clone(), error };
            let file = open_append(path).and_then(Owned::new).map_err(fault)?;
            added.push((path.clone(), file));
        }
        Ok(added)
    }

    /// Says where the master's own lines go; the first target takes the standard error stream over,
    /// so that the last words of a panic are not lost (nginx does the same).
    pub fn direct(&mut self, targets: &[ErrorTarget]) {
        let ours = |target: &ErrorTarget| Target {
            path: target.path().cloned(),
            syslog: target.syslog().cloned(),
            severity: target.severity,
        };
        self.targets = targets.iter().map(ours).collect();
        self.redirect_stderr();
    }

    /// Takes what was opened for a new configuration.
    pub fn add(&mut self, added: Added) {
        self.list.extend(added);
    }

    /// Closes what the configuration no longer has.
    pub fn retain(&mut self, paths: &[PathBuf]) {
        self.list.retain(|(path, _)| paths.contains(path));
    }

    /// Opens every file by its name again, under the same number. A file that cannot be opened is
    /// reported and goes on being written to under its old identity.
    pub fn reopen(&mut self, worker: Option<u32>) -> Vec<LogFault> {
        let mut faults = Vec::new();
        for (path, file) in &mut self.list {
            let again = open_append(path)
                .and_then(|new| give_to(&new, worker).map(|()| new))
                .and_then(|new| file.replace(&new));
            if let Err(error) = again {
                faults.push(LogFault { path: path.clone(), error });
            }
        }
        self.redirect_stderr();
        faults
    }

    /// Paths and numbers, for the worker.
    pub fn numbers(&self) -> Vec<(PathBuf, RawFd)> {
        self.list.iter().map(|(path, file)| (path.clone(), file.number())).collect()
    }

    /// Opens again whatever is no longer what was opened; gives the paths.
    pub fn repair(&mut self) -> Vec<PathBuf> {
        let (intact, broken): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.list).into_iter().partition(|(_, file)| file.is_intact());
        self.list = intact;
        let paths: Vec<PathBuf> = broken
            .into_iter()
            .map(|(path, file)| {
                file.abandon();
                path
            })
            .collect();
        for path in &paths {
            if let Ok(added) = self.open_added(std::slice::from_ref(path)) {
                self.add(added);
            }
        }
        self.redirect_stderr();
        paths
    }

    /// Keeps the master's lines until [`Logs::let_go`]: a disk may take its time, and meanwhile
    /// something waits that must not. Beyond [`HELD_MAX`] they are written all the same.
    pub fn hold(&self) {
        self.held.borrow_mut().get_or_insert_default();
    }

    /// Writes what was kept, with the times at which it was said.
    pub fn let_go(&self) {
        let held = self.held.borrow_mut().take();
        held.into_iter().flatten().for_each(|(severity, line)| self.write(severity, &line));
    }

    /// In a child: what was kept is its parent's to write.
    pub fn forget_held(&self) {
        self.held.borrow_mut().take();
    }

    /// One line of the master's, in nginx's form.
    pub fn line(&self, severity: Severity, text: &str) {
        let id = std::process::id();
        let (time, word) = (clock::now(), severity.word());
        let line = format!("{time} [{word}] {id}#{id}: {text}\n");
        match self.held.borrow_mut().as_mut() {
            Some(held) if held.len() < HELD_MAX => held.push((severity, line)),
            _ => self.write(severity, &line),
        }
    }

    fn write(&self, severity: Severity, line: &str) {
        for target in self.targets.iter().filter(|target| severity <= target.severity) {
            if let Some(syslog) = &target.syslog {
                syslog.send_error_once(severity, line.as_bytes());
            } else if let Some(file) = self.file(target.path.as_deref()) {
                // nginx goes on when a log cannot be written to, and so do we.
                let _ = rustix::io::write(file, line.as_bytes());
            }
        }
    }

    /// The file of a target; `None` is the standard error stream.
    fn file(&self, path: Option<&Path>) -> Option<BorrowedFd<'_>> {
        let Some(path) = path else { return Some(rustix::stdio::stderr()) };
        self.list.iter().find(|(known, _)| known == path).map(|(_, file)| file.as_fd())
    }

    fn redirect_stderr(&self) {
        // A syslog server takes no words of a panic.
        let is_file = |target: &&Target| target.syslog.is_none();
        let Some(first) = self.targets.iter().find(is_file) else { return };
        let Some(file) = self.file(first.path.as_deref()) else { return };
        if file.as_raw_fd() != rustix::stdio::stderr().as_raw_fd() {
            // Without it, the standard error stream stays what it was.
            let _ = rustix::stdio::dup2_stderr(file);
        }
    }
}

/// More lines than one worker's end makes.
const HELD_MAX: usize = 64;

/// Opens a file to append to. A FIFO without a reader does not block: it is opened for both
/// directions, and what nobody reads is dropped when it is full.
fn open_append(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::from_raw_mode(0o644);
    let open = |access: OFlags| rustix::fs::open(path, flags | access | OFlags::NONBLOCK, mode);
    if path.parent() == Some(Path::new(paths::LOG_FOLDER)) {
        // It is there, or the open fails and says why.
        let _ = rustix::fs::mkdir(paths::LOG_FOLDER, Mode::from_raw_mode(0o755));
    }
    let file = match open(OFlags::WRONLY) {
        // ENXIO: a FIFO that nobody reads (or a socket, for which this fails again).
        Err(Errno::NXIO) => open(OFlags::RDWR)?,
        other => other?,
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::Fifo {
        let plain = rustix::fs::fcntl_getfl(&file)? - OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&file, plain)?;
    }
    Ok(file)
}

/// As nginx on USR1: the file belongs to the worker's user.
fn give_to(file: &OwnedFd, worker: Option<u32>) -> io::Result<()> {
    let Some(uid) = worker else { return Ok(()) };
    let status = fstat(file)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::RegularFile && status.st_uid != uid {
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("perdura-logs-{name}-{id}"));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn to(path: &Path, severity: Severity) -> Target {
        Target { path: Some(path.to_owned()), syslog: None, severity }
    }

    fn write(logs: &Logs, number: usize, text: &str) {
        rustix::io::write(&logs.list[number].1, text.as_bytes()).unwrap();
    }

    #[test]
    fn a_rotated_log_is_written_anew_under_the_same_number() {
        let folder = folder("rotate");
        let path = folder.join("access.log");
        let mut logs = Logs::open(&[path.clone(), path.clone()]).unwrap();
        assert_eq!(logs.list.len(), 1, "one file, one descriptor");
        let number = logs.numbers()[0].1;
        write(&logs, 0, "one\n");
        fs::rename(&path, folder.join("access.log.1")).unwrap();
        write(&logs, 0, "two\n");
        assert!(logs.reopen(None).is_empty());
        write(&logs, 0, "three\n");
        assert_eq!(logs.numbers()[0].1, number);
        assert_eq!(fs::read_to_string(folder.join("access.log.1")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert!(logs.list[0].1.is_intact());

        fs::rename(&folder, folder.with_extension("moved")).unwrap();
        let faults = logs.reopen(None);
        let text = format!("open() \"{}\" failed (2: No such file or directory)", path.display());
        assert_eq!(faults.iter().map(LogFault::to_string).collect::<Vec<_>>(), [text]);
        write(&logs, 0, "four\n");
        let moved = folder.with_extension("moved");
        assert_eq!(fs::read_to_string(moved.join("access.log")).unwrap(), "three\nfour\n");
        fs::remove_dir_all(moved).unwrap();
    }

    #[test]
    fn lines_that_are_held_are_written_once_in_order_and_by_their_owner_only() {
        let folder = folder("held");
        let main = folder.join("main.log");
        let mut logs = Logs::open(std::slice::from_ref(&main)).unwrap();
        logs.targets = vec![to(&main, Severity::Notice)];
        let lines = || fs::read_to_string(&main).unwrap().lines().count();
        logs.hold();
        logs.hold();
        logs.line(Severity::Notice, "first");
        logs.line(Severity::Notice, "second");
        assert_eq!(lines(), 0);
        logs.let_go();
        logs.let_go();
        logs.line(Severity::Notice, "third");
        let text = fs::read_to_string(&main).unwrap();
        let words: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(words, ["first", "second", "third"]);
        logs.hold();
        logs.line(Severity::Notice, "the parent's");
        logs.forget_held();
        logs.let_go();
        assert_eq!(lines(), 3);
        logs.hold();
        (0..HELD_MAX + 5).for_each(|_| logs.line(Severity::Notice, "many"));
        assert_eq!(lines(), 3 + 5, "beyond the limit they are written at once");
        logs.let_go();
        assert_eq!(lines(), 3 + HELD_MAX + 5);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_go_where_their_level_is_wanted() {
        let folder = folder("levels");
        let (main, bad) = (folder.join("main.log"), folder.join("bad.log"));
        let mut logs = Logs::open(&[main.clone(), bad.clone()]).unwrap();
        // Not `direct`: the test keeps its standard error stream.
        logs.targets = vec![to(&main, Severity::Notice), to(&bad, Severity::Error)];
        logs.line(Severity::Notice, "signal process started");
        logs.line(Severity::Emerg, "no more");
        logs.line(Severity::Debug, "nobody wants this");
        let main = fs::read_to_string(main).unwrap();
        let id = std::process::id();
        let lines: Vec<&str> = main.lines().map(|line| &line[20..]).collect();
        assert_eq!(
            lines,
            [
                format!("[notice] {id}#{id}: signal process started"),
                format!("[emerg] {id}#{id}: no more")
            ]
        );
        assert_eq!(fs::read_to_string(bad).unwrap().lines().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_fifo_without_reader_does_not_block() {
        let folder = folder("fifo");
        let path = folder.join("log");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let logs = Logs::open(std::slice::from_ref(&path)).unwrap();
        let mut written = 0;
        let error = loop {
            match rustix::io::write(&logs.list[0].1, &[0; 4096]) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::AGAIN);
        assert!(written >= 4096);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_replaced_log_is_opened_again() {
        let folder = folder("repair");
        let (kept, lost) = (folder.join("kept"), folder.join("lost"));
        let mut logs = Logs::open(&[kept.clone(), lost.clone()]).unwrap();
        assert!(logs.repair().is_empty());
        let mut other = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        std::mem::swap(&mut other, logs.list[1].1.fd_for_test());
        assert_eq!(logs.repair(), [lost]);
        assert_eq!(logs.numbers().len(), 2);
        assert!(logs.list.iter().all(|(_, file)| file.is_intact()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_configuration_drops_is_closed() {
        let folder = folder("retain");
        let (one, two) = (folder.join("one"), folder.join("two"));
        let mut logs = Logs::open(std::slice::from_ref(&one)).unwrap();
        let added = logs.open_added(&[one.clone(), two.clone()]).unwrap();
        assert_eq!(added.len(), 1);
        logs.add(added);
        logs.retain(std::slice::from_ref(&two));
        assert_eq!(logs.numbers().into_iter().map(|(path, _)| path).collect::<Vec<_>>(), [two]);
        fs::remove_dir_all(folder).unwrap();
    }
}
