//! No text makes [`build`] panic: the golden configurations, changed at random.

use super::*;
use crate::config::chance::Chance;
use perdura_conf::Files;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// A world with one file, one host and one user.
struct Small(Vec<u8>);

impl Files for Small {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("/conf") {
            true => Ok(self.0.clone()),
            false => Err(io::Error::from_raw_os_error(2)),
        }
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

impl World for Small {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "localhost" => Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]),
            _ => Err(io::Error::from_raw_os_error(2)),
        }
    }

    fn user(&self, name: &str) -> Option<(u32, u32)> {
        (name == "root").then_some((0, 0))
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn groups_of(&self, _: &str, gid: u32) -> Vec<u32> {
        vec![gid]
    }
}

fn options() -> Options {
    let globals = String::new();
    Options { conf: "/conf".into(), prefix: "/".into(), globals, error_log: None }
}

/// The configurations of `tests/conf`, in a fixed order.
fn corpus() -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for kind in ["good", "bad"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conf").join(kind);
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read(entry.unwrap().path()).unwrap();
            let end = text.windows(4).position(|dashes| dashes == b"----").unwrap();
            list.push(text[..end].to_vec());
        }
    }
    list.sort();
    list
}

/// The words of a text with what stands between them.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let class = |byte: &u8| match byte {
        b' ' | b'\n' => 0,
        b'{' | b'}' | b';' => 1,
        _ => 2,
    };
    text.chunk_by(|one, next| class(one) == class(next) && class(one) != 1)
        .map(<[u8]>::to_vec)
        .collect()
}

/// What breaks grammars: signs, units, wildcards, ends of ranges, bytes that are no text.
const ODD: [&[u8]; 24] = [
    b"",
    b"\"\"",
    b"$",
    b"${",
    b"$host",
    b"~",
    b"~*(",
    b"(?<a>.)",
    b"*",
    b"*.",
    b".",
    b"..",
    b"@",
    b"=",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"9223372036854775807g",
    b"unix:",
    b"[::]:1",
    b"http://",
    b"\xff\xfe",
    b"\0",
    b"default",
];

fn change(text: &[u8], all: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut words = words(text);
    for _ in 0..1 + chance.below(4) {
        if words.is_empty() {
            break;
        }
        let at = chance.below(words.len());
        match chance.below(6) {
            0 => drop(words.remove(at)),
            1 => words[at] = ODD[chance.below(ODD.len())].to_vec(),
            2 => words[at] = all[chance.below(all.len())].clone(),
            3 => words.insert(at, all[chance.below(all.len())].clone()),
            4 => {
                let other = chance.below(words.len());
                words.swap(at, other);
            }
            _ => {
                let length = words[at].len();
                words[at].insert(chance.below(length + 1), chance.next() as u8);
            }
        }
    }
    words.concat()
}

#[test]
fn no_text_makes_a_panic() {
    const CHANGES: usize = 20_000;
    let seed = Chance::seed();
    let mut chance = Chance::new(seed);
    let corpus = corpus();
    let all: Vec<_> = corpus.iter().flat_map(|text| words(text)).collect();
    let mut sound = 0;
    for round in 0..CHANGES {
        let text = change(&corpus[chance.below(corpus.len())], &all, &mut chance);
        let shown = String::from_utf8_lossy(&text).into_owned();
        let built = std::panic::catch_unwind(|| build(&Small(text), &options()));
        let built = built.unwrap_or_else(|_| panic!("seed {seed}, round {round}:\n{shown}"));
        let fatal = built.faults.iter().any(|fault| fault.level == Level::Emerg);
        assert_ne!(built.config.is_some(), fatal, "seed {seed}, round {round}:\n{shown}");
        sound += usize::from(!fatal);
    }
    // Changes that never leave anything sound would look only at the first grammar.
    assert!(sound > CHANGES / 100, "{sound} of {CHANGES}");
}
