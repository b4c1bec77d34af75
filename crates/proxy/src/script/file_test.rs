//! `-f`, `-d`, `-e` and `-x` of an `if`.

use crate::error_log;
use crate::modules::error_log::Severity;
use crate::modules::rewrite::FileTest;
use crate::request::Request;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Whether what `path` names is as asked; what cannot be looked at is not.
pub(super) fn holds(request: &Request, path: Vec<u8>, test: FileTest) -> bool {
    let path = PathBuf::from(OsString::from_vec(path));
    match std::fs::metadata(&path) {
        Ok(found) => match test {
            FileTest::Plain => found.is_file(),
            FileTest::Folder => found.is_dir(),
            FileTest::Exists => true,
            FileTest::Executable => found.permissions().mode() & OWNER_EXECUTES != 0,
        },
        Err(error) => {
            let code = error.raw_os_error().unwrap_or(libc::ENOENT);
            if !matches!(code, libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG) {
                let reason = crate::errno_text(&error);
                let message = format!("stat() \"{}\" failed ({reason})", path.display());
                error_log::request(request, Severity::Crit, &message);
            }
            false
        }
    }
}

/// The bit that nginx asks for, whoever the worker is.
const OWNER_EXECUTES: u32 = 0o100;
