//! Variables: what a `$name` of the configuration gives for a request.
//!
//! Names are bound once, when the configuration is built; here is no look-up by name but that of
//! header fields, arguments and cookies.

pub mod manual;

use crate::clock::{self, Form, Wall};
use crate::config::geo::Geo;
use crate::config::split::Split;
use crate::config::{Address, Map};
use crate::counters;
use crate::file_path;
use crate::h1::same_name;
use crate::proxy_header::ProxyHeader;
use crate::referer;
use crate::request::{Attempt, Body, ErrorPage, Peer, Request};
use crate::secure_link;
use crate::tls;
use crate::uri;
use bytes::Bytes;
use perdura_conf::{Part, Template, VariableId};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a name means.
#[derive(Clone)]
pub enum Binding {
    Getter(Getter),
    /// A value of the client's TLS.
    Tls(tls::Value),
    /// `$http_NAME`, with dashes.
    Field(String),
    SentField(String),
    UpstreamField(String),
    Argument(Vec<u8>),
    Cookie(Vec<u8>),
    /// `$proxy_protocol_tlv_NAME`.
    ProxyValue(String),
    UpstreamCookie(Vec<u8>),
    Map(Arc<Map>),
    Geo(Arc<Geo>),
    Split(Arc<Split>),
    /// Given a value by `set`; until then it has that of its other meaning, if it has one.
    Set {
        name: Box<str>,
        before: Option<Box<Binding>>,
    },
    /// Set by a named group of a regular expression.
    Captured,
    /// Known only when a tunnel has ended; `-` before.
    Late(Late),
}

/// Appends a value to the buffer; `false` when the variable has none.
type Getter = fn(&Request, &mut Vec<u8>) -> bool;

/// Values that a tunnel's log line gets when the tunnel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Late {
    BytesSent = 1,
    BodyBytesSent,
    RequestTime,
    UpstreamResponseTime,
    UpstreamBytesSent,
    UpstreamBytesReceived,
    TimeLocal,
    TimeIso8601,
    Msec,
    CloseReason,
    ConnectionTime,
}

impl Late {
    pub const ALL: [Late; 11] = [
        Late::BytesSent,
        Late::BodyBytesSent,
        Late::RequestTime,
        Late::UpstreamResponseTime,
        Late::UpstreamBytesSent,
        Late::UpstreamBytesReceived,
        Late::TimeLocal,
        Late::TimeIso8601,
        Late::Msec,
        Late::CloseReason,
        Late::ConnectionTime,
    ];

    pub fn of_byte(byte: u8) -> Option<Late> {
        Self::ALL.into_iter().find(|late| *late as u8 == byte)
    }
}

/// Maps inside maps, at most; nginx calls deeper ones a cycle.
const MAP_DEPTH_MAX: u32 = 100;

impl Binding {
    /// The meaning of `name`, if it has one without a block of the configuration.
    pub fn of(name: &str) -> Option<Binding> {
        if let Some((_, binding)) = late_names().into_iter().find(|(known, _)| *known == name) {
            return Some(Binding::Late(binding));
        }
        if let Some((_, getter)) = GETTERS.iter().find(|(known, _)| *known == name) {
            return Some(Binding::Getter(*getter));
        }
        if let Some((_, value)) = tls::VALUES.iter().find(|(known, _)| *known == name) {
            return Some(Binding::Tls(*value));
        }
        let rest = |prefix| name.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty());
        let dashed = |rest: &str| rest.replace('_', "-");
        let bytes = |rest: &str| rest.as_bytes().to_vec();
        None.or_else(|| rest("http_").map(|name| Binding::Field(dashed(name))))
            .or_else(|| rest("sent_http_").map(|name| Binding::SentField(dashed(name))))
            .or_else(|| rest("upstream_http_").map(|name| Binding::UpstreamField(dashed(name))))
            .or_else(|| rest("upstream_cookie_").map(|name| Binding::UpstreamCookie(bytes(name))))
            .or_else(|| rest("arg_").map(|name| Binding::Argument(bytes(name))))
            .or_else(|| {
                rest("proxy_protocol_tlv_").map(|name| Binding::ProxyValue(name.to_owned()))
            })
            .or_else(|| rest("cookie_").map(|name| Binding::Cookie(bytes(name))))
    }
}

