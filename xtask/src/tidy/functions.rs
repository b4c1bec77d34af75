//! How long functions may be.

use super::Violation;
use super::source::Source;

pub fn check(source: &Source) -> Vec<Violation> {
    if !source.is_rust() {
        return Vec::new();
    }
    let lines: Vec<_> = source.code_lines().map(|(_, line)| line).collect();
    let mut violations = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function(line) else { continue };
        let length = length(&lines[index..]);
        if length > FUNCTION_LINES_MAX {
            let what = format!("fn {name} has {length} lines; {FUNCTION_LINES_MAX} is the wall");
            violations.push(Violation::new(index + 1, what));
        }
    }
    violations
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let at = line.find("fn ")?;
    let before = line[..at].trim();
    let known = |word: &str| {
        ["pub", "const", "async", "unsafe", "extern"].contains(&word) || word.starts_with("pub(")
    };
    if !before.split_whitespace().all(known) {
        return None;
    }
    let rest = &line[at + 3..];
    let end = rest.find(|one: char| !(one.is_alphanumeric() || one == '_'))?;
    (end > 0).then(|| &rest[..end])
}

/// The number of lines up to the brace that closes the function; 1 for a declaration.
fn length(lines: &[&str]) -> usize {
    let mut depth = 0;
    let mut opened = false;
    for (index, line) in lines.iter().enumerate() {
        for one in line.chars() {
            match one {
                '{' => {
                    depth += 1;
                    opened = true;
                }
                '}' => depth -= 1,
                ';' if !opened => return 1,
                _ => {}
            }
            if opened && depth == 0 {
                return index + 1;
            }
        }
    }
    lines.len()
}

const FUNCTION_LINES_MAX: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(body: usize) -> Source {
        let body = "    let _ = \"}\"; // }\n".repeat(body);
        Source::new("a.rs", &format!("pub(crate) fn long(\n) {{\n{body}}}\nfn short() {{}}\n"))
    }

    #[test]
    fn a_long_function_is_found_and_braces_in_strings_do_not_end_it() {
        let violations = check(&file(FUNCTION_LINES_MAX));
        assert_eq!(violations.len(), 1);
        assert!(violations[0].what.starts_with("fn long has 73"), "{violations:?}");
        assert!(check(&file(FUNCTION_LINES_MAX - 3)).is_empty());
    }

    #[test]
    fn declarations_and_function_types_are_no_functions() {
        assert_eq!(length(&["fn a();", "}"]), 1);
        assert_eq!(function("    handler: fn (u8) -> u8,"), None);
        assert_eq!(function("    pub const fn name(&self) {"), Some("name"));
    }
}
