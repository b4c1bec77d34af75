//! Host names as clients send them: in `Host`, in an absolute target, in CONNECT.
//!
//! It validates and splits; it looks nothing up and chooses no server. [`super::framing`] calls it for
//! requests, TLS may call it for SNI.

use super::class::{self, REGNAME};
use std::borrow::Cow;

/// A host that passed, ready to choose a server with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName<'a> {
    /// Lower case, without port and without one trailing dot; an IP literal keeps its brackets.
    pub host: Cow<'a, [u8]>,
    /// The port, if one was named (`host:` names none).
    pub port: Option<u16>,
}

/// The value is not a host: the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHost;

/// Splits and checks `host[:port]` as nginx 1.29.5 and later: RFC 3986, 3.2.2, without a look at the
/// form of an address. Stricter in two points: a comma (two hosts merged into one line) and port 0 are
/// refused.
pub fn validate_host(value: &[u8]) -> Result<HostName<'_>, InvalidHost> {
    let (host, rest) = match value.first() {
        Some(b'[') => literal(value)?,
        _ => registered(value)?,
    };
    let port = match rest.split_first() {
        None => None,
        Some((b':', digits)) => port(digits)?,
        Some(_) => return Err(InvalidHost),
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return Err(InvalidHost);
    }
    let host = match host.iter().any(u8::is_ascii_uppercase) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    };
    Ok(HostName { host, port })
}

/// `[...]` and what follows it.
fn literal(value: &[u8]) -> Result<(&[u8], &[u8]), InvalidHost> {
    let close = memchr::memchr(b']', value).ok_or(InvalidHost)?;
    let (host, rest) = value.split_at(close + 1);
    let inside = host.get(1..close).unwrap_or_default();
    if !inside.iter().all(|&byte| byte != b',' && (byte == b':' || class::is(byte, REGNAME))) {
        return Err(InvalidHost);
    }
    Ok((host, rest))
}

/// A name or an IPv4 address, and what follows it.
fn registered(value: &[u8]) -> Result<(&[u8], &[u8]), InvalidHost> {
    let end = value
        .iter()
        .position(|&byte| byte == b',' || byte != b'%' && !class::is(byte, REGNAME))
        .unwrap_or(value.len());
    let (host, rest) = value.split_at(end);
    // An empty label would choose another server than the name that is meant.
    if host.windows(2).any(|pair| pair == b"..") {
        return Err(InvalidHost);
    }
    Ok((host, rest))
}

fn port(digits: &[u8]) -> Result<Option<u16>, InvalidHost> {
    if digits.is_empty() {
        return Ok(None);
    }
    let mut port = 0u16;
    for &byte in digits {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0')).ok_or(InvalidHost)?;
        port = port.checked_mul(10).and_then(|ten| ten.checked_add(digit)).ok_or(InvalidHost)?;
    }
    match port {
        0 => Err(InvalidHost),
        port => Ok(Some(port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn good(value: &str, host: &str, port: Option<u16>) {
        let found = validate_host(value.as_bytes());
        assert_eq!(found, Ok(HostName { host: Cow::Borrowed(host.as_bytes()), port }), "{value}");
    }

    #[test]
    fn hosts_are_lowered_and_lose_port_and_trailing_dot() {
        good("Example.ORG", "example.org", None);
        good("example.org.", "example.org", None);
        good("example.org.:8080", "example.org", Some(8080));
        good("example.org:", "example.org", None);
        good("a_b~c%41", "a_b~c%41", None);
        good("127.0.0.1:65535", "127.0.0.1", Some(65535));
        good("[::1]", "[::1]", None);
        good("[FE80::1]:80", "[fe80::1]", Some(80));
        good("h:0080", "h", Some(80));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for value in [
            "",
            ".",
            "..",
            "a..b",
            ":80",
            "a b",
            "a/b",
            "a,b",
            "u@h",
            "a\0b",
            "a\\b",
            "h:0",
            "h:65536",
            "h:99999",
            "h:abc",
            "h:8 0",
            "h:-1",
            "h:80:80",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "::1",
            "a[b]",
            "a?b",
            "a#b",
            "a\u{e9}b",
            "a<b",
            "h:80/",
            "[a b]",
            "a\"b",
            "[::1,::2]",
        ] {
            assert_eq!(validate_host(value.as_bytes()), Err(InvalidHost), "{value:?}");
        }
    }
}
