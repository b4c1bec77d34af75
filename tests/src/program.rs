//! Which program an actor runs: nginx of the system, or the binary of this repository.

use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Nginx,
    Perdura,
}

impl Program {
    /// The program that scenarios examine: perdura, unless `PERDURA_TEST_PROGRAM=nginx` asks
    /// for a run against nginx, to see which scenarios describe what nginx does too.
    pub fn examined() -> Self {
        match std::env::var("PERDURA_TEST_PROGRAM").as_deref() {
            Ok("nginx") => Self::Nginx,
            _ => Self::Perdura,
        }
    }

    /// The name in messages and in the `Server` header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Perdura => "perdura",
        }
    }

    /// The binary, if there is one.
    pub fn find(self) -> Option<PathBuf> {
        match self {
            Self::Nginx => on_path("nginx"),
            Self::Perdura => match std::env::var_os("PERDURA_BIN") {
                Some(path) => Some(PathBuf::from(path)),
                None => built(),
            },
        }
    }

    /// The binary; the test fails with what to do when there is none.
    pub fn binary(self) -> PathBuf {
        match (self.find(), self) {
            (Some(path), _) => path,
            (None, Self::Nginx) => panic!("nginx is not installed: apt-get install nginx-light"),
            (None, Self::Perdura) => panic!("no perdura binary: run cargo build first"),
        }
    }
}

/// The newest of the two builds, so that an old release build does not hide today's code.
fn built() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root().join("target"));
    let age = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    ["release/perdura", "debug/perdura"]
        .into_iter()
        .map(|leaf| target.join(leaf))
        .filter_map(|path| age(&path).map(|age| (age, path)))
        .max()
        .map(|(_, path)| path)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the package lies in the repository").to_path_buf()
}
