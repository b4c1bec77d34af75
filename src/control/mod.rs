//! The control socket: what the operator's commands and the running master say to each other.
//!
//! A unix socket beside the pid file, for its owner and root only, one message per packet. Here is
//! the asking side; the answering side is `master::control`, the messages are
//! `perdura_proxy::control::operator`.

mod ask;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use ask::{AskFault, Connection};
pub use perdura_proxy::control::operator::{
    Ask, Hello, NONCE_BYTES, PACKET_BYTES_MAX, Reply, Row, TEXT_BYTES_MAX, Who,
};

/// Where the master with this pid file listens: `/run/perdura.pid.sock`.
pub fn path(pid: &Path) -> PathBuf {
    let mut path = OsString::from(pid);
    path.push(SUFFIX);
    PathBuf::from(path)
}

const SUFFIX: &str = ".sock";