/// The names of all variables that are no field, argument or cookie.
#[cfg(test)]
fn own_names() -> Vec<&'static str> {
    let mut names: Vec<_> = GETTERS.iter().map(|(name, _)| *name).collect();
    names.extend(tls::VALUES.iter().map(|(name, _)| *name));
    names.extend(late_names().map(|(name, _)| name));
    names
}

fn late_names() -> [(&'static str, Late); 11] {
    [
        ("bytes_sent", Late::BytesSent),
        ("body_bytes_sent", Late::BodyBytesSent),
        ("request_time", Late::RequestTime),
        ("upstream_response_time", Late::UpstreamResponseTime),
        ("upstream_bytes_sent", Late::UpstreamBytesSent),
        ("upstream_bytes_received", Late::UpstreamBytesReceived),
        ("time_local", Late::TimeLocal),
        ("time_iso8601", Late::TimeIso8601),
        ("msec", Late::Msec),
        ("tunnel_close_reason", Late::CloseReason),
        ("connection_time", Late::ConnectionTime),
    ]
}

impl Request {
    /// Appends the value of a template; a variable without a value adds nothing.
    pub fn evaluate(&self, template: &Template, out: &mut Vec<u8>) {
        for part in template.parts() {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(id) => {
                    self.variable(*id, out);
                }
                Part::Capture(group) => self.capture(*group, out),
            }
        }
    }

    /// The value of a template.
    pub fn value(&self, template: &Template) -> Vec<u8> {
        let mut out = Vec::new();
        self.evaluate(template, &mut out);
        out
    }

    /// Like [`Request::evaluate`], but captures are escaped as arguments when the client had escaped
    /// anything in the path: they hold what it meant, decoded.
    pub fn evaluate_quoted(&self, template: &Template, out: &mut Vec<u8>) {
        if !self.head.is_quoted_for_args() {
            return self.evaluate(template, out);
        }
        for part in template.parts() {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Variable(id) => {
                    self.variable(*id, out);
                }
                Part::Capture(group) => {
                    let mut value = Vec::new();
                    self.capture(*group, &mut value);
                    out.extend_from_slice(&uri::escape(uri::Escape::Args, &value));
                }
            }
        }
    }

    fn capture(&self, group: u8, out: &mut Vec<u8>) {
        if let Some(captures) = &*self.captures.borrow()
            && let Some(text) = captures.group(usize::from(group))
        {
            out.extend_from_slice(text);
        }
    }

    /// Appends the value of a variable; `false` when it has none.
    pub fn variable(&self, id: VariableId, out: &mut Vec<u8>) -> bool {
        match self.config.bindings.get(id.0 as usize) {
            Some(binding) => self.bound(id, binding, out),
            None => false,
        }
    }

    fn bound(&self, id: VariableId, binding: &Binding, out: &mut Vec<u8>) -> bool {
        match binding {
            Binding::Set { name, before } => {
                let known = self.memo.borrow().get(&id).cloned().flatten();
                match (known, before) {
                    (Some(value), _) => put(Some(&value), out),
                    (None, Some(before)) => self.bound(id, before, out),
                    (None, None) => self.unset(id, name),
                }
            }
            Binding::Getter(getter) => getter(self, out),
            Binding::Tls(value) => match self.connection.tls().and_then(value) {
                Some(value) => put(Some(value.as_bytes()), out),
                None => false,
            },
            Binding::Field(name) => {
                let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
                join(self.head.fields().all(name), separator, out)
            }
            Binding::SentField(name) => sent_field(self, name, out),
            Binding::UpstreamField(name) => match &self.upstream_head {
                Some(head) => join(head.fields().all(name), b", ", out),
                None => false,
            },
            Binding::UpstreamCookie(name) => self.upstream_head.as_ref().is_some_and(|head| {
                let cookies = head.fields().all("set-cookie");
                put(cookies.filter_map(|line| cookie_in(line, name)).next(), out)
            }),
            Binding::Argument(name) => put(uri::argument(&self.args, name), out),
            Binding::Cookie(name) => {
                let lines = self.head.fields().all("cookie");
                put(lines.filter_map(|line| cookie_in(line, name)).next(), out)
            }
            Binding::ProxyValue(name) => told_value(self, name, out),
            Binding::Map(map) => self.mapped(id, map, out),
            Binding::Geo(geo) => self
                .remembered(id, out, |request| Some(geo.find(request.address_for(geo)).to_vec())),
            Binding::Split(split) => self.remembered(id, out, |request| {
                split.find(&request.value(&split.source)).map(<[u8]>::to_vec)
            }),
            Binding::Captured => match self.memo.borrow().get(&id) {
                Some(Some(value)) => put(Some(value), out),
                _ => false,
            },
            Binding::Late(late) => self.late(*late, out),
        }
    }

    /// A variable of `set` that has no value yet is empty.
    fn unset(&self, id: VariableId, name: &str) -> bool {
        if self.location.rewrite.uninitialized_variable_warn.0 {
            let message = format!("using uninitialized \"{name}\" variable");
            crate::error_log::request(self, crate::modules::error_log::Severity::Warn, &message);
        }
        self.memo.borrow_mut().insert(id, Some(Bytes::new()));
        true
    }

    /// A value that is found once for a request; without one the variable is empty.
    fn remembered(
        &self,
        id: VariableId,
        out: &mut Vec<u8>,
        find: impl FnOnce(&Self) -> Option<Vec<u8>>,
    ) -> bool {
        let known = self.memo.borrow().get(&id).cloned().flatten();
        let value = known.unwrap_or_else(|| Bytes::from(find(self).unwrap_or_default()));
        self.memo.borrow_mut().insert(id, Some(value.clone()));
        put(Some(&value), out)
    }

    /// The address that a `geo` looks at; none when the client or the text has none.
    fn address_for(&self, geo: &Geo) -> Option<IpAddr> {
        match &geo.source {
            Some(source) => {
                let text = self.value(source);
                crate::cidr::parse_address(std::str::from_utf8(&text).ok()?)
            }
            None => match self.peer() {
                Peer::Inet(address) => Some(address.ip()),
                Peer::Unix => None,
            },
        }
    }

    fn mapped(&self, id: VariableId, map: &Arc<Map>, out: &mut Vec<u8>) -> bool {
        if !map.volatile
            && let Some(known) = self.memo.borrow().get(&id)
        {
            return put(known.as_deref(), out);
        }
        if self.map_depth.get() >= MAP_DEPTH_MAX {
            return false;
        }
        self.map_depth.set(self.map_depth.get() + 1);
        let value = self.map_value(map);
        self.map_depth.set(self.map_depth.get() - 1);
        out.extend_from_slice(&value);
        if !map.volatile {
            self.memo.borrow_mut().insert(id, Some(Bytes::from(value)));
        }
        true
    }

    fn map_value(&self, map: &Map) -> Vec<u8> {
        use crate::config::map::Hit;
        let key = self.value(&map.source);
        match map.find(&key) {
            Ok(Hit::Value(template)) => self.value(template),
            Ok(Hit::Pattern(template, regex, captures)) => {
                self.take_captures(regex, captures);
                self.value(template)
            }
            Err(why) => {
                crate::error_log::request(self, crate::modules::error_log::Severity::Alert, &why);
                self.value(&map.default)
            }
        }
    }

    /// A late value of a request that is no tunnel.
    fn late(&self, late: Late, out: &mut Vec<u8>) -> bool {
        match late {
            Late::BytesSent => number(self.sent.head_bytes + self.sent.body_bytes, out),
            Late::BodyBytesSent => number(self.sent.body_bytes, out),
            Late::RequestTime => seconds(self.started.elapsed(), out),
            Late::UpstreamResponseTime => times(self, |attempt| attempt.response_time, out),
            Late::UpstreamBytesSent => numbers(self, |attempt| attempt.bytes_sent, out),
            Late::UpstreamBytesReceived => numbers(self, |attempt| attempt.bytes_received, out),
            Late::TimeLocal => moment(Form::Log, out),
            Late::TimeIso8601 => moment(Form::Iso8601, out),
            Late::Msec => msec(out),
            Late::CloseReason => put(self.close_reason.map(str::as_bytes), out),
            Late::ConnectionTime => seconds(self.connection.accepted.elapsed(), out),
        }
    }
}

