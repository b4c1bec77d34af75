//! A configuration as nested statements, with every `include` expanded in place.
//!
//! It knows one directive by name, `include`; whether the others exist and may stand where they
//! stand is checked by whoever walks the statements.

mod blocks;
mod reading;

use crate::{Fault, Files, SourceId, Sources, Word};
use reading::{Chain, Reading};
use std::path::Path;

/// How deep blocks may be nested, counted through includes. nginx has no such limit, but no
/// directive of it makes sense deeper than this.
pub const NESTING_MAX: usize = 64;

/// How deep files may include each other. nginx has no such limit: it goes on until it runs out of
/// descriptors.
pub const INCLUDE_DEPTH_MAX: usize = 32;

/// How many files may be read, each counted as often as it is included. nginx has no such limit.
pub const FILES_MAX: usize = 65_536;

/// How many bytes all texts together may have, each counted as often as it is included. nginx has
/// no such limit.
pub const BYTES_MAX: usize = 64 << 20;

/// After how many faults reading stops.
pub const FAULTS_MAX: usize = 100;

/// One directive as it stands in a file.
#[derive(Clone, Debug)]
pub struct Statement {
    pub name: Word,
    pub args: Vec<Word>,
    /// The statements between the braces, when it opens a block.
    pub block: Option<Vec<Statement>>,
}

/// A whole configuration, read.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub sources: Sources,
    pub statements: Vec<Statement>,
    /// Faults of the grammar. The statements that could be read are there all the same.
    pub faults: Vec<Fault>,
    /// For each fault where nginx would have met it: the beginning of its statement.
    met_at: Vec<Option<(SourceId, u32)>>,
}

impl Document {
    /// Reads the `-g` text, then the file at `path` and all that it includes. `path` is absolute,
    /// and its folder is what relative includes are relative to.
    pub fn read(files: &dyn Files, path: &Path, global: &[u8]) -> Document {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut reading = Reading::new(files, folder);
        let mut statements = Vec::new();
        if !global.is_empty() {
            reading.command_line(global, &mut statements);
        }
        reading.open(path, None, Chain { nesting: 0, files: &[] }, &mut statements);
        reading.into_document(statements)
    }

    /// The document's faults and `more` in the order in which nginx would meet them, so that the
    /// first one is the one that nginx reports. Faults without a place come last.
    pub fn in_reading_order(&self, more: Vec<Fault>) -> Vec<Fault> {
        let own = self.faults.iter().enumerate().map(|(index, fault)| {
            let met_at = self.met_at.get(index).copied().flatten();
            (met_at.or(fault.place.map(|place| (place.source, place.start))), fault.clone())
        });
        let more = more
            .into_iter()
            .map(|fault| (fault.place.map(|place| (place.source, place.start)), fault));
        let key = |at: Option<(SourceId, u32)>| {
            at.map_or(vec![u32::MAX], |(source, start)| self.sources.reading_key(source, start))
        };
        let mut all: Vec<_> = own.chain(more).map(|(at, fault)| (key(at), fault)).collect();
        // The sort is stable: of two faults of one place the grammar's comes first.
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all.into_iter().map(|(_, fault)| fault).collect()
    }
}
