//! Faults as text: nginx's line first, then the source line, a caret and the hint.
//!
//! ```text
//! perdura: [emerg] unknown directive "proxy_pas" in /etc/nginx/nginx.conf:12
//!    |
//! 12 |     proxy_pas http://backend;
//!    |     ^^^^^^^^^
//!    = hint: did you mean "proxy_pass"?
//! ```

use crate::{Fault, Level, Place, Source, Sources};
use std::fmt::Write;

/// How many columns of a source line are shown; longer ones are cut around the caret.
pub const COLUMNS_MAX: usize = 100;

/// How many bytes of a message are shown: nginx cuts longer ones (`NGX_MAX_CONF_ERRSTR`).
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// How many columns of context stay before the caret when a line is cut.
const CONTEXT_COLUMNS: usize = 30;

/// How wide a tab is shown.
const TAB_COLUMNS: usize = 4;

/// The text of one fault; `program` is the name before the level. It ends without a line feed.
pub fn render(program: &str, fault: &Fault, sources: &Sources) -> String {
    let mut text = format!("{program}: {}", first_line(fault, sources));
    let shown = fault.place.and_then(|place| Some((place, sources.source(place.source)?)));
    let mut margin = 0;
    if let Some((place, source)) = shown {
        let (number, snippet) = snippet(place, source);
        margin = number.len();
        let Snippet { line, before, marked } = snippet;
        let (indent, carets) = (" ".repeat(before), "^".repeat(marked));
        // Writing into a string cannot fail.
        let _ = write!(text, "\n{:margin$} |\n{number} | {line}", "");
        let _ = write!(text, "\n{:margin$} | {indent}{carets}", "");
    }
    if let Some(hint) = &fault.hint {
        let _ = write!(text, "\n{:margin$} = hint: {hint}", "");
    }
    text
}

