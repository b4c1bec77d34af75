//! How long files and lines may be.

use super::Violation;
use super::source::Source;

pub fn check(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let length = source.text.lines().count();
    if source.is_rust() && length > FILE_LINES_MAX {
        violations
            .push(Violation::new(length, format!("{length} lines; {FILE_LINES_MAX} is the wall")));
    }
    if WIDE.iter().any(|ending| source.path.ends_with(ending)) {
        for (number, line) in source.lines() {
            let width = line.chars().count();
            if width > COLUMNS_MAX {
                violations.push(Violation::new(
                    number,
                    format!("{width} columns, {COLUMNS_MAX} at most"),
                ));
            }
        }
    }
    violations
}

const FILE_LINES_MAX: usize = 800;
const COLUMNS_MAX: usize = 110;
/// Tables and generated pages may be wider.
const WIDE: &[&str] = &[".rs", ".js", ".py", ".sh"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_lines_are_found() {
        let long = "//! x\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(check(&Source::new("a.rs", &long)).len(), 1);
        assert_eq!(check(&Source::new("a.rs", &"x".repeat(COLUMNS_MAX + 1))).len(), 1);
        assert!(check(&Source::new("a.rs", &"x".repeat(COLUMNS_MAX))).is_empty());
        assert!(check(&Source::new("a.md", &"x".repeat(COLUMNS_MAX + 1))).is_empty());
    }
}
