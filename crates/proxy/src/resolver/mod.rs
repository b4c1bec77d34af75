//! Names to addresses while requests wait: a stub resolver that asks the servers of the `resolver`
//! directive, as nginx's does.
//!
//! In the order in which data flows: [`name`] reads a name, [`message`] writes the question and reads
//! the answer, [`exchange`] carries both over UDP and TCP, [`lookup`] follows aliases and tries one
//! server after the other, [`cache`] remembers. Not here: names of the configuration itself, which
//! `world` looks up when it is read.

mod cache;
mod exchange;
mod lookup;
pub mod message;
mod name;

pub use lookup::{LookupFault, Resolver, Resolvers};
pub use name::Name;

use std::net::SocketAddr;

/// What a `resolver` directive says. Equal ones share a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Asked in turn.
    pub servers: Vec<SocketAddr>,
    /// `valid=`: how long an answer holds, whatever it says itself.
    pub valid_ms: Option<u64>,
    pub families: Families,
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    Both,
    Ipv4,
    Ipv6,
}
