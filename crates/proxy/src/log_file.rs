//! A file that log lines are appended to.
//!
//! The master opens it and may replace what is behind the number (`USR1`); the worker only writes.

use crate::inherited;
use rustix::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Lines that could not be written and that nobody was told of.
static LOST: AtomicU64 = AtomicU64::new(0);

/// One log file.
#[derive(Debug)]
pub struct LogFile {
    pub path: PathBuf,
    /// -1 until the master has said which it is.
    number: AtomicI32,
}

impl LogFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, number: AtomicI32::new(-1) }
    }

    pub fn set_number(&self, number: RawFd) {
        self.number.store(number, Ordering::Release);
    }

    /// Appends one line in one write. A full disk or a reader that does not read costs the line,
    /// never the request (RS-10).
    pub fn line(&self, line: &[u8]) {
        let number = self.number.load(Ordering::Acquire);
        if number < 0 {
            lose();
            return;
        }
        match rustix::io::write(inherited::borrow(number), line) {
            Ok(written) if written == line.len() => {}
            _ => lose(),
        }
    }
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
