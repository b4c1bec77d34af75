//! Accepts clients: one task for each listening socket of a thread.

use super::Thread;
use super::thread::Admitted;
use crate::channel::Channel;
use crate::config::Address;
use crate::counters;
use crate::front::{self, Client};
use crate::inherited;
use crate::modules::error_log::Severity;
use crate::request::{Connection, Peer, Security};
use rustix::fd::{OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, getsockname};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// How long accepting pauses when descriptors have run out, as nginx's `accept_mutex_delay`.
const PAUSE: Duration = Duration::from_millis(500);

/// Connections accepted in a row before other tasks run.
const BATCH_MAX: usize = 64;

/// The accepting tasks of a thread, by the key of their socket.
#[derive(Default)]
pub struct Listeners {
    tasks: HashMap<(String, RawFd), JoinHandle<()>>,
}

impl Listeners {
    /// Accepts on exactly these sockets; those that stay are not disturbed.
    pub fn set(&mut self, thread: &Rc<Thread>, wanted: &[(String, RawFd)]) {
        self.tasks.retain(|socket, task| {
            let stays = wanted.contains(socket);
            if !stays {
                task.abort();
            }
            stays
        });
        for (key, number) in wanted {
            let socket = (key.clone(), *number);
            if self.tasks.contains_key(&socket) {
                continue;
            }
            match Listener::open(key, *number) {
                Ok(listener) => {
                    let task = tokio::task::spawn_local(accept(Rc::clone(thread), listener));
                    self.tasks.insert(socket, task);
                }
                Err(error) => {
                    let reason = crate::errno_text(&error);
                    let message = format!("cannot listen on {key} ({reason})");
                    thread.shared.log(Severity::Alert, &message);
                }
            }
        }
    }

    /// Accepts no more.
    pub fn clear(&mut self) {
        for (_, task) in self.tasks.drain() {
            task.abort();
        }
    }
}

/// A listening socket in the runtime.
struct Listener {
    key: Rc<str>,
    socket: AsyncFd<OwnedFd>,
    local: Local,
}

/// Where a listening socket's connections arrive.
enum Local {
    /// The address is that of all its connections, unless it stands for all of the machine's.
    Tcp(Option<SocketAddr>),
    Unix(Address),
}

impl Listener {
    fn open(key: &str, number: RawFd) -> io::Result<Self> {
        // A descriptor of its own, because the runtime closes what it is given.
        let own = inherited::duplicate(number)?;
        let local = match key.strip_prefix("unix:") {
            Some(path) => Local::Unix(Address::Unix(path.into())),
            None => {
                let address = SocketAddr::try_from(getsockname(&own)?)?;
                Local::Tcp(Some(address).filter(|one| !one.ip().is_unspecified()))
            }
        };
        Ok(Self { key: key.into(), socket: inherited::watch(own)?, local })
    }

    async fn accept(&self) -> io::Result<(Channel, Peer, Address)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accepted = self.socket.async_io(Interest::READABLE, |socket| {
            acceptfrom_with(socket, flags).map_err(io::Error::from)
        });
        let (fd, peer) = accepted.await?;
        match &self.local {
            Local::Tcp(address) => {
                let peer = peer.ok_or(Errno::NOTCONN)?;
                let peer = Peer::Inet(SocketAddr::try_from(peer)?);
                let local = match address {
                    Some(address) => *address,
                    None => SocketAddr::try_from(getsockname(&fd)?)?,
                };
                Ok((Channel::accepted(fd, true), peer, Address::Inet(local)))
            }
            Local::Unix(address) => Ok((Channel::accepted(fd, false), Peer::Unix, address.clone())),
        }
    }
}

async fn accept(thread: Rc<Thread>, listener: Listener) {
    let pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    let mut batch = 0;
    loop {
        match listener.accept().await {
            Ok((channel, peer, local)) => {
                let connection = Connection {
                    number: thread.shared.next_connection(),
                    peer,
                    proxy: None,
                    local,
                    socket: Rc::clone(&listener.key),
                    accepted: Instant::now(),
                    pid,
                    security: Security::Plain,
                };
                counters::accepted();
                begin(&thread, Client::new(channel, connection));
            }
            Err(error) => failed(&thread, &error).await,
        }
        batch += 1;
        if batch >= BATCH_MAX {
            batch = 0;
            tokio::task::yield_now().await;
        }
    }
}

fn begin(thread: &Rc<Thread>, client: Box<Client>) {
    let Some(admitted) = thread.admit() else {
        let limit = thread.config().process.worker_connections;
        let message = format!("{limit} worker_connections are not enough");
        thread.shared.log(Severity::Alert, &message);
        return;
    };
    let thread = Rc::clone(thread);
    tokio::task::spawn_local(serve(client, thread, admitted));
}

async fn serve(client: Box<Client>, thread: Rc<Thread>, _admitted: Admitted) {
    let _counted = counters::handled();
    front::serve(client, thread).await;
}

/// A failure of accept: one that concerns the client only is passed over; one for want of
/// descriptors or memory pauses, so that it does not repeat itself at full speed (RS-07).
async fn failed(thread: &Thread, error: &io::Error) {
    let code = error.raw_os_error();
    let of_client = [
        rustix::io::Errno::CONNABORTED,
        rustix::io::Errno::PROTO,
        rustix::io::Errno::INTR,
        rustix::io::Errno::NOTCONN,
        rustix::io::Errno::INVAL,
    ];
    if of_client.iter().any(|errno| code == Some(errno.raw_os_error())) {
        return;
    }
    let message = format!("accept4() failed ({})", crate::errno_text(error));
    thread.shared.log(Severity::Crit, &message);
    tokio::time::sleep(PAUSE).await;
}
