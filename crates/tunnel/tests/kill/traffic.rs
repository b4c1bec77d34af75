//! All peers of all tunnels, driven by one thread: streams, messages, halves; every byte is known
//! by its position.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use perdura_tunnel::tls::Secrets;

use crate::outer::Outer;
use crate::secure::Maker;

/// What the legs of the tunnels speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legs {
    Plain,
    /// The client's TLS, the upstream's, both, in turn.
    Tls,
}

/// The inner end of a connection: a leg of a tunnel.
pub type Inner = (TcpStream, Option<Secrets>);

/// Streams in both directions, some with a slow reader, and messages one at a time.
pub struct Traffic {
    streams: Vec<Stream>,
    messages: Vec<Message>,
    buffer: Vec<u8>,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    WrongByte { stream: usize, at: u64 },
    TooEarlyEnd { stream: usize, at: u64 },
    Broken(String),
    Stalled,
    WorkerGaveUp,
}

/// One direction of a tunnel.
struct Stream {
    from: Outer,
    to: Outer,
    sent: u64,
    got: u64,
    /// Bytes taken at a time.
    pace: usize,
    /// It ends its direction after so many bytes.
    limit: u64,
    shut: bool,
    ended: bool,
}

/// A ping-pong of which one message is in flight.
struct Message {
    client: Outer,
    upstream: Outer,
    /// Bytes that arrived at the upstream, and that came back, of this message.
    there: usize,
    back: usize,
    since: Instant,
    count: u64,
}

impl Traffic {
    /// All peers, with `adopt` called for the inner ends of each tunnel.
    pub fn new(legs: Legs, mut adopt: impl FnMut([Inner; 2])) -> Traffic {
        let mut maker = Maker::new();
        let mut traffic =
            Traffic { streams: Vec::new(), messages: Vec::new(), buffer: vec![0; 60_000] };
        for tunnel in 0..STREAM_TUNNELS {
            let (client, upstream) = outer_ends(legs, tunnel, &mut maker, &mut adopt);
            let pace = if tunnel % 4 == 0 { 3_000 } else { 60_000 };
            // Every third tunnel is half-closed for most of its life, one side or the other.
            let limit = |side: usize| if tunnel % 3 == side { 200_000 } else { u64::MAX };
            let (client2, upstream2) = (client.clone(), upstream.clone());
            traffic.streams.push(Stream::new(client, upstream, pace, limit(0)));
            traffic.streams.push(Stream::new(upstream2, client2, pace, limit(1)));
        }
        for tunnel in 0..MESSAGE_TUNNELS {
            let (client, upstream) = outer_ends(legs, tunnel, &mut maker, &mut adopt);
            let message =
                Message { client, upstream, there: 0, back: 0, since: Instant::now(), count: 0 };
            assert_eq!(message.client.write(&[0; MESSAGE]).ok(), Some(MESSAGE), "an empty socket");
            traffic.messages.push(message);
        }
        traffic
    }

    /// Moves everything that can be moved, once.
    pub fn step(&mut self) -> Result<(), Harm> {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            stream.send()?;
            stream.take(number, &mut self.buffer)?;
        }
        self.messages.iter_mut().try_for_each(Message::step)
    }

    /// Ends all directions; true once every byte and every end has arrived.
    pub fn finish(&mut self) -> Result<bool, Harm> {
        for stream in &mut self.streams {
            stream.limit = stream.limit.min(stream.sent);
        }
        self.step()?;
        Ok(self.streams.iter().all(|stream| stream.ended))
    }

    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.got).sum()
    }

    pub fn messages(&self) -> u64 {
        self.messages.iter().map(|message| message.count).sum()
    }

    pub fn oldest_message(&self) -> Duration {
        self.messages.iter().map(|message| message.since.elapsed()).max().unwrap_or_default()
    }

    pub fn describe(&self) -> String {
        let open = self.streams.iter().filter(|stream| !stream.ended);
        open.map(|stream| format!("{} of {}; ", stream.got, stream.sent)).collect()
    }
}

