//! Which sockets to bind and which server answers on which address.

use super::Builder;
use super::server::Placed;
use crate::config::server_names::Added;
use crate::config::sockets::{BACKLOG, key_of};
use crate::config::{Address, Endpoint, Listen, Server, ServerNames};
use crate::modules::server::Listen as Written;
use crate::upstream::{Authority, Host};
use perdura_conf::{Fault, Place};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The port that nginx takes when it may not take 80.
const PORT_UNPRIVILEGED: u16 = 8000;

/// An address while servers are gathered on it.
struct Gathered {
    listen: Listen,
    options_set: bool,
    default: Option<Arc<Server>>,
    first: Arc<Server>,
    names: ServerNames,
    servers: Vec<Arc<Server>>,
}

impl Builder<'_> {
    /// Places every server on its addresses.
    pub(super) fn endpoints(
        &mut self,
        servers: &[Placed],
    ) -> (Vec<Listen>, HashMap<String, Arc<Endpoint>>) {
        let mut list: Vec<Gathered> = Vec::new();
        for placed in servers {
            if placed.listens.is_empty() {
                let port =
                    if rustix::process::geteuid().is_root() { 80 } else { PORT_UNPRIVILEGED };
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                self.place(placed, Address::Inet(address), None, &mut list);
            }
            for written in &placed.listens {
                for address in self.listen_addresses(written) {
                    self.place(placed, address, Some(written), &mut list);
                }
            }
        }
        let sockets = sockets_of(&list);
        let keys: Vec<_> = sockets.iter().map(|listen| listen.key.clone()).collect();
        let shared = list.len() != sockets.len();
        let endpoints = list
            .into_iter()
            .map(|gathered| {
                let key = gathered.listen.key.clone();
                let default = gathered.default.unwrap_or(gathered.first);
                let rules = |server: &Server| {
                    (server.core.underscores_in_headers.0, server.core.ignore_invalid_headers.0)
                };
                let differs = |server: &Arc<Server>| rules(server) != rules(&default);
                let endpoint = Endpoint {
                    rules_differ: gathered.servers.iter().any(differs),
                    default,
                    names: gathered.names,
                    by_address: shared && keys.contains(&key),
                };
                (key, Arc::new(endpoint))
            })
            .collect();
        (sockets, endpoints)
    }

    fn place(
        &mut self,
        placed: &Placed,
        address: Address,
        written: Option<&Written>,
        list: &mut Vec<Gathered>,
    ) {
        let place = written.map_or(placed.place, |written| written.address.place);
        let found = list.iter().position(|gathered| gathered.listen.address == address);
        let at = found.unwrap_or_else(|| {
            list.push(Gathered {
                listen: listen_of(&address, written),
                options_set: written.is_some_and(|written| written.socket_options),
                default: None,
                first: Arc::clone(&placed.server),
                names: ServerNames::default(),
                servers: Vec::new(),
            });
            list.len() - 1
        });
        let gathered = &mut list[at];
        if gathered.servers.iter().any(|server| Arc::ptr_eq(server, &placed.server)) {
            self.faults.push(Fault::new(place, format!("a duplicate listen {}", shown(&address))));
            return;
        }
        gathered.servers.push(Arc::clone(&placed.server));
        if found.is_some()
            && let Some(written) = written.filter(|written| written.socket_options)
        {
            if gathered.options_set {
                let fault = format!("duplicate listen options for {}", shown(&address));
                self.faults.push(Fault::new(place, fault));
            }
            gathered.options_set = true;
            gathered.listen = listen_of(&address, Some(written));
        }
        if written.is_some_and(|written| written.default_server) {
            if gathered.default.is_some() {
                let fault = format!("a duplicate default server for {}", shown(&address));
                self.faults.push(Fault::new(place, fault));
            }
            gathered.default = Some(Arc::clone(&placed.server));
        }
        self.add_names(placed, &address, &mut list[at].names, place);
    }

    fn add_names(
        &mut self,
        placed: &Placed,
        address: &Address,
        names: &mut ServerNames,
        place: Place,
    ) {
        let _ = place;
        for (name, word) in &placed.names {
            if names.add(name, &placed.server) == Added::Conflicting {
                // Two servers without names are usual: the first one answers.
                let text = word.text();
                let message =
                    format!("conflicting server name \"{text}\" on {}, ignored", shown(address));
                let place = (word.place.line > 0).then_some(word.place);
                self.faults.push(Fault {
                    level: perdura_conf::Level::Warn,
                    message,
                    place: None,
                    hint: None,
                });
                if let (Some(fault), Some(place)) = (self.faults.last_mut(), place) {
                    let source = self.sources.source(place.source);
                    fault.hint = source.map(|source| {
                        format!("the name stands again in {}:{}", source.path.display(), place.line)
                    });
                }
            }
        }
    }

    fn listen_addresses(&mut self, written: &Written) -> Vec<Address> {
        let word = &written.address;
        let text = word.text().into_owned();
        let fault = |what: &str| {
            Fault::new(word.place, format!("{what} in \"{text}\" of the \"listen\" directive"))
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u16>().ok().filter(|port| *port > 0) {
                Some(port) => vec![wildcard(port)],
                None => {
                    self.faults.push(fault("invalid port"));
                    Vec::new()
                }
            };
        }
        let spelled = match text.strip_prefix('*') {
            Some(rest) => format!("0.0.0.0{rest}"),
            None => text.clone(),
        };
        let authority = match Authority::parse(spelled.as_bytes()) {
            Ok(authority) => authority,
            Err(what) => {
                self.faults.push(fault(what));
                return Vec::new();
            }
        };
        let port = authority.port.unwrap_or(80);
        match &authority.host {
            Host::Unix(path) => vec![Address::Unix(absolute(path))],
            Host::Ip(ip) => vec![Address::Inet(SocketAddr::new(*ip, port))],
            Host::Name(name) => match self.world.resolve(name) {
                Ok(list) if !list.is_empty() => {
                    list.into_iter().map(|ip| Address::Inet(SocketAddr::new(ip, port))).collect()
                }
                _ => {
                    self.faults.push(fault("host not found"));
                    Vec::new()
                }
            },
        }
    }
}

