//! Cuts a file into words and punctuation, exactly as `ngx_conf_read_token` does.
//!
//! It knows nothing of directives and does not nest: [`crate::document`] asks for one [`Token`]
//! after the other. Where nginx stops at the first fault, the lexer notes it and goes on at the
//! next place where a statement can begin.

mod repair;

use crate::{Fault, Place, SourceId, Word};

/// One statement's worth of text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Words that end in `;`.
    Simple(Vec<Word>),
    /// Words that end in `{`; none when the block's head was beyond repair.
    Open(Vec<Word>),
    /// A `}`.
    Close(Place),
    /// A statement that was given up; its fault is noted.
    Dropped,
    /// The end of the text.
    End(Place),
}

/// A fault of the grammar and where the statement began in which nginx would have met it.
#[derive(Debug)]
pub(crate) struct Stumble {
    pub fault: Fault,
    pub since: u32,
}

/// What the text is: only a file is read through nginx's buffer and may open blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File,
    CommandLine,
}

/// nginx reads files through a buffer of this size, in bytes, and a parameter or a comment has to
/// fit (`NGX_CONF_BUFFER`).
pub(crate) const WORD_BYTES_MAX: usize = 4096;

/// The reader of one text.
pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    source: SourceId,
    origin: Origin,
    pos: usize,
    line: u32,
    /// Where the word, comment or space began that is being read.
    start: usize,
    start_line: u32,
    words: Vec<Word>,
    /// Whether the next piece belongs to the word before it: the repair after a quote.
    glue: Glue,
    end: End,
    stumbles: Vec<Stumble>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Glue {
    Apart,
    /// The piece that is read now continues the last word.
    Together,
    /// A piece was joined in this statement already, and the fault is noted.
    Done,
}

/// Whether the end inside a statement was noted; it is one fault, however often it is met again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Unseen,
    Noted,
}

/// What reading one byte gave.
enum Read {
    Byte(u8),
    End,
    TooLong,
}