/// The line that nginx would print, from the level on: what a log gets.
pub fn first_line(fault: &Fault, sources: &Sources) -> String {
    let level = match fault.level {
        Level::Emerg => "emerg",
        Level::Warn => "warn",
        Level::Notice => "notice",
    };
    let message = &fault.message[..fault.message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    let Some(place) = fault.place else {
        return format!("[{level}] {message}");
    };
    match sources.source(place.source) {
        Some(source) if source.command_line => format!("[{level}] {message} in command line"),
        Some(source) => {
            format!("[{level}] {message} in {}:{}", source.path.display(), place.line)
        }
        None => format!("[{level}] {message}"),
    }
}

/// A source line made ready for a terminal.
struct Snippet {
    line: String,
    /// Columns before the first caret.
    before: usize,
    /// How many carets.
    marked: usize,
}

/// The number of the line that holds `place` (empty for the `-g` text) and the line.
fn snippet(place: Place, source: &Source) -> (String, Snippet) {
    let (number, range) = source.line_at(place.start);
    let number = if source.command_line { String::new() } else { number.to_string() };
    let line = &source.bytes[range.clone()];
    let start = (place.start as usize).clamp(range.start, range.end) - range.start;
    let end = (place.end as usize).clamp(range.start, range.end) - range.start;
    (number, Snippet::new(&line[..start], &line[start..end.max(start)], &line[end.max(start)..]))
}

impl Snippet {
    fn new(before: &[u8], marked: &[u8], after: &[u8]) -> Self {
        let mut cells = Cells::default();
        cells.push(before);
        let from = cells.columns();
        cells.push(marked);
        let to = cells.columns();
        // What lies far behind the right edge is never shown, so it need not be looked at.
        cells.push(&after[..after.len().min(COLUMNS_MAX * 4)]);
        cells.cut(from, to)
    }
}

/// The characters of a line with their widths.
#[derive(Default)]
struct Cells {
    list: Vec<(char, usize)>,
    columns: usize,
}

impl Cells {
    fn push(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for char in chunk.valid().chars() {
                self.push_char(char);
            }
            for _ in chunk.invalid() {
                self.push_char(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn push_char(&mut self, char: char) {
        if char == '\t' {
            let width = TAB_COLUMNS - self.columns % TAB_COLUMNS;
            self.list.extend(std::iter::repeat_n((' ', 1), width));
            self.columns += width;
            return;
        }
        let (char, width) = shown(char);
        self.list.push((char, width));
        self.columns += width;
    }

    fn columns(&self) -> usize {
        self.columns
    }

    /// The line, cut to [`COLUMNS_MAX`] around the columns `from..to`.
    fn cut(self, from: usize, to: usize) -> Snippet {
        const GAP: &str = "...";
        let left = if to < COLUMNS_MAX { 0 } else { from.saturating_sub(CONTEXT_COLUMNS) };
        let right = left + COLUMNS_MAX;
        let mut line = String::new();
        let mut column = 0;
        let mut dropped = 0;
        for (char, width) in self.list {
            if column < left {
                dropped = column + width;
            } else if column + width <= right {
                line.push(char);
            }
            column += width;
        }
        let line = line.trim_end();
        let head = if dropped > 0 { GAP } else { "" };
        let tail = if column > right { GAP } else { "" };
        Snippet {
            line: format!("{head}{line}{tail}"),
            before: from - dropped + head.len(),
            marked: to.min(right).saturating_sub(from).max(1),
        }
    }
}

/// What a terminal gets for a character, and its width. Control characters are never passed on:
/// they show as their pictures.
fn shown(char: char) -> (char, usize) {
    match char {
        '\0'..='\x1f' => (char::from_u32(0x2400 + char as u32).unwrap_or('?'), 1),
        '\x7f' => ('\u{2421}', 1),
        // C1 controls, and marks that reorder text or hide in it.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => (char::REPLACEMENT_CHARACTER, 1),
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' | '\u{20d0}'..='\u{20ff}' => (char, 0),
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => (char, 2),
        _ => (char, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceId;
    use std::path::PathBuf;

    fn sources(text: &[u8], command_line: bool) -> Sources {
        let mut sources = Sources::default();
        sources.add(Source { path: PathBuf::from("/x"), bytes: text.into(), command_line });
        sources
    }

    /// The source line and the carets for the bytes `start..end` of `text`.
    fn marked(text: &[u8], start: u32, end: u32) -> [String; 2] {
        let place = Place { source: SourceId(0), line: 9, start, end };
        let text = render("p", &Fault::new(place, "m"), &sources(text, false));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "p: [emerg] m in /x:9");
        assert_eq!(lines[1], "  |");
        [lines[2].to_owned(), lines[3].to_owned()]
    }

    #[test]
    fn the_line_of_the_bytes_is_shown_with_its_own_number() {
        assert_eq!(marked(b"a\nbc d;\n", 2, 4), ["2 | bc d;", "  | ^^"]);
        assert_eq!(marked(b"a\nbc", 4, 4), ["2 | bc", "  |   ^"]);
    }

    #[test]
    fn a_word_of_several_lines_is_marked_to_the_end_of_the_first() {
        assert_eq!(marked(b"a 'b\nc';", 2, 8), ["1 | a 'b", "  |   ^^"]);
    }

    #[test]
    fn tabs_wide_letters_and_bytes_that_are_no_text_keep_the_caret_in_place() {
        assert_eq!(marked(b"\ta;", 1, 2), ["1 |     a;", "  |     ^"]);
        assert_eq!(marked("\u{6f22}a".as_bytes(), 3, 4), ["1 | \u{6f22}a", "  |   ^"]);
        assert_eq!(marked("e\u{301}a".as_bytes(), 3, 4), ["1 | e\u{301}a", "  |  ^"]);
        assert_eq!(marked(b"\xff\xfea", 2, 3), ["1 | \u{fffd}\u{fffd}a", "  |   ^"]);
        // Places come from a table of their own: they may cut a letter in two.
        assert_eq!(marked("\u{e9}".as_bytes(), 1, 2), ["1 | \u{fffd}\u{fffd}", "  |  ^"]);
    }

    #[test]
    fn a_terminal_never_gets_control_characters() {
        assert_eq!(
            marked(b"\x1b[2Ja\x7f;\r", 4, 5),
            ["1 | \u{241b}[2Ja\u{2421};\u{240d}", "  |     ^"]
        );
        assert_eq!(marked("\u{202e}a\u{9b}".as_bytes(), 3, 4), ["1 | \u{fffd}a\u{fffd}", "  |  ^"]);
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let text = "a".repeat(500) + "XYZ" + &"b".repeat(500);
        let [line, carets] = marked(text.as_bytes(), 500, 503);
        let (gap, left) = ("...", "a".repeat(CONTEXT_COLUMNS));
        let right = "b".repeat(COLUMNS_MAX - CONTEXT_COLUMNS - 3);
        assert_eq!(line, format!("1 | {gap}{left}XYZ{right}{gap}"));
        assert_eq!(carets, format!("  | {}^^^", " ".repeat(3 + CONTEXT_COLUMNS)));
        let [line, carets] = marked(text.as_bytes(), 0, 1003);
        assert_eq!(line, format!("1 | {}{gap}", "a".repeat(COLUMNS_MAX)));
        assert_eq!(carets, format!("  | {}", "^".repeat(COLUMNS_MAX)));
    }

    #[test]
    fn faults_of_the_command_line_name_it() {
        let place = Place { source: SourceId(0), line: 1, start: 0, end: 1 };
        let fault = Fault::warning(place, "m").hint("do this");
        let text = render("p", &fault, &sources(b"ab;", true));
        assert_eq!(text, "p: [warn] m in command line\n |\n | ab;\n | ^\n = hint: do this");
    }

    #[test]
    fn a_fault_without_a_place_is_one_line() {
        let fault = Fault::nowhere("no \"events\" section in configuration");
        let text = render("p", &fault, &Sources::default());
        assert_eq!(text, "p: [emerg] no \"events\" section in configuration");
        let place = Place { source: SourceId(5), line: 1, start: 0, end: 1 };
        assert_eq!(render("p", &Fault::notice(place, "m"), &Sources::default()), "p: [notice] m");
    }

    #[test]
    fn a_message_past_the_limit_is_cut_as_nginx_cuts_it() {
        let fault = Fault::nowhere("m".repeat(MESSAGE_BYTES_MAX + 1));
        let line = first_line(&fault, &Sources::default());
        assert_eq!(line.len(), "[emerg] ".len() + MESSAGE_BYTES_MAX);
    }
}
