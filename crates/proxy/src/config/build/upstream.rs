//! `upstream` blocks, and the groups that `proxy_pass` makes by naming a server directly.

use super::{Blocks, Builder, nowhere};
use crate::config::Address;
use crate::known_keys::KnownMap;
use crate::modules::upstream::{Method as Written, Role, Server, Zone};
use crate::modules::upstream_block;
use crate::upstream::{Authority, Group, HTTP_PORT, Host, Keepalive, Method, Peer, Ring};
use perdura_conf::{Context, Fault, Number, Statement, Time, Word};
use std::net::SocketAddr;
use std::sync::Arc;

/// Addresses of one name that are used, at most.
const ADDRESSES_MAX: usize = 256;

impl Builder<'_> {
    pub(super) fn groups(
        &mut self,
        blocks: &Blocks<'_>,
        groups: &mut KnownMap<Vec<u8>, Arc<Group>>,
    ) {
        for block in blocks.iter().filter(|statement| statement.name.is("upstream")) {
            let Some(name) = block.args.first() else {
                continue;
            };
            let mut written = upstream_block::Written::default();
            let mut nested = Blocks::new();
            let faults_before = self.faults.len();
            let inner = block.block.as_deref().unwrap_or_default();
            self.read_block(inner, Context::Upstream, &mut nested, |statement, reader| {
                written.set(statement, Context::Upstream, reader)
            });
            let settings = self.settle(&nowhere(), |reader| written.settle(reader)).upstream;
            // A line that could not be read was perhaps meant to be a server.
            let readable = self.faults.len() == faults_before;
            let mut peers = Vec::new();
            for server in &settings.server.0 {
                peers.extend(self.peers(server));
            }
            if let Some(fault) = servers_fault(&settings.server.0, block, name)
                && readable
            {
                self.faults.push(fault);
            }
            // A broken group is known all the same, or whoever names it would be at fault too.
            let keepalive = Keepalive {
                connections: settings.keepalive.connections,
                local: settings.keepalive.local,
                requests: number(settings.keepalive_requests),
                time_ms: millis(settings.keepalive_time),
                timeout_ms: millis(settings.keepalive_timeout),
            };
            let text = name.text().into_owned();
            self.balancing(inner);
            if let Some(zone) = &settings.zone {
                self.upstream_zone(zone);
            }
            let method = method_of(settings.method.as_ref(), &peers);
            let group = Group::new(text, true, 0, peers, (method, keepalive));
            let key = name.bytes.to_ascii_lowercase();
            if groups.insert(key, Arc::new(group)).is_some() {
                let fault = format!("duplicate upstream \"{}\"", name.text());
                self.faults.push(Fault::new(block.name.place, fault));
            }
        }
    }

    /// What can be said of a group's methods only together with what stands around them: the last
    /// method counts, and some have no backups behind them.
    fn balancing(&mut self, inner: &[Statement]) {
        let mut method: Option<&Statement> = None;
        for statement in inner {
            let is_method = METHODS.iter().any(|name| statement.name.is(name));
            if is_method && method.is_some() {
                let message = "load balancing method redefined";
                self.faults.push(Fault::warning(statement.name.place, message));
            }
            if is_method {
                method = Some(statement);
            }
            let Some(method) = method.filter(|method| !method.name.is("least_conn")) else {
                continue;
            };
            let backup = statement.args.iter().find(|word| word.is("backup"));
            if let Some(word) = backup.filter(|_| statement.name.is("server")) {
                let message = "balancing method does not support parameter \"backup\"";
                let hint = format!("\"{}\" chooses among all servers", method.name.text());
                self.faults.push(Fault::new(word.place, message).hint(hint));
            }
        }
    }

    /// A zone without a size belongs to somebody who gives it one.
    fn upstream_zone(&mut self, zone: &Zone) {
        let name = zone.name.text();
        let known = |zones: &[Zone]| zones.iter().any(|one| one.name.bytes == zone.name.bytes);
        if self.zones.connections.contains_key(&*name) || self.zones.requests.contains_key(&*name) {
            let message = format!(
                "the shared memory zone \"{name}\" is already declared for a different use"
            );
            self.faults.push(Fault::new(zone.name.place, message));
        } else if zone.bytes.is_none() && !known(&self.upstream_zones) {
            let message = format!("zero size shared memory zone \"{name}\"");
            self.faults.push(Fault::nowhere(message).hint("give its size: zone name 64k"));
        } else {
            self.upstream_zones.push(zone.clone());
        }
    }

    fn peers(&mut self, server: &Server) -> Vec<Peer> {
        let word = &server.address;
        let parsed = match word.bytes.as_slice() {
            [b'u', b'n', b'i', b'x', b':', ..] => Authority::parse(&word.bytes),
            // nginx: a server has no path.
            text if text.contains(&b'/') || text.contains(&b'?') => Err("invalid host"),
            text => Authority::parse(text),
        };
        let authority = match parsed {
            Ok(authority) => authority,
            Err(what) => {
                let fault = format!("{what} in upstream \"{}\"", word.text());
                self.faults.push(Fault::new(word.place, fault));
                return Vec::new();
            }
        };
        let addresses = self.addresses(&authority, HTTP_PORT, word, &word.text());
        let text: Arc<str> = word.text().into();
        addresses
            .into_iter()
            .map(|address| Peer {
                address,
                server: Arc::clone(&text),
                weight: server.weight,
                max_fails: server.max_fails,
                fail_timeout_ms: server.fail_timeout_ms,
                max_conns: server.max_conns,
                backup: server.role == Role::Backup,
                down: server.down,
            })
            .collect()
    }

    /// The addresses of an authority; a name that is not found is a fault at `word`, which calls
    /// it `shown`.
    pub(super) fn addresses(
        &mut self,
        authority: &Authority,
        default_port: u16,
        word: &Word,
        shown: &str,
    ) -> Vec<Address> {
        self.found(authority, default_port, word, ("upstream", shown))
    }

    /// The addresses of an authority; a name that is not found is a fault at `word`: of what kind of
    /// thing, and what it is called.
    pub(super) fn found(
        &mut self,
        authority: &Authority,
        default_port: u16,
        word: &Word,
        (what, shown): (&str, &str),
    ) -> Vec<Address> {
        let port = authority.port.unwrap_or(default_port);
        match &authority.host {
            Host::Unix(path) => vec![Address::Unix(path.clone())],
            Host::Ip(ip) => vec![Address::Inet(SocketAddr::new(*ip, port))],
            Host::Name(name) => match self.world.resolve(name) {
                Ok(list) if !list.is_empty() => list
                    .into_iter()
                    .take(ADDRESSES_MAX)
                    .map(|ip| Address::Inet(SocketAddr::new(ip, port)))
                    .collect(),
                _ => {
                    self.faults.push(
                        Fault::new(word.place, format!("host not found in {what} \"{shown}\""))
                            .hint(format!("the name \"{name}\" has no address here and now")),
                    );
                    Vec::new()
                }
            },
        }
    }

    /// The group of a server that is named directly; made once for each name and port.
    pub(super) fn implicit_group(
        &mut self,
        authority: &Authority,
        word: &Word,
        groups: &mut KnownMap<Vec<u8>, Arc<Group>>,
    ) -> Option<Arc<Group>> {
        let port = authority.port.unwrap_or(HTTP_PORT);
        let key = implicit_key(authority);
        if let Some(group) = groups.get(&key) {
            return Some(Arc::clone(group));
        }
        // Here nginx leaves out the port.
        let shown = match &authority.host {
            Host::Name(name) => name.clone(),
            Host::Ip(_) | Host::Unix(_) => authority.text.clone(),
        };
        let addresses = self.addresses(authority, HTTP_PORT, word, &shown);
        if addresses.is_empty() {
            return None;
        }
        let group = Arc::new(Group::implicit(authority.text.clone(), port, addresses));
        groups.insert(key, Arc::clone(&group));
        Some(group)
    }
}

