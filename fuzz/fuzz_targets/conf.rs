//! Arbitrary bytes as a configuration: reading ends, without panic, within its limits, and every
//! fault can be printed.
//!
//! The input is cut at zero bytes: the `-g` text, the main file, and the files `a`, `b`, ... beside
//! it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_conf::document::{FAULTS_MAX, FILES_MAX, NESTING_MAX};
use perdura_conf::{Document, Files, Statement, render};
use std::io;
use std::path::{Path, PathBuf};

/// The files beside the main one.
struct Parts<'a>(Vec<&'a [u8]>);

impl Parts<'_> {
    /// The number of the part that `path` names: `/main` is 1, `/a` is 2.
    fn number(path: &Path) -> Option<usize> {
        match path.to_str()?.as_bytes() {
            b"/main" => Some(1),
            [b'/', letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a') + 2),
            _ => None,
        }
    }
}

impl Files for Parts<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let part = Parts::number(path).and_then(|number| self.0.get(number));
        part.map(|part| part.to_vec()).ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn glob(&self, _pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec!["/a".into(), "/b".into()])
    }
}

fn depth(statements: &[Statement]) -> usize {
    let inner =
        |statement: &Statement| statement.block.as_deref().map_or(0, |block| 1 + depth(block));
    statements.iter().map(inner).max().unwrap_or(0)
}

fuzz_target!(|data: &[u8]| {
    let parts = Parts(data.split(|&byte| byte == 0).take(28).collect());
    let document = Document::read(&parts, Path::new("/main"), parts.0[0]);
    assert!(document.faults.len() <= FAULTS_MAX);
    assert!(document.sources.len() <= FILES_MAX);
    assert!(depth(&document.statements) <= NESTING_MAX);
    let faults = document.in_reading_order(Vec::new());
    assert_eq!(faults.len(), document.faults.len());
    for fault in &faults {
        let text = render("perdura", fault, &document.sources);
        assert!(text.starts_with("perdura: [emerg] "));
    }
});
