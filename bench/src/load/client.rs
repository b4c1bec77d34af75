//! One tunnel, seen from its client: connect, handshake, messages, farewell.
//!
//! Not the plan: it sends when told and says what came. Called by `fleet`.
//!
//! ```text
//! Connecting --writable--> Greeting --[200] 101--> Open --end of stream after the farewell--> (ended)
//! ```

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::fault::Fault;
use super::incoming::{Expected, Farewell, Incoming};
use crate::frame::{BINARY, CLOSE, Header, mask};
use crate::handshake;
use crate::head::Head;
use crate::pattern::mask_key;
use crate::poll::Ready;

/// How much is read at once, in bytes.
pub const SCRATCH_SIZE: usize = 256 * 1024;

/// What all clients of one load share.
pub struct Tools {
    /// What comes back.
    pub expected: Expected,
    input: Vec<u8>,
    frame: Vec<u8>,
}

impl Tools {
    /// For messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        Tools { expected: Expected::new(size), input: vec![0; SCRATCH_SIZE], frame: Vec::new() }
    }

    /// How long every message is, in bytes.
    pub fn size(&self) -> usize {
        self.expected.pattern.size()
    }
}

/// What one event brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The handshake is done.
    pub opened: bool,
    /// So many messages came whole.
    pub messages: u32,
    /// The upstream's end came, after both Close frames.
    pub ended: bool,
}

/// One tunnel.
pub struct Client {
    socket: OwnedFd,
    number: u32,
    phase: Phase,
}

/// How a tunnel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the handshake alone.
    Upgrade,
    /// By CONNECT, with the handshake behind it.
    Connect,
}

enum Phase {
    Connecting {
        request: String,
        key: String,
        way: Way,
    },
    /// With CONNECT, the 200 comes before the handshake's answer.
    Greeting {
        key: String,
        answer: Vec<u8>,
        way: Way,
    },
    Open(Exchange),
}

struct Exchange {
    sent: u64,
    incoming: Incoming,
    farewell: Farewell,
    /// What the socket did not take; a plan bounds how many messages are under way.
    unsent: Vec<u8>,
}

impl Client {
    /// Begins to connect tunnel `number`, which will ask for `target`.
    pub fn connect(
        proxy: SocketAddr,
        way: Way,
        number: u32,
        target: &str,
    ) -> Result<Client, Fault> {
        let key = handshake::key(u64::from(number));
        let mut request = handshake::request(&proxy.to_string(), target, &key);
        if way == Way::Connect {
            request.insert_str(0, CONNECT);
        }
        Ok(Client { socket: dial(proxy)?, number, phase: Phase::Connecting { request, key, way } })
    }

    /// The tunnel's number, from which its messages follow.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many messages were sent and are not back.
    pub fn under_way(&self) -> u64 {
        match &self.phase {
            Phase::Open(exchange) => exchange.sent.saturating_sub(exchange.incoming.messages()),
            Phase::Connecting { .. } | Phase::Greeting { .. } => 0,
        }
    }

    /// How many messages came back so far.
    pub fn received(&self) -> u64 {
        match &self.phase {
            Phase::Open(exchange) => exchange.incoming.messages(),
            Phase::Connecting { .. } | Phase::Greeting { .. } => 0,
        }
    }

    /// Sends the next message of an open tunnel.
    pub fn send(&mut self, tools: &mut Tools) -> Result<(), Fault> {
        let Phase::Open(exchange) = &mut self.phase else { return Ok(()) };
        let key = mask_key(self.number, exchange.sent);
        let payload = tools.expected.pattern.payload(self.number, exchange.sent);
        put_frame(&mut tools.frame, BINARY, key, payload);
        exchange.sent += 1;
        exchange.write(&self.socket, &tools.frame)
    }

    /// Sends the Close frame of an open tunnel, status 1000.
    pub fn say_farewell(&mut self, tools: &mut Tools) -> Result<(), Fault> {
        let Phase::Open(exchange) = &mut self.phase else { return Ok(()) };
        put_frame(&mut tools.frame, CLOSE, mask_key(self.number, u64::MAX >> 24), &[3, 232]);
        exchange.farewell = Farewell::Said;
        exchange.write(&self.socket, &tools.frame)
    }

