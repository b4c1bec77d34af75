//! Why a comparison is given up. A half comparison is none.
//!
//! Not for the loads' own faults, which their processes print. Made by every file beside this one.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The end of a comparison that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A program could not be started.
    NoProgram { program: PathBuf, kind: ErrorKind },
    /// A proxy does not take connections; the end of what it said.
    NotListening { proxy: String, said: String },
    /// A process of a proxy or an end went away while it was looked at.
    Vanished { pid: u32 },
    /// A load failed; it has said why itself.
    LoadFailed { plan: String, proxy: String },
    /// A file could not be read or written.
    File { path: PathBuf, kind: ErrorKind },
    /// The page has no place for the figures.
    NoMarkers { path: PathBuf },
    /// The machine has no processor of that number for us.
    NoProcessor { number: usize },
}

impl Fault {
    /// For `map_err` of anything done to the file at `path`.
    pub fn file(path: &Path) -> impl Fn(std::io::Error) -> Fault {
        move |error| Fault::File { path: path.to_owned(), kind: error.kind() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::NoProgram { program, kind } => {
                write!(f, "cannot start {}: {kind}", program.display())
            }
            Fault::NotListening { proxy, said } => write!(f, "{proxy} does not listen: {said}"),
            Fault::Vanished { pid } => write!(f, "process {pid} went away during a measurement"),
            Fault::LoadFailed { plan, proxy } => write!(f, "{plan} failed through {proxy}"),
            Fault::File { path, kind } => write!(f, "{}: {kind}", path.display()),
            Fault::NoMarkers { path } => {
                write!(f, "{} has no place marked for the figures", path.display())
            }
            Fault::NoProcessor { number } => write!(f, "cannot run on processor {number}"),
        }
    }
}
