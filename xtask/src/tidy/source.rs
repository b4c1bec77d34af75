//! A file as the rules see it: its text, and for Rust the same text with comments and string
//! contents blanked, so that a brace in a string is no brace.

/// A file of the repository.
pub struct Source {
    /// The path below the root, with slashes.
    pub path: String,
    pub text: String,
    /// The text with blanks for comments, strings and characters; equal to it for other files.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { text.to_owned() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines with their numbers.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Lines of the blanked text with their numbers.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// Replaces what is no code by blanks and keeps every line where it is.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = not_code(rest);
        let step = if length == 0 { first_char(rest) } else { length };
        let (piece, next) = rest.split_at(step);
        match length {
            0 => out.push_str(piece),
            _ => out.extend(piece.chars().map(|one| if one == '\n' { '\n' } else { ' ' })),
        }
        rest = next;
    }
    out
}

/// The length of the comment, string or character that begins here; 0 when code does.
fn not_code(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    match bytes {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |at| at + 2),
        [b'"', ..] => quoted(bytes),
        [b'r', b'"' | b'#', ..] => raw(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] => raw(rest, 2),
        [b'\'', ..] => character(bytes),
        // An identifier is skipped as a whole, so that the `r` of `for` begins no raw string.
        _ => 0,
    }
}

fn first_char(rest: &str) -> usize {
    let word = rest.find(|one: char| !(one.is_alphanumeric() || one == '_')).unwrap_or(rest.len());
    let single = rest.chars().next().map_or(0, char::len_utf8);
    word.max(single)
}

fn quoted(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let body = prefix + hashes;
    if rest.as_bytes().get(body) != Some(&b'"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest[body + 1..].find(&close).map_or(rest.len(), |at| body + 1 + at + close.len())
}

/// A character literal, and not a lifetime.
fn character(bytes: &[u8]) -> usize {
    match bytes {
        [_, b'\\', ..] => {
            let close = bytes.iter().skip(3).position(|byte| *byte == b'\'');
            close.map_or(0, |at| at + 4)
        }
        _ => {
            let close = bytes.iter().take(6).skip(2).position(|byte| *byte == b'\'');
            close.map_or(0, |at| at + 3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        for (text, code) in [
            ("a // b {\nc", "a       \nc"),
            ("a /* {\n} */ c", "a     \n     c"),
            ("f(\"{\\\"}\")", "f(      )"),
            ("r#\"{\"}\"# x", "         x"),
            ("for x in '{'", "for x in    "),
            ("'\\n' '\\''", "         "),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("b\"{\" br\"{\"", "b         "),
        ] {
            assert_eq!(blank(text).trim_end(), code.trim_end(), "{text}");
        }
    }
}