/// A body that was read into memory; one that was spilled to a file or passed on as it came has no
/// value.
fn request_body(request: &Request, out: &mut Vec<u8>) -> bool {
    match &request.body {
        Body::Memory(bytes) if !bytes.is_empty() => put(Some(bytes), out),
        _ => false,
    }
}

fn has_target(request: &Request) -> bool {
    request.refused.as_ref().is_none_or(|refused| refused.has_target)
}

fn put(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    match value {
        Some(value) => {
            out.extend_from_slice(value);
            true
        }
        None => false,
    }
}

fn text(value: &str, out: &mut Vec<u8>) -> bool {
    put(Some(value.as_bytes()), out)
}

fn number(value: u64, out: &mut Vec<u8>) -> bool {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
    put(Some(text.as_bytes()), out)
}

/// Seconds with three digits behind the point, as nginx writes spans.
pub fn seconds(span: Duration, out: &mut Vec<u8>) -> bool {
    text(&format!("{}.{:03}", span.as_secs(), span.subsec_millis()), out)
}

fn moment(form: Form, out: &mut Vec<u8>) -> bool {
    clock::write(Wall::now(), form, out);
    true
}

fn msec(out: &mut Vec<u8>) -> bool {
    let now = Wall::now();
    text(&format!("{}.{:03}", now.seconds, now.millis), out)
}

