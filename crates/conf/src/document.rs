//! A configuration as nested statements, with every `include` expanded in place.
//!
//! It knows one directive by name, `include`; whether the others exist and may stand where they
//! stand is checked by whoever walks the statements.

mod blocks;
mod reading;

use crate::{Fault, Files, Place, SourceId, Sources, Word};
use reading::{Chain, Reading};
use std::path::Path;

/// How deep blocks may be nested, counted through includes. nginx has no such limit, but no
/// directive of it makes sense deeper than this.
pub const NESTING_MAX: usize = 64;

/// How deep files may include each other. nginx has no such limit: it goes on until it runs out of
/// descriptors.
pub const INCLUDE_DEPTH_MAX: usize = 32;

/// How many files may be read, each counted as often as it is included. nginx has no such limit.
pub const FILES_MAX: usize = 65_536;

/// How many bytes all texts together may have, each counted as often as it is included. nginx has
/// no such limit.
pub const BYTES_MAX: usize = 64 << 20;

/// How many words all statements together may have: a word takes many times the memory of its
/// bytes. A list of two million lines fits. nginx has no such limit.
pub const WORDS_MAX: usize = 4 << 20;

/// After how many faults reading stops.
pub const FAULTS_MAX: usize = 100;

/// One directive as it stands in a file.
#[derive(Clone, Debug)]
pub struct Statement {
    pub name: Word,
    pub args: Vec<Word>,
    /// The statements between the braces, when it opens a block.
    pub block: Option<Vec<Statement>>,
    /// The brace that closes the block; absent when the file ends before it.
    pub closed_at: Option<Place>,
}

/// A whole configuration, read.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub sources: Sources,
    pub statements: Vec<Statement>,
    /// Faults of the grammar. The statements that could be read are there all the same.
    pub faults: Vec<Fault>,
    /// For each fault where nginx would have met it: the beginning of its statement.
    met_at: Vec<Option<(SourceId, u32)>>,
}

impl Document {
    /// Reads the `-g` text, then the file at `path` and all that it includes. `path` is absolute,
    /// and its folder is what relative includes are relative to.
    pub fn read(files: &dyn Files, path: &Path, global: &[u8]) -> Document {
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut reading = Reading::new(files, folder);
        let mut statements = Vec::new();
        if !global.is_empty() {
            reading.command_line(global, &mut statements);
        }
        reading.open(path, None, Chain { nesting: 0, files: &[] }, &mut statements);
        reading.into_document(statements)
    }

    /// The document's faults and `more` in the order in which nginx would meet them, so that the
    /// first one is the one that nginx reports. Faults without a place come last.
    pub fn in_reading_order(&self, more: Vec<Fault>) -> Vec<Fault> {
        let own = self.faults.iter().enumerate().map(|(index, fault)| {
            let met_at = self.met_at.get(index).copied().flatten();
            (met_at.or(fault.place.map(|place| (place.source, place.start))), fault.clone())
        });
        let more = more
            .into_iter()
            .map(|fault| (fault.place.map(|place| (place.source, place.start)), fault));
        let key = |at: Option<(SourceId, u32)>| {
            at.map_or(vec![u32::MAX], |(source, start)| self.sources.reading_key(source, start))
        };
        let mut all: Vec<_> = own.chain(more).map(|(at, fault)| (key(at), fault)).collect();
        // The sort is stable: of two faults of one place the grammar's comes first.
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all.into_iter().map(|(_, fault)| fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;
    use std::collections::BTreeMap;
    use std::io;
    use std::path::PathBuf;

    /// Files in memory. A mask matches every path that begins with what stands before its `*`.
    #[derive(Default)]
    struct Memory(BTreeMap<PathBuf, Vec<u8>>);

    impl Memory {
        fn with(files: &[(&str, &str)]) -> Memory {
            let file =
                |(path, text): &(&str, &str)| (PathBuf::from(path), text.as_bytes().to_vec());
            Memory(files.iter().map(file).collect())
        }

        fn read(&self) -> Document {
            Document::read(self, Path::new("/main"), b"")
        }
    }

    impl Files for Memory {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            self.0.get(path).cloned().ok_or_else(|| io::Error::from_raw_os_error(2))
        }

        fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
            let pattern = pattern.to_string_lossy();
            let (head, _) = pattern.split_once('*').expect("a mask");
            let matches = |path: &&PathBuf| path.to_string_lossy().starts_with(head);
            Ok(self.0.keys().filter(matches).cloned().collect())
        }
    }

