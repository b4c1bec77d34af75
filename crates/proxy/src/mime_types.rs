//! MIME types as a list in the configuration: which responses something concerns.
//!
//! Modules that look at types of responses share this grammar.

use perdura_conf::{Arity, Fault, Reader, Value, Word};

/// MIME types. `text/html` is always one of them, as nginx has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MimeTypes {
    All,
    /// In lower case, `text/html` first.
    Listed(Vec<Vec<u8>>),
}

impl MimeTypes {
    /// Whether a type without parameters is one of them.
    pub fn contain(&self, media_type: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Listed(list) => list.iter().any(|known| known.eq_ignore_ascii_case(media_type)),
        }
    }
}

impl Value for MimeTypes {
    const SYNTAX: &'static str = "mime-type ...";
    const ARITY: Arity = Arity::at_least(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let mut list = vec![b"text/html".to_vec()];
        for word in args {
            if word.is("*") {
                return Ok(Self::All);
            }
            let media_type = word.bytes.to_ascii_lowercase();
            if !list.contains(&media_type) {
                list.push(media_type);
            }
        }
        Ok(Self::Listed(list))
    }

    /// As in nginx, a second line adds to the first.
    fn again(&mut self, next: Self, _reader: &Reader<'_>) -> Result<(), Fault> {
        match (&mut *self, next) {
            (Self::Listed(list), Self::Listed(more)) => {
                for media_type in more {
                    if !list.contains(&media_type) {
                        list.push(media_type);
                    }
                }
            }
            _ => *self = Self::All,
        }
        Ok(())
    }
}
