//! `cargo xtask tidy`: what a compiler does not check. Each rule is a function from a file to
//! its violations, in a file of its own, with violations planted in its tests.

mod arrows;
mod comments;
mod functions;
mod lines;
mod source;
mod unsafety;
mod words;

use crate::command::{command, root};
use source::Source;

/// One violation: where, and which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub line: usize,
    pub what: String,
}

impl Violation {
    pub fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

type Rule = fn(&Source) -> Vec<Violation>;

const RULES: &[Rule] = &[
    lines::check,
    functions::check,
    comments::check,
    arrows::check,
    unsafety::check,
    words::check,
];

/// Checks every file that git knows or would add.
pub fn run() -> Result<bool, String> {
    let list = command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = { list }.output().map_err(|error| format!("git: {error}"))?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut count = 0;
    let mut files = 0;
    for name in names.lines() {
        let Ok(text) = std::fs::read_to_string(root().join(name)) else { continue };
        files += 1;
        let source = Source::new(name, &text);
        for violation in RULES.iter().flat_map(|rule| rule(&source)) {
            println!("{name}:{}: {}", violation.line, violation.what);
            count += 1;
        }
    }
    println!("tidy: {files} files, {count} violations");
    Ok(count == 0 && files > 0)
}
