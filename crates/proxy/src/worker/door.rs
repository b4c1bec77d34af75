//! The operator's socket of a dead master, as its worker answers there: one conversation at a
//! time, each bounded.
//!
//! Who may connect is decided by the kernel's word for its user, not by what it says: the master's
//! user and root, as before. `orphan` calls it.

use super::Shared;
use crate::control::operator::{Ask, Hello, NONCE_BYTES, Reply, Who};
use crate::control::word::{self, Word};
use crate::inherited;
use crate::modules::error_log::Severity;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// A new master that asked to take over.
pub struct Successor {
    pub socket: OwnedFd,
    /// Its process, as the kernel says.
    pub pid: i32,
}

/// How long a client may take to ask. Others wait meanwhile.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(2);

/// After a failure to accept: whatever it is, it does not pass within a turn.
const PAUSE: Duration = Duration::from_millis(500);

/// A request is shorter.
const ASK_BYTES_MAX: usize = 64;

/// Answers whoever comes, until one comes to take over.
pub async fn open(shared: &Shared, door: &AsyncFd<OwnedFd>) -> Successor {
    loop {
        let client = match accept(door).await {
            Ok(client) => client,
            Err(error) => {
                let reason = crate::errno_text(&error);
                let message = format!("accept4() of the control socket failed ({reason})");
                shared.log(Severity::Crit, &message);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(pid) = allowed(door, &client) else { continue };
        let talk = tokio::time::timeout(CLIENT_TIME_MAX, converse(shared, client));
        if let Ok(Some(socket)) = talk.await {
            return Successor { socket, pid };
        }
    }
}

async fn accept(door: &AsyncFd<OwnedFd>) -> io::Result<OwnedFd> {
    loop {
        let mut ready = door.readable().await?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = ready.try_io(|door| Ok(rustix::net::accept_with(door, flags)?));
        match accepted {
            Err(_) => continue,
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::INTR.raw_os_error()) => continue,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Ok(accepted) => return accepted,
        }
    }
}

/// The number of a client of the dead master's user (who is the one that made the socket listen)
/// or of root.
fn allowed(door: &AsyncFd<OwnedFd>, client: &OwnedFd) -> Option<i32> {
    let owner = sockopt::socket_peercred(door.get_ref()).ok()?.uid;
    let peer = sockopt::socket_peercred(client).ok()?;
    let may = peer.uid == owner || peer.uid.is_root();
    may.then(|| peer.pid.as_raw_nonzero().get())
}

/// Gives the connection back if it is to go on as a link.
async fn converse(shared: &Shared, client: OwnedFd) -> Option<OwnedFd> {
    let mut nonce = [0; NONCE_BYTES];
    rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).ok()?;
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let hello = Hello { nonce, who: Who::Orphan, pid: std::process::id() };
    rustix::net::send(&client, &hello.encode(), flags).ok()?;
    let client = inherited::watch(client).ok()?;
    let ask = Ask::decode(&receive(&client).await?, &nonce).ok()?;
    match ask {
        Ask::TakeOver { version } if version == word::VERSION => Some(client.into_inner()),
        Ask::TakeOver { version } => {
            let ours = word::VERSION;
            let message = format!(
                "a new master speaks version {version}, this worker {ours}: it serves on alone"
            );
            shared.log(Severity::Error, &message);
            // It is told so; what it makes of it is its affair.
            let _ = word::say(client.get_ref().as_fd(), &Word::Abort, &[]);
            None
        }
        Ask::List | Ask::Close(_) | Ask::Upgrade => {
            let pid = std::process::id();
            let text = format!(
                "the master process has gone, worker process {pid} serves on: \
                 start perdura again, and it takes over"
            );
            let _ = rustix::net::send(client.get_ref(), &Reply::Refused(text).encode(), flags);
            None
        }
    }
}

async fn receive(client: &AsyncFd<OwnedFd>) -> Option<Vec<u8>> {
    let mut packet = [0; ASK_BYTES_MAX];
    loop {
        let mut ready = client.readable().await.ok()?;
        let received = ready
            .try_io(|client| Ok(rustix::net::recv(client, &mut packet, RecvFlags::DONTWAIT)?.0));
        match received {
            Err(_) => continue,
            // What is longer than the buffer was cut, and its sender is not one of ours.
            Ok(Ok(length)) if length > 0 => return Some(packet[..length].to_vec()),
            Ok(_) => return None,
        }
    }
}
