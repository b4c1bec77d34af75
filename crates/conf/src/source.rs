//! Configuration files as they were read, and places in them.
//!
//! [`Files`] is the only way this crate reaches a disk; the binary and the reload implement it, one
//! by reading, the other from a snapshot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where configuration text comes from.
pub trait Files {
    /// The whole content of the file at `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The paths that match a shell pattern, sorted; an empty list when nothing does.
    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>>;
}

/// Names one [`Source`] of a [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// A stretch of bytes in a source. `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: SourceId,
    pub line: u32,
    pub start: u32,
    pub end: u32,
}

/// One file of the configuration.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as nginx would print it: already made absolute by the prefix rules.
    pub path: PathBuf,
    pub bytes: Arc<[u8]>,
    /// What the source is when it is no file: the `-g` argument prints as `command line`.
    pub command_line: bool,
}

/// All files of one configuration, in the order in which they were opened.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    pub fn add(&mut self, source: Source) -> SourceId {
        let id = SourceId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(source);
        id
    }

    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.list.get(id.0 as usize)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.list.iter()
    }
}
