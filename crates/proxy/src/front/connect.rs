//! Whether a CONNECT may be looked at further: what the head alone tells.
//!
//! [`super::answer`] asks before the phases run. Not here: where it leads (`upstream::tunnel`).

use crate::error_log;
use crate::h1::{BodyFraming, Version, validate_host};
use crate::modules::error_log::Severity;
use crate::request::Request;
use std::net::Ipv6Addr;

/// The status that refuses a CONNECT at once, logged; `None` when the phases may have it.
pub fn refused(request: &Request) -> Option<u16> {
    let (status, words) = fault(request)?;
    error_log::request(request, Severity::Info, words);
    Some(status)
}

fn fault(request: &Request) -> Option<(u16, &'static str)> {
    if !request.server.connects || request.version() != Version::HTTP_11 {
        return Some((405, "client sent CONNECT method"));
    }
    if !matches!(request.framing, BodyFraming::None | BodyFraming::Length(0)) {
        return Some((400, "client sent CONNECT method with a body"));
    }
    if request.port.is_none() {
        return Some((400, "client sent CONNECT method without a port"));
    }
    if request.host.first() == Some(&b'[') && !is_ipv6(&request.host) {
        return Some((400, "client sent invalid host in request line"));
    }
    // Whoever looks at `Host` alone would take it for another target (RFC 9112, 3.2).
    if request.server.tunnel.tunnel_guard.0 && !is_named_by_host(request) {
        let words = "client sent CONNECT method with another host in its \"Host\" header";
        return Some((400, words));
    }
    None
}

fn is_ipv6(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let text = inner.and_then(|inner| std::str::from_utf8(inner).ok());
    text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Whether `Host` names the target; the port may be left out.
fn is_named_by_host(request: &Request) -> bool {
    let value = request.head.fields().first("host").unwrap_or_default();
    validate_host(value).is_ok_and(|named| {
        named.host.as_ref() == &request.host[..]
            && named.port.is_none_or(|port| Some(port) == request.port)
    })
}
