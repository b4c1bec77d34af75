//! The file that says which process the master is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A pid file with our number in it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes the number. Called once every socket listens: who waits for the file may connect.
    pub fn write(path: &Path) -> io::Result<PidFile> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(PidFile { path: path.to_owned() })
    }

    /// Gives the file another name.
    pub fn rename(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file. Not in `Drop`: a child must never do it.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}
