//! The grammar, held against files and against nginx.
//!
//! Every `grammar/*.conf` is a text, a line of dashes and its outcome: the faults as they are
//! printed or, when there is none, the statements that were read. A line of dashes with a name
//! begins another file beside the first. `BLESS=1` writes the outcomes anew; read the difference.
//!
//! The same texts, some that a text file cannot hold and seeded random ones are given to `nginx -t`:
//! its first message must be ours. Without nginx these tests say so and pass.

use perdura_conf::{Document, Fault, Files, Statement, first_line, render};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_text_has_its_outcome() {
    let mut wrong = Vec::new();
    for path in corpus() {
        let case = Case::load(&path);
        let folder = Folder::with(&case.files);
        let outcome = folder.hide(&outcome(&read(&folder, b"")));
        if outcome == case.outcome {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, format!("{}----\n{outcome}", case.text))
                .expect("a writable file");
            continue;
        }
        wrong.push(format!("{}:\n{outcome}\n-- but expected --\n{}", path.display(), case.outcome));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn nginx_says_the_same_about_every_text() {
    let Some(nginx) = Nginx::find() else { return };
    for path in corpus() {
        let folder = Folder::with(&Case::load(&path).files);
        nginx.compare(&folder, "", &path.display().to_string());
    }
}

#[test]
fn nginx_says_the_same_about_bytes_that_no_text_file_holds() {
    let Some(nginx) = Nginx::find() else { return };
    for text in byte_cases() {
        let shown = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        let folder = Folder::with(&[("nginx.conf".to_owned(), text)]);
        nginx.compare(&folder, "", &format!("{shown:?}"));
    }
}

#[test]
fn nginx_says_the_same_about_the_command_line() {
    let Some(nginx) = Nginx::find() else { return };
    let folder = Folder::with(&[("nginx.conf".to_owned(), b"env A;\n".to_vec())]);
    for global in [
        "env B",
        "env \"B",
        "events {}",
        "events {",
        "{",
        "}",
        ";",
        "env B; }",
        "env \"B\"C;",
        "env B; env",
        "include missing.conf;",
        "include none*;",
        "include a b;",
        "# env",
        "  ",
        "env B;",
    ] {
        nginx.compare(&folder, global, &format!("-g {global:?}"));
    }
}

#[test]
fn nginx_says_the_same_about_random_texts() {
    let Some(nginx) = Nginx::find() else { return };
    let seed = seed();
    println!("seed {seed} (SEED={seed} repeats this run)");
    for round in 0..RANDOM_TEXTS {
        let mut random = Random(seed.wrapping_add(round));
        let mut text = b"env A;\nhttp {\n types {\n".to_vec();
        let pieces = random.below(30);
        for _ in 0..pieces {
            text.extend_from_slice(random.piece());
        }
        // nginx prints a name only up to a zero.
        text.retain(|&byte| byte != 0);
        text.extend_from_slice(b"\n }\n}\n");
        let shown = format!("seed {seed}, round {round}: {:?}", String::from_utf8_lossy(&text));
        let folder = Folder::with(&[("nginx.conf".to_owned(), text)]);
        nginx.compare(&folder, "", &shown);
    }
}

#[test]
fn random_texts_end_in_bounded_time_and_without_panic() {
    let seed = seed();
    println!("seed {seed} (SEED={seed} repeats this run)");
    let files = Nothing;
    for round in 0..SOUPS {
        let mut random = Random(seed.wrapping_add(round));
        let mut text = Vec::new();
        for _ in 0..random.below(60) {
            text.extend_from_slice(random.piece());
        }
        let one = One { text, files: &files };
        let document = Document::read(&one, Path::new("/nginx.conf"), b"");
        let size = size(&document.statements);
        assert!(size <= one.text.len() + 1, "seed {seed}, round {round}: {size} words of nothing");
        for fault in document.in_reading_order(Vec::new()) {
            let text = render("perdura", &fault, &document.sources);
            assert!(text.starts_with("perdura: [emerg] "), "seed {seed}, round {round}: {text}");
        }
    }
}

/// Texts for [`random_texts_end_in_bounded_time_and_without_panic`].
const SOUPS: u64 = 200_000;

/// Texts that nginx is asked about; each costs a process.
const RANDOM_TEXTS: u64 = 300;

/// What random texts are made of.
const PIECES: &[&[u8]] = &[
    b"a",
    b"bc",
    b"include",
    b" ",
    b" ",
    b"\n",
    b"\t",
    b"\r",
    b";",
    b";",
    b"{",
    b"}",
    b"\"",
    b"'",
    b"\\",
    b"\\\"",
    b"\\n",
    b"$",
    b"${",
    b"#",
    b")",
    b"(",
    b"=",
    b"\xff",
    b"\xef\xbb\xbf",
    b"*",
    b"a b;",
    b"a 'b c';\n",
    b"x \"y\" z;\n",
    b"\"b\")",
    b"\0",
    b"text/x y",
    b"location / {",
    b"\xc3\xa9",
];

fn byte_cases() -> Vec<Vec<u8>> {
    let repeat = |head: &str, count: usize, tail: &str| {
        [head.as_bytes(), &vec![b'a'; count], tail.as_bytes()].concat()
    };
    let mut cases: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"env A".to_vec(),
        b"env A;".to_vec(),
        b"env \"A".to_vec(),
        b"env A \\".to_vec(),
        b"env A # comment".to_vec(),
        b"# comment".to_vec(),
        b"env A;\r\nenv\r\nB\r\n;\r\n}".to_vec(),
        b"\xef\xbb\xbfenv A;".to_vec(),
        b"env \xff\xfe;\n\xff;\n".to_vec(),
        b"http {".to_vec(),
        b"http {\n".to_vec(),
        b"http { types {".to_vec(),
        b"env A;\n\n\n}".to_vec(),
        b"env A;\x0c;".to_vec(),
        b"env \"A\" \"B".to_vec(),
    ];
    // Around the size of the buffer: what fits and what does not, and what follows it.
    for count in [4090, 4092, 4093, 4094, 4095, 4096, 4097, 8192] {
        cases.push(repeat("env ", count, ";\n}"));
        cases.push(repeat("env ", count, " ;\n}"));
        cases.push(repeat("env ", count, "\n;\n}"));
        cases.push(repeat("env ", count, "  ;}"));
        cases.push(repeat("env ", count, ""));
        cases.push(repeat("env ", count, " "));
        cases.push(repeat("\n\nenv \"", count, "\";\n}"));
        cases.push(repeat("\n\nenv \"", count, "\" ;\n}"));
        cases.push(repeat("env '", count, "'  ;\n}"));
        cases.push(repeat("env '", count, "'\n\n#x\n;\n}"));
        cases.push(repeat("env '", count, ""));
        cases.push(repeat("env '", count, "'"));
        cases.push(repeat("env A;\n#", count, "\n}"));
        cases.push(repeat("env A #", count, "\n;}"));
        cases.push(repeat("#", count, ""));
        cases.push(repeat("env A;", count, ";}"));
        let spaces = vec![b' '; count];
        cases.push([b"env", &spaces[..], b"A;\n}"].concat());
    }
    cases
}

