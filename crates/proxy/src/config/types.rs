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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_count_in_any_case_and_only_of_the_last_part() {
        let types = Types::built_in();
        assert_eq!(types.of(b"/a.html"), Some(&b"text/html"[..]));
        assert_eq!(types.of(b"/a.HtMl"), Some(&b"text/html"[..]));
        assert_eq!(types.of(b"/a.tar.gif"), Some(&b"image/gif"[..]));
        assert_eq!(types.of(b"/a.html/b"), None);
        assert_eq!(types.of(b"/html"), None);
        assert_eq!(types.of(b""), None);
    }

    #[test]
    fn a_first_dot_begins_no_ending() {
        let mut types = Types::default();
        types.add(b"profile", b"text/x");
        assert_eq!(types.of(b"/.profile"), None);
        assert_eq!(types.of(b"/a.profile"), Some(&b"text/x"[..]));
        assert_eq!(types.of(b"/a."), None);
    }

    #[test]
    fn a_later_type_replaces_an_earlier_one_and_names_it() {
        let mut types = Types::built_in();
        assert_eq!(types.add(b"HTML", b"text/x"), Some(b"text/html".to_vec()));
        assert_eq!(types.of(b"/a.html"), Some(&b"text/x"[..]));
    }
}
