//! The listening sockets: bound by the master, accepted on by the worker.
//!
//! They belong to the master and outlive every worker, so the accept queue is never lost.

use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

use perdura_conf::errno_text;
use perdura_proxy::{Address, Listen, Severity};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};

use super::owned::Owned;

/// Every socket that listens, with how it was asked for.
#[derive(Debug, Default)]
pub struct Listeners {
    list: Vec<(Listen, Owned)>,
}

/// Sockets that a new configuration has and the old one had not.
pub type Added = Vec<(Listen, Owned)>;

/// How often a start tries addresses that are in use, and how long it waits between (nginx).
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

impl Listeners {
    /// Binds everything, with nginx's patience for a predecessor that is just ending. `say` gets
    /// every fault; `None` when it did not work out.
    /// What a predecessor left is taken instead, and the rest of that is closed.
    pub fn bind(
        listens: &[Listen],
        inherited: Vec<OwnedFd>,
        mut say: impl FnMut(Severity, &str),
    ) -> Option<Listeners> {
        let mut listeners = Listeners::default();
        listeners.inherit(listens, inherited);
        for _ in 0..TRIES {
            let mut in_use = false;
            for listen in listens {
                match listeners.bind_one(listen) {
                    Ok(()) => {}
                    Err(Refusal::InUse(text)) => {
                        in_use = true;
                        say(Severity::Emerg, &text);
                    }
                    Err(Refusal::Other(text)) => {
                        say(Severity::Emerg, &text);
                        return None;
                    }
                }
            }
            if !in_use {
                return Some(listeners);
            }
            say(Severity::Notice, "try again to bind() after 500ms");
            // Nothing says when the address is free.
            std::thread::sleep(PAUSE);
        }
        say(Severity::Emerg, "still could not bind()");
        None
    }

    fn inherit(&mut self, listens: &[Listen], inherited: Vec<OwnedFd>) {
        for socket in inherited.into_iter().filter(listens_for_streams) {
            let Some(address) = address_of(&socket) else { continue };
            let wanted = listens.iter().find(|listen| listen.address == address);
            let Some(listen) = wanted.filter(|listen| !self.has(&listen.key)) else { continue };
            // On a socket that listens this only changes the length of the queue.
            let _ = rustix::net::listen(&socket, listen.backlog.cast_signed());
            if let Ok(socket) = Owned::new(socket) {
                self.list.push((listen.clone(), socket));
            }
        }
    }

    fn bind_one(&mut self, listen: &Listen) -> Result<(), Refusal> {
        if self.has(&listen.key) {
            return Ok(());
        }
        let socket = listen.bind().map_err(|fault| match fault.error.raw_os_error() {
            Some(code) if code == Errno::ADDRINUSE.raw_os_error() => {
                Refusal::InUse(fault.to_string())
            }
            _ => Refusal::Other(fault.to_string()),
        })?;
        let socket = Owned::new(socket)
            .map_err(|error| Refusal::Other(format!("fstat() failed {}", errno_text(&error))))?;
        self.list.push((listen.clone(), socket));
        Ok(())
    }

    /// Binds what is not bound yet: once, because the old configuration serves meanwhile.
    pub fn bind_added(&self, listens: &[Listen]) -> Result<Added, String> {
        let mut added = Listeners::default();
        for listen in listens.iter().filter(|listen| !self.has(&listen.key)) {
            added.bind_one(listen).map_err(|refusal| {
                added.remove_files();
                match refusal {
                    Refusal::InUse(text) | Refusal::Other(text) => text,
                }
            })?;
        }
        Ok(added.list)
    }

    /// Takes what was bound for a new configuration; `listens` may want another queue length for
    /// what stays.
    pub fn add(&mut self, added: Added, listens: &[Listen]) {
        self.list.extend(added);
        for (old, socket) in &mut self.list {
            let Some(new) = listens.iter().find(|listen| listen.key == old.key) else { continue };
            if new.backlog != old.backlog {
                // On a socket that listens this only changes the length; if it fails, it stays.
                let _ = rustix::net::listen(&*socket, new.backlog.cast_signed());
            }
            old.clone_from(new);
        }
    }

    /// Closes what the configuration no longer has.
    pub fn retain(&mut self, listens: &[Listen]) {
        let (kept, gone) = std::mem::take(&mut self.list)
            .into_iter()
            .partition(|(old, _)| listens.iter().any(|listen| listen.key == old.key));
        self.list = kept;
        Listeners { list: gone }.remove_files();
    }

    /// Keys and numbers, for the worker.
    pub fn numbers(&self) -> Vec<(String, RawFd)> {
        self.list.iter().map(|(listen, socket)| (listen.key.clone(), socket.number())).collect()
    }

    /// Binds again whatever is no longer what was bound; gives the keys.
    pub fn repair(&mut self) -> Vec<String> {
        let (intact, broken): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.list).into_iter().partition(|(_, socket)| socket.is_intact());
        self.list = intact;
        let mut keys = Vec::new();
        for (listen, socket) in broken {
            socket.abandon();
            // A socket file of the lost one is in the way of the next.
            remove_file(&listen);
            let _ = self.bind_one(&listen);
            keys.push(listen.key);
        }
        keys
    }

    /// Removes the files of unix sockets, as nginx does when its master ends.
    pub fn remove_files(&self) {
        self.list.iter().for_each(|(listen, _)| remove_file(listen));
    }

    fn has(&self, key: &str) -> bool {
        self.list.iter().any(|(listen, _)| listen.key == key)
    }
}

/// Whether it is what a listener is: whoever left it may be no friend.
fn listens_for_streams(socket: &OwnedFd) -> bool {
    sockopt::socket_acceptconn(socket) == Ok(true)
        && sockopt::socket_type(socket) == Ok(SocketType::STREAM)
}

/// Where a socket listens.
fn address_of(socket: &OwnedFd) -> Option<Address> {
    use std::os::unix::ffi::OsStrExt;
    let name = rustix::net::getsockname(socket).ok()?;
    if let Ok(unix) = rustix::net::SocketAddrUnix::try_from(name.clone()) {
        let path = std::ffi::OsStr::from_bytes(unix.path_bytes()?);
        return Some(Address::Unix(path.into()));
    }
    std::net::SocketAddr::try_from(name).ok().map(Address::Inet)
}

enum Refusal {
    InUse(String),
    Other(String),
}

fn remove_file(listen: &Listen) {
    if let Address::Unix(path) = &listen.address {
        // Somebody else may have removed it already.
        let _ = std::fs::remove_file(path);
    }
}
