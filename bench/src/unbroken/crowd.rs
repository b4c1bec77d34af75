//! All tunnels of a run, both ends of each, on one thread.
//!
//! Not what is done to the proxy meanwhile: `crew` runs this beside it. Called by `crew`.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, connect, socket_with, sockopt,
};

use super::Side;
use super::chance::Chance;
use super::course::PAYLOAD_MAX;
use super::harm::{Harm, Tally};
use super::role::{BLOCKED_BUFFER, Kind};
use super::tunnel::{Moved, Phase, Tools, Tunnel};
use crate::handshake;
use crate::head::Head;
use crate::pattern::Pattern;
use crate::poll::Poll;

/// How many handshakes are under way at once while the tunnels are opened.
const OPENING_MAX: usize = 64;
/// How many connections are taken in one turn.
const ACCEPTS_PER_TURN: usize = 64;
/// The longest wait of a turn: orders and ticks come at least that often.
const TURN: Duration = Duration::from_micros(300);
/// How often the clock drives the tunnels.
const TICK: Duration = Duration::from_millis(1);
/// How often each tunnel is looked at whether it stands still.
const STALL_CHECK: Duration = Duration::from_millis(250);
/// How soon a handshake that failed is tried again.
const AGAIN: Duration = Duration::from_millis(20);
const SCRATCH_SIZE: usize = 64 * 1024;
const LISTENER: usize = usize::MAX;
/// A target of this index belongs to no tunnel: its connection is agreed to and held.
pub const GUEST: &str = "/ws/guest";

/// The tunnels and their sockets.
pub struct Crowd {
    poll: Poll,
    listener: OwnedFd,
    proxy: SocketAddr,
    tools: Tools,
    tunnels: Vec<Tunnel>,
    /// The tokens of each tunnel's sockets, by side.
    tokens: Vec<[Option<usize>; 2]>,
    /// How many handshakes are under way.
    greeting: usize,
    /// Which tunnels were open once, and how many were not.
    known: Vec<bool>,
    unknown: usize,
    /// Whose socket has which token.
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Sockets that have more to do.
    more: Vec<(u32, Side)>,
    /// Handshakes to be tried again, and when.
    again: Vec<(u32, Instant)>,
    ticked: Instant,
    stalls_checked: Instant,
    patience: Duration,
    finishing: bool,
    tally: Tally,
}

enum Slot {
    Free,
    Tunnel(u32, Side),
    /// An upstream connection whose request is not whole.
    Arriving(OwnedFd, Vec<u8>),
    /// A tunnel of somebody else; see [`GUEST`].
    Guest(OwnedFd),
}

impl Crowd {
    /// No tunnels yet, before the upstream that listens there. A tunnel that stands still for
    /// `patience` is lost.
    pub fn new(listener: OwnedFd, seed: u64, patience: Duration) -> Result<Crowd, Errno> {
        let poll = Poll::new()?;
        poll.add_level(&listener, LISTENER)?;
        let now = Instant::now();
        let tools = Tools {
            pattern: Pattern::new(PAYLOAD_MAX),
            scratch: vec![0; SCRATCH_SIZE],
            chance: Chance::new(seed),
            carried: 0,
        };
        Ok(Crowd {
            poll,
            listener,
            proxy: SocketAddr::from(([0, 0, 0, 0], 0)),
            tools,
            tunnels: Vec::new(),
            tokens: Vec::new(),
            greeting: 0,
            known: Vec::new(),
            unknown: 0,
            slots: Vec::new(),
            free: Vec::new(),
            more: Vec::new(),
            again: Vec::new(),
            ticked: now,
            stalls_checked: now,
            patience,
            finishing: false,
            tally: Tally::default(),
        })
    }

