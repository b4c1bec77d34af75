//! A syslog server that log lines are sent to, one datagram each (RFC 3164).
//!
//! What cannot be sent at once is lost, as from a full disk: nobody waits for a log. `log_file` owns
//! one; the grammar of `syslog:` stands in `syslog_target`.

use crate::clock::{self, Wall};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    Inet(SocketAddr),
    Unix(PathBuf),
}

/// A server with what stands in front of each line.
#[derive(Debug)]
pub struct Syslog {
    pub server: Server,
    /// 0 to 23.
    pub facility: u8,
    /// 0 to 7; lines of the error log have their own.
    pub severity: u8,
    pub tag: String,
    /// Not sent with `nohostname`.
    pub hostname: Option<String>,
    /// Opened for the first line.
    socket: OnceLock<Option<Socket>>,
}

#[derive(Debug)]
enum Socket {
    Inet(UdpSocket),
    Unix(UnixDatagram),
}

/// A datagram's text at most, its header aside; nginx cuts at the same length.
const TEXT_MAX: usize = 2048;

impl Syslog {
    pub fn new(
        server: Server,
        (facility, severity): (u8, u8),
        tag: String,
        hostname: Option<String>,
    ) -> Self {
        Self { server, facility, severity, tag, hostname, socket: OnceLock::new() }
    }

    /// Sends a line over the socket that stays open; `false` when it is lost.
    pub fn send(&self, severity: u8, line: &[u8]) -> bool {
        let socket = self.socket.get_or_init(|| self.open().ok());
        let text = self.datagram(severity, line);
        socket.as_ref().is_some_and(|socket| self.send_by(socket, &text).is_ok())
    }

    /// Sends a line over a socket that is closed at once. The master sends this way: its descriptors
    /// are counted.
    pub fn send_once(&self, severity: u8, line: &[u8]) -> bool {
        let text = self.datagram(severity, line);
        self.open().and_then(|socket| self.send_by(&socket, &text)).is_ok()
    }

    fn open(&self) -> io::Result<Socket> {
        let any: SocketAddr = match &self.server {
            Server::Unix(_) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                return Ok(Socket::Unix(socket));
            }
            Server::Inet(SocketAddr::V4(_)) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            Server::Inet(SocketAddr::V6(_)) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        Ok(Socket::Inet(socket))
    }

    fn send_by(&self, socket: &Socket, text: &[u8]) -> io::Result<()> {
        match (socket, &self.server) {
            (Socket::Inet(socket), Server::Inet(address)) => socket.send_to(text, address)?,
            (Socket::Unix(socket), Server::Unix(path)) => socket.send_to(text, path)?,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        Ok(())
    }

    /// `<PRI>TIMESTAMP HOSTNAME TAG: TEXT` (RFC 3164, 4.1), without the line's end.
    fn datagram(&self, severity: u8, line: &[u8]) -> Vec<u8> {
        let priority = u16::from(self.facility) * 8 + u16::from(severity);
        let time = clock::syslog_date(Wall::now().seconds);
        let mut text = match &self.hostname {
            Some(hostname) => format!("<{priority}>{time} {hostname} {}: ", self.tag),
            None => format!("<{priority}>{time} {}: ", self.tag),
        }
        .into_bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        text.extend_from_slice(&line[..line.len().min(TEXT_MAX)]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: SocketAddr, hostname: Option<&str>) -> Syslog {
        let server = Server::Inet(address);
        Syslog::new(server, (23, 6), "tag".to_owned(), hostname.map(str::to_owned))
    }

    #[test]
    fn a_line_is_one_datagram_behind_its_header() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = server.local_addr().expect("its address");
        assert!(to(address, Some("host")).send(3, b"text\n"));
        assert!(to(address, None).send_once(6, b"text\n"));
        let mut buffer = [0; 4096];
        let mut next = || {
            let count = server.recv(&mut buffer).expect("a datagram");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        let first = next();
        assert!(first.starts_with("<187>") && first.ends_with(" host tag: text"), "{first}");
        let second = next();
        assert!(second.starts_with("<190>") && second.ends_with(" tag: text"), "{second}");
        assert_eq!(second.len(), "<190>Nov 22 10:00:00 tag: text".len(), "{second}");
    }

    #[test]
    fn long_lines_are_cut_and_missing_servers_lose_lines() {
        let address = ([127, 0, 0, 1], 9).into();
        let text = to(address, None).datagram(6, &[b'x'; 2 * TEXT_MAX]);
        assert_eq!(text.len(), TEXT_MAX + "<190>Nov 22 10:00:00 tag: ".len());
        let nobody = Server::Unix(PathBuf::from("/nowhere/at/all"));
        let nobody = Syslog::new(nobody, (0, 0), "tag".to_owned(), None);
        assert!(!nobody.send(6, b"x"));
    }
}
