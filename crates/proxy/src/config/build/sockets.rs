//! Which sockets to bind and which server answers on which address.

use super::Builder;
use super::server::Placed;
use crate::config::server_names::{Name, Named};
use crate::config::sockets::{BACKLOG, key_of};
use crate::config::{Address, Endpoint, Listen, Server, ServerNames};
use crate::known_keys::KnownMap;
use crate::modules::server::Listen as Written;
use crate::tls::Greeting;
use crate::upstream::{Authority, Host};
use perdura_conf::{Fault, Level, Word};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The port that nginx takes when it may not take 80.
const PORT_UNPRIVILEGED: u16 = 8000;

/// An address while servers are gathered on it.
struct Gathered {
    listen: Listen,
    options_set: bool,
    proxy_protocol: bool,
    speaks_tls: bool,
    default: Option<Arc<Server>>,
    first: Arc<Server>,
    servers: Vec<Arc<Server>>,
}

impl Builder<'_> {
    /// Places every server on its addresses.
    pub(super) fn endpoints(
        &mut self,
        servers: &[Placed],
    ) -> (Vec<Listen>, KnownMap<String, Arc<Endpoint>>) {
        let mut list: Vec<Gathered> = Vec::new();
        for placed in servers {
            if placed.listens.is_empty() {
                let port =
                    if rustix::process::geteuid().is_root() { 80 } else { PORT_UNPRIVILEGED };
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
                self.place(placed, Address::Inet(address), None, &mut list);
            }
            for written in &placed.listens {
                self.warn_of_http2(written);
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
                let names = self.names(&gathered, servers);
                let key = gathered.listen.key.clone();
                self.check_tls(&gathered, servers);
                let default = gathered.default.unwrap_or(gathered.first);
                let rules = |server: &Server| {
                    (server.core.underscores_in_headers.0, server.core.ignore_invalid_headers.0)
                };
                let differs = |server: &Arc<Server>| rules(server) != rules(&default);
                let endpoint = Endpoint {
                    rules_differ: gathered.servers.iter().any(differs),
                    default,
                    names,
                    speaks_tls: gathered.speaks_tls,
                    is_lone: gathered.servers.len() == 1,
                    by_address: shared && keys.contains(&key),
                    proxy_protocol: gathered.proxy_protocol,
                };
                (key, Arc::new(endpoint))
            })
            .collect();
        (sockets, endpoints)
    }

    fn warn_of_http2(&mut self, written: &Written) {
        if let Some(word) = &written.http2 {
            let message =
                "\"http2\" has no effect: HTTP/2 is not spoken yet, and clients use HTTP/1.1";
            self.faults.push(Fault::warning(word.place, message));
        }
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
                proxy_protocol: false,
                speaks_tls: false,
                default: None,
                first: Arc::clone(&placed.server),
                servers: Vec::new(),
            });
            list.len() - 1
        });
        let gathered = &mut list[at];
        if gathered.servers.iter().any(|server| Arc::ptr_eq(server, &placed.server)) {
            self.faults.push(Fault::new(place, format!("a duplicate listen {}", address)));
            return;
        }
        gathered.servers.push(Arc::clone(&placed.server));
        gathered.proxy_protocol |= written.is_some_and(|written| written.proxy_protocol);
        gathered.speaks_tls |= written.is_some_and(|written| written.ssl);
        if found.is_some()
            && let Some(written) = written.filter(|written| written.socket_options)
        {
            if gathered.options_set {
                let fault = format!("duplicate listen options for {}", address);
                self.faults.push(Fault::new(place, fault));
            }
            gathered.options_set = true;
            gathered.listen = listen_of(&address, Some(written));
        }
        if written.is_some_and(|written| written.default_server) {
            if gathered.default.is_some() {
                let fault = format!("a duplicate default server for {}", address);
                self.faults.push(Fault::new(place, fault));
            }
            gathered.default = Some(Arc::clone(&placed.server));
        }
    }

    /// An address that speaks TLS needs a certificate, or a server that rejects whoever comes
    /// (`ngx_http_ssl_init`).
    fn check_tls(&mut self, gathered: &Gathered, servers: &[Placed]) {
        if !gathered.speaks_tls {
            return;
        }
        let default = gathered.default.as_ref().unwrap_or(&gathered.first);
        let greets = |server: &Server| {
            let tls = server.tls.as_ref();
            tls.is_some_and(|tls| !matches!(tls.greeting, Greeting::OfDefault))
        };
        let rejects = |server: &Server| {
            let tls = server.tls.as_ref();
            tls.is_some_and(|tls| matches!(tls.greeting, Greeting::Reject))
        };
        let bare = match default {
            default if rejects(default) => gathered.servers.iter().find(|one| !greets(one)),
            default => Some(default).filter(|default| !greets(default)),
        };
        let placed =
            servers.iter().find(|placed| bare.is_some_and(|one| Arc::ptr_eq(one, &placed.server)));
        let Some(placed) = placed.filter(|placed| !placed.has_bad_tls) else {
            return;
        };
        let source = self.sources.source(placed.place.source);
        let path = source.map(|source| source.path.display().to_string()).unwrap_or_default();
        let line = placed.place.line;
        let message = format!(
            "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive in {path}:{line}"
        );
        self.faults.push(Fault::nowhere(message));
    }

    /// The names of the servers of one address. As in nginx, a lone server's names are not looked
    /// at closely: it answers whatever the name is.
    fn names(&mut self, gathered: &Gathered, servers: &[Placed]) -> ServerNames {
        let mut names = ServerNames::default();
        let lone = gathered.servers.len() == 1;
        for server in &gathered.servers {
            let placed = servers.iter().find(|placed| Arc::ptr_eq(&placed.server, server));
            for (name, word) in placed.map_or(&[][..], |placed| &placed.names) {
                let added = names.add(name, server);
                if !lone {
                    self.name_fault(added, name, word, &gathered.listen.address);
                }
            }
        }
        names
    }

    /// nginx gives these no place; the hint does.
    fn name_fault(&mut self, added: Named, name: &Name, word: &Word, address: &Address) {
        let Name::Host(host) = name else {
            return;
        };
        let text = String::from_utf8_lossy(host);
        let (level, message) = match added {
            Named::New => return,
            Named::Conflicting => {
                (Level::Warn, format!("conflicting server name \"{text}\" on {address}, ignored"))
            }
            Named::Invalid => {
                (Level::Emerg, format!("invalid server name or wildcard \"{text}\" on {address}"))
            }
        };
        let fault = Fault { level, ..Fault::nowhere(message) };
        let source = self.sources.source(word.place.source);
        self.faults.push(match source {
            Some(source) => fault.hint(format!(
                "the name stands in {}:{}",
                source.path.display(),
                word.place.line
            )),
            None => fault,
        });
    }

    fn listen_addresses(&mut self, written: &Written) -> Vec<Address> {
        let word = &written.address;
        let text = word.text().into_owned();
        let fault = |what: &str| {
            Fault::new(word.place, format!("{what} in \"{text}\" of the \"listen\" directive"))
        };
        match first_of_range(&text) {
            None => self.addresses_of(&text, fault),
            Some(Ok((base, last))) => {
                let addresses = self.addresses_of(base, fault);
                addresses.iter().flat_map(|address| from_port_to(address, last)).collect()
            }
            Some(Err(what)) => {
                self.faults.push(fault(what));
                Vec::new()
            }
        }
    }

    /// The addresses of one port, or none and a fault that `fault` words.
    fn addresses_of(&mut self, text: &str, fault: impl Fn(&str) -> Fault) -> Vec<Address> {
        if !text.starts_with("unix:") && text.contains(['/', '?']) {
            self.faults.push(fault("invalid host"));
            return Vec::new();
        }
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
            None => text.to_owned(),
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
            Host::Unix(path) => vec![Address::Unix(path.clone())],
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
        fastopen: written.and_then(|written| written.fastopen),
        so_keepalive: written.and_then(|written| written.so_keepalive),
    }
}

fn wildcard(port: u16) -> Address {
    Address::Inet(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
}

/// Of `8000-8010`, with an address before it or without: the text up to the first port, and the
/// last port. `None` when it is no range; the message is nginx's (`ngx_parse_inet_url`).
fn first_of_range(text: &str) -> Option<Result<(&str, u16), &'static str>> {
    if text.starts_with("unix:") {
        return None;
    }
    let ports = text.rsplit(':').next()?;
    let (first, last) = ports.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    let port = |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0);
    let (Some(from), Some(to)) = (port(first), port(last)) else {
        return Some(Err("invalid port"));
    };
    if from > to {
        return Some(Err("invalid port range"));
    }
    let base = &text[..text.len() - last.len() - "-".len()];
    Some(Ok((base, to)))
}

/// The address, and the same with each higher port up to `last`.
fn from_port_to(address: &Address, last: u16) -> Vec<Address> {
    let Address::Inet(inet) = address else { return vec![address.clone()] };
    let ports = inet.port()..=last;
    ports.map(|port| Address::Inet(SocketAddr::new(inet.ip(), port))).collect()
}