    /// Opens `count` tunnels of each kind through `proxy`; true once all are open.
    pub fn open(&mut self, proxy: SocketAddr, plan: &[(Kind, u32)]) -> Result<(), Errno> {
        self.proxy = proxy;
        for &(kind, count) in plan {
            for _ in 0..count {
                while self.unknown >= OPENING_MAX {
                    self.turn()?;
                }
                self.known.push(false);
                self.unknown += 1;
                self.begin(self.tunnels.len() as u32, kind)?;
            }
        }
        // Not until no handshake is under way: some tunnels begin again and again.
        while self.unknown > 0 {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for events, at most a moment, and does what is due.
    pub fn turn(&mut self) -> Result<(), Errno> {
        let limit = if self.more.is_empty() { TURN } else { Duration::ZERO };
        let count = self.poll.wait(Some(limit))?;
        for at in 0..count {
            match self.poll.event(at).token {
                LISTENER => self.accept()?,
                token => self.ready(token)?,
            }
        }
        for (index, side) in std::mem::take(&mut self.more) {
            self.handle(index, side)?;
        }
        let now = Instant::now();
        if now - self.ticked >= TICK {
            self.ticked = now;
            self.tick(now)?;
        }
        Ok(())
    }

    /// The slowest ticks since this was last asked, in nanoseconds: two for each ticker.
    pub fn take_slowest(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let tickers = self.tunnels.iter_mut();
        let tickers = tickers.filter(|tunnel| tunnel.kind == Kind::Ticker && tunnel.is_open());
        tickers.flat_map(|one| one.take_slowest(now).map(|late| late.as_nanos() as u64)).collect()
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        Tally { carried: self.tools.carried, ..self.tally.clone() }
    }

    /// Lets every tunnel send a last message both ways and end, and waits for that.
    pub fn finish(&mut self) -> Result<Tally, Errno> {
        self.finishing = true;
        while self.opening() > 0 {
            self.turn()?;
        }
        for at in 0..self.tunnels.len() {
            if self.tunnels[at].is_open() {
                let result = self.tunnels[at].finish(&mut self.tools);
                self.judge(at as u32, result)?;
                // Who rested may have slept over an event.
                Side::BOTH.iter().for_each(|side| self.more.push((at as u32, *side)));
            }
        }
        while self.tunnels.iter().any(|tunnel| !matches!(tunnel.phase, Phase::Over)) {
            self.turn()?;
        }
        let carried = self.tools.carried;
        self.tunnels.clear();
        self.tokens.clear();
        self.known.clear();
        self.more.clear();
        self.finishing = false;
        self.tools.carried = 0;
        Ok(Tally { carried, ..std::mem::take(&mut self.tally) })
    }

    fn opening(&self) -> usize {
        self.greeting + self.again.len()
    }

    /// Begins the tunnel at `index`, in place of one that was there.
    fn begin(&mut self, index: u32, kind: Kind) -> Result<(), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        tune(&socket, kind)?;
        match connect(&socket, &self.proxy) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let token = self.token();
        self.poll.add(&socket, token)?;
        self.slots[token] = Slot::Tunnel(index, Side::Client);
        let at = index as usize;
        let generation = self.tunnels.get(at).map_or(0, |before| before.generation.wrapping_add(1));
        let tunnel = Tunnel::new(index, generation, kind, socket, &mut self.tools);
        self.greeting += 1;
        if at == self.tunnels.len() {
            self.tunnels.push(tunnel);
            self.tokens.push([Some(token), None]);
        } else {
            self.tunnels[at] = tunnel;
            self.tokens[at] = [Some(token), None];
        }
        Ok(())
    }

    fn token(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        })
    }

    fn accept(&mut self) -> Result<(), Errno> {
        for _ in 0..ACCEPTS_PER_TURN {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let token = self.token();
            self.poll.add(&socket, token)?;
            self.slots[token] = Slot::Arriving(socket, Vec::new());
        }
        Ok(())
    }

    fn ready(&mut self, token: usize) -> Result<(), Errno> {
        match std::mem::replace(&mut self.slots[token], Slot::Free) {
            Slot::Free => Ok(()),
            Slot::Tunnel(index, side) => {
                self.slots[token] = Slot::Tunnel(index, side);
                self.handle(index, side)
            }
            Slot::Arriving(socket, bytes) => self.arrive(token, socket, bytes),
            Slot::Guest(socket) => {
                match rustix::io::read(&socket, &mut self.tools.scratch[..]) {
                    Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {
                        self.slots[token] = Slot::Guest(socket);
                    }
                    Ok(0) | Err(_) => self.free.push(token),
                }
                Ok(())
            }
        }
    }

    /// Reads the request of an upstream connection and gives it to its tunnel.
    fn arrive(&mut self, token: usize, socket: OwnedFd, mut bytes: Vec<u8>) -> Result<(), Errno> {
        match rustix::io::read(&socket, &mut self.tools.scratch[..]) {
            Ok(0) => {
                self.free.push(token);
                return Ok(());
            }
            Ok(count) => bytes.extend_from_slice(&self.tools.scratch[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.free.push(token);
                return Ok(());
            }
        }
        let Ok(Some(head)) = Head::find(&bytes) else {
            self.slots[token] = Slot::Arriving(socket, bytes);
            return Ok(());
        };
        let (target, key) = (head.target().unwrap_or(""), handshake::asked(&head));
        let Some(key) = key.filter(|_| head.size == bytes.len()) else {
            self.free.push(token);
            return Ok(());
        };
        // Three hundred bytes into an empty buffer; a socket that is gone is seen by its tunnel.
        let _ = rustix::io::write(&socket, handshake::response(key).as_bytes());
        if target == GUEST {
            self.slots[token] = Slot::Guest(socket);
            return Ok(());
        }
        let waiting = index_of(target).and_then(|(index, generation)| {
            let tunnel = self.tunnels.get_mut(index as usize)?;
            let vacant = tunnel.sockets[Side::Upstream.index()].is_none();
            let fits = tunnel.generation == generation && tunnel.is_greeting() && vacant;
            fits.then_some(tunnel)
        });
        let Some(tunnel) = waiting else {
            self.free.push(token);
            return Ok(());
        };
        let (index, kind) = (tunnel.index, tunnel.kind);
        tune(&socket, kind)?;
        tunnel.sockets[Side::Upstream.index()] = Some(socket);
        self.slots[token] = Slot::Tunnel(index, Side::Upstream);
        self.tokens[index as usize][Side::Upstream.index()] = Some(token);
        self.handle(index, Side::Upstream)
    }

    fn handle(&mut self, index: u32, side: Side) -> Result<(), Errno> {
        let tunnel = &mut self.tunnels[index as usize];
        let greeting = tunnel.is_greeting();
        let moved = tunnel.handle(side, &mut self.tools);
        if greeting && side == Side::Upstream && moved.is_err() {
            // What becomes of the handshake, its client hears.
            tunnel.sockets[side.index()] = None;
            return Ok(());
        }
        if greeting && tunnel.is_open() {
            self.tally.opened += 1;
            self.greeting -= 1;
            self.unknown -= usize::from(!std::mem::replace(&mut self.known[index as usize], true));
        }
        if moved == Ok(Moved::Some) {
            self.more.push((index, side));
        }
        match moved {
            Ok(_) => self.drive(index, Instant::now()),
            Err(harm) => self.judge(index, Err(harm)),
        }
    }

    fn drive(&mut self, index: u32, now: Instant) -> Result<(), Errno> {
        let woken = self.tunnels[index as usize].drive(&mut self.tools, now);
        if woken == Ok(true) {
            Side::BOTH.iter().for_each(|side| self.more.push((index, *side)));
        }
        self.judge(index, woken.map(|_| ()))
    }

    /// What follows from what happened in a tunnel.
    fn judge(&mut self, index: u32, result: Result<(), Harm>) -> Result<(), Errno> {
        let tunnel = &mut self.tunnels[index as usize];
        let what = format!("{:?}", tunnel.kind);
        match result {
            Ok(()) if tunnel.is_complete() => {
                let again = tunnel.kind.begins_again() && !self.finishing;
                let kind = tunnel.kind;
                self.clear(index);
                if again {
                    self.begin(index, kind)?;
                }
            }
            Ok(()) => {}
            Err(harm) if tunnel.is_greeting() => {
                self.greeting -= 1;
                self.tally.note_failed(index, &what, &harm);
                self.clear(index);
                self.again.push((index, Instant::now() + AGAIN));
            }
            Err(_) if matches!(tunnel.phase, Phase::Over) => {}
            Err(harm) => {
                self.tally.note_harm(index, &what, &harm);
                self.clear(index);
            }
        }
        Ok(())
    }

    fn clear(&mut self, index: u32) {
        let tunnel = &mut self.tunnels[index as usize];
        tunnel.phase = Phase::Over;
        tunnel.sockets = [None, None];
        let tokens = std::mem::take(&mut self.tokens[index as usize]);
        for token in tokens.into_iter().flatten() {
            self.slots[token] = Slot::Free;
            self.free.push(token);
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), Errno> {
        let again = std::mem::take(&mut self.again);
        let (due, later): (Vec<_>, Vec<_>) = again.into_iter().partition(|one| one.1 <= now);
        self.again = later;
        for (index, _) in due {
            let kind = self.tunnels[index as usize].kind;
            self.begin(index, kind)?;
        }
        let checks = now - self.stalls_checked >= STALL_CHECK;
        if checks {
            self.stalls_checked = now;
        }
        for at in 0..self.tunnels.len() {
            if checks {
                let result = self.tunnels[at].check_stall(self.patience, now);
                self.judge(at as u32, result)?;
            }
            if !self.tunnels[at].kind.is_quiet() && !self.finishing {
                self.drive(at as u32, now)?;
            }
        }
        Ok(())
    }
}

fn tune(socket: &OwnedFd, kind: Kind) -> Result<(), Errno> {
    sockopt::set_tcp_nodelay(socket, true)?;
    if kind == Kind::Blocked {
        sockopt::set_socket_recv_buffer_size(socket, BLOCKED_BUFFER)?;
        sockopt::set_socket_send_buffer_size(socket, BLOCKED_BUFFER)?;
    }
    Ok(())
}

fn index_of(target: &str) -> Option<(u32, u32)> {
    let (index, generation) = target.strip_prefix("/ws/")?.split_once('/')?;
    Some((index.parse().ok()?, generation.parse().ok()?))
}
