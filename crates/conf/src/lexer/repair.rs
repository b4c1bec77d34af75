//! What the lexer does about faults: it words them as nginx does and finds the place where reading
//! can go on. [`super::Lexer`] is the only caller; what a well-formed text looks like is known there.

use super::{End, Glue, Lexer, Origin, Stumble, Token, WORD_BYTES_MAX, newlines, offset};
use crate::{Fault, Place};

impl Lexer<'_> {
    /// Notes a byte that sticks to a closing quote, and takes it as part of the word, which is
    /// what a shell would do and most likely what was meant.
    pub(super) fn stray(&mut self, byte: u8) {
        if self.glue == Glue::Apart {
            let shown = String::from_utf8_lossy(&[byte]).into_owned();
            let fault = Fault::new(self.byte_before(), format!("unexpected \"{shown}\""));
            let opened = self.words.last().map_or(0, |word| word.place.start as usize);
            let lines = newlines(&self.bytes[opened..self.pos]);
            let fault = if lines > 0 {
                let line = self.line - lines;
                fault.hint(format!(
                    "the quoted string that ends here begins in line {line}: is its closing quote \
                     missing?"
                ))
            } else {
                fault.hint("a closing quote must be followed by space, \";\", \"{\" or \")\"")
            };
            self.note(fault);
        }
        self.glue = Glue::Together;
    }

    /// A `;` or `{` without words before it.
    pub(super) fn headless(&mut self, byte: u8) -> Token {
        let shown = char::from(byte);
        self.note(Fault::new(self.byte_before(), format!("unexpected \"{shown}\"")));
        match byte {
            b'{' => Token::Open(Vec::new()),
            // The fault is handed over at once: a file of nothing but `;` must not collect them.
            _ => Token::Dropped,
        }
    }

    /// A `}` behind words: their `;` is missing. The words count as a statement, and the brace is
    /// read again.
    pub(super) fn unterminated(&mut self) -> Token {
        let mut fault = Fault::new(self.byte_before(), "unexpected \"}\"");
        if let Some(word) = self.words.last() {
            let text = word.text();
            fault = fault.hint(format!("a \";\" is missing behind \"{text}\""));
        }
        self.note(fault);
        self.pos -= 1;
        Token::Simple(self.take_words())
    }

    /// The end of the text, which is a fault inside a statement.
    pub(super) fn at_end(&mut self) -> Token {
        let Some(last) = self.words.last() else {
            return Token::End(self.place(self.pos, self.pos, self.line));
        };
        let place = self.place(last.place.end as usize, last.place.end as usize, self.line);
        let hint = format!("a \";\" is missing behind \"{}\"", last.text());
        self.note_end(place, hint);
        Token::Simple(self.take_words())
    }

    /// The end of the text inside quotes: what follows the opening quote is read again as if it
    /// were not there, so that the rest of the file is looked at too.
    pub(super) fn end_in_quotes(&mut self) -> Token {
        let opening = self.start - 1;
        let place = self.place(opening, opening + 1, self.line);
        let line = self.start_line;
        self.note_end(place, format!("the quoted string that begins in line {line} has no end"));
        self.resume()
    }

    fn note_end(&mut self, place: Place, hint: String) {
        if self.end == End::Noted {
            return;
        }
        self.end = End::Noted;
        let message = match self.origin {
            Origin::File => "unexpected end of file, expecting \";\" or \"}\"",
            Origin::CommandLine => "unexpected end of parameter, expecting \";\"",
        };
        self.note(Fault::new(place, message).hint(hint));
    }

    /// A parameter that does not fit into nginx's buffer.
    pub(super) fn too_long(&mut self, quote: Option<u8>) -> Token {
        let Some(quote) = quote else {
            let fault = self.long_fault();
            self.note(fault.hint(format!("a parameter has at most {WORD_BYTES_MAX} bytes")));
            return self.resume_from_here();
        };
        let opening = self.start - 1;
        let message = format!(
            "too long parameter, probably missing terminating \"{}\" character",
            char::from(quote)
        );
        let place = self.place(opening, opening + 1, self.start_line);
        self.note(Fault::new(place, message));
        self.resume()
    }

    fn long_fault(&self) -> Fault {
        let shown = &self.bytes[self.start..(self.start + SHOWN_BYTES).min(self.bytes.len())];
        let shown = String::from_utf8_lossy(shown);
        Fault::new(
            self.place(self.start, self.start + SHOWN_BYTES, self.start_line),
            format!("too long parameter \"{shown}...\" started"),
        )
    }

    /// Gives the statement up and goes back to where its last word began.
    fn resume(&mut self) -> Token {
        self.pos = self.start;
        self.line = self.start_line;
        self.resume_from_here()
    }

    /// Gives the statement up and goes on behind the next `;` or at the next brace.
    fn resume_from_here(&mut self) -> Token {
        self.words.clear();
        let rest = &self.bytes[self.pos..];
        let length = rest.iter().position(|byte| matches!(byte, b';' | b'{' | b'}'));
        let skipped = length.map_or(rest, |length| &rest[..length]);
        self.line += newlines(skipped);
        self.pos += skipped.len();
        match self.bytes.get(self.pos) {
            Some(b';') => self.pos += 1,
            Some(b'{') => {
                self.pos += 1;
                return Token::Open(Vec::new());
            }
            _ => {}
        }
        Token::Dropped
    }

    /// A comment that does not fit into nginx's buffer: it is skipped all the same.
    pub(super) fn long_comment(&mut self) {
        let hint = "nginx reads a comment as a parameter: break it into shorter lines";
        self.note(self.long_fault().hint(hint));
        let rest = &self.bytes[self.pos..];
        self.pos += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        self.start = self.pos;
    }

    fn note(&mut self, fault: Fault) {
        let first = self.words.first().map(|word| word.place.start);
        let since = first.unwrap_or(offset(self.start));
        self.stumbles.push(Stumble { fault, since });
    }
}

/// How much of a parameter nginx shows when it is too long.
const SHOWN_BYTES: usize = 10;
