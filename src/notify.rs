//! What the service manager is told of the master's life (sd_notify(3)): ready, reloading, stopping,
//! and which process is the main one after a change of the program.
//!
//! The socket is named by `NOTIFY_SOCKET`, a path or an abstract name; without it nothing is said.
//! Not here: who decides how the master is. Called by the master at the end of each of its turns.

use std::io;
use std::os::unix::ffi::OsStringExt;

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};

/// How the master is, as far as a service manager wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready,
    Reloading,
    Stopping,
    /// This process is the main one from here on; the one that says so ends.
    Succeeded {
        by: i32,
    },
}

/// Where states are told.
pub struct Notify {
    address: Option<SocketAddrUnix>,
    told: State,
}

impl Notify {
    /// What the environment says. A name that is no address is an error of whoever started us.
    pub fn from_environment() -> io::Result<Notify> {
        let name = std::env::var_os("NOTIFY_SOCKET").map(OsStringExt::into_vec);
        let address = match name.as_deref() {
            None | Some([]) => None,
            Some([b'@', name @ ..]) => Some(SocketAddrUnix::new_abstract_name(name)?),
            Some(path) => Some(SocketAddrUnix::new(path)?),
        };
        Ok(Notify { address, told: State::Starting })
    }

    /// Tells a state that is another one than before. What could not be told now is told the next
    /// time; an error says that nobody will hear any more.
    pub fn tell(&mut self, state: State) -> io::Result<()> {
        let Some(address) = self.address.as_ref().filter(|_| self.told != state) else {
            return Ok(());
        };
        match send(address, &text(state)) {
            Ok(()) => self.told = state,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.address = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

fn text(state: State) -> String {
    match state {
        State::Starting => "STATUS=Starting\n".to_owned(),
        State::Ready => "READY=1\nSTATUS=Serving\n".to_owned(),
        State::Reloading => {
            let now = clock_gettime(ClockId::Monotonic);
            let usec = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=Reading the configuration\n")
        }
        State::Stopping => "STOPPING=1\nSTATUS=Ending\n".to_owned(),
        State::Succeeded { by } => format!("MAINPID={by}\nREADY=1\nSTATUS=Serving\n"),
    }
}

/// The socket lives for one message: a worker's death must find nothing here to be closed.
fn send(address: &SocketAddrUnix, text: &str) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, address)?;
    Ok(())
}
