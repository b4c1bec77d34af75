//! A connection to an upstream server, and the lease on the peer that it counts for.

use super::local::Local;
use crate::channel::Channel;
use crate::config::Address;
use crate::upstream::{Group, Outcome, Released, Scheme};
use bytes::BytesMut;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A connection with what has been read of it and not used.
pub struct Upstream {
    pub channel: Channel,
    pub buffer: BytesMut,
    pub address: Rc<Address>,
    /// Requests that it has carried, this one included.
    pub requests: u64,
    pub made: Instant,
    /// It has been used before: a failure may only mean that the server had closed it.
    pub is_reused: bool,
}

impl Upstream {
    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        match self.channel.with_tls(|_| ()) {
            Some(()) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    /// Connects to `address`, from `local` if that is said; `begun` sees the connection before
    /// anything is waited for.
    ///
    /// # Errors
    /// Those of the system calls, and the one that the attempt ended with.
    pub async fn connect(
        address: &Address,
        local: Option<Local>,
        begun: impl FnOnce(&Channel),
    ) -> io::Result<Box<Self>> {
        let channel = match local.filter(|_| matches!(address, Address::Inet(_))) {
            None => Channel::connect(address)?,
            Some(local) => Channel::prepared(address, |socket| local.prepare(socket))?,
        };
        begun(&channel);
        channel.connected().await?;
        Ok(Self::new(channel, address))
    }

    /// A connection that has just been made. It passes through many hands, so it moves as a pointer.
    pub fn new(channel: Channel, address: &Address) -> Box<Self> {
        Box::new(Self {
            channel,
            buffer: BytesMut::new(),
            address: Rc::new(address.clone()),
            requests: 1,
            made: Instant::now(),
            is_reused: false,
        })
    }
}

/// A place at a peer: it counts as a connection of that peer until it is given back.
pub struct Lease {
    group: Arc<Group>,
    index: usize,
    given_back: bool,
}

impl Lease {
    pub fn new(group: Arc<Group>, index: usize) -> Self {
        Self { group, index, given_back: false }
    }

    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// Gives the place back and says how it went.
    pub fn give_back(mut self, outcome: Outcome, now_ms: u64) -> Released {
        self.given_back = true;
        self.group.release(self.index, outcome, now_ms)
    }

    /// Leaves the place taken; whoever ends the tunnel gives it back.
    pub fn keep(mut self) -> (Arc<Group>, usize) {
        self.given_back = true;
        (Arc::clone(&self.group), self.index)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.given_back {
            self.group.release(self.index, Outcome::Fine, crate::now_ms());
        }
    }
}
