//! The grammar of `syslog:server=...`, which `access_log` and `error_log` share.

use crate::syslog::Server;
use crate::upstream::{Authority, Host};
use perdura_conf::{Fault, Word};
use std::net::SocketAddr;

/// A syslog target as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub server: Address,
    pub facility: u8,
    pub severity: u8,
    pub tag: String,
    pub with_hostname: bool,
}

/// The server's address; a name is looked up when the configuration is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Known(Server),
    Name { name: String, port: u16 },
}

/// The port of syslog (RFC 5426, 3.3).
const PORT: u16 = 514;

/// A tag at most, as in nginx.
const TAG_MAX: usize = 32;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const SEVERITIES: [&str; 8] =
    ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];

/// Whether a word is a syslog target.
pub fn is_syslog(word: &Word) -> bool {
    word.bytes.starts_with(b"syslog:")
}

/// Reads the parameters behind `syslog:`.
pub fn read(word: &Word) -> Result<Written, Fault> {
    let fault = |message: String| Fault::new(word.place, message);
    let text = word.text();
    let (mut server, mut facility, mut severity, mut tag) = (None, None, None, None);
    let mut with_hostname = true;
    for part in text["syslog:".len()..].split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let duplicate = || fault(format!("duplicate syslog \"{name}\""));
        match name {
            "server" => {
                if server.replace(address(value, word)?).is_some() {
                    return Err(duplicate());
                }
            }
            "facility" => {
                let known = FACILITIES.iter().position(|known| *known == value);
                let unknown = || fault(format!("unknown syslog facility \"{value}\""));
                if facility.replace(known.ok_or_else(unknown)? as u8).is_some() {
                    return Err(duplicate());
                }
            }
            "severity" => {
                let known = SEVERITIES.iter().position(|known| *known == value);
                let unknown = || fault(format!("unknown syslog severity \"{value}\""));
                if severity.replace(known.ok_or_else(unknown)? as u8).is_some() {
                    return Err(duplicate());
                }
            }
            "tag" => {
                if tag.replace(checked_tag(value, word)?).is_some() {
                    return Err(duplicate());
                }
            }
            "nohostname" if part == "nohostname" => with_hostname = false,
            _ => return Err(fault(format!("unknown syslog parameter \"{part}\""))),
        }
    }
    let server = server.ok_or_else(|| fault("no syslog server specified".to_owned()))?;
    Ok(Written {
        server,
        facility: facility.unwrap_or(23),
        severity: severity.unwrap_or(6),
        tag: tag.unwrap_or_else(|| "perdura".to_owned()),
        with_hostname,
    })
}

fn checked_tag(value: &str, word: &Word) -> Result<String, Fault> {
    if value.len() > TAG_MAX {
        return Err(Fault::new(word.place, "syslog tag length exceeds 32"));
    }
    if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let message = "syslog \"tag\" only allows alphanumeric characters and underscore";
        return Err(Fault::new(word.place, message));
    }
    Ok(value.to_owned())
}

fn address(value: &str, word: &Word) -> Result<Address, Fault> {
    let parsed = Authority::parse(value.as_bytes())
        .map_err(|what| Fault::new(word.place, format!("{what} in syslog server \"{value}\"")))?;
    let port = parsed.port.unwrap_or(PORT);
    Ok(match parsed.host {
        Host::Ip(ip) => Address::Known(Server::Inet(SocketAddr::new(ip, port))),
        Host::Unix(path) => Address::Known(Server::Unix(path)),
        Host::Name(name) => Address::Name { name, port },
    })
}
