//! The `resolver` of a block: the addresses of its name servers, found when the file is read.

use super::Builder;
use crate::config::Address;
use crate::modules::resolver::Servers;
use crate::resolver::{Families, Setup};
use crate::upstream::Authority;
use perdura_conf::{Fault, SourceId};
use std::collections::HashMap;
use std::sync::Arc;

/// The port of name servers.
const DOMAIN_PORT: u16 = 53;

/// The setups that were made, by the place of their first address: a block that inherits a
/// `resolver` asks no name twice and complains of none twice.
pub(super) type Setups = HashMap<(SourceId, u32), Option<Arc<Setup>>>;

impl Builder<'_> {
    /// What the `resolver` that holds in a block asks; nothing when there is none or a server has no
    /// address.
    pub(super) fn resolver(
        &mut self,
        servers: Option<&Servers>,
        known: &mut Setups,
    ) -> Option<Arc<Setup>> {
        let servers = servers?;
        let place = servers.addresses.first().map(|word| (word.place.source, word.place.start))?;
        if let Some(known) = known.get(&place) {
            return known.clone();
        }
        let setup = self.resolver_setup(servers);
        known.insert(place, setup.clone());
        setup
    }

    fn resolver_setup(&mut self, servers: &Servers) -> Option<Arc<Setup>> {
        let mut addresses = Vec::new();
        for word in &servers.addresses {
            let parsed = Authority::parse(&word.bytes);
            let of_unix = "a unix domain socket is no name server";
            let authority = match parsed {
                Ok(authority) => authority,
                Err(what) => {
                    let message = format!("{what} in resolver \"{}\"", word.text());
                    self.faults.push(Fault::new(word.place, message));
                    continue;
                }
            };
            for address in self.found(&authority, DOMAIN_PORT, word, ("resolver", &word.text())) {
                match address {
                    Address::Inet(address) => addresses.push(address),
                    Address::Unix(_) => self.faults.push(Fault::new(word.place, of_unix)),
                }
            }
        }
        let families = match (servers.ipv4, servers.ipv6) {
            (true, true) => Families::Both,
            (true, false) => Families::Ipv4,
            _ => Families::Ipv6,
        };
        let setup = Setup { servers: addresses, valid_ms: servers.valid_ms, families };
        (!setup.servers.is_empty()).then(|| Arc::new(setup))
    }
}