/// A file of the corpus.
struct Case {
    /// All that stands before the outcome.
    text: String,
    files: Vec<(String, Vec<u8>)>,
    outcome: String,
}

impl Case {
    fn load(path: &Path) -> Case {
        let whole = std::fs::read_to_string(path).expect("a readable file");
        let (mut text, mut outcome) = (String::new(), String::new());
        let mut files = vec![("nginx.conf".to_owned(), Vec::new())];
        let mut in_outcome = false;
        for line in whole.split_inclusive('\n') {
            if in_outcome {
                outcome.push_str(line);
                continue;
            }
            if line == "----\n" {
                in_outcome = true;
                continue;
            }
            text.push_str(line);
            if let Some(name) = line.strip_prefix("---- ") {
                files.push((name.trim().to_owned(), Vec::new()));
            } else if let Some((_, bytes)) = files.last_mut() {
                bytes.extend_from_slice(line.as_bytes());
            }
        }
        Case { text, files, outcome }
    }
}

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/grammar");
    let entries = std::fs::read_dir(&folder).expect("the folder of the corpus");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    assert!(paths.len() >= 20, "the corpus is there");
    paths
}

fn read(folder: &Folder, global: &[u8]) -> Document {
    Document::read(&Disk, &folder.path.join("nginx.conf"), global)
}

fn outcome(document: &Document) -> String {
    let mut text = String::new();
    for fault in document.in_reading_order(Vec::new()) {
        text.push_str(&render("perdura", &fault, &document.sources));
        text.push('\n');
    }
    if document.faults.is_empty() {
        dump(&document.statements, 0, &mut text);
    }
    text
}

fn dump(statements: &[Statement], depth: usize, text: &mut String) {
    for statement in statements {
        let _ = write!(text, "{:1$}", "", depth * 4);
        for word in std::iter::once(&statement.name).chain(&statement.args) {
            let _ = write!(text, "[{}]", word.bytes.escape_ascii());
        }
        let Some(block) = &statement.block else {
            text.push('\n');
            continue;
        };
        text.push_str(" {\n");
        dump(block, depth + 1, text);
        let _ = writeln!(text, "{:1$}}}", "", depth * 4);
    }
}

fn size(statements: &[Statement]) -> usize {
    let one = |statement: &Statement| {
        1 + statement.args.len() + size(statement.block.as_deref().unwrap_or_default())
    };
    statements.iter().map(one).sum()
}

/// The real nginx, when it is installed.
struct Nginx;

