//! Leaving the terminal, as nginx does it.
//!
//! Called by the master once its sockets listen and before it makes anything that belongs to a
//! process: the caller goes on in the child, and the parent is gone.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use crate::master::{Forked, exit, fork};

/// Goes on in a child, in a session of its own; the parent exits with 0 at once.
///
/// stdin and stdout become `/dev/null`; stderr stays, because the error log takes it over.
pub fn detach() -> io::Result<()> {
    if let Forked::Parent(_) = fork()? {
        exit(0);
    }
    rustix::process::setsid()?;
    rustix::process::umask(Mode::empty());
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    Ok(())
}