fn join<'v>(values: impl Iterator<Item = &'v [u8]>, separator: &[u8], out: &mut Vec<u8>) -> bool {
    let mut found = false;
    for value in values {
        if found {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(value);
        found = true;
    }
    found
}

/// The value of a cookie in one `Cookie` or `Set-Cookie` line.
fn cookie_in<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    line.split(|&byte| byte == b';' || byte == b',').find_map(|part| {
        let (found, value) = part.trim_ascii().split_at_checked(name.len())?;
        if !found.eq_ignore_ascii_case(name) {
            return None;
        }
        value.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii)
    })
}

fn sent_field(request: &Request, name: &str, out: &mut Vec<u8>) -> bool {
    let Some(head) = &request.sent.head else {
        return false;
    };
    if name == "connection" {
        // When the log is written, nginx has done with the connection's keeping.
        return text(if request.sent.status == 101 { "upgrade" } else { "close" }, out);
    }
    let values = head.split(|&byte| byte == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        same_name(&line[..colon], name).then(|| line[colon + 1..].trim_ascii())
    });
    join(values, b", ", out)
}

/// One value for each attempt: `a, b`, and `a : b` across an internal redirect.
fn attempts(
    request: &Request,
    out: &mut Vec<u8>,
    mut one: impl FnMut(&Attempt, &mut Vec<u8>),
) -> bool {
    for (index, attempt) in request.attempts.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(if attempt.after_redirect { b" : " } else { b", " });
        }
        one(attempt, out);
    }
    !request.attempts.is_empty()
}

fn times(request: &Request, of: impl Fn(&Attempt) -> Option<Duration>, out: &mut Vec<u8>) -> bool {
    attempts(request, out, |attempt, out| match of(attempt) {
        Some(span) => {
            seconds(span, out);
        }
        None => out.push(b'-'),
    })
}

fn numbers(request: &Request, of: impl Fn(&Attempt) -> u64, out: &mut Vec<u8>) -> bool {
    attempts(request, out, |attempt, out| {
        number(of(attempt), out);
    })
}

fn server_address(request: &Request, out: &mut Vec<u8>) -> bool {
    match &request.connection.local {
        Address::Inet(address) => text(&address.ip().to_string(), out),
        Address::Unix(path) => text(&format!("unix:{}", path.display()), out),
    }
}