    fn messages(document: &Document) -> Vec<&str> {
        document.faults.iter().map(|fault| fault.message.as_str()).collect()
    }

    #[test]
    fn a_hundred_thousand_braces_are_one_fault() {
        let text = "a {".repeat(100_000) + &"}".repeat(100_000) + "b;";
        let document = Memory::with(&[("/main", &text)]).read();
        assert_eq!(messages(&document), ["blocks are nested more than 64 deep"]);
        assert_eq!(document.statements.len(), 2);
        let open = "a {".repeat(100_000);
        assert_eq!(Memory::with(&[("/main", &open)]).read().faults.len(), 2);
    }

    #[test]
    fn blocks_may_be_nested_up_to_the_limit_through_includes() {
        let inner = "a {".repeat(NESTING_MAX - 2) + &"}".repeat(NESTING_MAX - 2);
        let files = [("/main", "a { a { include b; } }"), ("/b", inner.as_str())];
        assert!(Memory::with(&files).read().faults.is_empty());
        let inner = format!("a {{ {inner} }}");
        let files = [("/main", "a { a { include b; } }"), ("/b", inner.as_str())];
        let document = Memory::with(&files).read();
        assert_eq!(messages(&document), ["blocks are nested more than 64 deep"]);
        assert_eq!(document.faults[0].place.map(|place| place.source), Some(SourceId(1)));
    }

    #[test]
    fn includes_may_be_nested_up_to_the_limit() {
        for (count, faults) in [(INCLUDE_DEPTH_MAX, 0), (INCLUDE_DEPTH_MAX + 1, 1)] {
            let mut files = Memory::with(&[("/main", "include 1;")]);
            for number in 1..count {
                let text = format!("include {};", number + 1);
                files.0.insert(format!("/{number}").into(), text.into_bytes());
            }
            files.0.insert(format!("/{count}").into(), b"a;".to_vec());
            let document = files.read();
            assert_eq!(document.faults.len(), faults, "{count} includes");
            assert_eq!(document.statements.len(), 1 - faults);
        }
    }

    #[test]
    fn a_file_that_includes_itself_is_a_fault_and_not_a_loop() {
        let files = [("/main", "include a;"), ("/a", "include b;"), ("/b", "include a; c;")];
        let document = Memory::with(&files).read();
        assert_eq!(messages(&document), ["file \"/a\" includes itself"]);
        assert!(document.statements[0].name.is("c"));
    }

    #[test]
    fn files_are_counted() {
        let many = "include e;".repeat(FILES_MAX);
        let document = Memory::with(&[("/main", &many), ("/e", "")]).read();
        assert_eq!(messages(&document), ["more than 65536 files are included"]);
        let most = "include e;".repeat(FILES_MAX - 1);
        assert!(Memory::with(&[("/main", &most), ("/e", "")]).read().faults.is_empty());
    }

    #[test]
    fn bytes_are_counted_as_often_as_they_are_included() {
        let line = "#".repeat(1023) + "\n";
        let mebibyte = line.repeat(1024);
        let many = "include e;".repeat(BYTES_MAX >> 20);
        let document = Memory::with(&[("/main", &many), ("/e", &mebibyte)]).read();
        assert_eq!(messages(&document), ["the configuration has more than 67108864 bytes"]);
        let fewer = "include e;".repeat((BYTES_MAX >> 20) - 1);
        assert!(Memory::with(&[("/main", &fewer), ("/e", &mebibyte)]).read().faults.is_empty());
    }

    #[test]
    fn words_are_counted() {
        // Masks that match nothing leave no statement, so the test needs little memory.
        let most = "include x*;".repeat(WORDS_MAX / 2 - 1);
        let document = Memory::with(&[("/main", &format!("{most} a {{ }} b;"))]).read();
        assert!(document.faults.is_empty(), "{:?}", document.faults);
        let document = Memory::with(&[("/main", &format!("{most} a {{ }} b c; d;"))]).read();
        assert_eq!(messages(&document), ["the configuration has more than 4194304 words"]);
        assert_eq!(document.statements.len(), 1);
        let document = Memory::with(&[("/main", &format!("{most} a b c {{ }}"))]).read();
        assert_eq!(messages(&document), ["the configuration has more than 4194304 words"]);
    }

