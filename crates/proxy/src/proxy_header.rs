//! The PROXY protocol's header, in both its versions: who the client is, told by a balancer in front
//! before the first byte of HTTP.
//!
//! Pure parsing; `front` reads. Version 1 is a line of text, version 2 a block with a signature, whose
//! end may hold typed values (TLVs).

use crate::cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The addresses as they were written; version 2 has none of its own writing.
    pub addresses: [String; 2],
    pub ports: [u16; 2],
    values: Vec<u8>,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    More,
    /// The header took this many bytes; it may tell nothing (`UNKNOWN`, `LOCAL`).
    Header(Option<ProxyHeader>, usize),
}

/// Why bytes are no header, in nginx's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// The first line, as far as it goes.
    Broken(Vec<u8>),
    Version(u8),
    TooLarge,
    /// A typed value goes beyond the end.
    Values,
}

impl HeaderFault {
    pub fn words(&self) -> String {
        match self {
            Self::Broken(line) => format!("broken header: \"{}\"", String::from_utf8_lossy(line)),
            Self::Version(version) => format!("unknown PROXY protocol version: {version}"),
            Self::TooLarge => "PROXY protocol header is too large".to_owned(),
            Self::Values => "PROXY protocol TLV is longer than its header".to_owned(),
        }
    }
}

/// The longest header of version 1, its CR LF included.
const LINE_MAX: usize = 107;

/// The longest header of version 2 that is read, as in nginx.
pub const HEADER_MAX: usize = 4096;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED_BYTES: usize = 16;

impl ProxyHeader {
    /// Reads the header at the beginning of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, HeaderFault> {
        let start = &bytes[..bytes.len().min(SIGNATURE.len())];
        if *start == SIGNATURE[..start.len()] {
            return if start.len() < SIGNATURE.len() { Ok(Parsed::More) } else { binary(bytes) };
        }
        text(bytes)
    }

    /// The client, when its address is one.
    pub fn source(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(cidr::parse_address(&self.addresses[0])?, self.ports[0]))
    }

    /// The first typed value of this type; behind the type of TLS also those inside it.
    pub fn value(&self, kind: u8) -> Option<&[u8]> {
        find(&self.values, kind)
    }

    /// A value inside the one of TLS.
    pub fn tls_value(&self, kind: u8) -> Option<&[u8]> {
        find(self.value(TLS)?.get(TLS_FIXED_BYTES..)?, kind)
    }

    /// Whether the client's certificate was good: 0 says yes.
    pub fn tls_verify(&self) -> Option<u32> {
        let bytes = self.value(TLS)?.get(1..TLS_FIXED_BYTES)?;
        bytes.try_into().ok().map(u32::from_be_bytes)
    }
}

/// `PP2_TYPE_SSL`: a byte of what was used, four of the verification's result, then more values.
const TLS: u8 = 0x20;
const TLS_FIXED_BYTES: usize = 5;

fn find(mut values: &[u8], kind: u8) -> Option<&[u8]> {
    while let Some((found, value, rest)) = next_value(values) {
        if found == kind {
            return Some(value);
        }
        values = rest;
    }
    None
}

/// The first value: its type, its bytes and what follows.
fn next_value(values: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = values.split_at_checked(3)?;
    let (value, rest) =
        rest.split_at_checked(usize::from(u16::from_be_bytes([head[1], head[2]])))?;
    Some((head[0], value, rest))
}

fn are_whole(mut values: &[u8]) -> bool {
    while let Some((_, _, rest)) = next_value(values) {
        values = rest;
    }
    values.is_empty()
}

fn text(bytes: &[u8]) -> Result<Parsed, HeaderFault> {
    let known = &bytes[..bytes.len().min(LINE_MAX)];
    let broken = || {
        let end = known.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        HeaderFault::Broken(known[..end.unwrap_or(known.len())].to_vec())
    };
    let start = &known[..known.len().min(6)];
    if *start != b"PROXY "[..start.len()] {
        return Err(broken());
    }
    let Some(end) = known.windows(2).position(|pair| pair == b"\r\n") else {
        let is_line = known.len() < LINE_MAX && !known.contains(&b'\n');
        return if is_line { Ok(Parsed::More) } else { Err(broken()) };
    };
    let line = known[..end].strip_prefix(b"PROXY ").ok_or_else(broken)?;
    if line.starts_with(b"UNKNOWN") {
        return Ok(Parsed::Header(None, end + 2));
    }
    let header = line_of(line).ok_or_else(broken)?;
    Ok(Parsed::Header(Some(header), end + 2))
}

fn line_of(line: &[u8]) -> Option<ProxyHeader> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    if !matches!(words.next()?, "TCP4" | "TCP6") {
        return None;
    }
    let mut address = || {
        let word = words.next()?;
        let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        word.bytes().all(is_part).then(|| word.to_owned())
    };
    let addresses = [address()?, address()?];
    let mut port = || {
        let word = words.next()?;
        let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        word.parse().ok().filter(|_| digits)
    };
    let ports = [port()?, port()?];
    words.next().is_none().then_some(ProxyHeader { addresses, ports, values: Vec::new() })
}