    /// Does what can be done now, and says what came of it.
    pub fn handle(&mut self, ready: Ready, tools: &mut Tools) -> Result<Progress, Fault> {
        let mut progress = Progress::default();
        if let Phase::Connecting { request, key, way } = &mut self.phase {
            if !ready.writable {
                return Ok(progress);
            }
            greet(&self.socket, request)?;
            let (key, way) = (std::mem::take(key), *way);
            self.phase = Phase::Greeting { key, answer: Vec::new(), way };
        }
        if let Phase::Open(exchange) = &mut self.phase
            && ready.writable
        {
            exchange.flush(&self.socket)?;
        }
        if !ready.readable {
            return Ok(progress);
        }
        loop {
            let count = match rustix::io::read(&self.socket, &mut tools.input[..]) {
                Ok(0) => return self.end(progress),
                Ok(count) => count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Fault::System { deed: "read", errno }),
            };
            self.take(count, tools, &mut progress)?;
            if count < SCRATCH_SIZE && !ready.ended {
                break;
            }
        }
        Ok(progress)
    }

    fn take(
        &mut self,
        count: usize,
        tools: &mut Tools,
        progress: &mut Progress,
    ) -> Result<(), Fault> {
        let input = &tools.input[..count];
        let early = match &mut self.phase {
            Phase::Connecting { .. } => return Err(Fault::NotHttp),
            Phase::Open(exchange) => {
                let Exchange { incoming, farewell, .. } = exchange;
                progress.messages +=
                    incoming.take(self.number, input, *farewell, &tools.expected)?;
                return Ok(());
            }
            Phase::Greeting { key, answer, way } => {
                answer.extend_from_slice(input);
                if *way == Way::Connect {
                    match granted(answer)? {
                        Some(head_size) => drop(answer.drain(..head_size)),
                        None => return Ok(()),
                    }
                    *way = Way::Upgrade;
                }
                match judge(answer, key)? {
                    Some(head_size) => answer.split_off(head_size),
                    None => return Ok(()),
                }
            }
        };
        progress.opened = true;
        let mut exchange = Exchange::new();
        progress.messages +=
            exchange.incoming.take(self.number, &early, Farewell::NotSaid, &tools.expected)?;
        self.phase = Phase::Open(exchange);
        Ok(())
    }

    fn end(&self, progress: Progress) -> Result<Progress, Fault> {
        match &self.phase {
            Phase::Open(Exchange { incoming: Incoming::Closed, .. }) => {
                Ok(Progress { ended: true, ..progress })
            }
            _ => Err(Fault::Ended { tunnel: self.number, message: self.received() }),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Exchange {
    fn new() -> Self {
        Exchange {
            sent: 0,
            incoming: Incoming::new(),
            farewell: Farewell::NotSaid,
            unsent: Vec::new(),
        }
    }

    fn write(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Result<(), Fault> {
        let sent = if self.unsent.is_empty() { write_some(socket, bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn flush(&mut self, socket: &OwnedFd) -> Result<(), Fault> {
        if !self.unsent.is_empty() {
            let sent = write_some(socket, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }
}

/// A socket that is connecting to `proxy`; it becomes writable when it is done.
pub fn dial(proxy: SocketAddr) -> Result<OwnedFd, Fault> {
    let family = if proxy.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)
        .map_err(Fault::system("make a socket"))?;
    sockopt::set_tcp_nodelay(&socket, true).map_err(Fault::system("set TCP_NODELAY"))?;
    match connect(&socket, &proxy) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(Fault::System { deed: "connect", errno }),
    }
}

/// Sends the first request of a connection that is made, or says why it is not.
pub fn greet(socket: &OwnedFd, request: &str) -> Result<(), Fault> {
    sockopt::socket_error(socket).and_then(|result| result).map_err(Fault::system("connect"))?;
    ask(socket, request)
}

/// Sends a request at once: it is a few hundred bytes, and a quiet socket that does not take it
/// is broken.
pub fn ask(socket: &OwnedFd, request: &str) -> Result<(), Fault> {
    match write_some(socket, request.as_bytes())? {
        sent if sent == request.len() => Ok(()),
        _ => Err(Fault::System { deed: "send the request", errno: Errno::AGAIN }),
    }
}

/// Writes until the socket is full; how many bytes it took.
fn write_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Fault> {
    let mut sent = 0;
    while sent < bytes.len() {
        match rustix::io::write(socket, &bytes[sent..]) {
            Ok(count) => sent += count,
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::System { deed: "write", errno }),
        }
    }
    Ok(sent)
}

/// What asks for a tunnel; the proxy that is measured knows where it leads.
const CONNECT: &str = "CONNECT echo.example:443 HTTP/1.1\r\nHost: echo.example:443\r\n\r\n";

/// The size of the head of the answer to CONNECT if it is whole and grants the tunnel.
fn granted(answer: &[u8]) -> Result<Option<usize>, Fault> {
    match Head::find(answer).map_err(|_| Fault::NotHttp)? {
        None => Ok(None),
        Some(head) if head.status() == 200 => Ok(Some(head.size)),
        Some(head) => Err(Fault::Refused { answer: head.first.to_owned() }),
    }
}

/// The size of the answer's head if it is whole and agrees.
fn judge(answer: &[u8], key: &str) -> Result<Option<usize>, Fault> {
    match Head::find(answer).map_err(|_| Fault::NotHttp)? {
        None => Ok(None),
        Some(head) if handshake::agreed(&head, key) => Ok(Some(head.size)),
        Some(head) => Err(Fault::Refused { answer: head.first.to_owned() }),
    }
}

/// Writes one masked frame into `frame`, in place of what was there.
fn put_frame(frame: &mut Vec<u8>, first: u8, key: [u8; 4], payload: &[u8]) {
    frame.clear();
    Header { first, length: payload.len() as u64, mask: Some(key) }.encode(frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask(&mut frame[start..], key, 0);
}
