//! The head of a response, in nginx's order of fields.

use super::coding::{self, Coding};
use super::{charset, expiry, special, trailers};
use crate::clock::{self, Form, Wall};
use crate::config::Address;
use crate::error_log;
use crate::h1::{HeadWriter, Version, same_name};
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::response::Response;
use bytes::BytesMut;
use std::net::SocketAddr;

/// How the body behind a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body follows: HEAD, 204, 304, 1xx.
    None,
    /// As long as `Content-Length` says.
    Length,
    Chunked,
    /// Until the connection closes.
    Close,
}

/// Writes the head of `response` and says how its body is coded and framed.
pub fn write(
    request: &mut Request,
    response: &mut Response,
    out: &mut BytesMut,
) -> (Coding, Framing) {
    strip_bare(response);
    request.sent.status = response.status;
    let start = out.len();
    expiry::apply(request, response);
    let mut added = added_fields(request, response);
    let coding = coding::choose(request, response, &mut added);
    charset::apply(request, response);
    let framing = framing(request, response);
    if framing == Framing::Close {
        request.keepalive = false;
    }
    if let Err(fault) = lines(request, response, framing, &added, out) {
        // Only computed values can be refused here; what was written before stays.
        let message = format!("a response field cannot be sent: {fault:?}");
        error_log::request(request, Severity::Error, &message);
    }
    out.extend_from_slice(b"\r\n");
    if request.config.keeps_sent_head {
        request.sent.head = Some(bytes::Bytes::copy_from_slice(&out[start..]));
    }
    if request.version() < Version::HTTP_10 {
        // HTTP/0.9 has no head; its fields are for the log alone.
        out.truncate(start);
    }
    (coding, framing)
}

/// nginx strips its own answers only; an upstream's keep what they came with.
fn strip_bare(response: &mut Response) {
    if response.status == 204 && response.reason.is_none() {
        response.content_type = None;
        response.last_modified = None;
    }
}

fn framing(request: &Request, response: &mut Response) -> Framing {
    // What follows a 200 to CONNECT is the tunnel.
    let connects = request.is_connect() && (200..300).contains(&response.status);
    let is_bare = matches!(response.status, 204 | 304) || response.status < 200;
    if is_bare || request.is_head() || connects {
        return Framing::None;
    }
    if trailers::are_expected(request, response.status) {
        response.content_length = None;
    }
    match response.content_length {
        Some(_) => Framing::Length,
        None if request.version() >= Version::HTTP_11 => Framing::Chunked,
        None => Framing::Close,
    }
}

type Written = Result<(), crate::h1::UnsafeHead>;