/// The directives that say how a group chooses.
const METHODS: [&str; 4] = ["least_conn", "ip_hash", "hash", "random"];

fn method_of(written: Option<&Written>, peers: &[Peer]) -> Method {
    match written {
        None => Method::RoundRobin,
        Some(Written::LeastConn) => Method::LeastConn,
        Some(Written::IpHash) => Method::IpHash,
        Some(Written::Hash(key)) => Method::Hash { key: key.clone() },
        Some(Written::Consistent(key)) => {
            Method::Consistent { key: key.clone(), ring: Ring::new(peers) }
        }
        Some(Written::Random) => Method::Random,
        Some(Written::RandomTwo) => Method::RandomTwo,
    }
}

/// What is wrong with the servers of a group as a whole.
fn servers_fault(servers: &[Server], block: &Statement, name: &Word) -> Option<Fault> {
    if servers.is_empty() {
        // nginx meets it at the end of the block.
        let place = block.closed_at.unwrap_or(block.name.place);
        let fault = Fault::new(place, "no servers are inside upstream");
        return Some(fault.hint("add a line such as: server 127.0.0.1:8080;"));
    }
    let fault = format!("no servers in upstream \"{}\"", name.text());
    servers.iter().all(|server| server.role == Role::Backup).then(|| {
        Fault::new(block.name.place, fault)
            .hint("all of them are \"backup\": there is nothing that they stand in for")
    })
}

/// The key of a server that no `upstream` block names: a slash cannot stand in a group's name.
pub(super) fn implicit_key(authority: &Authority) -> Vec<u8> {
    let port = authority.port.unwrap_or(HTTP_PORT);
    match &authority.host {
        Host::Unix(path) => format!("/unix:{}", path.display()).into_bytes(),
        Host::Ip(ip) => format!("/{}", SocketAddr::new(*ip, port)).into_bytes(),
        Host::Name(name) => format!("/{name}:{port}").into_bytes(),
    }
}

fn number(Number(number): Number) -> u64 {
    number
}

fn millis(Time(ms): Time) -> u64 {
    ms
}
