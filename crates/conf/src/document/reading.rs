//! Reads files and `-g` text into statements and expands `include`; every limit of the document is
//! kept here. [`Document::read`] is the only caller.

use super::blocks::Blocks;
use super::{
    BYTES_MAX, Document, FAULTS_MAX, FILES_MAX, INCLUDE_DEPTH_MAX, NESTING_MAX, Statement,
    WORDS_MAX,
};
use crate::lexer::{Lexer, Origin, Stumble, Token};
use crate::{Fault, Files, Place, Source, SourceId, Sources, Word, errno_text};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What has been read so far.
pub(super) struct Reading<'a> {
    files: &'a dyn Files,
    folder: &'a Path,
    sources: Sources,
    faults: Vec<Fault>,
    met_at: Vec<Option<(SourceId, u32)>>,
    /// Texts by path: a file that is included often is kept once.
    texts: HashMap<PathBuf, Arc<[u8]>>,
    bytes: usize,
    words: usize,
    pace: Pace,
}

/// Whether more is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Going,
    /// A limit was reached.
    Halted,
}

/// Where a file stands among the files that include it.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    /// How many blocks are open around the file.
    pub nesting: usize,
    /// The files that are being read, outermost first.
    pub files: &'a [SourceId],
}

impl<'a> Reading<'a> {
    pub fn new(files: &'a dyn Files, folder: &'a Path) -> Self {
        Self {
            files,
            folder,
            sources: Sources::default(),
            faults: Vec::new(),
            met_at: Vec::new(),
            texts: HashMap::new(),
            bytes: 0,
            words: 0,
            pace: Pace::Going,
        }
    }

    pub fn into_document(self, statements: Vec<Statement>) -> Document {
        let Reading { sources, faults, met_at, .. } = self;
        Document { sources, statements, faults, met_at }
    }

    /// Reads the `-g` text, in which nginx takes no blocks.
    pub fn command_line(&mut self, text: &[u8], statements: &mut Vec<Statement>) {
        let bytes: Arc<[u8]> = text.into();
        let path = PathBuf::from("command line");
        let id = self.sources.add(Source { path, bytes: bytes.clone(), command_line: true });
        let mut lexer = Lexer::new(&bytes, id, Origin::CommandLine);
        while self.pace == Pace::Going {
            let token = lexer.next();
            self.take_stumbles(id, &mut lexer);
            match token {
                Token::Simple(words) => {
                    self.simple(words, Chain { nesting: 0, files: &[id] }, statements);
                }
                Token::Open(words) => {
                    let place = words.first().map_or(whole(id), |word| word.place);
                    let message = "block directives are not supported in -g option";
                    self.note(Fault::new(place, message));
                    return;
                }
                Token::Close(place) => self.note(Fault::new(place, "unexpected \"}\"")),
                Token::Dropped => {}
                Token::End(_) => return,
            }
        }
    }

    /// Opens the file at `path` for the `include` at `place`, or as the main file.
    pub fn open(
        &mut self,
        path: &Path,
        place: Option<Place>,
        chain: Chain<'_>,
        statements: &mut Vec<Statement>,
    ) {
        let at = |message: String| match place {
            Some(place) => Fault::new(place, message),
            None => Fault::nowhere(message),
        };
        let shown = path.display();
        if chain.files.iter().any(|&id| self.is_file(id, path)) {
            return self.note(at(format!("file \"{shown}\" includes itself")));
        }
        if chain.files.len() > INCLUDE_DEPTH_MAX {
            let message = format!("\"include\" is nested more than {INCLUDE_DEPTH_MAX} deep");
            return self.note(at(message));
        }
        if self.sources.len() >= FILES_MAX {
            return self.halt(at(format!("more than {FILES_MAX} files are included")));
        }
        let bytes = match self.text(path) {
            Ok(bytes) => bytes,
            Err(error) if is_folder(&error) => {
                let message = format!("pread() \"{shown}\" failed {}", errno_text(&error));
                let met_at = place.map(|place| (place.source, place.start));
                return self.note_at(Fault::nowhere(message), met_at);
            }
            Err(error) => {
                return self.note(at(format!("open() \"{shown}\" failed {}", errno_text(&error))));
            }
        };
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_MAX {
            return self.halt(at(format!("the configuration has more than {BYTES_MAX} bytes")));
        }
        let source = Source { path: path.to_path_buf(), bytes: bytes.clone(), command_line: false };
        let id = match place {
            Some(place) => self.sources.add_included(source, place),
            None => self.sources.add(source),
        };
        let files: Vec<SourceId> = chain.files.iter().copied().chain([id]).collect();
        self.file(id, &bytes, Chain { nesting: chain.nesting, files: &files }, statements);
    }

    /// Reads one file's statements into `statements`.
    fn file(
        &mut self,
        id: SourceId,
        bytes: &[u8],
        chain: Chain<'_>,
        statements: &mut Vec<Statement>,
    ) {
        let mut lexer = Lexer::new(bytes, id, Origin::File);
        let mut blocks = Blocks::new();
        while self.pace == Pace::Going {
            let token = lexer.next();
            self.take_stumbles(id, &mut lexer);
            match token {
                Token::Simple(words) => {
                    let inner = Chain { nesting: chain.nesting + blocks.depth(), ..chain };
                    if let Some(statements) = blocks.innermost() {
                        self.simple(words, inner, statements);
                    }
                }
                Token::Open(words) => self.block(words, chain.nesting, &mut blocks),
                Token::Close(place) if !blocks.close(Some(place)) => {
                    self.note(Fault::new(place, "unexpected \"}\""));
                }
                Token::Close(_) | Token::Dropped => {}
                Token::End(place) => {
                    if !lexer.ended_early() && blocks.depth() > 0 {
                        self.unclosed(place, &blocks);
                    }
                    break;
                }
            }
        }
        statements.append(&mut blocks.into_statements());
    }