fn lines(
    request: &Request,
    response: &Response,
    framing: Framing,
    added: &[(Vec<u8>, Vec<u8>)],
    out: &mut BytesMut,
) -> Written {
    let core = &request.location.core;
    let has = |name: &str| response.fields.iter().any(|(field, _)| same_name(field, name));
    let mut head = HeadWriter::new(out);
    match &response.reason {
        Some(reason) => head.status_line_with(response.status, reason)?,
        None => head.status_line(response.status),
    }
    if !response.left_out.server && !has("server") {
        head.field(b"Server", special::signature(core.server_tokens).as_bytes())?;
    }
    if !response.left_out.date && !has("date") {
        let mut date = Vec::with_capacity(29);
        clock::write(Wall::now(), Form::Http, &mut date);
        head.field(b"Date", &date)?;
    }
    if let Some(value) = &response.content_type
        && !value.is_empty()
    {
        head.field(b"Content-Type", value)?;
    }
    if let Some(length) = response.content_length {
        head.field(b"Content-Length", length.to_string().as_bytes())?;
    }
    if let Some(value) = &response.last_modified
        && matches!(response.status, 200 | 206 | 304)
    {
        head.field(b"Last-Modified", value)?;
    }
    // nginx completes a location that begins with a slash; another one is a field like any other.
    let completes = |location: &[u8]| location.first() == Some(&b'/') && core.absolute_redirect.0;
    if let Some(location) = response.location.as_ref().filter(|location| completes(location)) {
        head.field(b"Location", &absolute(request, location))?;
    }
    if framing == Framing::Chunked {
        head.field(b"Transfer-Encoding", b"chunked")?;
    }
    connection(request, response, &mut head)?;
    if response.varies && request.location.gzip.gzip_vary.0 {
        head.field(b"Vary", b"Accept-Encoding")?;
    }
    if let Some((name, value)) = &request.challenge {
        head.field(name.as_bytes(), value)?;
    }
    if let Some(location) = response.location.as_ref().filter(|location| !completes(location)) {
        head.field(b"Location", location)?;
    }
    // Ranges are the last filter's: what the configuration adds stands before them.
    let is_range =
        |name: &[u8]| same_name(name, "accept-ranges") || same_name(name, "content-range");
    let own = matches!(response.content, crate::response::Content::File { .. });
    let is_last = |at: usize, name: &[u8]| own && at >= response.kept && is_range(name);
    let fields = || response.fields.iter().enumerate();
    for (_, (name, value)) in fields().filter(|(at, (name, _))| !is_last(*at, name)) {
        head.field(name, value)?;
    }
    for (name, value) in added {
        head.field(name, value)?;
    }
    for (_, (name, value)) in fields().filter(|(at, (name, _))| is_last(*at, name)) {
        head.field(name, value)?;
    }
    Ok(())
}

/// What becomes of the connection.
fn connection(
    request: &Request,
    response: &Response,
    head: &mut HeadWriter<'_, BytesMut>,
) -> Written {
    match response.status {
        101 => return head.field(b"Connection", b"upgrade"),
        _ if !request.keepalive => return head.field(b"Connection", b"close"),
        _ => head.field(b"Connection", b"keep-alive")?,
    }
    match request.location.core.keepalive_timeout.header_s {
        Some(seconds) => head.field(b"Keep-Alive", format!("timeout={seconds}").as_bytes()),
        None => Ok(()),
    }
}

/// The fields of `add_header`; an empty value adds none, and one that replaces a field of its own
/// place does so.
fn added_fields(request: &Request, response: &mut Response) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut added = Vec::new();
    for field in &request.location.headers.add_header.0 {
        if !field.when.holds(response.status) {
            continue;
        }
        let value = request.value(&field.value);
        if same_name(&field.name, "last-modified") {
            // nginx replaces the field, also by nothing.
            response.last_modified = None;
            response.fields.retain(|(name, _)| !same_name(name, "last-modified"));
        }
        if same_name(&field.name, "etag") {
            response.fields.retain(|(name, _)| !same_name(name, "etag"));
        }
        if value.is_empty() {
            continue;
        }
        added.push((field.name.clone(), value));
    }
    added
}

/// A `Location` that begins with a slash gets scheme, host and port in front (`absolute_redirect`).
fn absolute(request: &Request, location: &[u8]) -> Vec<u8> {
    let core = &request.location.core;
    let scheme = request.connection.scheme();
    let mut out = format!("{scheme}://").into_bytes();
    let usual_port = if scheme == "https" { 443 } else { 80 };
    if core.server_name_in_redirect.0 {
        out.extend_from_slice(&request.server.name);
    } else if !request.host.is_empty() {
        out.extend_from_slice(&request.host);
    } else {
        let name = match &request.connection.local {
            Address::Inet(SocketAddr::V4(address)) => address.ip().to_string(),
            // nginx leaves the brackets out, so that the port looks like a part of the address.
            Address::Inet(SocketAddr::V6(address)) => format!("[{}]", address.ip()),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        out.extend_from_slice(name.as_bytes());
    }
    if let Address::Inet(address) = &request.connection.local
        && core.port_in_redirect.0
        && address.port() != usual_port
    {
        out.extend_from_slice(format!(":{}", address.port()).as_bytes());
    }
    out.extend_from_slice(location);
    out
}
