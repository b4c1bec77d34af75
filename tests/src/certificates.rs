//! The certificates and keys of `tests/conf/files`, for whoever speaks TLS in a test. What each is
//! stands in the script `make` beside them.

use std::path::PathBuf;

use crate::golden::conf_files;
use crate::proxy::Setup;

/// The path of a certificate or key: `ca.crt`, `server.key`.
pub fn certificate(name: &str) -> PathBuf {
    conf_files().join(name)
}

impl Setup {
    /// Puts all certificates and keys into the folder, beside the configuration.
    pub fn certificates(mut self) -> Self {
        let mut entries: Vec<_> =
            std::fs::read_dir(conf_files()).expect("the folder").flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let content = std::fs::read(entry.path()).expect("a file that can be read");
            self = self.file(&entry.file_name().to_string_lossy(), content);
        }
        self
    }
}
