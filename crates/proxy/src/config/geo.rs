//! `geo`: a variable that depends on an address.

use crate::cidr::Cidr;
use perdura_conf::Template;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// One `geo` block.
#[derive(Clone, Debug, Default)]
pub struct Geo {
    /// The text that holds the address; none is the client's own.
    pub source: Option<Template>,
    /// Empty when the block names none.
    pub default: Vec<u8>,
    networks: HashMap<Cidr, Vec<u8>>,
    /// Lengths of the networks that there are, longest first.
    lengths: Vec<u8>,
}

impl Geo {
    /// Adds a network; the value that it had before.
    pub fn add(&mut self, network: Cidr, value: Vec<u8>) -> Option<Vec<u8>> {
        let bits = network.bits();
        if let Err(at) = self.lengths.binary_search_by(|known| bits.cmp(known)) {
            self.lengths.insert(at, bits);
        }
        self.networks.insert(network, value)
    }

    /// Takes a network out; `false` when it is not there.
    pub fn remove(&mut self, network: Cidr) -> bool {
        self.networks.remove(&network).is_some()
    }

    /// The value of the smallest network that holds the address. What has none, such as a client on a
    /// unix socket, counts as 255.255.255.255, as in nginx.
    pub fn find(&self, address: Option<IpAddr>) -> &[u8] {
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST)).to_canonical();
        let networks = self.lengths.iter().filter_map(|&bits| Cidr::around(address, bits));
        let found = networks.filter_map(|network| self.networks.get(&network)).next();
        found.unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::Read;

    #[test]
    fn the_smallest_network_wins() {
        let mut geo = Geo { default: b"default".to_vec(), ..Geo::default() };
        for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "0.0.0.0/1"] {
            let Read::Network(network) = Cidr::read(text) else { panic!("{text}") };
            assert_eq!(geo.add(network, text.as_bytes().to_vec()), None);
        }
        let value = |text: &str| String::from_utf8_lossy(geo.find(text.parse().ok())).into_owned();
        for (address, expected) in [
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.4", "10.1.0.0/16"),
            ("10.2.0.0", "10.0.0.0/8"),
            ("11.0.0.0", "0.0.0.0/1"),
            ("200.0.0.0", "default"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::/32"),
            ("::1", "default"),
            ("none", "default"),
        ] {
            assert_eq!(value(address), expected, "{address}");
        }
    }
}