impl Nginx {
    fn find() -> Option<Nginx> {
        let found = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            return Some(Nginx);
        }
        println!("skipped: no nginx is installed to compare with");
        None
    }

    /// The first message that nginx gives about the configuration in `folder`, without time and
    /// process.
    fn first_message(&self, folder: &Folder, global: &str) -> String {
        let mut command = Command::new("nginx");
        command.arg("-t").arg("-p").arg(&folder.path).args(["-e", "stderr"]);
        command.arg("-c").arg(folder.path.join("nginx.conf"));
        if !global.is_empty() {
            command.args(["-g", global]);
        }
        let output = command.stdin(Stdio::null()).output().expect("nginx runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let message = ["[emerg] ", "[crit] "].iter().find_map(|level| text.split_once(level));
        let message = message.map(|(_, message)| message).unwrap_or_default();
        let end = message.find("\nnginx: configuration file").unwrap_or(message.len());
        let message = &message[..end];
        let number = message.split_once(": ").filter(|(head, _)| head.contains('#'));
        number.map_or(message, |(_, message)| message).to_owned()
    }

    fn compare(&self, folder: &Folder, global: &str, case: &str) {
        let document = read(folder, global.as_bytes());
        let mut faults = known_faults(&document.statements, &[]);
        faults.push(Fault::nowhere("no \"events\" section in configuration"));
        let first = document.in_reading_order(faults).swap_remove(0);
        let ours = first_line(&first, &document.sources);
        let ours = ours.strip_prefix("[emerg] ").unwrap_or(&ours);
        let mut theirs = self.first_message(folder, global);
        // Whether a block is a list of entries is not the document's to know.
        if ours.starts_with(INCLUDE_WITH_BLOCK) && theirs.starts_with("unexpected \"{\"") {
            theirs = theirs.replace("unexpected \"{\"", INCLUDE_WITH_BLOCK);
        }
        assert_eq!(ours, theirs, "in {case}");
    }
}

const INCLUDE_WITH_BLOCK: &str = "directive \"include\" is not terminated by \";\"";

/// What nginx would find wrong with statements that are well formed: the few rules that the
/// corpus needs.
fn known_faults(statements: &[Statement], outer: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for statement in statements {
        let name = statement.name.text().into_owned();
        let count = statement.args.len();
        let place = statement.name.place;
        if outer.last() == Some(&"types") {
            if statement.block.is_some() {
                faults.push(Fault::new(place, "unexpected \"{\""));
            }
            continue;
        }
        let (allowed, opens, takes) = match name.as_str() {
            "env" => (outer.is_empty(), false, 1),
            "http" => (outer.is_empty(), true, 0),
            "location" => (false, true, 1),
            "types" => (outer.last() == Some(&"http"), true, 0),
            _ => {
                faults.push(Fault::new(place, format!("unknown directive \"{name}\"")));
                continue;
            }
        };
        let message = if !allowed {
            format!("\"{name}\" directive is not allowed here")
        } else if !opens && statement.block.is_some() {
            format!("directive \"{name}\" is not terminated by \";\"")
        } else if opens && statement.block.is_none() {
            format!("directive \"{name}\" has no opening \"{{\"")
        } else if count != takes {
            format!("invalid number of arguments in \"{name}\" directive")
        } else {
            let block = statement.block.as_deref().unwrap_or_default();
            faults.extend(known_faults(block, &[outer, &[name.as_str()]].concat()));
            continue;
        };
        faults.push(Fault::new(place, message));
    }
    faults
}

/// A folder of its own for one configuration; gone with the value.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn with(files: &[(String, Vec<u8>)]) -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("perdura-grammar-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for (name, bytes) in files {
            let file = path.join(name);
            let parent = file.parent().expect("a file in the folder");
            std::fs::create_dir_all(parent).expect("a new folder");
            std::fs::write(&file, bytes).expect("a new file");
        }
        Folder { path }
    }

    /// The text without the folder's name, which changes from run to run.
    fn hide(&self, text: &str) -> String {
        text.replace(&self.path.display().to_string(), "FOLDER")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Files on the disk; of masks it knows one `*` in the last part.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (head, tail) = name.split_once('*').unwrap_or((&name, ""));
        let Some(Ok(entries)) = pattern.parent().map(std::fs::read_dir) else {
            return Ok(Vec::new());
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(head) && name.ends_with(tail)
        });
        paths.sort();
        Ok(paths)
    }
}

/// No files at all.
struct Nothing;

impl Files for Nothing {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn glob(&self, _pattern: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

/// One file, `/nginx.conf`, before others.
struct One<'a> {
    text: Vec<u8>,
    files: &'a dyn Files,
}

impl Files for One<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("/nginx.conf") {
            return Ok(self.text.clone());
        }
        self.files.read(path)
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.glob(pattern)
    }
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    })
}

/// Random numbers of splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn piece(&mut self) -> &'static [u8] {
        PIECES[self.below(PIECES.len())]
    }
}