    #[test]
    fn reading_stops_behind_the_last_fault_that_is_kept() {
        let text = |faults| ";".repeat(faults) + "a;";
        let document = Memory::with(&[("/main", &text(FAULTS_MAX))]).read();
        assert_eq!((document.faults.len(), document.statements.len()), (FAULTS_MAX, 0));
        let document = Memory::with(&[("/main", &text(FAULTS_MAX - 1))]).read();
        assert_eq!((document.faults.len(), document.statements.len()), (FAULTS_MAX - 1, 1));
        let document = Memory::with(&[("/main", &text(FAULTS_MAX * 2))]).read();
        assert_eq!(document.faults.len(), FAULTS_MAX);
        assert!(document.faults.iter().all(|fault| fault.level == Level::Emerg));
    }

    #[test]
    fn quotes_that_are_never_closed_do_not_make_the_time_grow_with_the_square() {
        let text = "\"'".repeat(1 << 20);
        let document = Memory::with(&[("/main", &text)]).read();
        assert_eq!(document.faults.len(), FAULTS_MAX.min(document.faults.len()));
        let text = ("'".to_owned() + &"a".repeat(5000) + "\n").repeat(1000);
        assert!(!Memory::with(&[("/main", &text)]).read().faults.is_empty());
    }

    #[test]
    fn a_text_that_is_included_often_is_kept_once() {
        let document = Memory::with(&[("/main", "include e; include e;"), ("/e", "a;")]).read();
        assert_eq!(document.sources.len(), 3);
        assert_eq!(document.sources.distinct_files().count(), 2);
        let text = |id| document.sources.source(SourceId(id)).map(|source| source.bytes.as_ptr());
        assert_eq!(text(1), text(2));
    }

    #[test]
    fn faults_come_in_the_order_in_which_they_are_read() {
        let files = [("/main", "a; include b*; c; }"), ("/b1", "d; ; e;"), ("/b2", "f; }")];
        let document = Memory::with(&files).read();
        let names: Vec<String> =
            document.statements.iter().map(|one| one.name.text().into_owned()).collect();
        assert_eq!(names, ["a", "d", "e", "f", "c"]);
        let semantic = |index: usize| {
            let name = &document.statements[index].name;
            Fault::new(name.place, name.text())
        };
        let mut more: Vec<Fault> = (0..5).rev().map(semantic).collect();
        more.insert(0, Fault::nowhere("nowhere"));
        let order = document.in_reading_order(more);
        let order: Vec<&str> = order.iter().map(|fault| fault.message.as_str()).collect();
        let brace = "unexpected \"}\"";
        assert_eq!(order, ["a", "d", "unexpected \";\"", "e", "f", brace, "c", brace, "nowhere"]);
    }

    #[test]
    fn the_fault_of_a_statement_comes_before_what_its_words_mean() {
        let document = Memory::with(&[("/main", "a { b\n}")]).read();
        let b = &document.statements[0].block.as_deref().expect("a block")[0].name;
        let order = document.in_reading_order(vec![Fault::new(b.place, "b")]);
        assert_eq!(order[0].message, "unexpected \"}\"");
        assert_eq!(order[1].message, "b");
    }

    #[test]
    fn the_command_line_stands_before_the_file() {
        let files = Memory::with(&[("/main", "b;"), ("/c", "c;")]);
        let document = Document::read(&files, Path::new("/main"), b"a; include c;");
        let names: Vec<_> = document.statements.iter().map(|one| one.name.text()).collect();
        assert_eq!(names, ["a", "c", "b"]);
        assert!(document.sources.source(SourceId(0)).is_some_and(|source| source.command_line));
        assert_eq!(document.sources.distinct_files().count(), 2);
        let included = document.sources.included_by(SourceId(1));
        assert_eq!(
            included.map(|Place { source, start, .. }| (source, start)),
            Some((SourceId(0), 11))
        );
    }

    #[test]
    fn a_main_file_that_is_missing_is_a_fault_without_a_place() {
        let document = Memory::default().read();
        assert_eq!(messages(&document), ["open() \"/main\" failed (2: No such file or directory)"]);
        assert_eq!(document.faults[0].place, None);
    }
}