impl Stream {
    fn new(from: Outer, to: Outer, pace: usize, limit: u64) -> Stream {
        Stream { from, to, sent: 0, got: 0, pace, limit, shut: false, ended: false }
    }

    fn send(&mut self) -> Result<(), Harm> {
        let room = (self.limit - self.sent).min(BLOCK as u64) as usize;
        if room == 0 {
            if !std::mem::replace(&mut self.shut, true) {
                self.from.shut().map_err(broken)?;
            }
            return self.from.settle().map_err(broken);
        }
        let block: Vec<u8> = (self.sent..self.sent + room as u64).map(byte).collect();
        self.sent += moved(self.from.write(&block))?.unwrap_or(0) as u64;
        Ok(())
    }

    fn take(&mut self, stream: usize, buffer: &mut [u8]) -> Result<(), Harm> {
        if self.ended {
            return Ok(());
        }
        let Some(bytes) = moved(self.to.read(&mut buffer[..self.pace]))? else { return Ok(()) };
        if bytes == 0 {
            self.ended = true;
            let whole = self.shut && self.got == self.sent;
            return if whole { Ok(()) } else { Err(Harm::TooEarlyEnd { stream, at: self.got }) };
        }
        let wrong = buffer[..bytes].iter().zip(self.got..).find(|(got, at)| **got != byte(*at));
        self.got += bytes as u64;
        match wrong {
            Some((_, at)) => Err(Harm::WrongByte { stream, at }),
            None => Ok(()),
        }
    }
}

impl Message {
    fn step(&mut self) -> Result<(), Harm> {
        let mut buffer = [0; MESSAGE];
        self.there += moved(self.upstream.read(&mut buffer))?.unwrap_or(0);
        if self.there == MESSAGE {
            self.there = 0;
            say(&self.upstream)?;
        }
        self.back += moved(self.client.read(&mut buffer))?.unwrap_or(0);
        if self.back == MESSAGE {
            self.back = 0;
            (self.count, self.since) = (self.count + 1, Instant::now());
            say(&self.client)?;
        }
        Ok(())
    }
}

/// One message into a socket that has room for it.
fn say(end: &Outer) -> Result<(), Harm> {
    let said = end.write(&[0; MESSAGE]).map_err(broken)?;
    if said == MESSAGE { Ok(()) } else { Err(Harm::Broken(format!("{said} bytes taken"))) }
}

/// The outer ends of a new tunnel: client, upstream.
fn outer_ends(
    legs: Legs,
    tunnel: usize,
    maker: &mut Maker,
    adopt: &mut impl FnMut([Inner; 2]),
) -> (Outer, Outer) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).expect("a connection");
    let near = listener.accept().expect("a connection").0;
    // As in life: towards the upstream it is we who connect.
    let far = TcpStream::connect(address).expect("a connection");
    let upstream = listener.accept().expect("a connection").0;
    let has = |side: usize| legs == Legs::Tls && tunnel % 3 != side;
    let mut secure = |outer: &TcpStream, inner: &TcpStream, side: usize| {
        has(side).then(|| maker.connect(outer, inner, side == 0)).unzip()
    };
    let (client_tls, near_tls) = secure(&client, &near, 0);
    let (upstream_tls, far_tls) = secure(&upstream, &far, 1);
    adopt([(near, near_tls), (far, far_tls)]);
    (Outer::new(client, client_tls), Outer::new(upstream, upstream_tls))
}

/// `None` if nothing could be moved now.
fn moved(result: std::io::Result<usize>) -> Result<Option<usize>, Harm> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(broken(error)),
    }
}

fn broken(error: std::io::Error) -> Harm {
    Harm::Broken(error.to_string())
}

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(131) ^ (at >> 9).wrapping_mul(29)) as u8
}

pub const TUNNELS: u32 = (STREAM_TUNNELS + MESSAGE_TUNNELS) as u32;
const STREAM_TUNNELS: usize = 8;
const MESSAGE_TUNNELS: usize = 24;
const MESSAGE: usize = 200;
const BLOCK: usize = 40_000;
