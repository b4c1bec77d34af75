//! All tunnels of one load and the turns of its loop.
//!
//! Not a plan: a plan says what to do with each tunnel's progress. Called by the plans.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Client, Progress, Tools, Way};
use super::fault::Fault;
use crate::poll::Poll;

/// How long nothing at all may happen before a run is given up.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// How many tunnels are being opened at once, so that no listener's queue overflows.
const OPENING_MAX: usize = 64;
/// The token of a timer that a plan adds for itself.
pub const TIMER: usize = usize::MAX;

/// The tunnels, by index; the index is also the token.
pub struct Fleet {
    /// What they share.
    pub tools: Tools,
    /// Where their events come from.
    pub poll: Poll,
    proxy: SocketAddr,
    way: Way,
    clients: Vec<Option<Client>>,
    /// The number of the next tunnel; numbers are never used twice.
    next: u32,
}

/// What tunnel number so-and-so asks for.
pub type Target = dyn Fn(u32) -> String;

/// What a turn was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The timer of the plan.
    Timer,
    /// The tunnel at this index.
    Tunnel(usize, Progress),
}

impl Fleet {
    /// No tunnels yet, for messages of `size` bytes through `proxy`.
    pub fn new(proxy: SocketAddr, size: usize) -> Result<Self, Fault> {
        let poll = Poll::new().map_err(Fault::system("make an epoll instance"))?;
        Ok(Fleet {
            tools: Tools::new(size),
            poll,
            proxy,
            way: Way::Upgrade,
            clients: Vec::new(),
            next: 0,
        })
    }

    /// Tunnels are asked for by CONNECT from here on.
    pub fn ask_by_connect(&mut self) {
        self.way = Way::Connect;
    }

    /// The tunnel at `index`, if it is there.
    pub fn client(&self, index: usize) -> Option<&Client> {
        self.clients.get(index)?.as_ref()
    }

    /// Sends the next message of the tunnel at `index`.
    pub fn send(&mut self, index: usize) -> Result<(), Fault> {
        self.clients[index].as_mut().map_or(Ok(()), |client| client.send(&mut self.tools))
    }

    /// Sends the Close frame of the tunnel at `index`.
    pub fn say_farewell(&mut self, index: usize) -> Result<(), Fault> {
        self.clients[index].as_mut().map_or(Ok(()), |client| client.say_farewell(&mut self.tools))
    }

    /// Begins a new tunnel at `index`, in place of one that may have been there.
    pub fn begin(&mut self, index: usize, target: &Target) -> Result<(), Fault> {
        let client = Client::connect(self.proxy, self.way, self.next, &target(self.next))?;
        self.next = self.next.wrapping_add(1);
        self.poll.add(&client, index).map_err(Fault::system("register a socket"))?;
        if index >= self.clients.len() {
            self.clients.resize_with(index + 1, || None);
        }
        self.clients[index] = Some(client);
        Ok(())
    }

    /// Closes the tunnel at `index`.
    pub fn close(&mut self, index: usize) {
        self.clients[index] = None;
    }

    /// Opens `count` tunnels and sends one message through each, if `first` says so.
    pub fn open(&mut self, count: u32, first: First, target: &Target) -> Result<(), Fault> {
        let count = count as usize;
        let (mut begun, mut ready) = (0, 0);
        while ready < count {
            while begun < count && begun - ready < OPENING_MAX {
                self.begin(begun, target)?;
                begun += 1;
            }
            self.turn(PATIENCE, &mut |fleet, event| {
                let Event::Tunnel(index, progress) = event else { return Ok(()) };
                match first {
                    First::Message if progress.opened => fleet.send(index)?,
                    First::Message => ready += progress.messages as usize,
                    First::Nothing => ready += usize::from(progress.opened),
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits for one batch of events, at most `limit`, and hands each to `plan`.
    /// A turn without any event is a fault if it took [`PATIENCE`].
    pub fn turn(
        &mut self,
        limit: Duration,
        plan: &mut dyn FnMut(&mut Fleet, Event) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let count = self.poll.wait(Some(limit)).map_err(Fault::system("epoll_wait"))?;
        if count == 0 && limit >= PATIENCE {
            return Err(Fault::Stalled { patience: limit });
        }
        for at in 0..count {
            let ready = self.poll.event(at);
            if ready.token == TIMER {
                plan(self, Event::Timer)?;
                continue;
            }
            let Some(client) = &mut self.clients[ready.token] else { continue };
            let progress = client.handle(ready, &mut self.tools)?;
            if progress != Progress::default() {
                plan(self, Event::Tunnel(ready.token, progress))?;
            }
        }
        Ok(())
    }
}

/// What a tunnel does as soon as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// One message, which must be back before the tunnel counts as open.
    Message,
    /// Nothing.
    Nothing,
}
