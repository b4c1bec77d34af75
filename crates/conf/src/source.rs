//! Configuration files as they were read, and places in them.
//!
//! [`Files`] is the only way this crate reaches a disk; the binary and the reload implement it, one
//! by reading, the other from a snapshot.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
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

/// A stretch of bytes in a source.
///
/// `line` counts from 1 and is the line that messages name: nginx names the line in which the
/// statement ends, so it is not always the line of `start` ([`Source::line_at`]).
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

impl Source {
    /// The number (from 1) and the bytes of the line that holds `offset`; without its line feed.
    pub fn line_at(&self, offset: u32) -> (u32, Range<usize>) {
        let offset = (offset as usize).min(self.bytes.len());
        let (before, after) = self.bytes.split_at(offset);
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let end =
            after.iter().position(|&byte| byte == b'\n').map_or(self.bytes.len(), |at| at + offset);
        let number = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        (u32::try_from(number).unwrap_or(u32::MAX), start..end)
    }
}

/// All files of one configuration, in the order in which they were opened.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// For each source the `include` that opened it.
    included_by: Vec<Option<Place>>,
}

impl Sources {
    /// Adds a source that no `include` named: the main file or the `-g` text.
    pub fn add(&mut self, source: Source) -> SourceId {
        self.push(source, None)
    }

    /// Adds a source that the `include` at `place` opened.
    pub fn add_included(&mut self, source: Source, place: Place) -> SourceId {
        self.push(source, Some(place))
    }

    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.list.get(id.0 as usize)
    }

    /// The `include` that opened the source.
    pub fn included_by(&self, id: SourceId) -> Option<Place> {
        self.included_by.get(id.0 as usize).copied().flatten()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.list.iter()
    }

    /// Every file once, in the order of its first opening: what `-T` prints.
    pub fn distinct_files(&self) -> impl Iterator<Item = &Source> {
        let mut seen = HashSet::new();
        self.list.iter().filter(move |source| !source.command_line && seen.insert(&source.path))
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// A key that sorts places in the order in which they are read, includes in their place.
    pub fn reading_key(&self, source: SourceId, start: u32) -> Vec<u32> {
        let mut key = vec![start, source.0];
        let mut inner = source;
        while let Some(place) = self.included_by(inner)
            && place.source < inner
        {
            key.extend([place.start, place.source.0]);
            inner = place.source;
        }
        key.reverse();
        key
    }

    fn push(&mut self, source: Source, included_by: Option<Place>) -> SourceId {
        let id = SourceId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(source);
        self.included_by.push(included_by);
        id
    }
}
