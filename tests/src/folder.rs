//! A temporary folder of one actor. It is removed when the test ends well, and kept and
//! named on standard error when the test panics, so that the logs can be read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes an empty folder whose name begins with `name`. All names of one kind have the same
    /// length: a path may stand in an answer whose length is compared.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let leaf = format!("perdura-{name}-{:07}-{number:05}", std::process::id());
        let path = std::env::temp_dir().join(leaf);
        // A folder of an earlier process with the same number may have been kept.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file below the folder, with a fixed modification time so that `ETag` and
    /// `Last-Modified` are equal in every run.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        let parent = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(parent).expect("the folder of a file");
        std::fs::write(&path, content).expect("a file in the temporary folder");
        let file = std::fs::File::options().write(true).open(&path).expect("the file just written");
        file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED).expect("its modification time");
        path
    }

    /// The text of a file below the folder; empty while it does not exist.
    pub fn text(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("PERDURA_KEEP").is_some() {
            eprintln!("kept: {}", self.path.display());
            return;
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Sat, 11 Jul 2009 10:00:00 GMT.
const MODIFIED: Duration = Duration::from_secs(1_247_306_400);
