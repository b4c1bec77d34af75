//! MIME types by the ending of a file's name.

use std::collections::HashMap;

/// A `types` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types {
    by_ending: HashMap<Vec<u8>, Vec<u8>>,
}

impl Types {
    /// What nginx knows when no `types` block is given.
    pub fn built_in() -> Self {
        let mut types = Self::default();
        for (ending, mime) in [("html", "text/html"), ("gif", "image/gif"), ("jpg", "image/jpeg")] {
            types.add(ending.as_bytes(), mime.as_bytes());
        }
        types
    }

    /// Adds an ending; the type that it had before, if any.
    pub fn add(&mut self, ending: &[u8], mime: &[u8]) -> Option<Vec<u8>> {
        self.by_ending.insert(ending.to_ascii_lowercase(), mime.to_vec())
    }

    /// The type of `path`, when its last part has a known ending.
    pub fn of(&self, path: &[u8]) -> Option<&[u8]> {
        let name = path.rsplit(|&byte| byte == b'/').next()?;
        let dot = name.iter().rposition(|&byte| byte == b'.')?;
        // A name that only begins with a dot has no ending.
        if dot == 0 {
            return None;
        }
        let ending = &name[dot + 1..];
        if let Some(mime) = self.by_ending.get(ending) {
            return Some(mime);
        }
        self.by_ending.get(&ending.to_ascii_lowercase()).map(Vec::as_slice)
    }
}
