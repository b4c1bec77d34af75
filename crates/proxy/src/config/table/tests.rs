//! Tests of the table itself, once for all directives.

use super::documented::{DIFFERENT, DOCUMENTED, OUR_OWN};
use super::*;
use crate::config::known::{NOT_YET, NOT_YET_PREFIXES, WITHOUT_EFFECT, WITHOUT_MEANING};
use perdura_conf::{Document, Files, Names, Reader, Statement, Word, check_table};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// No files.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::from_raw_os_error(2))
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// One file.
struct One(Vec<u8>);

impl Files for One {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("/conf") { Ok(self.0.clone()) } else { Nothing.read(path) }
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

#[test]
fn the_table_has_no_complaints() {
    assert_eq!(check_table(&entries()), Vec::<String>::new());
}

#[test]
fn every_default_obeys_its_own_grammar() {
    let place =
        perdura_conf::Place { source: perdura_conf::SourceId(0), line: 1, start: 0, end: 0 };
    let directive = Word { bytes: b"default".to_vec(), place };
    let mut names = Names::default();
    let mut reader = Reader {
        directive: &directive,
        names: &mut names,
        files: &Nothing,
        prefix: Path::new("/"),
        conf_prefix: Path::new("/"),
    };
    let mut faults = main_block::default_faults(&mut reader);
    faults.extend(events_block::default_faults(&mut reader));
    faults.extend(scope::default_faults(&mut reader));
    faults.extend(server_block::default_faults(&mut reader));
    faults.extend(upstream_block::default_faults(&mut reader));
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn names_that_are_not_built_are_sorted_and_not_in_the_table() {
    let idle: Vec<_> = WITHOUT_MEANING.iter().map(|entry| entry.name).collect();
    let missed: Vec<_> = WITHOUT_EFFECT.iter().map(|entry| entry.name).collect();
    for list in [NOT_YET, NOT_YET_PREFIXES, &idle, &missed] {
        for pair in list.windows(2) {
            assert!(pair[0] < pair[1], "{} stands before {}", pair[0], pair[1]);
        }
    }
    for (_, entry) in entries() {
        let name = entry.name;
        assert!(!NOT_YET.contains(&name), "{name} is in the table");
        assert!(!idle.contains(&name) && !missed.contains(&name), "{name} is in the table");
        let family = NOT_YET_PREFIXES.iter().find(|prefix| name.starts_with(**prefix));
        assert_eq!(family, None, "{name} is in the table");
    }
    for name in idle.iter().chain(&missed) {
        assert!(!NOT_YET.contains(name), "{name} is in both lists");
    }
}

#[test]
fn defaults_and_contexts_are_those_of_the_documentation() {
    let mut ours = HashMap::new();
    for (_, entry) in entries() {
        let contexts: Vec<_> =
            entry.contexts.iter().map(|one| one.name().replace(' ', "-")).collect();
        ours.insert((entry.name, contexts.join(" ")), entry.default);
    }
    for (name, default, contexts) in DOCUMENTED {
        let key = (*name, (*contexts).to_owned());
        let Some(own) = ours.remove(&key) else {
            panic!("\"{name}\" is not allowed in exactly: {contexts}");
        };
        let different = DIFFERENT.iter().find(|(other, _, _)| other == name);
        let expected = different.map_or(*default, |(_, own, _)| own);
        assert_eq!(own, expected.strip_prefix('-').unwrap_or(expected), "default of \"{name}\"");
        assert!(different.is_none_or(|(_, own, _)| own != default), "\"{name}\" does not differ");
    }
    let rest: BTreeSet<_> = ours.keys().map(|(name, _)| *name).collect();
    assert_eq!(rest, OUR_OWN.iter().copied().collect());
}

/// The golden configurations of a kind: name, statements, outcome.
fn golden(kind: &str) -> Vec<(PathBuf, Vec<Statement>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conf").join(kind);
    let mut list = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        let (conf, outcome) = text.split_once("----------\n").unwrap();
        let files = One(conf.as_bytes().to_vec());
        let document = Document::read(&files, Path::new("/conf"), b"");
        list.push((path, document.statements, outcome.to_owned()));
    }
    list
}

fn stands(name: &str, statements: &[Statement]) -> bool {
    statements.iter().any(|statement| {
        let inside = statement.block.as_deref().is_some_and(|inner| stands(name, inner));
        inside || statement.name.is(name)
    })
}

#[test]
fn every_directive_has_a_good_and_a_bad_configuration() {
    let (good, bad) = (golden("good"), golden("bad"));
    for (_, entry) in entries() {
        let name = entry.name;
        // Includes are expanded before there are statements; their golden files are known by name.
        if name == "include" {
            continue;
        }
        assert!(good.iter().any(|(_, conf, _)| stands(name, conf)), "no good one has \"{name}\"");
        // A word of the outcome, or of the line that it shows.
        let concerns = |(_, conf, outcome): &(PathBuf, Vec<Statement>, String)| {
            stands(name, conf) && outcome.contains(name)
        };
        assert!(bad.iter().any(concerns), "no bad one is about \"{name}\"");
    }
}

/// Writes what is stale, and fails for it unless `BLESS=1` asked for that.
#[test]
fn the_manual_is_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/directives");
    let pages = manual_pages();
    let mut stale = Vec::new();
    for (name, text) in &pages {
        let path = folder.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, text).unwrap();
        stale.push(name.clone());
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !pages.iter().any(|(page, _)| *page == name) {
            std::fs::remove_file(folder.join(&name)).unwrap();
            stale.push(name);
        }
    }
    if std::env::var_os("BLESS").is_none() {
        assert_eq!(stale, Vec::<String>::new(), "these pages were stale and are written anew");
    }
}