/// What follows a word.
enum After {
    /// Space: the statement goes on.
    Space,
    /// The statement is over.
    Over(Token),
    /// This byte begins the next piece without space in between.
    Piece(u8),
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8], source: SourceId, origin: Origin) -> Self {
        Self {
            bytes,
            source,
            origin,
            pos: 0,
            line: 1,
            start: 0,
            start_line: 1,
            words: Vec::new(),
            glue: Glue::Apart,
            end: End::Unseen,
            stumbles: Vec::new(),
        }
    }

    /// The faults since the last call.
    pub fn take_stumbles(&mut self) -> Vec<Stumble> {
        std::mem::take(&mut self.stumbles)
    }

    /// Whether the text ended inside a statement, which was reported.
    pub fn ended_early(&self) -> bool {
        self.end == End::Noted
    }

    /// The next statement, brace or the end.
    pub fn next(&mut self) -> Token {
        self.words.clear();
        self.glue = Glue::Apart;
        self.start = self.pos;
        self.start_line = self.line;
        loop {
            let byte = match self.read() {
                Read::Byte(byte) => byte,
                Read::End => return self.at_end(),
                Read::TooLong => return self.too_long(None),
            };
            self.start = self.pos - 1;
            self.start_line = self.line;
            let token = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => None,
                b';' | b'{' if self.words.is_empty() => Some(self.headless(byte)),
                b';' => Some(Token::Simple(self.take_words())),
                b'{' => Some(Token::Open(self.take_words())),
                b'}' if self.words.is_empty() => Some(Token::Close(self.byte_before())),
                b'}' => Some(self.unterminated()),
                b'#' => self.comment(),
                _ => self.word(byte),
            };
            if let Some(token) = token {
                return token;
            }
        }
    }

    /// Reads a byte. The limit is nginx's: more input is wanted while what began at `start` fills
    /// the buffer already. The `-g` text is in memory and has no such limit.
    fn read(&mut self) -> Read {
        let Some(&byte) = self.bytes.get(self.pos) else {
            return Read::End;
        };
        if self.pos - self.start == WORD_BYTES_MAX && self.origin == Origin::File {
            return Read::TooLong;
        }
        self.pos += 1;
        if byte == b'\n' {
            self.line += 1;
        }
        Read::Byte(byte)
    }

    /// Skips a comment up to its line feed, which is space.
    fn comment(&mut self) -> Option<Token> {
        loop {
            match self.read() {
                Read::Byte(b'\n') => {
                    self.start = self.pos - 1;
                    return None;
                }
                Read::Byte(_) => {}
                Read::End => return None,
                Read::TooLong => {
                    self.long_comment();
                    return None;
                }
            }
        }
    }

    /// Reads the word that begins with `first`, and what is glued to it.
    fn word(&mut self, first: u8) -> Option<Token> {
        let mut first = first;
        loop {
            let after = match first {
                b'"' | b'\'' => self.quoted(first),
                _ => self.bare(first),
            };
            match after {
                After::Space => return None,
                After::Over(token) => return Some(token),
                After::Piece(byte) => first = byte,
            }
            self.start = self.pos - 1;
            self.start_line = self.line;
        }
    }

    fn bare(&mut self, first: u8) -> After {
        let mut escaped = first == b'\\';
        let mut dollar = first == b'$';
        loop {
            let byte = match self.read() {
                Read::Byte(byte) => byte,
                Read::End => {
                    self.push_word(self.start, self.pos, 0);
                    return After::Over(self.at_end());
                }
                Read::TooLong => return After::Over(self.too_long(None)),
            };
            if escaped {
                escaped = false;
                continue;
            }
            if byte == b'{' && dollar {
                continue;
            }
            dollar = byte == b'$';
            escaped = byte == b'\\';
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{') {
                self.push_word(self.start, self.pos - 1, 0);
                return self.after(byte);
            }
        }
    }

    fn quoted(&mut self, quote: u8) -> After {
        self.start = self.pos;
        let mut escaped = false;
        let mut dollar = false;
        loop {
            let byte = match self.read() {
                Read::Byte(byte) => byte,
                Read::End => return After::Over(self.end_in_quotes()),
                Read::TooLong => return After::Over(self.too_long(Some(quote))),
            };
            if escaped {
                escaped = false;
                continue;
            }
            if byte == b'{' && dollar {
                continue;
            }
            dollar = byte == b'$';
            escaped = byte == b'\\';
            if byte == quote {
                self.push_word(self.start, self.pos - 1, 1);
                return self.behind_quote();
            }
        }
    }

    /// nginx wants space, `;`, `{` or `)` behind a closing quote.
    fn behind_quote(&mut self) -> After {
        let byte = match self.read() {
            Read::Byte(byte) => byte,
            Read::End => return After::Over(self.at_end()),
            Read::TooLong => return After::Over(self.too_long(None)),
        };
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => self.after(byte),
            b')' => After::Piece(byte),
            b'}' => After::Over(self.unterminated()),
            _ => {
                self.stray(byte);
                After::Piece(byte)
            }
        }
    }

    fn after(&mut self, byte: u8) -> After {
        match byte {
            b';' => After::Over(Token::Simple(self.take_words())),
            b'{' => After::Over(Token::Open(self.take_words())),
            _ => After::Space,
        }
    }

    /// Takes the bytes from `start` to `end` as a word; `quotes` is how many bytes of quote stand
    /// on each side of it.
    fn push_word(&mut self, start: usize, end: usize, quotes: usize) {
        let bytes = unescaped(&self.bytes[start..end]);
        if self.glue == Glue::Together
            && let Some(last) = self.words.last_mut()
        {
            self.glue = Glue::Done;
            last.bytes.extend_from_slice(&bytes);
            last.place.end = offset(end + quotes);
            return;
        }
        let place = self.place(start - quotes, end + quotes, self.line);
        self.words.push(Word { bytes, place });
    }

    /// The words of the statement. nginx names the line of the statement's end in every message
    /// about it, so all words carry that line.
    fn take_words(&mut self) -> Vec<Word> {
        let mut words = std::mem::take(&mut self.words);
        for word in &mut words {
            word.place.line = self.line;
        }
        words
    }

    fn byte_before(&self) -> Place {
        self.place(self.pos - 1, self.pos, self.line)
    }

    fn place(&self, start: usize, end: usize, line: u32) -> Place {
        Place { source: self.source, line, start: offset(start), end: offset(end) }
    }
}

/// The words of a default in a directive's table.
pub(crate) fn words_of_default(text: &str) -> Vec<Word> {
    let text = format!("{text} ;");
    let source = SourceId(u32::MAX);
    let mut words = match Lexer::new(text.as_bytes(), source, Origin::CommandLine).next() {
        Token::Simple(words) => words,
        _ => Vec::new(),
    };
    for word in &mut words {
        word.place = Place { source, line: 0, start: 0, end: 0 };
    }
    words
}

