//! Virtual hosts: which server a name belongs to, in nginx's order.
//!
//! An exact name wins over the longest wildcard that begins with an asterisk, that over the longest
//! one that ends with it, and that over the first regular expression that matches.

use crate::config::Server;
use crate::config::host_table::{Added, HostName, HostTable};
use crate::regex::{Captures, Regex};
use std::sync::Arc;

/// The names of one address.
#[derive(Default)]
pub struct ServerNames {
    hosts: HostTable<Arc<Server>>,
    patterns: Vec<(Regex, Arc<Server>)>,
}

/// A name as it was written.
#[derive(Clone, Debug)]
pub enum Name {
    Host(Vec<u8>),
    Pattern(Regex),
}

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    New,
    /// An earlier server has the name and keeps it.
    Conflicting,
    /// It has an asterisk or dots where they mean nothing.
    Invalid,
}

/// The server of a name, with what its pattern matched.
pub type Hit<'n> = (&'n Arc<Server>, Option<(&'n Regex, Captures)>);

impl ServerNames {
    /// Adds a name; the first server that has it keeps it.
    pub fn add(&mut self, name: &Name, server: &Arc<Server>) -> Named {
        let host = match name {
            Name::Pattern(regex) => {
                self.patterns.push((regex.clone(), Arc::clone(server)));
                return Named::New;
            }
            Name::Host(host) => HostName::read(host),
        };
        match host.map(|host| self.hosts.add(host, Arc::clone(server))) {
            Some(Added::New) => Named::New,
            Some(Added::Conflicting) => Named::Conflicting,
            None => Named::Invalid,
        }
    }

    /// The server of `host`, which is in lower case, with the captures of its pattern. `Err` is the
    /// engine's message when a pattern could not be tried.
    pub fn find(&self, host: &[u8]) -> Result<Option<Hit<'_>>, String> {
        if let Some(server) = self.hosts.find(host) {
            return Ok(Some((server, None)));
        }
        // nginx tries no pattern on an empty name.
        let patterns = if host.is_empty() { &[][..] } else { &self.patterns };
        for (regex, server) in patterns {
            if let Some(captures) = regex.captures(host)? {
                return Ok(Some((server, Some((regex, captures)))));
            }
        }
        Ok(None)
    }
}
