//! Virtual hosts: which server a name belongs to, in nginx's order.
//!
//! An exact name wins over the longest wildcard that begins with an asterisk, that over the longest
//! one that ends with it, and that over the first regular expression that matches.

use crate::config::Server;
use crate::regex::{Captures, Regex};
use std::collections::HashMap;
use std::sync::Arc;

/// The names of one address.
#[derive(Default)]
pub struct ServerNames {
    exact: HashMap<Vec<u8>, Arc<Server>>,
    /// `*.example.com` as `.example.com`.
    heads: HashMap<Vec<u8>, Arc<Server>>,
    /// `www.example.*` as `www.example.`.
    tails: HashMap<Vec<u8>, Arc<Server>>,
    patterns: Vec<(Regex, Arc<Server>)>,
}

/// A name, read.
#[derive(Clone, Debug)]
pub enum Name {
    Exact(Vec<u8>),
    Head(Vec<u8>),
    Tail(Vec<u8>),
    Pattern(Regex),
}

/// The server of a name, with what its pattern matched.
pub type Hit<'n> = (&'n Arc<Server>, Option<(&'n Regex, Captures)>);

/// Whether a name was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    New,
    Conflicting,
}

impl ServerNames {
    /// Adds a name; the first server that has it keeps it.
    pub fn add(&mut self, name: &Name, server: &Arc<Server>) -> Added {
        let (map, key) = match name {
            Name::Pattern(regex) => {
                self.patterns.push((regex.clone(), Arc::clone(server)));
                return Added::New;
            }
            Name::Exact(key) => (&mut self.exact, key),
            Name::Head(key) => (&mut self.heads, key),
            Name::Tail(key) => (&mut self.tails, key),
        };
        if map.contains_key(key) {
            return Added::Conflicting;
        }
        map.insert(key.clone(), Arc::clone(server));
        Added::New
    }

    /// The server of `host`, which is in lower case, with the captures of its pattern. `Err` is the
    /// engine's message when a pattern could not be tried.
    pub fn find(&self, host: &[u8]) -> Result<Option<Hit<'_>>, String> {
        if let Some(server) = self.exact.get(host) {
            return Ok(Some((server, None)));
        }
        if let Some(server) = self.wildcard(host) {
            return Ok(Some((server, None)));
        }
        for (regex, server) in &self.patterns {
            if let Some(captures) = regex.captures(host)? {
                return Ok(Some((server, Some((regex, captures)))));
            }
        }
        Ok(None)
    }

    fn wildcard(&self, host: &[u8]) -> Option<&Arc<Server>> {
        let dots = || host.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        if !self.heads.is_empty() {
            // The leftmost dot gives the longest suffix; a label must stand before it.
            let found = dots().filter(|&at| at > 0).find_map(|at| self.heads.get(&host[at..]));
            if found.is_some() {
                return found;
            }
        }
        if self.tails.is_empty() {
            return None;
        }
        let ends: Vec<_> = dots().filter(|&at| at + 1 < host.len()).collect();
        ends.into_iter().rev().find_map(|at| self.tails.get(&host[..=at]))
    }
}
