//! The configuration, compiled: nothing in it is text that a request would have to parse.
//!
//! [`build`] makes a [`Config`] from a [`World`](crate::world::World); it is immutable from then on,
//! and a reload swaps one pointer to it.

mod build;
#[cfg(test)]
pub(crate) mod chance;
pub(crate) mod geo;
pub(crate) mod host_table;
mod known;
mod lint;
mod locations;
pub(crate) mod map;
mod process;
pub(crate) mod server_names;
pub(crate) mod sockets;
pub(crate) mod split;
mod table;
mod types;

pub use build::{Built, Options, build};
pub use locations::{Found, Locations, Match};
pub use map::Map;
pub use process::{ErrorTarget, Process};
pub use server_names::ServerNames;
pub use sockets::{Address, BindFault, Listen};
pub use table::{entries, explain, explained_names, manual_pages};
pub use types::Types;

use crate::known_keys::KnownMap;
use crate::limits::{Limits, Zones};
use crate::log_file::LogFile;
use crate::modules::limit_except::Methods;
use crate::modules::{scope, upgrade};
use crate::script::Code;
use crate::tls;
use crate::upstream::{Group, Pass, Tunnel};
use crate::variables::Binding;
use perdura_conf::Template;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A whole configuration.
pub struct Config {
    pub process: Process,
    /// What each variable of the configuration means, by [`perdura_conf::VariableId`].
    pub bindings: Box<[Binding]>,
    /// The sockets to listen on, each once.
    pub sockets: Vec<Listen>,
    /// Which server answers on which address, by [`Listen::key`] of the address as it was written.
    pub endpoints: KnownMap<String, Arc<Endpoint>>,
    pub groups: KnownMap<Vec<u8>, Arc<Group>>,
    pub zones: Zones,
    /// Every file that log lines go to, in the order of `logs`.
    log_files: Vec<PathBuf>,
    pub logs: Vec<Arc<LogFile>>,
    /// Some `$sent_http_NAME` is used, so the head that is sent must be kept for the log.
    pub keeps_sent_head: bool,
    /// TLS is spoken with somebody, so that the worker has keys.
    pub speaks_tls: bool,
}

impl Config {
    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn listens(&self) -> &[Listen] {
        &self.sockets
    }

    /// How a graceful end takes leave of tunnels. It stands in `http` only, so that every server
    /// has the same.
    pub fn drain(&self) -> Option<upgrade::Drain> {
        self.endpoints.values().next().and_then(|endpoint| endpoint.default.upgrade.upgrade_drain)
    }

    pub fn log_files(&self) -> &[PathBuf] {
        &self.log_files
    }

    /// The endpoint of an accepted connection: that of its own local address if there is one, else
    /// that of the socket it came through.
    pub fn endpoint(
        &self,
        socket: &str,
        local: Option<std::net::SocketAddr>,
    ) -> Option<&Arc<Endpoint>> {
        let own = self.endpoints.get(socket);
        if own.is_some_and(|endpoint| !endpoint.by_address) {
            return own;
        }
        local.and_then(|local| self.endpoints.get(&sockets::key_of(local))).or(own)
    }
}

/// The servers of one address.
pub struct Endpoint {
    pub default: Arc<Server>,
    pub names: ServerNames,
    /// Clients shake hands before they ask.
    pub speaks_tls: bool,
    /// No other server shares it.
    pub is_lone: bool,
    /// Some server has other rules for header fields than the default one.
    pub rules_differ: bool,
    /// Another endpoint shares the socket, so the local address of a connection must be asked for.
    pub by_address: bool,
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// One `server` block.
pub struct Server {
    /// The first `server_name`, for `$server_name`.
    pub name: Vec<u8>,
    /// What holds where no location matches; also the home of server-wide settings.
    pub base: Arc<Location>,
    pub locations: Locations,
    pub named: HashMap<Vec<u8>, Arc<Location>>,
    /// How it meets clients that speak TLS; absent without certificates.
    pub tls: Option<Arc<tls::Acceptance>>,
    /// A `tunnel_pass` stands somewhere in it: CONNECT is answered.
    pub connects: bool,
}

impl std::ops::Deref for Server {
    type Target = scope::Settings;

    fn deref(&self) -> &Self::Target {
        &self.base.settings
    }
}

/// One `location` block, or the body of a server.
pub struct Location {
    /// The text behind `location`, without its modifier.
    pub name: Vec<u8>,
    pub kind: Match,
    pub settings: scope::Settings,
    pub limits: Limits,
    pub types: Arc<Types>,
    /// Its own or an enclosing location's, unless a `root` stands in between.
    pub alias: Option<Arc<Alias>>,
    /// `return` and its like, in the order of the file.
    pub program: Vec<Code>,
    /// What holds instead for methods that are not named.
    pub limit_except: Option<LimitExcept>,
    pub pass: Option<Arc<Pass>>,
    /// The page of `stub_status` is here.
    pub reports_status: bool,
    /// Where CONNECT leads.
    pub tunnel: Option<Arc<Tunnel>>,
    /// Who is asked for names that only a request brings.
    pub name_servers: Option<Arc<crate::resolver::Setup>>,
    /// Locations inside this one.
    pub locations: Locations,
    pub access_logs: Vec<AccessLog>,
    pub error_logs: Arc<[ErrorTarget]>,
    pub temp_body: PathBuf,
}

/// An `alias`.
#[derive(Clone, Debug)]
pub struct Alias {
    pub path: Template,
    pub replaces: Replaces,
}

/// What of a request's path an alias stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// As many bytes as the location's name has.
    Prefix(usize),
    /// All of it: the location is a pattern.
    Path,
}

/// A `limit_except` block.
pub struct LimitExcept {
    pub methods: Methods,
    pub location: Arc<Location>,
}

impl std::ops::Deref for Location {
    type Target = scope::Settings;

    fn deref(&self) -> &Self::Target {
        &self.settings
    }
}

/// Where an access log's lines go.
#[derive(Clone)]
pub enum LogPlace {
    Fixed(Arc<LogFile>),
    /// A file that is opened for each line.
    Computed(Arc<Template>),
}

/// An access log that is on, with its compiled line.
#[derive(Clone)]
pub struct AccessLog {
    pub place: LogPlace,
    pub condition: Option<Arc<Template>>,
    pub template: Arc<Template>,
    pub escape: crate::modules::log::Escape,
}
