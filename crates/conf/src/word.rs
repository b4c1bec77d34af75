//! One argument of a directive, unquoted, with its place.

use crate::Place;
use std::borrow::Cow;

/// A word of the configuration: quotes are gone and escapes are resolved as nginx resolves them;
/// `$name` is still text. Bytes need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub bytes: Vec<u8>,
    pub place: Place,
}

impl Word {
    /// The text for messages; bytes that are no UTF-8 show as U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Whether the word is exactly `text`.
    pub fn is(&self, text: &str) -> bool {
        self.bytes == text.as_bytes()
    }
}