fn binary(bytes: &[u8]) -> Result<Parsed, HeaderFault> {
    let Some(fixed) = bytes.get(..FIXED_BYTES) else {
        return Ok(Parsed::More);
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 15);
    if version != 2 {
        return Err(HeaderFault::Version(version));
    }
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_MAX {
        return Err(HeaderFault::TooLarge);
    }
    let Some(body) = bytes.get(FIXED_BYTES..length) else {
        return Ok(Parsed::More);
    };
    // Only PROXY of a stream tells something; LOCAL is the balancer's own health check.
    let (family, transport) = (fixed[13] >> 4, fixed[13] & 15);
    if command != 1 || transport != 1 || !matches!(family, 1 | 2) {
        return Ok(Parsed::Header(None, length));
    }
    let size = if family == 1 { 4 } else { 16 };
    let (Some(addresses), Some(values)) = (body.get(..2 * size + 4), body.get(2 * size + 4..))
    else {
        return Err(HeaderFault::Values);
    };
    if !are_whole(values) {
        return Err(HeaderFault::Values);
    }
    let address = |at: usize| ip_of(&addresses[at..at + size]).map(|ip| ip.to_string());
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let (Some(source), Some(target)) = (address(0), address(size)) else {
        return Err(HeaderFault::Values);
    };
    let ports = [port(2 * size), port(2 * size + 2)];
    let header = ProxyHeader { addresses: [source, target], ports, values: values.to_vec() };
    Ok(Parsed::Header(Some(header), length))
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| IpAddr::V4(Ipv4Addr::from(four))),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|sixteen| IpAddr::V6(Ipv6Addr::from(sixteen))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    const FOUR: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 0];

    #[test]
    fn a_line_is_read_alike_at_every_split() {
        let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 80 256\r\n";
        for end in 0..line.len() {
            assert_eq!(ProxyHeader::parse(&line[..end]), Ok(Parsed::More), "{end}");
        }
        let Ok(Parsed::Header(Some(header), length)) = ProxyHeader::parse(line) else {
            panic!("no header");
        };
        assert_eq!(length, line.len());
        assert_eq!(header.source(), Some("1.2.3.4:80".parse().unwrap()));
        assert_eq!((header.addresses[1].as_str(), header.ports[1]), ("5.6.7.8", 256));
    }

    #[test]
    fn lines_that_are_none_are_broken() {
        let long = format!("PROXY UNKNOWN{}\r\n", "x".repeat(LINE_MAX));
        for bad in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP5 1.2.3.4 5.6.7.8 80 256\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",
            "PROXY TCP4 1.2.3.4 x.6.7.8 80 256\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 256 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 80 256\n",
            &long,
        ] {
            let parsed = ProxyHeader::parse(bad.as_bytes());
            assert!(matches!(parsed, Err(HeaderFault::Broken(_))), "{bad}: {parsed:?}");
        }
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN x\r\nGET"), Ok(Parsed::Header(None, 17)));
    }

    #[test]
    fn a_block_is_read_with_its_values() {
        let values = [&[2, 0, 1, b'h', 0x20, 0, 10][..], &[1, 0, 0, 0, 0, 0x22, 0, 2, b'c', b'n']];
        let body = [&FOUR[..], &values.concat()].concat();
        let bytes = v2(1, 0x11, &body);
        for end in 0..bytes.len() {
            assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(Parsed::More), "{end}");
        }
        let Ok(Parsed::Header(Some(header), length)) = ProxyHeader::parse(&bytes) else {
            panic!("no header");
        };
        assert_eq!(length, bytes.len());
        assert_eq!(header.source(), Some("1.2.3.4:80".parse().unwrap()));
        assert_eq!(header.value(2), Some(&b"h"[..]));
        assert_eq!(header.tls_value(0x22), Some(&b"cn"[..]));
        assert_eq!(header.tls_verify(), Some(0));
        assert_eq!(header.value(5), None);
    }

    #[test]
    fn blocks_that_tell_nothing_or_lie() {
        assert_eq!(ProxyHeader::parse(&v2(0, 0, &[])), Ok(Parsed::Header(None, 16)));
        assert_eq!(ProxyHeader::parse(&v2(1, 0x12, &FOUR)), Ok(Parsed::Header(None, 28)));
        assert_eq!(ProxyHeader::parse(&v2(1, 0x11, &FOUR[..11])), Err(HeaderFault::Values));
        let over = [&FOUR[..], &[1, 0, 9, 0]].concat();
        assert_eq!(ProxyHeader::parse(&v2(1, 0x11, &over)), Err(HeaderFault::Values));
        let mut other = v2(1, 0x11, &FOUR);
        other[12] = 0x31;
        assert_eq!(ProxyHeader::parse(&other), Err(HeaderFault::Version(3)));
        let large = v2(1, 0x11, &[0; HEADER_MAX]);
        assert_eq!(ProxyHeader::parse(&large), Err(HeaderFault::TooLarge));
    }

    #[test]
    fn any_byte_may_be_any_value() {
        let bytes = v2(1, 0x21, &[7; 60]);
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut hostile = bytes.clone();
                hostile[at] = value;
                let _ = ProxyHeader::parse(&hostile);
            }
        }
    }
}
