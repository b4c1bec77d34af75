//! The asking side of the control socket: connects, greets, asks, and waits for as long as is named.
//!
//! `perdura tunnels`, `perdura -s upgrade` and a start that looks for a worker without a master
//! use it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use perdura_conf::errno_text;
use perdura_proxy::world::wire::WireFault;
use rustix::fs::Uid;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use super::{Ask, Hello, PACKET_BYTES_MAX, Reply};

/// A connection to a master that has greeted.
pub struct Connection {
    socket: OwnedFd,
    hello: Hello,
    /// The user of the process that made the socket listen.
    owner: Uid,
}

/// Why the master cannot be asked.
#[derive(Debug)]
pub enum AskFault {
    Connect {
        path: PathBuf,
        error: io::Error,
    },
    /// It went, or did not answer in time.
    Lost(io::Error),
    Closed,
    /// It is another version, or no master.
    Nonsense(WireFault),
}

impl fmt::Display for AskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskFault::Connect { path, error } => {
                write!(f, "connect() to \"{}\" failed {}", path.display(), errno_text(error))?;
                match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        f.write_str(": is perdura running with this configuration?")
                    }
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(": only the user of the master process and root may ask it")
                    }
                    _ => Ok(()),
                }
            }
            AskFault::Lost(error) if error.kind() == io::ErrorKind::WouldBlock => {
                f.write_str("the master process does not answer")
            }
            AskFault::Lost(error) => {
                write!(f, "the connection to the master process failed {}", errno_text(error))
            }
            AskFault::Closed => f.write_str("the master process closed the connection"),
            AskFault::Nonsense(fault) => {
                write!(f, "the master process sent a message that is {fault}")
            }
        }
    }
}

impl Connection {
    /// Connects and takes the greeting.
    pub fn open(path: &Path) -> Result<Connection, AskFault> {
        Connection::open_within(path, ANSWER_TIME_MAX)
    }

    /// The same for who waits no longer than this, for the connection and then for the greeting.
    pub fn open_within(path: &Path, within: Duration) -> Result<Connection, AskFault> {
        let socket = connect(path, within)
            .map_err(|error| AskFault::Connect { path: path.to_owned(), error })?;
        let peer = sockopt::socket_peercred(&socket);
        let owner = peer.map_err(|errno| AskFault::Lost(errno.into()))?.uid;
        let greeting = receive(&socket, within)?;
        let hello = Hello::decode(&greeting).map_err(AskFault::Nonsense)?;
        Ok(Connection { socket, hello, owner })
    }

    /// Who has greeted.
    pub fn hello(&self) -> Hello {
        self.hello
    }

    /// Whose process made the socket listen, as the kernel says.
    pub fn owner(&self) -> Uid {
        self.owner
    }

    /// The socket, for who goes on in another language.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub fn ask(&self, ask: Ask) -> Result<(), AskFault> {
        rustix::net::send(&self.socket, &ask.encode(&self.hello.nonce), SendFlags::NOSIGNAL)
            .map_err(|errno| AskFault::Lost(errno.into()))?;
        Ok(())
    }

    /// The next answer, which may take so long.
    pub fn answer(&self, within: Duration) -> Result<Reply, AskFault> {
        Reply::decode(&receive(&self.socket, within)?).map_err(AskFault::Nonsense)
    }

    /// One request with one answer, in the usual time.
    pub fn next(&self) -> Result<Reply, AskFault> {
        self.answer(ANSWER_TIME_MAX)
    }
}

fn connect(path: &Path, within: Duration) -> io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // A full queue is waited for as well.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(within))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn receive(socket: &OwnedFd, within: Duration) -> Result<Vec<u8>, AskFault> {
    let lost = |errno: rustix::io::Errno| AskFault::Lost(errno.into());
    sockopt::set_socket_timeout(socket.as_fd(), sockopt::Timeout::Recv, Some(within))
        .map_err(lost)?;
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let (length, _) = rustix::io::retry_on_intr(|| {
        rustix::net::recv(socket, packet.as_mut_slice(), RecvFlags::empty())
    })
    .map_err(lost)?;
    packet.truncate(length);
    if packet.is_empty() { Err(AskFault::Closed) } else { Ok(packet) }
}

/// How long the master may take for a word.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
