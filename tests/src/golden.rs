//! Golden configurations: a file holds a configuration, a line of dashes, and what `-t` says
//! about it. A new case is a new file.
//!
//! After the dashes stands `exit CODE`, then the output; `@conf@` is the configuration's path
//! and `@dir@` its folder, in which copies of `tests/conf/files` lie. A line
//! `# nginx: differs, WHY` above the configuration says that Debian's nginx words its first line
//! otherwise, or does not know the directive.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::folder::Folder;
use crate::program::{Program, root};

#[derive(Clone, Debug)]
pub struct Golden {
    pub path: PathBuf,
    /// The configuration as it stands in the file.
    pub conf: String,
    /// The outcome as it stands in the file.
    pub expected: String,
}

/// The folder of certificates, keys and the like that configurations name; each finds copies beside
/// itself.
pub fn conf_files() -> PathBuf {
    root().join("tests/conf/files")
}

/// All files of `tests/conf/KIND`.
pub fn golden_files(kind: &str) -> Vec<PathBuf> {
    let folder = root().join("tests/conf").join(kind);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    files.sort();
    files
}

impl Golden {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).expect("a golden file");
        let text = String::from_utf8_lossy(&text).into_owned();
        let (conf, expected) = text.split_once(DASHES).unwrap_or((&text, ""));
        Self { path: path.to_owned(), conf: conf.to_owned(), expected: expected.to_owned() }
    }

    /// What the program says, in the form of the file.
    pub fn ask(&self, program: Program) -> String {
        let (output, hide) = self.run(program, "-t");
        format!("exit {}\n{}", output.status.code().unwrap_or(-1), hide(&output.stderr))
    }

    /// What the program writes of the files that it has read, when it takes them.
    fn dump(&self, program: Program) -> Option<String> {
        let (output, hide) = self.run(program, "-T");
        output.status.success().then(|| hide(&output.stdout))
    }

    /// Runs the program over the configuration; with its output comes what puts names in the place
    /// of paths.
    fn run(&self, program: Program, how: &str) -> (Output, impl Fn(&[u8]) -> String) {
        let folder = Folder::new("golden");
        std::fs::create_dir_all(folder.path().join("logs")).expect("a folder for logs");
        for entry in std::fs::read_dir(conf_files()).into_iter().flatten().flatten() {
            let to = folder.path().join(entry.file_name());
            std::fs::copy(entry.path(), to).expect("a copy of a file");
        }
        let conf = folder.write("perdura.conf", self.conf.as_bytes());
        // What is said of limits must not depend on those of the machine.
        let output = Command::new("sh")
            .args(["-c", LIMITED])
            .arg(program.binary())
            .args([how, "-p"])
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        let (conf, dir) = (conf.display().to_string(), folder.path().display().to_string());
        let hide = move |text: &[u8]| {
            String::from_utf8_lossy(text).replace(&conf, "@conf@").replace(&dir, "@dir@")
        };
        (output, hide)
    }

    /// Why `-T` does not write the files as nginx does, if so. What nginx refuses is not compared.
    pub fn dump_fault(&self) -> Option<String> {
        let theirs = Program::Nginx.find().and_then(|_| self.dump(Program::Nginx))?;
        let ours = self.dump(Program::Perdura)?;
        (theirs != ours).then(|| format!("--- nginx\n{theirs}--- perdura\n{ours}"))
    }

    /// Why the program's answer is not the expected one, if so.
    pub fn fault(&self) -> Option<String> {
        let said = self.ask(Program::Perdura);
        if self.expected.trim() != said.trim() {
            return Some(format!("--- expected\n{}--- perdura\n{said}", self.expected));
        }
        if self.conf.contains("# nginx: differs") || Program::Nginx.find().is_none() {
            return None;
        }
        let nginx = self.ask(Program::Nginx);
        let (theirs, ours) = (essence(&nginx), essence(&said));
        let same = theirs == ours;
        (!same).then(|| format!("--- nginx\n{}\n--- perdura\n{}\n", theirs.1, ours.1))
    }

    /// Whether the file lies in the wrong folder: a good configuration ends with 0.
    pub fn misplaced(&self, kind: &str) -> Option<String> {
        let good = self.expected.starts_with("exit 0\n");
        (good != (kind == "good")).then(|| format!("this does not belong into {kind}"))
    }

    /// Writes what perdura says into the file.
    pub fn record(&self) {
        let said = self.ask(Program::Perdura);
        let text = format!("{}{DASHES}{said}", self.conf);
        std::fs::write(&self.path, text).expect("the golden file can be written");
    }
}

/// The exit code, and the first complaint without the program's name.
fn essence(said: &str) -> (String, String) {
    let code = said.lines().next().unwrap_or_default().to_owned();
    // What a program says to its error log has a date in front.
    let mine = |line: &&str| {
        let complains = line.contains(": [emerg] ") || line.contains(": [warn] ");
        complains && (line.starts_with("nginx: ") || line.starts_with("perdura: "))
    };
    let complaint = said.lines().find(mine).and_then(|line| line.split_once(": "));
    let complaint = complaint.map_or("", |(_, rest)| rest);
    (code, complaint.to_owned())
}

/// Both limits of descriptors are the same, so that nothing can be raised, but by root.
const LIMITED: &str = "ulimit -n 1024; exec \"$0\" \"$@\"";

const DASHES: &str = "----------\n";
