//! Whom a tunnel that a client asks for may lead to: the judgement of an address, as it is dialled.
//!
//! An open way into this network is the oldest fault of forward proxies, so what is not on the
//! public network, and every port but those of TLS, must be allowed by name. Not here: names, which
//! are judged by the addresses that they turn out to have.

use crate::cidr::Cidr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// The ports that a tunnel may lead to unless others are allowed: those of TLS, as Squid and
/// RFC 9110, 9.3.6 have it.
pub const PORTS: [u16; 2] = [443, 563];

/// One `tunnel_allow_upstream` or `tunnel_deny_upstream`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub to: To,
    /// None is: the usual ports for a rule that allows, all for one that denies.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Which addresses a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It names ports only: those of the addresses that may be dialled anyway.
    Usual,
    All,
    Network(Cidr),
}

/// What a location says of the tunnels that its clients ask for.
#[derive(Clone, Copy)]
pub struct Guard<'g> {
    /// Without it only what is denied by name is refused.
    pub is_on: bool,
    pub allow: &'g [Rule],
    pub deny: &'g [Rule],
    /// Where this proxy itself listens.
    pub own: &'g dyn Fn(SocketAddr) -> bool,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    ByRule,
    Own,
    Address(Place),
    Port,
}

/// Where an address is that is not on the public network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Loopback,
    Private,
    LinkLocal,
    CarrierNat,
    Multicast,
    Reserved,
}

impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::ByRule => "denied by rule",
            Self::Own => "this proxy listens there",
            Self::Address(Place::Loopback) => "a loopback address",
            Self::Address(Place::Private) => "a private address",
            Self::Address(Place::LinkLocal) => "a link-local address",
            Self::Address(Place::CarrierNat) => "an address behind a carrier's NAT",
            Self::Address(Place::Multicast) => "a multicast address",
            Self::Address(Place::Reserved) => "a reserved address",
            Self::Port => "a port that is not allowed",
        })
    }
}

impl Guard<'_> {
    /// Whether `address` may be dialled.
    pub fn judge(&self, address: SocketAddr) -> Result<(), Denied> {
        // `::ffff:127.0.0.1` is dialled as 127.0.0.1.
        let ip = address.ip().to_canonical();
        let port = address.port();
        let denies = |rule: &Rule| rule.covers(ip) && rule.has_port(port);
        if self.deny.iter().any(|rule| denies(rule) || rule.denies_port(port)) {
            return Err(Denied::ByRule);
        }
        if !self.is_on {
            return Ok(());
        }
        let named = |rule: &Rule| rule.is_lone(ip) && rule.names_port(port);
        if (self.own)(SocketAddr::new(ip, port)) && !self.allow.iter().any(named) {
            return Err(Denied::Own);
        }
        let usual = PORTS.contains(&port) || self.allow.iter().any(|rule| rule.allows_port(port));
        let allowed = |rule: &Rule| {
            rule.covers(ip) && (rule.names_port(port) || rule.ports.is_empty() && usual)
        };
        if self.allow.iter().any(allowed) {
            return Ok(());
        }
        match place(ip) {
            Some(place) => Err(Denied::Address(place)),
            None if usual => Ok(()),
            None => Err(Denied::Port),
        }
    }
}

impl Rule {
    fn covers(&self, ip: IpAddr) -> bool {
        match self.to {
            To::Usual => false,
            To::All => true,
            To::Network(network) => network.holds(ip),
        }
    }

    /// It speaks of this one address.
    fn is_lone(&self, ip: IpAddr) -> bool {
        matches!(self.to, To::Network(network) if network.is_one() && network.holds(ip))
    }

    fn names_port(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(&port))
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.is_empty() || self.names_port(port)
    }

    /// A rule of ports alone lets them be dialled on the public network.
    fn allows_port(&self, port: u16) -> bool {
        self.to == To::Usual && self.names_port(port)
    }

    /// A rule of ports alone denies them everywhere.
    fn denies_port(&self, port: u16) -> bool {
        self.to == To::Usual && self.names_port(port)
    }
}

/// Where an address is; `None` when it is on the public network (the registries of RFC 6890).
pub fn place(ip: IpAddr) -> Option<Place> {
    match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    }
}

fn place_v4(ip: Ipv4Addr) -> Option<Place> {
    match ip.octets() {
        [127, ..] => Some(Place::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Place::Private),
        // The metadata services of clouds are here.
        [169, 254, ..] => Some(Place::LinkLocal),
        [100, 64..=127, ..] => Some(Place::CarrierNat),
        [224..=239, ..] => Some(Place::Multicast),
        // 0.0.0.0 is dialled as this machine.
        [0, ..] | [240..=255, ..] => Some(Place::Reserved),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Some(Place::Reserved),
        [198, 51, 100, _] | [203, 0, 113, _] => Some(Place::Reserved),
        _ => None,
    }
}

fn place_v6(ip: Ipv6Addr) -> Option<Place> {
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        place_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Place::Loopback),
        // NAT64 and 6to4 lead to the address that they hold (RFC 6052, 2.1; RFC 3056, 2).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => inner(high, low),
        [0xfc00..=0xfdff, ..] => Some(Place::Private),
        [0xfe80..=0xfebf, ..] => Some(Place::LinkLocal),
        // What was once called site-local (RFC 3879).
        [0xfec0..=0xfeff, ..] => Some(Place::Private),
        [0xff00..=0xffff, ..] => Some(Place::Multicast),
        // Teredo and other protocols' own, and documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => {
            Some(Place::Reserved)
        }
        [0x2000..=0x3fff, ..] => None,
        // Only 2000::/3 has been given out.
        _ => Some(Place::Reserved),
    }
}

#[cfg(test)]
mod tests;