fn server_port(request: &Request, out: &mut Vec<u8>) -> bool {
    match &request.connection.local {
        Address::Inet(address) => number(u64::from(address.port()), out),
        Address::Unix(_) => true,
    }
}

fn remote_port(request: &Request, out: &mut Vec<u8>) -> bool {
    match request.peer() {
        // A proxy in front need not have told it.
        Peer::Inet(address) if address.port() == 0 => true,
        Peer::Inet(address) => number(u64::from(address.port()), out),
        Peer::Unix => true,
    }
}

/// A value of the PROXY protocol's header.
fn told(request: &Request, out: &mut Vec<u8>, of: impl Fn(&ProxyHeader) -> String) -> bool {
    request.connection.proxy.as_ref().is_some_and(|header| text(&of(header), out))
}

/// A typed value of the PROXY protocol's header, by its name or its number (`0x05`).
fn told_value(request: &Request, name: &str, out: &mut Vec<u8>) -> bool {
    let Some(header) = &request.connection.proxy else {
        return false;
    };
    if name == "ssl_verify" {
        return header.tls_verify().is_some_and(|result| number(u64::from(result), out));
    }
    let known = |list: &[(&str, u8)], name: &str| {
        list.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    };
    if let Some(kind) = name.strip_prefix("ssl_").and_then(|name| known(TLS_VALUES, name)) {
        return put(header.tls_value(kind), out);
    }
    let number = |hex: &str| u8::from_str_radix(hex, 16).ok();
    let kind = known(PROXY_VALUES, name).or_else(|| name.strip_prefix("0x").and_then(number));
    kind.is_some_and(|kind| put(header.value(kind), out))
}

/// Names of typed values, and of those inside the one of TLS.
const PROXY_VALUES: &[(&str, u8)] =
    &[("alpn", 1), ("authority", 2), ("unique_id", 5), ("ssl", 0x20), ("netns", 0x30)];
const TLS_VALUES: &[(&str, u8)] =
    &[("version", 0x21), ("cn", 0x22), ("cipher", 0x23), ("sig_alg", 0x24), ("key_alg", 0x25)];

fn binary_remote_address(request: &Request, out: &mut Vec<u8>) -> bool {
    match request.peer() {
        Peer::Inet(address) => match address.ip() {
            std::net::IpAddr::V4(ip) => put(Some(&ip.octets()), out),
            std::net::IpAddr::V6(ip) => put(Some(&ip.octets()), out),
        },
        Peer::Unix => true,
    }
}

fn host(request: &Request, out: &mut Vec<u8>) -> bool {
    let host = if request.host.is_empty() { &request.server.name } else { &request.host };
    put(Some(host), out)
}

fn forwarded_for(request: &Request, out: &mut Vec<u8>) -> bool {
    if join(request.head.fields().all("x-forwarded-for"), b", ", out) {
        out.extend_from_slice(b", ");
    }
    text(&request.peer().address(), out)
}

fn root(request: &Request, out: &mut Vec<u8>) -> bool {
    put(Some(&file_path::root(request)), out)
}

/// The root with all links resolved.
fn real_root(request: &Request, out: &mut Vec<u8>) -> bool {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let root = std::path::PathBuf::from(std::ffi::OsString::from_vec(file_path::root(request)));
    match root.canonicalize() {
        Ok(real) => put(Some(real.as_os_str().as_bytes()), out),
        Err(error) => {
            let reason = crate::errno_text(&error);
            let message = format!("realpath() \"{}\" failed ({reason})", root.display());
            crate::error_log::request(request, crate::modules::error_log::Severity::Crit, &message);
            false
        }
    }
}

fn filename(request: &Request, out: &mut Vec<u8>) -> bool {
    put(file_path::mapped(request).ok().as_deref(), out)
}

