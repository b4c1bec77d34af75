//! What the tests need besides Rust: nginx, Node, Python, curl and Chromium from the system's
//! packages, and the peers' libraries in folders under `target/`.

use std::path::{Path, PathBuf};

use crate::command::{command, root, succeeds};

/// A program and the Debian package that has it.
struct Need {
    programs: &'static [&'static str],
    package: &'static str,
}

const NEEDS: &[Need] = &[
    Need { programs: &["nginx"], package: "nginx-light" },
    Need { programs: &["node"], package: "nodejs" },
    Need { programs: &["npm"], package: "npm" },
    Need { programs: &["python3"], package: "python3" },
    Need { programs: &["curl"], package: "curl" },
    Need { programs: &["openssl"], package: "openssl" },
    Need { programs: &["chromium", "chromium-browser", "google-chrome"], package: "chromium" },
];

const PYTHON: &[&str] = &["websockets", "aiohttp"];
const NODE: &[&str] = &["ws", "socket.io", "socket.io-client", "playwright-core"];

/// Without them pip and npm try for minutes, and say nothing, when no registry answers.
const PIP_PATIENCE: &[&str] = &["--timeout", "15", "--retries", "1"];
const NPM_PATIENCE: &[&str] =
    &["--fetch-timeout", "15000", "--fetch-retries", "1", "--fetch-retry-maxtimeout", "5000"];

/// Installs what is missing; an error says what the reader has to run.
pub fn run() -> Result<(), String> {
    let mut missing: Vec<_> = NEEDS
        .iter()
        .filter(|need| !need.programs.iter().any(|program| is_there(program)))
        .map(|need| need.package)
        .collect();
    if !has_venv() {
        missing.push("python3-venv");
    }
    if !missing.is_empty() {
        packages(&missing)?;
    }
    python()?;
    node()
}

fn packages(missing: &[&str]) -> Result<(), String> {
    let names = missing.join(" ");
    if !is_root() {
        return Err(format!("missing; run this once: sudo apt-get install -y {names}"));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        succeeds(apt)
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    match apt(&arguments)? {
        true => Ok(()),
        false => Err(format!("apt-get could not install: {names}")),
    }
}

fn python() -> Result<(), String> {
    let venv = peers().join("venv");
    let stamp = venv.join("installed");
    if is_stamped(&stamp, PYTHON) {
        return Ok(());
    }
    let path = venv.display().to_string();
    if !succeeds(command(system_python(), &["-m", "venv", &path]))? {
        return Err("python3 could not make a virtual environment".to_owned());
    }
    let mut arguments = vec!["-m", "pip", "install", "-q", "--disable-pip-version-check"];
    arguments.extend(PIP_PATIENCE);
    arguments.extend(PYTHON);
    if !succeeds(command(venv.join("bin/python"), &arguments))? {
        return Err(unreachable("pip", PYTHON, "https://pypi.org"));
    }
    put_stamp(&stamp, PYTHON)
}

fn node() -> Result<(), String> {
    let folder = peers().join("npm");
    let stamp = folder.join("installed");
    if is_stamped(&stamp, NODE) {
        return Ok(());
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = folder.display().to_string();
    let mut arguments = vec!["install", "--silent", "--no-fund", "--no-audit", "--prefix", &path];
    arguments.extend(NPM_PATIENCE);
    arguments.extend(NODE);
    if !succeeds(command("npm", &arguments))? {
        return Err(unreachable("npm", NODE, "https://registry.npmjs.org"));
    }
    put_stamp(&stamp, NODE)
}

fn unreachable(installer: &str, names: &[&str], registry: &str) -> String {
    format!(
        "{installer} could not install {}; does {registry}, or the mirror that {installer} is set \
         to, answer from here?",
        names.join(" ")
    )
}

/// The peers lie beside what cargo builds, wherever that is told to be.
fn peers() -> PathBuf {
    match std::env::var_os("PERDURA_PEERS") {
        Some(path) => PathBuf::from(path),
        None => root().join("target"),
    }
}

fn is_stamped(stamp: &Path, names: &[&str]) -> bool {
    std::fs::read_to_string(stamp).is_ok_and(|text| text == names.join("\n"))
}

fn put_stamp(stamp: &Path, names: &[&str]) -> Result<(), String> {
    std::fs::write(stamp, names.join("\n")).map_err(|error| error.to_string())
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).any(|file| file.is_file())
}

/// The system's own Python has the module that apt installs; another one on the path may not.
fn system_python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

fn has_venv() -> bool {
    let check = command(system_python(), &["-c", "import venv, ensurepip"]).output();
    check.is_ok_and(|output| output.status.success())
}

fn is_root() -> bool {
    let id = command("id", &["-u"]).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
