//! A place inside a head: two offsets instead of a copy.
//!
//! It does not own the bytes and does not know what they mean. The parsers make spans while they read;
//! [`super::Fields`] and the heads resolve them against the text that they own.

/// A half-open range of bytes inside one head.
///
/// Heads are smaller than [`HEAD_SIZE_MAX`], so that 32 bits suffice and a field costs 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl Span {
    /// A span from `start` to `end`; both lie below [`HEAD_SIZE_MAX`], which the parsers enforce.
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= HEAD_SIZE_MAX);
        Span { start: start as u32, end: end as u32 }
    }

    /// How many bytes it covers.
    pub fn len(self) -> usize {
        (self.end.saturating_sub(self.start)) as usize
    }

    /// Whether it covers nothing.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes it covers in `text`; nothing if it does not lie inside.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// No head may grow beyond this, whatever the configuration allows: 1 GiB.
pub const HEAD_SIZE_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn covers_its_bytes_and_never_reaches_outside() {
        assert_eq!(Span::new(1, 3).of(b"abcd"), b"bc");
        assert_eq!(Span::new(3, 9).of(b"abcd"), b"");
        assert!(Span::default().is_empty());
        assert_eq!(Span::new(2, 7).len(), 5);
    }
}
