//! Words that must not stand in the repository: notes to oneself, paths of one
//! machine, and sleeping tests.

use super::Violation;
use super::source::Source;

pub fn check(source: &Source) -> Vec<Violation> {
    // The rule's own file names what it looks for.
    if source.path == "xtask/src/tidy/words.rs" || source.path.starts_with("LICENSE") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (number, line) in source.lines() {
        for note in NOTES.iter().filter(|note| has_word(line, note)) {
            violations.push(Violation::new(number, format!("{note}: do it, or open an issue")));
        }
        if source.path.starts_with("tests/") && line.contains(SLEEP) {
            violations.push(Violation::new(number, "a test waits for a fact, not for time"));
        }
        for path in PATHS.iter().filter(|path| line.contains(**path)) {
            violations.push(Violation::new(number, format!("{path} exists on one machine only")));
        }
    }
    violations
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|one: char| !one.is_alphanumeric()).any(|one| one == word)
}

const NOTES: &[&str] = &["FIXME", "TODO", "XXX"];
const SLEEP: &str = "thread::sleep";
const PATHS: &[&str] = &["/work/", "/home/"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_local_paths_are_found() {
        assert_eq!(check(&Source::new("a.rs", "// TODO: later")).len(), 1);
        assert_eq!(check(&Source::new("a.md", "see /home/x and FIXME")).len(), 2);
        assert_eq!(check(&Source::new("tests/a.rs", "std::thread::sleep(x)")).len(), 1);
        assert!(check(&Source::new("a.rs", "TODOS std::thread::sleep(x)")).is_empty());
    }
}
