//! The field lines of a head, in the order in which they came.
//!
//! Not a map: order, case and repetition are kept, because they are passed on. The parsers of requests
//! and responses make it; everything that reads or forwards header lines asks it.

use super::span::Span;
use bytes::Bytes;

/// An ordered list of name and value over the shared text of one head.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Bytes,
    lines: Vec<FieldSpans>,
}

/// Where one line's name and value lie in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldSpans {
    pub name: Span,
    pub value: Span,
}

impl Fields {
    pub(crate) fn new(text: Bytes, lines: Vec<FieldSpans>) -> Fields {
        Fields { text, lines }
    }

    /// All lines in order, name and value as they were sent (the value without surrounding blanks).
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.lines.iter().map(|line| (line.name.of(&self.text), line.value.of(&self.text)))
    }

    /// The value of the first line of that name; `lower` is the name in lower case.
    pub fn first(&self, lower: &str) -> Option<&[u8]> {
        self.all(lower).next()
    }

    /// The values of all lines of that name, in order; `lower` is the name in lower case.
    pub fn all<'a>(&'a self, lower: &str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.lines
            .iter()
            .filter(move |line| {
                // The length alone tells most names apart and lies in the span: no byte is touched.
                line.name.len() == lower.len() && same_name(line.name.of(&self.text), lower)
            })
            .map(|line| line.value.of(&self.text))
    }

    /// The elements of all comma-separated lists in lines of that name, trimmed, empty ones left out
    /// (RFC 9110, 5.6.1). Both `Connection` and `Upgrade` may be spread over several lines.
    pub fn elements<'a>(&'a self, lower: &str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.all(lower)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(|element| element.trim_ascii())
            .filter(|element| !element.is_empty())
    }

    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// The text of the whole head, which the spans refer to.
    pub(crate) fn text(&self) -> &Bytes {
        &self.text
    }
}

/// Whether `name` is `lower` in any case (RFC 9110, 5.1); the first byte decides in most cases.
pub fn same_name(name: &[u8], lower: &str) -> bool {
    let lower = lower.as_bytes();
    name.len() == lower.len()
        && name.first().map(u8::to_ascii_lowercase) == lower.first().copied()
        && name.eq_ignore_ascii_case(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let text = Bytes::from_static(b"Host:a Connection:Upgrade,, close connection: x ");
        let spans = |a, b, c, d| FieldSpans { name: Span::new(a, b), value: Span::new(c, d) };
        Fields::new(text, vec![spans(0, 4, 5, 6), spans(7, 17, 18, 33), spans(34, 44, 46, 47)])
    }

    #[test]
    fn order_and_case_are_kept_and_names_compare_without_case() {
        let fields = sample();
        let names: Vec<&[u8]> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [b"Host".as_slice(), b"Connection", b"connection"]);
        assert_eq!(fields.first("host"), Some(b"a".as_slice()));
        assert_eq!(fields.first("hosts"), None);
        assert_eq!(fields.all("connection").count(), 2);
        assert_eq!(fields.count(), 3);
    }

    #[test]
    fn elements_run_across_all_lines_of_a_name() {
        let fields = sample();
        let found: Vec<&[u8]> = fields.elements("connection").collect();
        assert_eq!(found, [b"Upgrade".as_slice(), b"close", b"x"]);
    }
}
