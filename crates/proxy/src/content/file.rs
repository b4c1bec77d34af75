//! One file: opening it without waiting, and what is known of it then.
//!
//! It knows no request. The front reads the bytes when it sends them.

use super::fault::{FileFault, errno_of};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    File(OpenFile),
    Folder,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    pub file: File,
    /// Bytes, when it was opened.
    pub size: u64,
    /// Seconds since 1970, when it was opened.
    pub modified: i64,
}

/// Opens `path`.
pub fn open(path: Vec<u8>) -> Result<Found, FileFault> {
    let mut options = OpenOptions::new();
    // A FIFO without a writer would hold up everybody. Regular files do not mind the flag.
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY);
    let file = match options.open(path_of(&path)) {
        Ok(file) => file,
        Err(error) => return Err(FileFault::NotOpened { path, errno: errno_of(&error) }),
    };
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Err(FileFault::NotExamined { path, errno: errno_of(&error) }),
    };
    if metadata.is_dir() {
        Ok(Found::Folder)
    } else if metadata.is_file() {
        Ok(Found::File(OpenFile { file, size: metadata.len(), modified: metadata.mtime() }))
    } else {
        Err(FileFault::NotRegular { path })
    }
}

/// The bytes of a path as the system wants them.
pub fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::scratch::Scratch;
    use super::*;
    use std::os::unix::net::UnixListener;

    fn full(scratch: &Scratch, name: &[u8]) -> Vec<u8> {
        [scratch.root(), b"/", name].concat()
    }

    #[test]
    fn files_folders_and_the_rest_are_told_apart() {
        let scratch = Scratch::new();
        scratch.file("a", b"12345");
        scratch.folder("f");
        let Ok(Found::File(file)) = open(full(&scratch, b"a")) else { panic!("a file") };
        assert_eq!(file.size, 5);
        assert!(matches!(open(full(&scratch, b"f")), Ok(Found::Folder)));
        let missing = open(full(&scratch, b"no")).expect_err("nothing there");
        assert_eq!(missing.status(), 404);
        let behind = open(full(&scratch, b"a/b")).expect_err("nothing below a file");
        assert_eq!(behind.status(), 404);
    }

    #[test]
    fn names_are_bytes() {
        let scratch = Scratch::new();
        let path = full(&scratch, b"\xff %?#");
        std::fs::write(path_of(&path), b"x").expect("a name need not be a text");
        assert!(matches!(open(path), Ok(Found::File(_))));
    }

    /// Without `O_NONBLOCK` the test would never end.
    #[test]
    fn a_fifo_holds_up_nobody() {
        let scratch = Scratch::new();
        let path = full(&scratch, b"fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path_of(&path),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .expect("a FIFO can be made");
        assert_eq!(
            open(path.clone()).expect_err("not for clients"),
            FileFault::NotRegular { path }
        );
    }

    #[test]
    fn a_socket_cannot_be_opened() {
        let scratch = Scratch::new();
        let path = full(&scratch, b"s");
        let _listener = UnixListener::bind(path_of(&path)).expect("a socket can be made");
        let fault = open(path.clone()).expect_err("not for clients");
        assert_eq!(fault, FileFault::NotOpened { path, errno: libc::ENXIO });
        assert_eq!(fault.status(), 500);
    }

    #[test]
    fn a_path_that_holds_a_nul_is_missing() {
        let scratch = Scratch::new();
        scratch.file("a", b"x");
        assert_eq!(open(full(&scratch, b"a\0b")).expect_err("no such name").status(), 404);
    }
}
