//! One question to one server: over UDP, and over TCP when the answer does not fit a packet.
//!
//! Each question has a socket and thus a port of its own, and a number that nobody can guess. The
//! socket is connected, so the system drops what comes from any other address.

use super::message::{self, Answer, Kind};
use super::name::Name;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Why a server gave no answer.
#[derive(Debug)]
pub enum AskFault {
    /// What was tried, as nginx names it, and how it failed.
    System(&'static str, io::Error),
    Silent,
    /// It closed the connection in the middle of its answer.
    Closed,
    /// It sent other things only.
    Nonsense,
}

/// How long a server may take over UDP, and once more over TCP, as in nginx.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A packet, at most, as in nginx; a server sends 512 bytes when it is not told otherwise.
const PACKET_SIZE_MAX: usize = 4096;

/// Packets that are no answer, at most, before the server is given up: somebody guesses.
const STRAYS_MAX: usize = 256;

/// Asks `server`. An answer that was cut is fetched whole.
pub async fn ask(server: SocketAddr, name: &Name, kind: Kind) -> Result<Answer, AskFault> {
    let id = random_number().map_err(|error| AskFault::System("getrandom()", error))?;
    let query = message::query(id, name, kind);
    let question = (id, name, kind);
    let by_packet = tokio::time::timeout(PATIENCE, by_packet(server, &query, question));
    let answer = by_packet.await.unwrap_or(Err(AskFault::Silent))?;
    if !answer.is_truncated {
        return Ok(answer);
    }
    let by_stream = tokio::time::timeout(PATIENCE, by_stream(server, &query, question));
    match by_stream.await.unwrap_or(Err(AskFault::Silent))? {
        // It says of a stream that it ended: there is nothing more to ask.
        answer if answer.is_truncated => Err(AskFault::Nonsense),
        answer => Ok(answer),
    }
}

type Question<'n> = (u16, &'n Name, Kind);

async fn by_packet(
    server: SocketAddr,
    query: &[u8],
    question: Question<'_>,
) -> Result<Answer, AskFault> {
    let system = |deed| move |error| AskFault::System(deed, error);
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await.map_err(system("bind()"))?;
    socket.connect(server).await.map_err(system("connect()"))?;
    socket.send(query).await.map_err(system("send()"))?;
    let mut packet = vec![0; PACKET_SIZE_MAX];
    for _ in 0..STRAYS_MAX {
        let count = socket.recv(&mut packet).await.map_err(system("recv()"))?;
        // Whatever is not the answer may have been sent by anybody: the answer may still come.
        if let Ok(answer) = Answer::parse(&packet[..count], question) {
            return Ok(answer);
        }
    }
    Err(AskFault::Nonsense)
}

async fn by_stream(
    server: SocketAddr,
    query: &[u8],
    question: Question<'_>,
) -> Result<Answer, AskFault> {
    let system = |deed| move |error| AskFault::System(deed, error);
    let mut stream = TcpStream::connect(server).await.map_err(system("connect()"))?;
    // RFC 1035, 4.2.2: the length stands before the message.
    let length = u16::try_from(query.len()).unwrap_or(u16::MAX);
    let framed = [&length.to_be_bytes()[..], query].concat();
    stream.write_all(&framed).await.map_err(system("send()"))?;
    let received = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => AskFault::Closed,
        _ => AskFault::System("recv()", error),
    };
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(received)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await.map_err(received)?;
    Answer::parse(&answer, question).map_err(|_| AskFault::Nonsense)
}

/// A number that nobody can guess.
pub fn random_number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_le_bytes(bytes))
}
