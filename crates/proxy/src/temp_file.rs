//! Files without a name for what does not fit in memory: they vanish when they are closed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file in `folder`, which is made when it is missing. Where that cannot be, the system's
/// folder for temporary files serves, so that a request does not fail for a forgotten folder.
pub fn create(folder: &Path) -> io::Result<File> {
    unnamed(folder)
        .or_else(|_| std::fs::create_dir_all(folder).and_then(|()| unnamed(folder)))
        .or_else(|_| unnamed(&std::env::temp_dir()))
}

fn unnamed(folder: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC)
        .open(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_missing_folder_is_made_and_an_impossible_one_is_replaced() {
        let base = std::env::temp_dir().join(format!("perdura-temp-{}", std::process::id()));
        let file = create(&base.join("a/b")).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        assert!(base.join("a/b").is_dir());
        std::fs::remove_dir_all(&base).unwrap();
        assert!(create(Path::new("/dev/null/x")).is_ok());
    }
}
