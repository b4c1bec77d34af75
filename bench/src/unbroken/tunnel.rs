//! One tunnel with both its ends in this process: what is sent here must arrive there.
//!
//! Not the loop around it. Called by `crowd`.
//!
//! ```text
//! Greeting --101--> Open --both ends of stream--> Over
//!     `----------------+--harm-------------------> Over
//! ```

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::Side;
use super::chance::Chance;
use super::course::Course;
use super::harm::Harm;
use super::role::{Kind, Role};
use super::way::{End, Reader, Way};
use crate::handshake;
use crate::head::Head;
use crate::pattern::Pattern;

/// What all tunnels share.
pub struct Tools {
    /// Where all bytes come from.
    pub pattern: Pattern,
    /// Where bytes lie between socket and comparison.
    pub scratch: Vec<u8>,
    /// What decides sizes and moments.
    pub chance: Chance,
    /// What has arrived so far, in bytes.
    pub carried: u64,
}

/// One tunnel.
pub struct Tunnel {
    /// Which one.
    pub index: u32,
    /// How many were at this index before.
    pub generation: u32,
    /// What it does.
    pub kind: Kind,
    /// Where in its life it is.
    pub phase: Phase,
    role: Role,
    /// By the side that sends.
    ways: [Way; 2],
    /// The sockets of this process, by side.
    pub sockets: [Option<OwnedFd>; 2],
    begun: Instant,
    /// The slowest tick that arrived since this was last asked, by the side that sent it.
    slowest: [Duration; 2],
}

/// Where in its life a tunnel is.
#[derive(Debug)]
pub enum Phase {
    /// The client waits for its 101, of which this has come; the request may not have been sent.
    Greeting { asked: bool, answer: Vec<u8> },
    /// It carries bytes.
    Open,
    /// It has ended.
    Over,
}

/// What moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// As much as could be.
    All,
    /// As much as it is one socket's turn; there is more.
    Some,
}

impl Tunnel {
    /// A tunnel whose client's socket is connecting.
    pub fn new(
        index: u32,
        generation: u32,
        kind: Kind,
        client: OwnedFd,
        tools: &mut Tools,
    ) -> Self {
        let now = Instant::now();
        let key = index.wrapping_mul(2).wrapping_add(generation.wrapping_mul(7919));
        let way = |source: Side| {
            let key = key.wrapping_add(source.index() as u32);
            Way::new(Course::new(key, source, kind.size()), now)
        };
        let mut ways = [way(Side::Client), way(Side::Upstream)];
        let role = Role::begin(kind, &mut ways, &mut tools.chance, now);
        Tunnel {
            index,
            generation,
            kind,
            phase: Phase::Greeting { asked: false, answer: Vec::new() },
            role,
            ways,
            sockets: [Some(client), None],
            begun: now,
            slowest: [Duration::ZERO; 2],
        }
    }

    /// What its client asks for, by which the upstream knows it.
    pub fn target(&self) -> String {
        format!("/ws/{}/{}", self.index, self.generation)
    }

    /// Whether its handshake is not done.
    pub fn is_greeting(&self) -> bool {
        matches!(self.phase, Phase::Greeting { .. })
    }

    /// Whether it carries bytes.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Moves what the socket of `side` has and takes, as far as it is its turn.
    pub fn handle(&mut self, side: Side, tools: &mut Tools) -> Result<Moved, Harm> {
        if side == Side::Client && self.is_greeting() && !self.greet(tools)? {
            return Ok(Moved::All);
        }
        let read = self.read(side, tools)?;
        let written = self.write(side, tools)?;
        let more = read == Moved::Some || written == Moved::Some;
        Ok(if more { Moved::Some } else { Moved::All })
    }

    /// Allows what is due, and sends it. True: a resting reader has woken up.
    pub fn drive(&mut self, tools: &mut Tools, now: Instant) -> Result<bool, Harm> {
        if !self.is_open() {
            return Ok(false);
        }
        let resting = self.rests();
        self.role.drive(&mut self.ways, &mut tools.chance, now);
        for side in Side::BOTH {
            self.write(side, tools)?;
        }
        Ok(resting && !self.rests())
    }

    /// Begins the last part of its life: a message from each side that still may, and the end.
    pub fn finish(&mut self, tools: &mut Tools) -> Result<(), Harm> {
        self.role.finish(&mut self.ways);
        for side in Side::BOTH {
            self.write(side, tools)?;
        }
        Ok(())
    }

    /// Whether both directions have ended as they should.
    pub fn is_complete(&self) -> bool {
        self.is_open() && self.ways.iter().all(|way| way.end == End::Arrived)
    }

    /// Looks whether a direction or the handshake has stood still for `patience`.
    pub fn check_stall(&mut self, patience: Duration, now: Instant) -> Result<(), Harm> {
        match self.phase {
            Phase::Over => Ok(()),
            Phase::Greeting { .. } if now.saturating_duration_since(self.begun) > patience => {
                Err(Harm::NoAnswer)
            }
            Phase::Greeting { .. } => Ok(()),
            Phase::Open => {
                let stalled = Side::BOTH
                    .into_iter()
                    .find(|side| self.ways[side.index()].stalled(now) > patience);
                stalled.map_or(Ok(()), |source| {
                    let way = &self.ways[source.index()];
                    Err(Harm::Stalled { source, at: way.got, of: way.credit })
                })
            }
        }
    }

