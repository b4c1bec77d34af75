//! Paths of files.

use crate::{Arity, Fault, Reader, Value, Word};
use std::path::PathBuf;

/// The path of a file or folder; a relative one is below the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(pub PathBuf);

impl Value for FilePath {
    const SYNTAX: &'static str = "path";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(FilePath(reader.path(&args[0])))
    }
}
