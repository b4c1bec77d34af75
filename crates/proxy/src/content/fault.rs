//! What can go wrong between a path and its file: statuses and nginx's words for the error log, in
//! one table.
//!
//! It opens nothing and writes no log. The index and the file handler make faults; the folder's
//! `mod.rs` logs them and refuses the request.

use crate::modules::error_log::Severity;
use std::io;

/// Why no file can answer. Paths are full; `errno` is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// `open` failed.
    NotOpened { path: Vec<u8>, errno: i32 },
    /// The file is open, and what it is cannot be asked.
    NotExamined { path: Vec<u8>, errno: i32 },
    /// A FIFO, a device: it is there, and is not for clients.
    NotRegular { path: Vec<u8> },
    /// No file stands for the folder, or the folder is not there.
    IndexMissing { path: Vec<u8>, errno: i32 },
    /// The folder may not be searched.
    IndexForbidden { path: Vec<u8> },
    /// `stat` failed for another reason.
    IndexNotExamined { path: Vec<u8>, errno: i32 },
    /// Something that is no folder lies where the folder was a moment ago.
    NotFolder { path: Vec<u8> },
    /// The folder is there, none of its index files is, and listings are not made.
    ListingForbidden { path: Vec<u8> },
    /// The folder cannot be listed.
    FolderNotRead { path: Vec<u8>, errno: i32 },
    /// The folder has more entries than a listing may have.
    FolderTooLarge { path: Vec<u8> },
    /// The name of a function for `jsonp` is no name.
    BadCallback { name: Vec<u8> },
}

impl FileFault {
    /// The status that the client gets, before error pages.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotOpened { errno, .. } | Self::FolderNotRead { errno, .. } => match *errno {
                libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG => 404,
                libc::EACCES | libc::ELOOP | libc::EMLINK => 403,
                _ => 500,
            },
            Self::IndexNotExamined { errno: libc::ELOOP | libc::EMLINK, .. } => 403,
            Self::NotRegular { .. } | Self::IndexMissing { .. } => 404,
            Self::IndexForbidden { .. } | Self::ListingForbidden { .. } => 403,
            Self::BadCallback { .. } => 400,
            Self::NotExamined { .. }
            | Self::IndexNotExamined { .. }
            | Self::NotFolder { .. }
            | Self::FolderTooLarge { .. } => 500,
        }
    }

    /// The level of the line in the error log.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NotOpened { .. } | Self::FolderNotRead { .. } if self.status() != 500 => {
                Severity::Error
            }
            Self::BadCallback { .. } => Severity::Info,
            Self::IndexMissing { .. }
            | Self::IndexForbidden { .. }
            | Self::ListingForbidden { .. } => Severity::Error,
            Self::NotOpened { .. }
            | Self::FolderNotRead { .. }
            | Self::FolderTooLarge { .. }
            | Self::NotExamined { .. }
            | Self::NotRegular { .. }
            | Self::IndexNotExamined { .. } => Severity::Crit,
            Self::NotFolder { .. } => Severity::Alert,
        }
    }

    /// Whether `log_not_found off` keeps the line out of the log. A file that is not regular is
    /// logged all the same, as by nginx.
    pub fn is_missing(&self) -> bool {
        self.status() == 404 && !matches!(self, Self::NotRegular { .. })
    }

    /// The line for the error log, worded as nginx words it; `None` where nginx is silent.
    pub fn message(&self) -> Option<String> {
        let quoted = |path: &[u8]| format!("\"{}\"", String::from_utf8_lossy(path));
        Some(match self {
            Self::NotOpened { path, errno } => {
                format!("open() {} failed {}", quoted(path), reason(*errno))
            }
            Self::NotExamined { path, errno } => {
                format!("fstat() {} failed {}", quoted(path), reason(*errno))
            }
            Self::NotRegular { path } => format!("{} is not a regular file", quoted(path)),
            Self::IndexMissing { path, errno } => {
                format!("{} is not found {}", quoted(path), reason(*errno))
            }
            Self::IndexForbidden { path } => {
                format!("{} is forbidden {}", quoted(path), reason(libc::EACCES))
            }
            Self::IndexNotExamined { errno: libc::ELOOP | libc::EMLINK, .. } => return None,
            Self::IndexNotExamined { path, errno } => {
                format!("stat() {} failed {}", quoted(path), reason(*errno))
            }
            Self::NotFolder { path } => format!("{} is not a directory", quoted(path)),
            Self::FolderNotRead { path, errno } => {
                format!("opendir() {} failed {}", quoted(path), reason(*errno))
            }
            Self::FolderTooLarge { path } => {
                format!("{} has too many files to be listed", quoted(path))
            }
            Self::BadCallback { name } => {
                format!("client sent invalid callback name: {}", quoted(name))
            }
            Self::ListingForbidden { path } => {
                format!("directory index of {} is forbidden", quoted(path))
            }
        })
    }
}