    /// A statement that ends in `;`.
    fn simple(&mut self, words: Vec<Word>, chain: Chain<'_>, statements: &mut Vec<Statement>) {
        if !self.count(&words) {
            return;
        }
        let mut words = words.into_iter();
        let Some(name) = words.next() else {
            return;
        };
        let args: Vec<Word> = words.collect();
        if !name.is("include") {
            statements.push(Statement { name, args, block: None, closed_at: None });
            return;
        }
        let [pattern] = args.as_slice() else {
            let message = "invalid number of arguments in \"include\" directive";
            return self.note(Fault::new(name.place, message).hint("syntax: include file | mask"));
        };
        self.include(pattern, chain, statements);
    }

    /// Expands an `include`. Relative names are relative to the folder of the main file, also in
    /// files that are included from elsewhere (`ngx_conf_full_name`).
    fn include(&mut self, pattern: &Word, chain: Chain<'_>, statements: &mut Vec<Statement>) {
        let path = self.folder.join(OsStr::from_bytes(&pattern.bytes));
        let is_mask = path.as_os_str().as_bytes().iter().any(|byte| b"*?[".contains(byte));
        if !is_mask {
            return self.open(&path, Some(pattern.place), chain, statements);
        }
        match self.files.glob(&path) {
            Ok(paths) => {
                for path in paths {
                    if self.pace == Pace::Halted {
                        return;
                    }
                    self.open(&path, Some(pattern.place), chain, statements);
                }
            }
            Err(error) => {
                let shown = path.display();
                let message = format!("glob() \"{shown}\" failed {}", errno_text(&error));
                self.note(Fault::new(pattern.place, message));
            }
        }
    }

    /// A statement that ends in `{`.
    fn block(&mut self, words: Vec<Word>, outer: usize, blocks: &mut Blocks) {
        if !self.count(&words) {
            return;
        }
        let place = words.first().map(|word| word.place);
        if let Some(place) = place
            && words[0].is("include")
        {
            let message = "directive \"include\" is not terminated by \";\"";
            self.note(Fault::new(place, message));
            blocks.open(Vec::new());
            return;
        }
        if outer + blocks.depth() < NESTING_MAX {
            blocks.open(words);
            return;
        }
        if blocks.skip() {
            let message = format!("blocks are nested more than {NESTING_MAX} deep");
            self.note(place.map_or(Fault::nowhere(&message), |at| Fault::new(at, &message)));
        }
    }

    /// The end of a file inside a block. The message names the file's last line, as nginx does; the
    /// place shown is the block that lacks its brace.
    fn unclosed(&mut self, end: Place, blocks: &Blocks) {
        let mut fault = Fault::new(end, "unexpected end of file, expecting \"}\"");
        if let Some(word) = blocks.name() {
            fault.place = Some(Place { line: end.line, ..word.place });
            fault = fault.hint(format!("the block of \"{}\" is never closed", word.text()));
        }
        self.note_at(fault, Some((end.source, end.start)));
    }

    /// Counts the words of a statement; `false` when there are too many.
    fn count(&mut self, words: &[Word]) -> bool {
        self.words = self.words.saturating_add(words.len());
        if self.words <= WORDS_MAX {
            return true;
        }
        let message = format!("the configuration has more than {WORDS_MAX} words");
        self.halt(match words.first() {
            Some(word) => Fault::new(word.place, message),
            None => Fault::nowhere(message),
        });
        false
    }

    fn text(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        if let Some(text) = self.texts.get(path) {
            return Ok(text.clone());
        }
        let text: Arc<[u8]> = self.files.read(path)?.into();
        self.texts.insert(path.to_path_buf(), text.clone());
        Ok(text)
    }

    fn is_file(&self, id: SourceId, path: &Path) -> bool {
        self.sources.source(id).is_some_and(|source| !source.command_line && source.path == path)
    }

    fn take_stumbles(&mut self, id: SourceId, lexer: &mut Lexer<'_>) {
        for Stumble { fault, since } in lexer.take_stumbles() {
            self.note_at(fault, Some((id, since)));
        }
    }

    fn note(&mut self, fault: Fault) {
        let met_at = fault.place.map(|place| (place.source, place.start));
        self.note_at(fault, met_at);
    }

    /// Notes a fault that nginx would meet at `met_at`. Behind the last one that is kept nothing
    /// more is read.
    fn note_at(&mut self, fault: Fault, met_at: Option<(SourceId, u32)>) {
        if self.faults.len() >= FAULTS_MAX {
            return;
        }
        self.faults.push(fault);
        self.met_at.push(met_at);
        if self.faults.len() == FAULTS_MAX {
            self.pace = Pace::Halted;
        }
    }

    /// Notes that a limit is reached, and reads no more.
    fn halt(&mut self, fault: Fault) {
        self.note(fault);
        self.pace = Pace::Halted;
    }
}

/// Whether a file could be opened but not read because it is a folder.
fn is_folder(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory
}

/// The whole of a text, when no word says more exactly where.
fn whole(source: SourceId) -> Place {
    Place { source, line: 1, start: 0, end: 0 }
}
