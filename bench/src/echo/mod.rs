//! The upstream of all measurements: a WebSocket echo and a plain page, on one thread.
//!
//! Not a server to use: it knows only what the load generator asks. Called by `main` and by tests.

mod connection;
mod frames;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

use crate::pattern::{MESSAGE_SIZE_MAX, Pattern};
use crate::poll::Poll;
use connection::{Connection, Scratch, Verdict};

/// How many connections are taken in one turn, so that a burst does not starve the open ones.
const ACCEPTS_PER_TURN: usize = 64;
/// How many connections the kernel may hold for us.
const BACKLOG: i32 = 4096;
/// How many connections one echo holds at once: the hard limit of descriptors, less a few.
const CONNECTIONS_MAX: usize = 19_900;
const LISTENER: usize = usize::MAX;
const STOP: usize = usize::MAX - 1;

/// A listener on 127.0.0.1 at `port` (0: any free one), and where it listens.
pub fn bind(port: u16) -> std::io::Result<(OwnedFd, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let listener = OwnedFd::from(listener);
    listen(&listener, BACKLOG)?;
    Ok((listener, address))
}

/// Serves until `stop` becomes readable, which its other end's closing does.
pub fn serve(listener: OwnedFd, stop: impl AsFd) -> Result<(), Errno> {
    let mut poll = Poll::new()?;
    poll.add_level(&listener, LISTENER)?;
    poll.add_level(&stop, STOP)?;
    let mut open = Open { connections: Vec::new(), free: Vec::new() };
    let mut scratch = Scratch::new(Pattern::new(MESSAGE_SIZE_MAX));
    loop {
        let count = poll.wait(None)?;
        for at in 0..count {
            let ready = poll.event(at);
            match ready.token {
                STOP => return Ok(()),
                LISTENER => open.accept(&listener, &poll)?,
                token => {
                    let Some(connection) = &mut open.connections[token] else { continue };
                    if connection.handle(ready, &mut scratch) == Verdict::Close {
                        open.connections[token] = None;
                        open.free.push(token);
                    }
                }
            }
        }
    }
}

/// The connections, by token.
struct Open {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Open {
    fn accept(&mut self, listener: &OwnedFd, poll: &Poll) -> Result<(), Errno> {
        for _ in 0..ACCEPTS_PER_TURN {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            if self.connections.len() - self.free.len() >= CONNECTIONS_MAX {
                continue;
            }
            sockopt::set_tcp_nodelay(&socket, true)?;
            let token = self.free.pop().unwrap_or(self.connections.len());
            poll.add(&socket, token)?;
            if token == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[token] = Some(Connection::new(socket));
        }
        Ok(())
    }
}
