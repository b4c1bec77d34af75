//! The client: raw bytes into the proxy, in the pieces the test wants, and exact reads of
//! what comes back.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::message::{Message, ReadAs};
use crate::wire::{End, Wire};

#[derive(Debug)]
pub struct Client {
    wire: Wire,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        Self { wire: Wire::new(stream.unwrap_or_else(|error| panic!("{address}: {error}"))) }
    }

    /// A client of a unix socket: the calls of a TCP stream that are made here know no difference.
    #[track_caller]
    pub fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path);
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { wire: Wire::new(TcpStream::from(OwnedFd::from(stream))) }
    }

    /// Shakes hands; gives in one line what that came to, or how the proxy refused.
    pub fn secure(&mut self, connection: rustls::Connection) -> Result<String, String> {
        self.wire.secure(connection)
    }

    /// One request on a connection of its own, and the answer.
    #[track_caller]
    pub fn once(address: SocketAddr, request: &str) -> Message {
        let mut client = Self::connect(address);
        client.send(request);
        client.response()
    }

    /// A GET with `Connection: close` on a connection of its own.
    #[track_caller]
    pub fn get(address: SocketAddr, target: &str) -> Message {
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        Self::once(address, &head)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes.as_ref()).expect("the proxy takes the bytes");
    }

    /// Sends what the other side is willing to take and does not mind when it is not.
    pub fn offer(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), End> {
        self.wire.send(bytes.as_ref())
    }

    /// Sends `bytes` in two pieces that the kernel has delivered one after the other.
    #[track_caller]
    pub fn send_split(&mut self, bytes: &[u8], at: usize) {
        self.send(&bytes[..at]);
        self.settle();
        self.send(&bytes[at..]);
    }

    /// Lets the other side read before more comes. On loopback the bytes have arrived when
    /// the write returns, so that only the reader's turn is waited for; nothing depends on it
    /// but which cut of the bytes is exercised.
    pub fn settle(&self) {
        std::thread::park_timeout(SEGMENT_GAP);
    }

    #[track_caller]
    pub fn response(&mut self) -> Message {
        self.read(ReadAs::Response).unwrap_or_else(|end| panic!("no response: {end:?}"))
    }

    pub fn read(&mut self, how: ReadAs) -> Result<Message, End> {
        Message::read(&mut self.wire, how)
    }

    #[track_caller]
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.wire.exactly(count).unwrap_or_else(|end| panic!("wanted {count} bytes: {end:?}"))
    }

    /// Everything until the end, and which end.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        self.wire.rest()
    }

    pub fn fin(&mut self) {
        self.wire.fin();
    }

    pub fn reset(self) {
        self.wire.reset();
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub fn patience(&self, limit: Duration) {
        self.wire.patience(limit);
    }

    pub fn local(&self) -> SocketAddr {
        self.wire.stream().local_addr().expect("the local address")
    }
}

/// Enough for a proxy on the same machine to read what it was sent.
const SEGMENT_GAP: Duration = Duration::from_millis(4);
