//! The demo's upstream: serves the page and echoes WebSocket messages.
//!
//! Blocking, one thread for each connection: it is the simplest program that can be looked at
//! through a proxy. It listens on the loopback interface only.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::frame::{self, Frame};
use super::handshake::{self, Wanted};

/// Connections at a time; what comes beyond is closed.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take for its head, or the proxy for taking the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, page: impl Fn() -> String + Sync) {
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // Out of descriptors: not a loop that burns.
                // Nothing says when there is room.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (open, page) = (&open, &page);
            let begun = std::thread::Builder::new().spawn_scoped(scope, move || {
                // Whoever goes away in the middle is not a fault of ours.
                let _ = answer(&stream, page);
                open.fetch_sub(1, Ordering::Relaxed);
            });
            if begun.is_err() {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    });
}

fn answer(stream: &TcpStream, page: impl Fn() -> String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut from = BufReader::new(stream);
    let head = head(&mut from)?;
    match handshake::wanted(&head) {
        Wanted::Page => respond(stream, "200 OK", "text/html; charset=utf-8", &page()),
        Wanted::Nothing => respond(stream, "404 Not Found", "text/plain", "not found\n"),
        Wanted::Socket { key } => {
            write_all(stream, handshake::switch(&key).as_bytes())?;
            // A tunnel may be silent for as long as it likes.
            stream.set_read_timeout(None)?;
            echo(&mut from, stream)
        }
    }
}

/// Reads up to the empty line.
fn head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = Vec::new();
    let mut from = from.take(handshake::HEAD_BYTES_MAX);
    while from.read_until(b'\n', &mut head)? > 0 {
        if head.ends_with(b"\r\n\r\n") {
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn respond(stream: &TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    write_all(stream, head.as_bytes())?;
    write_all(stream, body.as_bytes())
}

fn write_all(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

/// Frame by frame, until one side closes.
fn echo(from: &mut impl Read, mut to: &TcpStream) -> io::Result<()> {
    loop {
        let frame = Frame::read(from)?;
        let answer = match frame.opcode {
            frame::PING => Frame { opcode: frame::PONG, ..frame },
            frame::PONG => continue,
            _ => frame,
        };
        answer.write(&mut to)?;
        if answer.opcode == frame::CLOSE {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || serve(&listener, || "<p>page".into()));
        address
    }

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        bytes.extend(payload.iter().zip([1, 2, 3, 4].into_iter().cycle()).map(|(a, b)| a ^ b));
        bytes
    }

    #[test]
    fn serves_the_page() {
        let mut stream = TcpStream::connect(served()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n<p>page"), "{answer}");
    }

    #[test]
    fn echoes_on_several_connections_at_once() {
        let address = served();
        let mut streams: Vec<TcpStream> = (0..3)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                let head =
                    "GET /chat/ HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let head = super::head(&mut BufReader::new(&stream)).unwrap();
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                stream
            })
            .collect();
        for stream in &mut streams {
            stream.write_all(&masked(1, b"one")).unwrap();
            stream.write_all(&masked(frame::PING, b"two")).unwrap();
            stream.write_all(&masked(frame::CLOSE, &[3, 232])).unwrap();
        }
        for stream in &mut streams {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, b"\x81\x03one\x8a\x03two\x88\x02\x03\xe8");
        }
    }

    #[test]
    fn a_head_without_an_end_is_given_up() {
        let mut endless = BufReader::new(io::repeat(b'a'));
        assert_eq!(head(&mut endless).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