/// How many times smaller compression made the body, with two digits as nginx rounds them.
fn gzip_ratio(request: &Request, out: &mut Vec<u8>) -> bool {
    let Some((from, to)) = request.sent.compressed.filter(|(_, to)| *to > 0) else {
        return false;
    };
    let hundredths = from * 100 / to + u64::from(from * 1000 / to % 10 > 4);
    text(&format!("{}.{:02}", hundredths / 100, hundredths % 100), out)
}

/// 16 random bytes, the same for all of the request.
fn request_id(request: &Request, out: &mut Vec<u8>) -> bool {
    let id = request.id.get_or_init(|| {
        let mut id = [0; 16];
        let filled = rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty());
        filled.is_ok_and(|count| count == id.len()).then_some(id)
    });
    match id {
        Some(id) => id.iter().all(|byte| text(&format!("{byte:02x}"), out)),
        None => false,
    }
}

fn ssl_client_verify(request: &Request, out: &mut Vec<u8>) -> bool {
    let policy = request.server.tls.as_ref().map(|tls| &tls.policy);
    let tls = request.connection.tls();
    tls.is_some_and(|tls| text(&tls::client_verify(tls, policy), out))
}

fn status(request: &Request, out: &mut Vec<u8>) -> bool {
    let status = match (request.sent.status, request.error_page) {
        (_, ErrorPage::Making { status: Some(kept) }) => kept,
        (sent, _) => sent,
    };
    match status {
        // HTTP/0.9 has no status line; nginx writes 009.
        0 if request.version() == crate::h1::Version::HTTP_09 => text("009", out),
        0 => text("000", out),
        // 494 to 497 show as 400 to the client, and nginx logs what the client saw.
        494..=497 => text("400", out),
        _ => text(&format!("{status:03}"), out),
    }
}

fn content_length(request: &Request, out: &mut Vec<u8>) -> bool {
    match (request.head.fields().first("content-length"), &request.body) {
        (Some(value), _) => put(Some(value), out),
        // A chunked body has a length once it has been read.
        (None, Body::Memory(_) | Body::File { .. }) => number(request.body.length(), out),
        (None, Body::Unread | Body::Broken) => false,
    }
}

fn remote_user(request: &Request, out: &mut Vec<u8>) -> bool {
    match request.credentials() {
        Some(credentials) => put(Some(&credentials.user), out),
        None => false,
    }
}

