//! Lines of an access log that are written together: `buffer`, `flush` and `gzip`.
//!
//! What waits here is at most the buffer's size. It is written when the next line does not fit, when
//! its time has come, before logs are opened again, at a reload and at the end of the worker; only a
//! worker that is killed loses it. Not here: where the bytes go (`log_file`).

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What an `access_log` says of its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub bytes: usize,
    /// The longest time that a line waits.
    pub flush_ms: Option<u64>,
    /// The level of compression.
    pub gzip: Option<u32>,
}

/// A line waits that is to be written in time.
pub static LINE_WAITS: Notify = Notify::const_new();

/// The buffer of one log.
#[derive(Debug)]
pub struct LogBuffer {
    pub setup: Setup,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    /// When the first of them came.
    since_ms: u64,
    /// Another configuration holds: nothing waits any more.
    is_retired: bool,
}

impl LogBuffer {
    pub fn new(setup: Setup) -> Self {
        Self { setup, state: Mutex::default() }
    }

    /// Takes a line in; what has to be written for it goes to `write`, in the order of the lines.
    pub fn add(&self, line: &[u8], now_ms: u64, write: impl Fn(&[u8])) {
        let mut state = self.state();
        if state.bytes.len() + line.len() > self.setup.bytes {
            self.empty(&mut state, &write);
        }
        if state.is_retired || line.len() > self.setup.bytes {
            return write(&self.coded(line));
        }
        if state.bytes.is_empty() {
            state.since_ms = now_ms;
            if self.setup.flush_ms.is_some() {
                LINE_WAITS.notify_one();
            }
        }
        state.bytes.extend_from_slice(line);
    }

    /// Writes what waits.
    pub fn flush(&self, write: impl Fn(&[u8])) {
        self.empty(&mut self.state(), &write);
    }

    /// Writes what has waited long enough; gives the moment at which the rest has.
    pub fn flush_due(&self, now_ms: u64, write: impl Fn(&[u8])) -> Option<u64> {
        let mut state = self.state();
        let due = state.since_ms.saturating_add(self.setup.flush_ms?);
        if state.bytes.is_empty() {
            return None;
        }
        if due > now_ms {
            return Some(due);
        }
        self.empty(&mut state, &write);
        None
    }

    /// Writes what waits; from here on nothing does.
    pub fn retire(&self, write: impl Fn(&[u8])) {
        let mut state = self.state();
        self.empty(&mut state, &write);
        state.is_retired = true;
    }

    fn empty(&self, state: &mut State, write: &impl Fn(&[u8])) {
        if !state.bytes.is_empty() {
            write(&self.coded(&state.bytes));
            state.bytes.clear();
        }
    }

    /// The bytes as the file has them: each piece is a whole member of a gzip file (RFC 1952, 2.2).
    fn coded<'b>(&self, bytes: &'b [u8]) -> std::borrow::Cow<'b, [u8]> {
        let Some(level) = self.setup.gzip else {
            return bytes.into();
        };
        // Writing into memory does not fail; the plain lines are better than none.
        compressed(bytes, level).map_or_else(|_| bytes.into(), Into::into)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compressed(bytes: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io::Read;

    #[derive(Default)]
    struct Disk(RefCell<Vec<Vec<u8>>>);

    impl Disk {
        fn write(&self) -> impl Fn(&[u8]) {
            |bytes| self.0.borrow_mut().push(bytes.to_vec())
        }

        fn take(&self) -> Vec<String> {
            let pieces = self.0.take();
            pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect()
        }
    }

    fn buffer(bytes: usize, flush_ms: Option<u64>) -> LogBuffer {
        LogBuffer::new(Setup { bytes, flush_ms, gzip: None })
    }

    #[test]
    fn lines_are_written_when_the_next_one_does_not_fit() {
        let (disk, buffer) = (Disk::default(), buffer(8, None));
        for line in ["aaa\n", "bbb\n"] {
            buffer.add(line.as_bytes(), 0, disk.write());
        }
        assert!(disk.take().is_empty(), "it is just full");
        buffer.add(b"c\n", 0, disk.write());
        assert_eq!(disk.take(), ["aaa\nbbb\n"]);
        buffer.add(b"longer than all\n", 0, disk.write());
        assert_eq!(disk.take(), ["c\n", "longer than all\n"], "the order stays");
        buffer.add(b"d\n", 0, disk.write());
        buffer.flush(disk.write());
        buffer.flush(disk.write());
        assert_eq!(disk.take(), ["d\n"]);
    }

    #[test]
    fn a_line_waits_no_longer_than_it_may() {
        let (disk, timed) = (Disk::default(), buffer(64, Some(100)));
        assert_eq!(timed.flush_due(1000, disk.write()), None);
        timed.add(b"a\n", 1000, disk.write());
        timed.add(b"b\n", 1090, disk.write());
        assert_eq!(timed.flush_due(1099, disk.write()), Some(1100));
        assert!(disk.take().is_empty());
        assert_eq!(timed.flush_due(1100, disk.write()), None);
        assert_eq!(disk.take(), ["a\nb\n"]);
        let patient = buffer(64, None);
        patient.add(b"c\n", 0, disk.write());
        assert_eq!(patient.flush_due(u64::MAX, disk.write()), None);
        assert!(disk.take().is_empty());
    }

    #[test]
    fn nothing_waits_behind_a_reload() {
        let (disk, buffer) = (Disk::default(), buffer(64, None));
        buffer.add(b"a\n", 0, disk.write());
        buffer.retire(disk.write());
        buffer.add(b"b\n", 0, disk.write());
        assert_eq!(disk.take(), ["a\n", "b\n"]);
    }

    #[test]
    fn compressed_pieces_are_one_file() {
        let disk = Disk::default();
        let buffer = LogBuffer::new(Setup { bytes: 8, flush_ms: None, gzip: Some(1) });
        for line in ["aaaa\n", "bbbb\n", "a longer line\n"] {
            buffer.add(line.as_bytes(), 0, disk.write());
        }
        let file = disk.0.take().concat();
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "aaaa\nbbbb\na longer line\n");
    }
}
