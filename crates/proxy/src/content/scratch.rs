//! A folder for one test, gone when the test ends. Only tests of this module make one.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A folder of its own.
pub struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("perdura-content-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        Self { folder }
    }

    /// The folder's path, without a slash at its end: a document root.
    pub fn root(&self) -> &[u8] {
        self.folder.as_os_str().as_bytes()
    }

    /// Writes a file, and the folders above it.
    pub fn file(&self, name: &str, content: &[u8]) {
        let path = self.folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder can be made");
        }
        std::fs::write(path, content).expect("a file can be written");
    }

    pub fn folder(&self, name: &str) {
        std::fs::create_dir_all(self.folder.join(name)).expect("a folder can be made");
    }

    pub fn link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.folder.join(name)).expect("a link can be made");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
