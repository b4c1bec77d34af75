//! `$invalid_referer`: whether a request comes from where `valid_referers` does not allow.

use crate::config::Address;
use crate::modules::referer::Referers;
use crate::request::Request;
use std::sync::Arc;

/// Whether the request's `Referer` is not among the valid ones.
pub fn is_invalid(request: &Request) -> bool {
    let Some(valid) = &request.location.referer.valid_referers else {
        return false;
    };
    if !valid.judges() {
        return false;
    }
    match request.head.fields().first("referer") {
        None => !valid.none,
        Some(referer) => match behind_scheme(referer) {
            None => !valid.blocked,
            Some(rest) => !is_valid(request, valid, rest),
        },
    }
}

/// The shortest value that is looked at: `http://i.ru`.
const LENGTH_MIN: usize = 11;

/// A host is looked up to this length.
const HOST_MAX: usize = 256;

fn behind_scheme(referer: &[u8]) -> Option<&[u8]> {
    if referer.len() < LENGTH_MIN {
        return None;
    }
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = referer.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

fn is_valid(request: &Request, valid: &Referers, rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b':')).unwrap_or(rest.len());
    if end > HOST_MAX {
        return false;
    }
    let host = rest[..end].to_ascii_lowercase();
    if let Some(path) = valid.hosts.find(&host) {
        let from = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        return rest[from..].starts_with(path);
    }
    // A pattern that cannot be tried to its end fits nothing.
    valid.server_names && names_server(request, &host)
        || valid.patterns.iter().any(|pattern| pattern.is_match(rest).unwrap_or(false))
}

/// Whether a host is one of this server's names.
fn names_server(request: &Request, host: &[u8]) -> bool {
    let facts = &request.connection;
    let local = match &facts.local {
        Address::Inet(address) => Some(*address),
        Address::Unix(_) => None,
    };
    let endpoint = request.config.endpoint(&facts.socket, local);
    let found = endpoint.and_then(|endpoint| endpoint.names.find(host).ok().flatten());
    found.is_some_and(|(server, _)| Arc::ptr_eq(server, &request.server))
}