/// The number behind an error of the system. A path that holds a NUL never reaches the kernel and has
/// none: such a file cannot exist.
pub fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::ENOENT)
}

/// `(2: No such file or directory)`.
fn reason(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    // The standard library puts the number behind the system's words; nginx puts it before them.
    let words = text.split(" (os error").next().unwrap_or_default();
    format!("({errno}: {words})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fault: FileFault) -> (u16, &'static str, String) {
        (fault.status(), fault.severity().word(), fault.message().unwrap_or_default())
    }

    /// nginx 1.22.1 wrote these lines in the same situations; the last, which takes a race, is from its
    /// source.
    #[test]
    fn lines_are_those_of_nginx() {
        let path = || b"/w/x".to_vec();
        let opened = |errno| line(FileFault::NotOpened { path: path(), errno });
        let words = |text: &str| text.to_owned();
        assert_eq!(
            opened(libc::ENOENT),
            (404, "error", words("open() \"/w/x\" failed (2: No such file or directory)"))
        );
        assert_eq!(
            opened(libc::EACCES),
            (403, "error", words("open() \"/w/x\" failed (13: Permission denied)"))
        );
        assert_eq!(
            opened(libc::ENXIO),
            (500, "crit", words("open() \"/w/x\" failed (6: No such device or address)"))
        );
        assert_eq!(
            line(FileFault::NotRegular { path: path() }),
            (404, "crit", words("\"/w/x\" is not a regular file"))
        );
        assert_eq!(
            line(FileFault::IndexMissing { path: path(), errno: libc::ENOTDIR }),
            (404, "error", words("\"/w/x\" is not found (20: Not a directory)"))
        );
        assert_eq!(
            line(FileFault::ListingForbidden { path: path() }),
            (403, "error", words("directory index of \"/w/x\" is forbidden"))
        );
        assert_eq!(
            line(FileFault::IndexForbidden { path: path() }),
            (403, "error", words("\"/w/x\" is forbidden (13: Permission denied)"))
        );
        assert_eq!(
            line(FileFault::NotFolder { path: path() }),
            (500, "alert", words("\"/w/x\" is not a directory"))
        );
    }

    #[test]
    fn a_loop_of_links_is_refused_in_silence() {
        let fault = FileFault::IndexNotExamined { path: b"/w/".to_vec(), errno: libc::ELOOP };
        assert_eq!((fault.status(), fault.message()), (403, None));
    }

    #[test]
    fn only_what_is_missing_may_be_kept_out_of_the_log() {
        let path = || b"/w/x".to_vec();
        assert!(FileFault::NotOpened { path: path(), errno: libc::ENOENT }.is_missing());
        assert!(FileFault::IndexMissing { path: path(), errno: libc::ENOENT }.is_missing());
        assert!(!FileFault::NotOpened { path: path(), errno: libc::EACCES }.is_missing());
        assert!(!FileFault::NotRegular { path: path() }.is_missing());
        assert!(!FileFault::ListingForbidden { path: path() }.is_missing());
    }
}
