//! A configuration as nested statements, with every `include` expanded in place.

use crate::{Fault, Files, Sources, Word};
use std::path::Path;

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
}

impl Document {
    /// Reads the `-g` text, then the file at `path` and all that it includes.
    pub fn read(files: &dyn Files, path: &Path, global: &[u8]) -> Document {
        let _ = (files, path, global);
        Document::default()
    }
}
