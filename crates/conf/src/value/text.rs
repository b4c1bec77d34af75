//! A plain word.

use crate::{Arity, Fault, Reader, Value, Word};

/// A word as it stands, without variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Value for Text {
    const SYNTAX: &'static str = "string";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Text(args[0].bytes.clone()))
    }
}
