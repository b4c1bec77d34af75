//! One connection of the echo: heads first, then frames or a flood.
//!
//! Not the loop around it. Memory is bounded: while bytes wait for the client nothing more is read,
//! and one read makes at most one scratch of answer. Called by `echo`.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::frames::{Flow, Frames};
use crate::frame::{BINARY, Header};
use crate::handshake;
use crate::head::Head;
use crate::page;
use crate::pattern::Pattern;
use crate::poll::Ready;

/// How much is read at once, in bytes.
const SCRATCH_SIZE: usize = 64 * 1024;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits for the next event.
    Keep,
    /// It is over; dropping it closes it.
    Close,
}

/// What all connections of one thread share.
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    pattern: Pattern,
}

impl Scratch {
    /// Buffers, and the block that floods are cut from.
    pub fn new(pattern: Pattern) -> Self {
        Scratch { input: vec![0; SCRATCH_SIZE], output: Vec::new(), pattern }
    }
}

/// One connection.
pub struct Connection {
    socket: OwnedFd,
    state: State,
    /// What the socket did not take, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
}

enum State {
    /// Requests are read; `partial` holds one that is not whole yet.
    Heads { partial: Vec<u8> },
    /// A WebSocket that answers what it is told.
    Echo(Frames),
    /// A WebSocket that sends message after message until the client closes it.
    Flood { tunnel: u32, size: usize, message: u64, frames: Frames },
    /// The last answer is on its way.
    Last,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(socket: OwnedFd) -> Self {
        let state = State::Heads { partial: Vec::new() };
        Connection { socket, state, unsent: Vec::new(), unsent_at: 0 }
    }

    /// Does what can be done now.
    pub fn handle(&mut self, ready: Ready, scratch: &mut Scratch) -> Verdict {
        self.pump(ready, scratch).unwrap_or(Verdict::Close)
    }

    fn pump(&mut self, ready: Ready, scratch: &mut Scratch) -> Result<Verdict, Errno> {
        if !self.flush()? {
            return Ok(Verdict::Keep);
        }
        loop {
            let count = match rustix::io::read(&self.socket, &mut scratch.input[..]) {
                Ok(0) => return Ok(Verdict::Close),
                Ok(count) => count,
                Err(Errno::AGAIN) => 0,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            scratch.output.clear();
            if count > 0 {
                let Some(next) = self.take(count, scratch) else { return Ok(Verdict::Close) };
                self.state = next;
            }
            if !self.send(&scratch.output)? || !self.flood(scratch)? {
                return Ok(Verdict::Keep);
            }
            if matches!(self.state, State::Last) {
                return Ok(Verdict::Close);
            }
            if count == 0 || count < scratch.input.len() && !ready.ended {
                return Ok(Verdict::Keep);
            }
        }
    }

    /// The state after the first `count` bytes of the input; `None`: the client talks nonsense.
    fn take(&mut self, count: usize, scratch: &mut Scratch) -> Option<State> {
        let (input, output) = (&mut scratch.input[..count], &mut scratch.output);
        match std::mem::replace(&mut self.state, State::Last) {
            State::Heads { mut partial } => {
                partial.extend_from_slice(input);
                answer_heads(partial, output)
            }
            State::Echo(mut frames) => match frames.handle(input, output).ok()? {
                Flow::Open => Some(State::Echo(frames)),
                Flow::End => Some(State::Last),
            },
            State::Flood { tunnel, size, message, mut frames } => {
                match frames.handle(input, output).ok()? {
                    Flow::Open => Some(State::Flood { tunnel, size, message, frames }),
                    Flow::End => Some(State::Last),
                }
            }
            State::Last => None,
        }
    }

    /// Floods until the socket takes no more, if this is a flood; false: it is full.
    fn flood(&mut self, scratch: &mut Scratch) -> Result<bool, Errno> {
        let output = &mut scratch.output;
        while let State::Flood { tunnel, size, message, .. } = &mut self.state {
            output.clear();
            while output.len() < SCRATCH_SIZE {
                Header { first: BINARY, length: *size as u64, mask: None }.encode(output);
                output.extend_from_slice(&scratch.pattern.payload(*tunnel, *message)[..*size]);
                *message += 1;
            }
            if !self.send(output)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends `bytes` and keeps what the socket does not take; false: something is kept.
    fn send(&mut self, bytes: &[u8]) -> Result<bool, Errno> {
        debug_assert!(self.unsent.is_empty());
        if bytes.is_empty() {
            return Ok(true);
        }
        let sent = write_some(&self.socket, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        self.flush()
    }

    /// Sends what was kept; false: some of it still is.
    fn flush(&mut self) -> Result<bool, Errno> {
        while self.unsent_at < self.unsent.len() {
            let sent = write_some(&self.socket, &self.unsent[self.unsent_at..])?;
            if sent == 0 {
                return Ok(false);
            }
            self.unsent_at += sent;
        }
        // Given back, not kept: thousands of idle connections wait here.
        self.unsent = Vec::new();
        self.unsent_at = 0;
        Ok(true)
    }
}

/// How much of `bytes` the socket took; 0: it is full.
fn write_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::write(socket, bytes) {
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Answers every whole head in `bytes`; the state after them, or `None` if one is nonsense.
fn answer_heads(mut bytes: Vec<u8>, output: &mut Vec<u8>) -> Option<State> {
    let mut used = 0;
    while let Some(head) = Head::find(&bytes[used..]).ok()? {
        let target = head.target()?;
        used += head.size;
        if let Some(key) = handshake::asked(&head) {
            output.extend_from_slice(handshake::response(key).as_bytes());
            let mut next = tunnel_for(target)?;
            // What came with the request is the beginning of the tunnel.
            let (State::Echo(frames) | State::Flood { frames, .. }) = &mut next else {
                return None;
            };
            frames.handle(&mut bytes[used..], output).ok()?;
            return Some(next);
        }
        answer_page(&head, target, output);
        if head.lists("Connection", "close") {
            return Some(State::Last);
        }
    }
    bytes.drain(..used);
    bytes.shrink_to_fit();
    Some(State::Heads { partial: bytes })
}

/// `/ws/flood/TUNNEL/SIZE` floods, any other target echoes.
fn tunnel_for(target: &str) -> Option<State> {
    let frames = Frames::new();
    let Some(flood) = target.strip_prefix("/ws/flood/") else { return Some(State::Echo(frames)) };
    let (tunnel, size) = flood.split_once('/')?;
    let (tunnel, size) = (tunnel.parse().ok()?, size.parse().ok()?);
    (1..=crate::pattern::MESSAGE_SIZE_MAX).contains(&size).then_some(State::Flood {
        tunnel,
        size,
        message: 0,
        frames,
    })
}

fn answer_page(head: &Head, target: &str, output: &mut Vec<u8>) {
    let (status, body) = match page::body(target) {
        Some(body) => ("200 OK", body.to_vec()),
        None => ("404 Not Found", Vec::new()),
    };
    let connection = if head.lists("Connection", "close") { "close" } else { "keep-alive" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n",
        body.len()
    );
    output.extend_from_slice(head.as_bytes());
    output.extend_from_slice(&body);
}