/// The sockets to bind: an address of a port whose wildcard is bound too needs none of its own.
fn sockets_of(list: &[Gathered]) -> Vec<Listen> {
    let covered = |listen: &Listen| {
        let Address::Inet(address) = &listen.address else {
            return false;
        };
        !listen.is_wildcard()
            && list.iter().any(|other| match &other.listen.address {
                Address::Inet(wide) => {
                    other.listen.is_wildcard()
                        && wide.port() == address.port()
                        && wide.is_ipv4() == address.is_ipv4()
                }
                Address::Unix(_) => false,
            })
    };
    let apart = |gathered: &&Gathered| gathered.options_set || !covered(&gathered.listen);
    list.iter().filter(apart).map(|gathered| gathered.listen.clone()).collect()
}

fn listen_of(address: &Address, written: Option<&Written>) -> Listen {
    let key = match address {
        Address::Inet(inet) => key_of(*inet),
        Address::Unix(_) => address.to_string(),
    };
    Listen {
        key,
        address: address.clone(),
        backlog: written.and_then(|written| written.backlog).unwrap_or(BACKLOG),
        rcvbuf: written.and_then(|written| written.rcvbuf),
        sndbuf: written.and_then(|written| written.sndbuf),
        ipv6only: written.and_then(|written| written.ipv6only).unwrap_or(true),
        reuseport: written.is_some_and(|written| written.reuseport),
        deferred: written.is_some_and(|written| written.deferred),
    }
}

fn wildcard(port: u16) -> Address {
    Address::Inet(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
}

/// The address as nginx's messages have it.
fn shown(address: &Address) -> String {
    address.to_string()
}

/// nginx wants absolute paths for sockets; a relative one is below the working directory.
fn absolute(path: &Path) -> std::path::PathBuf {
    path.to_owned()
}