/// Resolves escapes as nginx does: `\"`, `\'`, `\\`, `\t`, `\r` and `\n`. Any other backslash
/// stays, which is what regular expressions rely on.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        let (byte, length) = match (first, tail.first()) {
            (b'\\', Some(&quoted @ (b'"' | b'\'' | b'\\'))) => (quoted, 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

fn newlines(bytes: &[u8]) -> u32 {
    offset(bytes.iter().filter(|&&byte| byte == b'\n').count())
}

/// Texts are far smaller than 4 GiB: [`crate::document`] sees to it.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexer(text: &[u8]) -> Lexer<'_> {
        Lexer::new(text, SourceId(7), Origin::File)
    }

    fn words(token: Token) -> Vec<Word> {
        match token {
            Token::Simple(words) | Token::Open(words) => words,
            other => panic!("no words in {other:?}"),
        }
    }

    #[test]
    fn a_word_knows_its_bytes_and_the_line_of_its_statement() {
        let text = b"\n a\n 'b c'\n  ; d{";
        let mut lexer = lexer(text);
        let first = words(lexer.next());
        let place = |start, end| Place { source: SourceId(7), line: 4, start, end };
        assert_eq!(first[0], Word { bytes: b"a".to_vec(), place: place(2, 3) });
        assert_eq!(first[1], Word { bytes: b"b c".to_vec(), place: place(5, 10) });
        assert_eq!(&text[5..10], b"'b c'");
        assert!(matches!(lexer.next(), Token::Open(words) if words[0].is("d")));
        assert!(matches!(lexer.next(), Token::End(_)));
        assert!(lexer.take_stumbles().is_empty());
    }

    #[test]
    fn escapes_are_resolved_and_other_backslashes_stay() {
        assert_eq!(unescaped(br#"\"\'\\\t\r\n"#), b"\"'\\\t\r\n");
        assert_eq!(unescaped(br"\.\$\d\;"), br"\.\$\d\;");
        assert_eq!(unescaped(br"a\"), br"a\");
    }

    #[test]
    fn a_parameter_may_fill_the_buffer_but_for_its_end() {
        for (length, stumbles) in [(WORD_BYTES_MAX - 1, 0), (WORD_BYTES_MAX, 1)] {
            let text = [&vec![b'a'; length][..], b"; b;"].concat();
            let mut lexer = lexer(&text);
            lexer.next();
            assert_eq!(lexer.take_stumbles().len(), stumbles, "{length} bytes");
            assert!(matches!(lexer.next(), Token::Simple(words) if words[0].is("b")));
        }
    }

    #[test]
    fn the_command_line_has_no_such_limit() {
        let text = [&vec![b'a'; WORD_BYTES_MAX * 2][..], b";"].concat();
        let mut lexer = Lexer::new(&text, SourceId(0), Origin::CommandLine);
        assert_eq!(words(lexer.next())[0].bytes.len(), WORD_BYTES_MAX * 2);
        assert!(lexer.take_stumbles().is_empty());
    }

    #[test]
    fn what_follows_a_quote_that_is_never_closed_is_read_all_the_same() {
        let mut lexer = lexer(b"a \"b;\nc d;\ne { f; }\n");
        assert_eq!(lexer.next(), Token::Dropped);
        let stumbles = lexer.take_stumbles();
        assert_eq!(stumbles.len(), 1);
        assert_eq!(stumbles[0].fault.place.map(|place| (place.line, place.start)), Some((4, 2)));
        assert_eq!(stumbles[0].since, 0);
        let next = words(lexer.next());
        assert!(next[0].is("c") && next[0].place.line == 2);
        assert!(matches!(lexer.next(), Token::Open(words) if words[0].is("e")));
        assert!(lexer.ended_early());
    }

    #[test]
    fn a_default_is_cut_as_a_file_is() {
        let cut = |text| words_of_default(text).into_iter().map(|word| word.bytes).collect();
        let all: Vec<Vec<u8>> = cut("4 8k \"a b\" '' $x");
        assert_eq!(all, [&b"4"[..], b"8k", b"a b", b"", b"$x"]);
        let none: Vec<Vec<u8>> = cut("");
        assert!(none.is_empty());
    }
}
