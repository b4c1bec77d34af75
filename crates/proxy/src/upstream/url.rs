//! The parts of a `proxy_pass` URL and of a server's address.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

/// Where a URL points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name to look up, or the name of a group; in lower case.
    Name(String),
    Ip(IpAddr),
    Unix(PathBuf),
}

/// A server's address as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    pub host: Host,
    pub port: Option<u16>,
    /// The text, for `$proxy_host` and logs.
    pub text: String,
}

/// What is wrong with an address, in nginx's words.
pub type UrlFault = &'static str;

/// A URL behind its scheme, cut up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub authority: Authority,
    /// What follows the authority, with its slash; empty when there is nothing.
    pub uri: Vec<u8>,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme that a URL begins with, and what follows its slashes.
    pub fn split(url: &[u8]) -> Option<(Self, &[u8])> {
        [Self::Http, Self::Https].into_iter().find_map(|scheme| {
            let (prefix, rest) = url.split_at_checked(scheme.prefix().len())?;
            prefix.eq_ignore_ascii_case(scheme.prefix().as_bytes()).then_some((scheme, rest))
        })
    }

    /// With the slashes behind it.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }

    pub fn port(self) -> u16 {
        match self {
            Self::Http => HTTP_PORT,
            Self::Https => 443,
        }
    }
}

/// The port of `http`.
pub const HTTP_PORT: u16 = 80;

impl Authority {
    /// Reads `host`, `host:port`, `[v6]:port` or `unix:/path`.
    pub fn parse(text: &[u8]) -> Result<Self, UrlFault> {
        let text = std::str::from_utf8(text).map_err(|_| "invalid host")?;
        if let Some(path) = strip_unix(text) {
            if path.is_empty() {
                return Err("no path in the unix domain socket");
            }
            if path.len() > UNIX_PATH_MAX {
                return Err("too long path in the unix domain socket");
            }
            let host = Host::Unix(PathBuf::from(path));
            return Ok(Self { host, port: None, text: "localhost".to_owned() });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, after) = rest.split_once(']').ok_or("invalid host")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None if after.is_empty() => None,
                None => return Err("invalid host"),
            };
            if inner.is_empty() {
                return Err("no host");
            }
            let ip: Ipv6Addr = inner.parse().map_err(|_| "invalid IPv6 address")?;
            return Ok(Self { host: Host::Ip(IpAddr::V6(ip)), port, text: text.to_owned() });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("no host");
        }
        let host = match name.parse() {
            Ok(ip) => Host::Ip(IpAddr::V4(ip)),
            Err(_) => Host::Name(name.to_ascii_lowercase()),
        };
        Ok(Self { host, port, text: text.to_owned() })
    }
}

/// Bytes of a unix socket's path, as `sun_path` has them.
const UNIX_PATH_MAX: usize = 107;

fn strip_unix(text: &str) -> Option<&str> {
    let (scheme, path) = text.split_at_checked(5)?;
    scheme.eq_ignore_ascii_case("unix:").then_some(path)
}

fn parse_port(text: &str) -> Result<u16, UrlFault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0).ok_or("invalid port")
}

impl Url {
    /// Reads a URL behind its scheme. A unix socket's path ends at a colon.
    pub fn parse(rest: &[u8]) -> Result<Self, UrlFault> {
        let is_unix = rest.len() >= 5 && rest[..5].eq_ignore_ascii_case(b"unix:");
        if is_unix {
            let path = &rest[5..];
            let end = path.iter().position(|&byte| byte == b':');
            let (path, uri) = match end {
                Some(end) => (&path[..end], &path[end + 1..]),
                None => (path, &b""[..]),
            };
            let authority = Authority::parse(&[b"unix:", path].concat())?;
            return Ok(Self { authority, uri: uri.to_vec() });
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (authority, uri) = rest.split_at(end.unwrap_or(rest.len()));
        Ok(Self { authority: Authority::parse(authority)?, uri: uri.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_up_as_nginx_does() {
        let parse = |text: &str| Authority::parse(text.as_bytes());
        assert_eq!(parse("a:80").map(|a| a.port), Ok(Some(80)));
        assert_eq!(parse("[::1]:8080").map(|a| a.port), Ok(Some(8080)));
        assert_eq!(parse("10.0.0.1").map(|a| a.host), Ok(Host::Ip("10.0.0.1".parse().unwrap())));
        assert_eq!(parse(":80"), Err("no host"));
        assert_eq!(parse("[]:80"), Err("no host"));
        assert_eq!(parse("[]:x"), Err("invalid port"));
        assert_eq!(parse("[x]:80"), Err("invalid IPv6 address"));
        assert_eq!(parse("a:0"), Err("invalid port"));
        assert_eq!(parse("a:65536"), Err("invalid port"));
        assert_eq!(parse("a:+1"), Err("invalid port"));
        assert_eq!(parse("unix:"), Err("no path in the unix domain socket"));
    }

    #[test]
    fn a_unix_url_has_its_uri_behind_a_colon() {
        let url = Url::parse(b"unix:/tmp/s:/x/").unwrap();
        assert_eq!(url.authority.host, Host::Unix("/tmp/s".into()));
        assert_eq!(url.uri, b"/x/");
        assert_eq!(Url::parse(b"h:1/a?b").unwrap().uri, b"/a?b");
    }
}
