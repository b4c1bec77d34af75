//! What is wrong with a configuration: for the administrator, with place and hint.

use crate::Place;
use std::io;

/// How bad a fault is, with nginx's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The configuration cannot be used.
    Emerg,
    /// It can be used, but probably not as it was meant.
    Warn,
    /// Worth knowing; shown by `-t` only.
    Notice,
}

/// One fault. `message` is nginx's wording without the trailing ` in FILE:LINE`, which
/// [`crate::render`] adds from `place`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub level: Level,
    pub message: String,
    pub place: Option<Place>,
    pub hint: Option<String>,
}

impl Fault {
    /// A fault that makes the configuration unusable.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Emerg, message: message.into(), place: Some(place), hint: None }
    }

    /// A fault that belongs to no place in a file (`no "events" section in configuration`).
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { level: Level::Emerg, message: message.into(), place: None, hint: None }
    }

    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Warn, ..Self::new(place, message) }
    }

    pub fn notice(place: Place, message: impl Into<String>) -> Self {
        Self { level: Level::Notice, ..Self::new(place, message) }
    }

    /// Adds what to do about it, as one sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A system error as nginx prints it: `(2: No such file or directory)`.
pub fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(code) = error.raw_os_error() else {
        return format!("({text})");
    };
    // The standard library appends its own form of the number.
    let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
    format!("({code}: {text})")
}
