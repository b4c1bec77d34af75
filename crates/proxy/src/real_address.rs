//! The client's own address, as a trusted proxy in front tells it.
//!
//! The phases call it twice, as nginx does: with the server's settings and with the location's. The
//! address holds for the request; the connection keeps its own.

use crate::cidr;
use crate::modules::realip::{Settings, Source, Trusted};
use crate::phase::Step;
use crate::request::{Peer, Request};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Takes the address that is told, if it is told by somebody who is trusted.
pub fn settle(request: &mut Request) -> Step {
    let location = Arc::clone(&request.location);
    let settings = &location.realip;
    if settings.set_real_ip_from.0.is_empty() || request.real_peer.is_some() {
        return Step::Next;
    }
    if let Some(told) = told(request, settings) {
        request.real_peer = Some(Peer::Inet(told));
    }
    Step::Next
}

fn told(request: &Request, settings: &Settings) -> Option<SocketAddr> {
    let fields = request.head.fields();
    let peer = &request.connection.peer;
    match &settings.real_ip_header {
        Source::ForwardedFor => {
            let lines: Vec<&[u8]> = fields.all("x-forwarded-for").collect();
            from_lines(settings, peer, &lines)
        }
        Source::Field(name) => from_lines(settings, peer, &[fields.first(name)?]),
        Source::ProxyProtocol => {
            let header = request.connection.proxy.as_ref()?;
            let source = header.source()?;
            is_trusted(settings, peer).then_some(source)
        }
    }
}

/// The last address of the lines; with `real_ip_recursive` the last that is not trusted.
fn from_lines(settings: &Settings, peer: &Peer, lines: &[&[u8]]) -> Option<SocketAddr> {
    let mut found = None;
    let mut teller = peer.clone();
    for line in lines.iter().rev() {
        let mut rest = *line;
        loop {
            if !is_trusted(settings, &teller) {
                return found;
            }
            let Some((before, last)) = last_word(rest) else {
                return found;
            };
            let Some(address) = parse(last) else {
                return found;
            };
            found = Some(address);
            teller = Peer::Inet(address);
            if !settings.real_ip_recursive.0 {
                return found;
            }
            if before.is_empty() {
                break;
            }
            rest = before;
        }
    }
    found
}

/// The last word of a list and what stands before it; blanks and commas divide.
fn last_word(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let divides = |byte: &u8| matches!(byte, b' ' | b',');
    let end = list.iter().rposition(|byte| !divides(byte))? + 1;
    let start = list[..end].iter().rposition(divides).map_or(0, |at| at + 1);
    Some((&list[..start], &list[start..end]))
}

fn is_trusted(settings: &Settings, peer: &Peer) -> bool {
    settings.set_real_ip_from.0.iter().any(|trusted| match (trusted, peer) {
        (Trusted::Unix, Peer::Unix) => true,
        (Trusted::Networks(networks), Peer::Inet(address)) => {
            networks.iter().any(|network| network.holds(address.ip()))
        }
        _ => false,
    })
}

/// `address`, `address:port` or `[v6]:port`; a port that is not told is 0.
fn parse(word: &[u8]) -> Option<SocketAddr> {
    let word = std::str::from_utf8(word).ok()?;
    if let Some(ip) = cidr::parse_address(word) {
        return Some(SocketAddr::new(ip, 0));
    }
    let (ip, port): (IpAddr, &str) = match word.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once("]:")?;
            (cidr::parse_address(ip)?, port)
        }
        None => {
            let (ip, port) = word.split_once(':')?;
            (cidr::parse_address(ip)?, port)
        }
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port > 0)?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::{Cidr, Read};
    use perdura_conf::{Each, Flag};

    fn settings(trusted: &[&str], recursive: bool) -> Settings {
        let network = |text: &&str| match Cidr::read(text) {
            Read::Network(network) => Trusted::Networks(vec![network]),
            other => panic!("{other:?}"),
        };
        Settings {
            set_real_ip_from: Each(trusted.iter().map(network).collect()),
            real_ip_header: Source::ForwardedFor,
            real_ip_recursive: Flag(recursive),
        }
    }

    fn address(settings: &Settings, lines: &[&str]) -> Option<String> {
        let peer = Peer::Inet("127.0.0.1:1".parse().unwrap());
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        from_lines(settings, &peer, &lines).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_counts_and_with_recursion_the_last_untrusted_one() {
        let once = settings(&["127.0.0.1"], false);
        let is = |found: Option<&str>, lines: &[&str]| {
            assert_eq!(address(&once, lines).as_deref(), found, "{lines:?}");
        };
        is(Some("2.2.2.2:0"), &["1.1.1.1, 2.2.2.2"]);
        is(Some("2.2.2.2:80"), &["1.1.1.1", "2.2.2.2:80 , "]);
        is(Some("[::1]:80"), &["[::1]:80"]);
        is(None, &["[::1]"]);
        is(None, &["1.1.1.1, nonsense"]);
        is(None, &["2.2.2.2:0"]);
        is(None, &[]);
        let many = settings(&["127.0.0.1", "10.0.0.0/8"], true);
        let is = |found: &str, lines: &[&str]| {
            assert_eq!(address(&many, lines).as_deref(), Some(found), "{lines:?}");
        };
        is("2.2.2.2:0", &["1.1.1.1, 2.2.2.2, 10.0.0.1"]);
        is("2.2.2.2:0", &["1.1.1.1, 2.2.2.2", "10.0.0.1, 10.0.0.2"]);
        is("10.0.0.1:0", &["10.0.0.1, 10.0.0.2"]);
        is("10.0.0.1:0", &["nonsense, 10.0.0.1"]);
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(address(&settings(&["10.0.0.1"], true), &["1.1.1.1"]), None);
    }

    #[test]
    fn a_long_list_is_walked_once() {
        let many = settings(&["127.0.0.1", "10.0.0.0/8"], true);
        let list = "10.0.0.1, ".repeat(1000);
        assert_eq!(address(&many, &[&format!("1.1.1.1, {list}")]).as_deref(), Some("1.1.1.1:0"));
    }
}
