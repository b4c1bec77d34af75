//! Making processes: the system calls that need `unsafe`, and nothing else.
//!
//! All of them are called by a process with one thread. Not here: what the new process does.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// Which of the two processes this is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    Parent(Pid),
    Child,
}

/// A child with a copy of everything, the descriptor table included.
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the process has one thread, so no lock is held by anyone who does not exist in the
    // child.
    forked(i64::from(unsafe { libc::fork() }))
}

/// A child with a copy of everything but the descriptor table, which both share: what one opens,
/// the other has, and it stays open when one dies.
///
/// glibc does not hear of it: no atfork handlers run, and the child's cached thread number is the
/// parent's. Nothing here uses either; the parent must hold no robust or recursive mutex.
pub fn fork_sharing_descriptors() -> io::Result<Forked> {
    let flags = libc::c_long::from(libc::CLONE_FILES | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child gets a copy of the memory, so a stack of 0 (the caller's)
    // is valid in it. The last three arguments are unused with these flags, so that their order,
    // which differs between x86_64 and aarch64, does not matter. One thread, as above.
    forked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

fn forked(result: i64) -> io::Result<Forked> {
    match i32::try_from(result) {
        Ok(0) => Ok(Forked::Child),
        Ok(number) if number > 0 => {
            Pid::from_raw(number).map(Forked::Parent).ok_or(io::ErrorKind::InvalidData.into())
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Becomes another program; comes back only with an error.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both lists end in a null pointer, and everything lives until the call returns.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Borrows a descriptor of the shared table by its number, for one system call.
pub fn borrow(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: not -1, as records and messages are checked for. A number that is closed meanwhile
    // gives an error from the kernel.
    unsafe { BorrowedFd::borrow_raw(number.max(0)) }
}

/// Takes over a socket that this process was started with.
pub fn own(number: RawFd) -> Option<OwnedFd> {
    // None of the standard streams, and nothing that this process has opened so far.
    let open = number > 2 && rustix::net::sockopt::socket_type(borrow(number)).is_ok();
    // SAFETY: it is an open socket, and nothing else in this process has made or owns one yet.
    open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends the process without running anything that belongs to the parent: destructors, exit
/// handlers, buffered output.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` to `last`, whoever holds it.
///
/// The caller answers for that: nothing in this process may believe that it still owns one of them.
pub fn close_range(first: u32, last: u32) {
    // SAFETY: takes no pointer; ownership is the caller's promise. It cannot fail with these
    // arguments but for a kernel before 5.9, which `perdura` does not support.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Becomes another user, in these groups. For good: real, effective and saved.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list is as long as is said; the process has one thread, so that no other keeps
    // the old user.
    unsafe {
        check(libc::setgid(gid), "setgid")?;
        check(libc::setgroups(groups.len(), groups.as_ptr()), "setgroups")?;
        check(libc::setuid(uid), "setuid")
    }
}

/// Shows `title` where `ps` looks for the command line, cut to the length of the latter.
///
/// From then on `std::env::args` is nonsense in this process.
pub fn set_title(title: &[u8]) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may contain anything, follows field 3; `arg_start` is 48.
    let (_, fields) = status.rsplit_once(')').ok_or(io::ErrorKind::InvalidData)?;
    let mut fields = fields.split_ascii_whitespace().skip(45).map(str::parse::<usize>);
    let (Some(Ok(start)), Some(Ok(end))) = (fields.next(), fields.next()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    // The last byte stays 0: otherwise the kernel shows the environment behind it.
    let length = end.saturating_sub(start);
    if start == 0 || length < 2 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: the kernel says that the arguments of this process are there, on its stack, which is
    // writable; nobody reads them any more, and this is the only thread.
    let arguments = unsafe { std::slice::from_raw_parts_mut(start as *mut u8, length) };
    arguments.fill(0);
    let shown = title.len().min(length - 1);
    arguments[..shown].copy_from_slice(&title[..shown]);
    Ok(())
}

fn check(result: i32, what: &str) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("{what} failed: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::process::{WaitOptions, waitpid};

    use super::*;

    fn code_of(child: Pid) -> Option<i32> {
        waitpid(Some(child), WaitOptions::empty()).unwrap().and_then(|(_, end)| end.exit_status())
    }

    /// What a test's child opens it opens for the whole test program, so all of this is one test
    /// that looks at numbers which no other test has.
    #[test]
    fn a_clone_shares_descriptors_and_a_fork_does_not() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = 900;
        let open_here = || rustix::io::fcntl_getfd(&file).is_ok();
        assert!(open_here());
        let there = || std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
        let open = |file: &std::fs::File| {
            // SAFETY: a number that nobody uses.
            unsafe { libc::dup2(file.as_raw_fd(), number) };
        };
        match fork_sharing_descriptors().unwrap() {
            Forked::Child => {
                open(&file);
                exit(7)
            }
            Forked::Parent(child) => assert_eq!(code_of(child), Some(7)),
        }
        assert!(there(), "what the clone opened is open here, and its end closed nothing");
        match fork().unwrap() {
            Forked::Child => {
                close_range(number.cast_unsigned(), number.cast_unsigned());
                exit(i32::from(there()))
            }
            Forked::Parent(child) => assert_eq!(code_of(child), Some(0)),
        }
        assert!(there(), "a fork closes its own copy only");
        close_range(number.cast_unsigned(), number.cast_unsigned());
        assert!(!there());
    }
}
