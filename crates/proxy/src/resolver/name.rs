//! A host name in the form in which it is asked for and compared: labels in lower case.

use std::fmt;

/// A name of one to 127 labels, in lower case, without the root's dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// As on the wire (RFC 1035, 3.1): each label behind its length, the root's zero at the end.
    wire: Vec<u8>,
}

/// Bytes of one label (RFC 1035, 2.3.4).
const LABEL_SIZE_MAX: usize = 63;

/// Bytes of a name on the wire, its last zero included (RFC 1035, 2.3.4).
pub const WIRE_SIZE_MAX: usize = 255;

impl Name {
    /// Reads `a.example`; one dot at the end is the root's. `None` when no server could know the
    /// name: an empty label, or one that is too long.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut name = Self { wire: Vec::with_capacity(text.len() + 2) };
        for label in text.split('.') {
            name.push(label.as_bytes())?;
        }
        name.end()
    }

    /// A name without labels yet; for a reader of messages.
    pub(super) fn begin() -> Self {
        Self { wire: Vec::new() }
    }

    /// Appends a label; `None` when the name breaks its rules by it.
    pub(super) fn push(&mut self, label: &[u8]) -> Option<()> {
        let fits = self.wire.len() + 1 + label.len() < WIRE_SIZE_MAX;
        if label.is_empty() || label.len() > LABEL_SIZE_MAX || !fits {
            return None;
        }
        self.wire.push(label.len() as u8);
        self.wire.extend(label.iter().map(u8::to_ascii_lowercase));
        Some(())
    }

    /// The name with its end.
    pub(super) fn end(mut self) -> Option<Self> {
        self.wire.push(0);
        Some(self)
    }

    /// The name as it stands in a question.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.wire[..];
        let mut dot = "";
        while let Some((&length, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
            let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
            write!(out, "{dot}{}", label.escape_ascii())?;
            (rest, dot) = (tail, ".");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_in_lower_case() {
        let name = Name::parse("A.Example.").unwrap();
        assert_eq!(name.wire(), b"\x01a\x07example\0");
        assert_eq!(name.to_string(), "a.example");
        assert_eq!(Name::parse("a.example"), Some(name));
        assert!(Name::parse("2130706433").is_some());
        assert!(Name::parse(&"a".repeat(63)).is_some());
    }

    #[test]
    fn what_no_server_knows_is_no_name() {
        let long = "a.".repeat(127);
        for text in ["", ".", "a..b", ".a", &"a".repeat(64), &format!("{long}b")] {
            assert_eq!(Name::parse(text), None, "{text:?}");
        }
        // 127 labels of one byte are 254 bytes and the root's zero.
        assert_eq!(Name::parse(&long).map(|name| name.wire().len()), Some(WIRE_SIZE_MAX));
    }
}
