//! Addresses to listen on, and the act of binding them.
//!
//! The master binds; the worker only accepts.

use crate::modules::server::KeepaliveProbes;
use crate::socket_option::{self, TcpOption};
use rustix::fd::OwnedFd;
use socket2::{Domain, Socket, TcpKeepalive, Type};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where a socket is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    /// As nginx prints it: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The key of an address in [`crate::config::Config::endpoints`].
pub fn key_of(address: SocketAddr) -> String {
    address.to_string()
}

/// A socket to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Names the socket across reloads.
    pub key: String,
    pub address: Address,
    pub backlog: u32,
    pub rcvbuf: Option<u64>,
    pub sndbuf: Option<u64>,
    pub ipv6only: bool,
    pub reuseport: bool,
    pub deferred: bool,
    pub fastopen: Option<u32>,
    pub so_keepalive: Option<KeepaliveProbes>,
}

/// nginx's queue length on Linux.
pub const BACKLOG: u32 = 511;

/// Why a socket does not listen.
#[derive(Debug)]
pub struct BindFault {
    pub deed: &'static str,
    pub address: Address,
    pub error: io::Error,
}

impl fmt::Display for BindFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.error.raw_os_error().unwrap_or(0);
        let text = crate::error_text(&self.error);
        write!(f, "{} to {} failed ({code}: {text})", self.deed, self.address)
    }
}

impl Listen {
    /// Whether the socket takes connections for every address of its family.
    pub fn is_wildcard(&self) -> bool {
        match &self.address {
            Address::Inet(SocketAddr::V4(address)) => *address.ip() == Ipv4Addr::UNSPECIFIED,
            Address::Inet(SocketAddr::V6(address)) => *address.ip() == Ipv6Addr::UNSPECIFIED,
            Address::Unix(_) => false,
        }
    }

    /// Makes the socket, binds it and listens.
    pub fn bind(&self) -> Result<OwnedFd, BindFault> {
        let fault = |deed| move |error| BindFault { deed, address: self.address.clone(), error };
        let (domain, address) = match &self.address {
            Address::Inet(address) => (Domain::for_address(*address), (*address).into()),
            Address::Unix(path) => {
                (Domain::UNIX, socket2::SockAddr::unix(path).map_err(fault("bind()"))?)
            }
        };
        let socket = Socket::new(domain, Type::STREAM, None).map_err(fault("socket()"))?;
        socket.set_nonblocking(true).map_err(fault("fcntl(O_NONBLOCK)"))?;
        if domain != Domain::UNIX {
            socket.set_reuse_address(true).map_err(fault("setsockopt(SO_REUSEADDR)"))?;
        }
        if self.reuseport {
            socket.set_reuse_port(true).map_err(fault("setsockopt(SO_REUSEPORT)"))?;
        }
        if domain == Domain::IPV6 {
            socket.set_only_v6(self.ipv6only).map_err(fault("setsockopt(IPV6_V6ONLY)"))?;
        }
        if let Some(size) = self.rcvbuf {
            socket.set_recv_buffer_size(size as usize).map_err(fault("setsockopt(SO_RCVBUF)"))?;
        }
        if let Some(size) = self.sndbuf {
            socket.set_send_buffer_size(size as usize).map_err(fault("setsockopt(SO_SNDBUF)"))?;
        }
        self.set_keepalive(&socket).map_err(fault("setsockopt(SO_KEEPALIVE)"))?;
        socket.bind(&address).map_err(fault("bind()"))?;
        if let Address::Unix(path) = &self.address {
            use std::os::unix::fs::PermissionsExt;
            // As nginx: whoever reaches the folder may connect.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
                .map_err(fault("chmod()"))?;
        }
        socket.listen(self.backlog as i32).map_err(fault("listen()"))?;
        self.set_on_listening(&socket);
        Ok(socket.into())
    }

    /// Probes of idle connections, which accepted sockets inherit.
    fn set_keepalive(&self, socket: &Socket) -> io::Result<()> {
        let (idle_s, interval_s, count) = match self.so_keepalive {
            None => return Ok(()),
            Some(KeepaliveProbes::Off) => return socket.set_keepalive(false),
            Some(KeepaliveProbes::On { idle_s, interval_s, count }) => (idle_s, interval_s, count),
        };
        socket.set_keepalive(true)?;
        let mut probes = TcpKeepalive::new();
        if let Some(idle) = idle_s {
            probes = probes.with_time(Duration::from_secs(idle));
        }
        if let Some(interval) = interval_s {
            probes = probes.with_interval(Duration::from_secs(interval));
        }
        if let Some(count) = count {
            probes = probes.with_retries(u32::try_from(count).unwrap_or(u32::MAX));
        }
        socket.set_tcp_keepalive(&probes)
    }

    /// What is asked of a socket that listens; a system that cannot do it serves all the same, as
    /// with nginx, which only logs.
    fn set_on_listening(&self, socket: &Socket) {
        if self.deferred {
            let _ = socket_option::set(socket, TcpOption::DeferAccept, 1);
        }
        if let Some(length) = self.fastopen {
            let _ = socket_option::set(socket, TcpOption::FastOpen, length as i32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: Address) -> Listen {
        Listen {
            key: address.to_string(),
            address,
            backlog: BACKLOG,
            rcvbuf: None,
            sndbuf: None,
            ipv6only: true,
            reuseport: false,
            deferred: false,
            fastopen: None,
            so_keepalive: None,
        }
    }

    fn local(port: u16) -> Listen {
        listen(Address::Inet((Ipv4Addr::LOCALHOST, port).into()))
    }

    fn port_of(socket: &OwnedFd) -> u16 {
        let name = rustix::net::getsockname(socket).unwrap();
        SocketAddr::try_from(name).unwrap().port()
    }

    #[test]
    fn addresses_are_printed_as_nginx_prints_them() {
        let inet = |text: &str| Address::Inet(text.parse().unwrap()).to_string();
        assert_eq!(inet("127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(inet("[::1]:80"), "[::1]:80");
        assert_eq!(Address::Unix("/a b".into()).to_string(), "unix:/a b");
    }

    #[test]
    fn a_bound_socket_takes_clients_and_does_not_block() {
        let socket = local(0).bind().unwrap();
        let waits = rustix::net::accept(&socket).unwrap_err();
        assert_eq!(waits, rustix::io::Errno::AGAIN);
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&socket))).unwrap();
        rustix::net::accept(&socket).unwrap();
    }

    #[test]
    fn an_address_in_use_is_told_as_nginx_tells_it() {
        let first = local(0).bind().unwrap();
        let port = port_of(&first);
        let fault = local(port).bind().unwrap_err().to_string();
        assert_eq!(
            fault,
            format!("bind() to 127.0.0.1:{port} failed (98: Address already in use)")
        );
    }

    #[test]
    fn two_sockets_share_a_port_when_both_say_so() {
        let first = Listen { reuseport: true, ..local(0) }.bind().unwrap();
        let port = port_of(&first);
        Listen { reuseport: true, ..local(port) }.bind().unwrap();
        local(port).bind().unwrap_err();
    }

    #[test]
    fn options_reach_the_socket() {
        let so_keepalive =
            Some(KeepaliveProbes::On { idle_s: Some(7), interval_s: Some(3), count: Some(2) });
        let wanted =
            Listen { so_keepalive, rcvbuf: Some(20_000), sndbuf: Some(30_000), ..local(0) };
        let socket = Socket::from(wanted.bind().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 2);
        // Linux doubles what is asked for, for its own notes.
        assert_eq!(socket.recv_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.send_buffer_size().unwrap(), 60_000);
    }
}
