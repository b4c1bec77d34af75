//! Networks of addresses as nginx writes and matches them: `10.0.0.0/8`, `2001:db8::/32`.
//!
//! No names are looked up here. Callers are the modules that tell addresses apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// What a text is as a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Network(Cidr),
    /// Bits behind the mask were set; they do not count.
    LowBits(Cidr),
    /// No address with an optional mask.
    Nothing,
}

impl Cidr {
    /// A single address.
    pub fn host(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Reads a text as `ngx_ptocidr` does.
    pub fn read(text: &str) -> Read {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let Some(address) = parse_address(address) else {
            return Read::Nothing;
        };
        let whole = Self::host(address);
        let Some(bits) = bits else {
            return Read::Network(whole);
        };
        let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let Some(bits) = bits.parse().ok().filter(|bits| digits && *bits <= whole.bits) else {
            return Read::Nothing;
        };
        let network = Self { address: masked(address, bits), bits };
        if network.address == address { Read::Network(network) } else { Read::LowBits(network) }
    }

    /// The network of so many bits that holds `address`; none when it has fewer.
    pub fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let whole = Self::host(address);
        (bits <= whole.bits).then(|| Self { address: masked(address, bits), bits })
    }

    /// How many bits of the address count.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it is a single address.
    pub fn is_one(&self) -> bool {
        *self == Self::host(self.address)
    }

    /// Whether `address` lies in the network. An IPv4 address written as an IPv6 one counts as IPv4.
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }
}

/// An address without a port. As in nginx, parts of an IPv4 address may begin with zeros.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(address));
    }
    let mut parts = [0; 4];
    let mut count = 0;
    for part in text.split('.') {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        *parts.get_mut(count)? = part.parse().ok().filter(|_| digits)?;
        count += 1;
    }
    (count == 4).then_some(IpAddr::V4(Ipv4Addr::from(parts)))
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Cidr {
        match Cidr::read(text) {
            Read::Network(network) | Read::LowBits(network) => network,
            Read::Nothing => panic!("{text} is no network"),
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let holds = |net: &str, ip: &str| network(net).holds(ip.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("0.0.0.0/0", "::ffff:1.2.3.4"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("::/0", "::1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
    }

    #[test]
    fn low_bits_are_told_and_nonsense_is_refused() {
        assert!(matches!(Cidr::read("10.0.0.1/8"), Read::LowBits(_)));
        assert_eq!(network("10.0.0.1/8"), network("10.0.0.0/8"));
        assert!(matches!(Cidr::read("127.000.0.01"), Read::Network(_)));
        for bad in
            ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "a", "1.2.3.256"]
        {
            assert_eq!(Cidr::read(bad), Read::Nothing, "{bad}");
        }
    }
}
