//! Each Rust file begins by saying what it is.

use super::Violation;
use super::source::Source;

pub fn check(source: &Source) -> Vec<Violation> {
    let first = source.text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|text| text.trim().len() > 1);
    match source.is_rust() && !said {
        true => vec![Violation::new(1, "a file begins with `//!` and what it is")],
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_sentence_is_found() {
        assert_eq!(check(&Source::new("a.rs", "use std;\n")).len(), 1);
        assert_eq!(check(&Source::new("a.rs", "//!\n")).len(), 1);
        assert!(check(&Source::new("a.rs", "//! A file.\n")).is_empty());
        assert!(check(&Source::new("a.md", "text\n")).is_empty());
    }
}