    /// The slowest tick of each side since this was last asked, those on their way included.
    pub fn take_slowest(&mut self, now: Instant) -> [Duration; 2] {
        let slowest = std::mem::take(&mut self.slowest);
        Side::BOTH.map(|side| {
            let oldest = self.ways[side.index()].oldest_tick(now).unwrap_or_default();
            oldest.max(slowest[side.index()])
        })
    }

    /// Sends the request and reads the answer; true once it is open.
    fn greet(&mut self, tools: &mut Tools) -> Result<bool, Harm> {
        let key = handshake::key(u64::from(self.index));
        let target = self.target();
        let (Phase::Greeting { asked, answer }, Some(socket)) =
            (&mut self.phase, &self.sockets[Side::Client.index()])
        else {
            return Ok(false);
        };
        if !*asked {
            let request = handshake::request("unbroken", &target, &key);
            match rustix::io::write(socket, request.as_bytes()) {
                Ok(sent) if sent == request.len() => *asked = true,
                Ok(_) => return Err(Harm::NoAnswer),
                Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => return Ok(false),
                Err(errno) => return Err(Harm::Broken { side: Side::Client, errno }),
            }
        }
        let count = match rustix::io::read(socket, &mut tools.scratch[..]) {
            Ok(0) => return Err(Harm::NoAnswer),
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Harm::Broken { side: Side::Client, errno }),
        };
        answer.extend_from_slice(&tools.scratch[..count]);
        let head = match Head::find(answer).map_err(|_| Harm::NotHttp)? {
            None => return Ok(false),
            Some(head) if handshake::agreed(&head, &key) => head.size,
            Some(head) => return Err(Harm::Refused { answer: head.first.to_owned() }),
        };
        let early = answer.split_off(head);
        self.phase = Phase::Open;
        let now = Instant::now();
        for way in &mut self.ways {
            // What was slow before it was open is the handshake's.
            way.begin(now);
        }
        self.take(Side::Client, &early, tools)?;
        Ok(true)
    }

    /// Reads what came for `side`, at most [`PIECES`] times the scratch.
    fn read(&mut self, side: Side, tools: &mut Tools) -> Result<Moved, Harm> {
        for _ in 0..PIECES {
            let way = &mut self.ways[side.other().index()];
            let Some(socket) = &self.sockets[side.index()] else { return Ok(Moved::All) };
            if way.reader == Reader::Rests || way.end == End::Arrived {
                return Ok(Moved::All);
            }
            let mut scratch = std::mem::take(&mut tools.scratch);
            let result = rustix::io::read(socket, &mut scratch[..]);
            let taken = match result {
                Ok(0) => self.take_end(side).map(|()| false),
                Ok(count) => self.take(side, &scratch[..count], tools).map(|()| true),
                Err(Errno::AGAIN) => Ok(false),
                Err(Errno::INTR) => Ok(true),
                Err(errno) => Err(Harm::Broken { side, errno }),
            };
            tools.scratch = scratch;
            if !taken? {
                return Ok(Moved::All);
            }
        }
        Ok(Moved::Some)
    }

    /// Compares what came for `side`.
    fn take(&mut self, side: Side, bytes: &[u8], tools: &mut Tools) -> Result<(), Harm> {
        let source = side.other();
        let way = &mut self.ways[source.index()];
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len() as u64;
        if let Err(at) = way.course.check(&tools.pattern, way.got, bytes) {
            return Err(Harm::WrongByte { source, at });
        }
        if way.got + count > way.sent {
            return Err(Harm::TooMany { source, at: way.sent });
        }
        tools.carried += count;
        if let Some(late) = way.note_arrival(count, Instant::now()) {
            let slowest = &mut self.slowest[source.index()];
            *slowest = late.max(*slowest);
        }
        Ok(())
    }

    fn take_end(&mut self, side: Side) -> Result<(), Harm> {
        let source = side.other();
        let way = &mut self.ways[source.index()];
        if way.end != End::Sent || way.got != way.sent {
            return Err(Harm::EarlyEnd { source, at: way.got, of: way.sent });
        }
        way.note_end(Instant::now());
        Ok(())
    }

    /// Sends what `side` may send, and then its end, if it is wanted.
    fn write(&mut self, side: Side, tools: &mut Tools) -> Result<Moved, Harm> {
        if side == Side::Client && !self.is_open() {
            return Ok(Moved::All);
        }
        let way = &mut self.ways[side.index()];
        let Some(socket) = &self.sockets[side.index()] else { return Ok(Moved::All) };
        for _ in 0..PIECES {
            if way.sent >= way.credit {
                break;
            }
            let count = (way.credit - way.sent).min(tools.scratch.len() as u64) as usize;
            way.course.fill(&tools.pattern, way.sent, &mut tools.scratch[..count]);
            match rustix::io::write(socket, &tools.scratch[..count]) {
                Ok(sent) => way.sent += sent as u64,
                Err(Errno::AGAIN) => return Ok(Moved::All),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Harm::Broken { side, errno }),
            }
        }
        if way.sent < way.credit {
            return Ok(Moved::Some);
        }
        if way.end == End::Wanted {
            shutdown(socket, Shutdown::Write).map_err(|errno| Harm::Broken { side, errno })?;
            way.end = End::Sent;
        }
        Ok(Moved::All)
    }

    fn rests(&self) -> bool {
        self.ways.iter().any(|way| way.reader == Reader::Rests)
    }
}

/// How often one socket is read or written before it is another's turn.
const PIECES: usize = 4;
