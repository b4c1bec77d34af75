//! Where log lines go: a file that they are appended to, or a syslog server.
//!
//! The master opens files and may replace what is behind the number (`USR1`); the worker only writes.

use crate::inherited;
use crate::log_buffer::{LogBuffer, Setup};
use crate::modules::error_log::Severity;
use crate::syslog::Syslog;
use rustix::fd::RawFd;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Lines that could not be written and that nobody was told of.
static LOST: AtomicU64 = AtomicU64::new(0);

/// One log.
#[derive(Debug)]
pub struct LogFile {
    /// The file, or the text of a syslog target: what names the log across reloads.
    pub path: PathBuf,
    sink: Sink,
    /// Where access lines gather, if they do.
    buffer: OnceLock<LogBuffer>,
}

#[derive(Debug)]
enum Sink {
    /// [`UNKNOWN`] until the master has said which number it is, and [`GONE`] when it will close it.
    File(AtomicI32),
    Syslog(Syslog),
}

impl LogFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, sink: Sink::File(AtomicI32::new(UNKNOWN)), buffer: OnceLock::new() }
    }

    pub fn syslog(name: PathBuf, syslog: Syslog) -> Self {
        Self { path: name, sink: Sink::Syslog(syslog), buffer: OnceLock::new() }
    }

    /// Whether the master has a file to open.
    pub fn is_file(&self) -> bool {
        matches!(self.sink, Sink::File(_))
    }

    /// Lets access lines gather. `false` when they do already, and otherwise than this.
    pub fn set_buffer(&self, setup: Setup) -> bool {
        self.buffer.get_or_init(|| LogBuffer::new(setup)).setup == setup
    }

    /// Whether lines may wait here.
    pub fn gathers(&self) -> bool {
        self.buffer.get().is_some()
    }

    /// Writes the lines that wait.
    pub fn flush(&self) {
        if let Some(buffer) = self.buffer.get() {
            buffer.flush(|bytes| self.write(bytes));
        }
    }

    /// Writes the lines that have waited long enough; gives the moment at which others have.
    pub fn flush_due(&self, now_ms: u64) -> Option<u64> {
        self.buffer.get()?.flush_due(now_ms, |bytes| self.write(bytes))
    }

    /// Another configuration holds: nothing waits any more, and a file that it does not have is
    /// written to no more, because its number will soon be something else's.
    pub fn retire(&self, stays: bool) {
        if let Some(buffer) = self.buffer.get() {
            buffer.retire(|bytes| self.write(bytes));
        }
        if let (false, Sink::File(number)) = (stays, &self.sink) {
            number.store(GONE, Ordering::Release);
        }
    }

    pub fn set_number(&self, number: RawFd) {
        if let Sink::File(own) = &self.sink {
            own.store(number, Ordering::Release);
        }
    }

    /// Appends one line, in one write or together with others. A full disk or a reader that does not
    /// read costs the line, never the request (RS-10).
    pub fn line(&self, line: &[u8]) {
        match self.buffer.get() {
            Some(buffer) => buffer.add(line, crate::now_ms(), |bytes| self.write(bytes)),
            None => self.write(line),
        }
    }

    fn write(&self, line: &[u8]) {
        match &self.sink {
            Sink::File(number) => append(number.load(Ordering::Acquire), line),
            Sink::Syslog(syslog) if syslog.send(syslog.severity, line) => {}
            Sink::Syslog(_) => lose(),
        }
    }

    /// Appends a line of an error log.
    pub fn error_line(&self, severity: Severity, line: &[u8]) {
        match &self.sink {
            Sink::File(number) => append(number.load(Ordering::Acquire), line),
            Sink::Syslog(syslog) if syslog.send(severity.of_syslog(), line) => {}
            Sink::Syslog(_) => lose(),
        }
    }

    /// Sends an error line to a syslog server and keeps nothing open; files are not the caller's to
    /// write this way.
    pub fn send_error_once(&self, severity: Severity, line: &[u8]) {
        if let Sink::Syslog(syslog) = &self.sink {
            syslog.send_once(severity.of_syslog(), line);
        }
    }
}

/// The number of a file that the master has not named yet, and of one that it has closed.
const UNKNOWN: RawFd = -1;
const GONE: RawFd = -2;

fn append(number: RawFd, line: &[u8]) {
    match number {
        // Whoever took the log out of the configuration misses nothing.
        GONE => return,
        ..0 => return lose(),
        _ => {}
    }
    match rustix::io::write(inherited::borrow(number), line) {
        Ok(written) if written == line.len() => {}
        _ => lose(),
    }
}

/// Appends a line to a file that is opened for it, as `access_log` with variables demands.
pub fn append_by_name(path: &Path, line: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    // A FIFO without a reader would hold up everybody.
    options.append(true).create(true).mode(0o644).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    match rustix::io::write(&file, line) {
        Ok(written) if written == line.len() => {}
        _ => lose(),
    }
    Ok(())
}

fn lose() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// How many lines were lost since this was asked last.
pub fn take_lost() -> u64 {
    LOST.swap(0, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsRawFd;

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let file = LogFile::new("/nowhere".into());
        file.line(b"x\n");
        assert!(take_lost() > 0);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        file.set_number(writer.as_raw_fd());
        file.line(b"y\n");
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut bytes).unwrap(), 2);
    }
}