/// Variables with a value of their own, in the order of the alphabet.
const GETTERS: &[(&str, Getter)] = &[
    ("args", |r, out| put(Some(&r.args), out) && !r.args.is_empty()),
    ("binary_remote_addr", binary_remote_address),
    ("connection", |r, out| number(r.connection.number, out)),
    ("connection_requests", |r, out| number(r.ordinal, out)),
    ("connections_active", |_, out| number(counters::look().active, out)),
    ("connections_reading", |_, out| number(counters::look().reading, out)),
    ("connections_waiting", |_, out| number(counters::look().waiting, out)),
    ("connections_writing", |_, out| number(counters::look().writing, out)),
    ("content_length", content_length),
    ("content_type", |r, out| put(r.head.fields().first("content-type"), out)),
    ("document_root", root),
    ("document_uri", |r, out| put(Some(&r.path), out)),
    ("gzip_ratio", gzip_ratio),
    ("host", host),
    ("hostname", |_, out| text(&crate::hostname(), out)),
    ("https", |r, out| text(if r.connection.tls().is_some() { "on" } else { "" }, out)),
    ("invalid_referer", |r, out| text(if referer::is_invalid(r) { "1" } else { "" }, out)),
    ("is_request_port", |r, out| text(if r.port.is_some() { ":" } else { "" }, out)),
    ("is_args", |r, out| text(if r.args.is_empty() { "" } else { "?" }, out)),
    ("limit_conn_status", |r, out| put(r.limit_conn.map(|one| one.word().as_bytes()), out)),
    ("limit_req_status", |r, out| put(r.limit_req.map(|one| one.word().as_bytes()), out)),
    ("limit_rate", |r, out| number(crate::front::rate(r), out)),
    ("nginx_version", |_, out| text("1.31.5", out)),
    ("pid", |r, out| number(u64::from(r.connection.pid), out)),
    ("pipe", |_, out| text(".", out)),
    ("proxy_add_x_forwarded_for", forwarded_for),
    ("proxy_host", |r, out| put(Some(&r.proxy_host), out) && !r.proxy_host.is_empty()),
    ("proxy_port", |r, out| put(Some(&r.proxy_port), out) && !r.proxy_port.is_empty()),
    ("proxy_protocol_addr", |r, out| told(r, out, |told| told.addresses[0].clone())),
    ("proxy_protocol_port", |r, out| told(r, out, |told| told.ports[0].to_string())),
    ("proxy_protocol_server_addr", |r, out| told(r, out, |told| told.addresses[1].clone())),
    ("proxy_protocol_server_port", |r, out| told(r, out, |told| told.ports[1].to_string())),
    ("query_string", |r, out| put(Some(&r.args), out) && !r.args.is_empty()),
    ("realip_remote_addr", |r, out| text(&r.connection.peer.address(), out)),
    ("realip_remote_port", |r, out| match &r.connection.peer {
        Peer::Inet(address) => number(u64::from(address.port()), out),
        Peer::Unix => true,
    }),
    ("realpath_root", real_root),
    ("remote_addr", |r, out| text(&r.peer().address(), out)),
    ("remote_port", remote_port),
    ("remote_user", remote_user),
    ("request", |r, out| put(Some(r.request_line()), out)),
    ("request_body", request_body),
    ("request_completion", |r, out| text(if r.sent.complete { "OK" } else { "" }, out)),
    ("request_filename", filename),
    ("request_id", request_id),
    ("request_length", |r, out| number(r.length(), out)),
    ("request_method", |r, out| {
        let method = r.main_method.as_ref().unwrap_or(&r.method);
        put(Some(method), out) && !method.is_empty()
    }),
    ("request_port", |r, out| match r.port {
        Some(port) => number(u64::from(port), out),
        None => true,
    }),
    ("request_uri", |r, out| has_target(r) && put(Some(r.head.unparsed_uri()), out)),
    ("scheme", |r, out| text(r.connection.scheme(), out)),
    ("secure_link", |r, out| put(secure_link::value(r).as_deref(), out)),
    ("secure_link_expires", |r, out| put(secure_link::expires(r).as_deref(), out)),
    ("server_addr", server_address),
    ("server_name", |r, out| put(Some(&r.server.name), out)),
    ("server_port", server_port),
    ("server_protocol", |r, out| put(Some(r.head.protocol()), out)),
    ("ssl_client_verify", ssl_client_verify),
    ("status", status),
    ("upstream_addr", |r, out| {
        attempts(r, out, |attempt, out| out.extend_from_slice(attempt.address.as_bytes()))
    }),
    ("upstream_connect_time", |r, out| times(r, |attempt| attempt.connect_time, out)),
    ("upstream_header_time", |r, out| times(r, |attempt| attempt.header_time, out)),
    ("upstream_response_length", |r, out| numbers(r, |attempt| attempt.response_length, out)),
    ("upstream_status", |r, out| {
        attempts(r, out, |attempt, out| match attempt.status {
            Some(status) => {
                number(u64::from(status), out);
            }
            None => out.push(b'-'),
        })
    }),
    // A target that cannot be normalised has an empty path, a line that is none has none.
    ("uri", |r, out| put(Some(&r.path), out) && !(r.path.is_empty() && r.method.is_empty())),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_in_a_line() {
        let line = b"a=1; sid = x y ;b=2";
        assert_eq!(cookie_in(line, b"a"), Some(&b"1"[..]));
        assert_eq!(cookie_in(line, b"SID"), Some(&b"x y"[..]));
        assert_eq!(cookie_in(line, b"b"), Some(&b"2"[..]));
        assert_eq!(cookie_in(line, b"c"), None);
    }

    #[test]
    fn every_name_is_bound_once() {
        let mut names = own_names();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(Binding::of("http_x_y").is_some());
        assert!(Binding::of("http_").is_none());
        assert!(Binding::of("nonsense").is_none());
    }
}
