//! The request that is sent to an upstream: its head, byte for byte as nginx makes it.

use crate::config::{Config, Match};
use crate::h1::{HeadWriter, UnsafeHead, Version, connection_tokens, same_name};
use crate::modules::proxy::HttpVersion;
use crate::request::{Body, Request};
use crate::upgrade::Offer;
use crate::upstream::pass::with_lower;
use crate::upstream::{Authority, Group, Host, Pass, Scheme, Target, UriPart, Url};
use crate::uri::{self, Escape};
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a request goes, once variables have their values.
pub struct Heading {
    pub to: To,
    /// The request's target, as it is sent.
    pub uri: Vec<u8>,
    /// `http://host` for logs; the URI follows.
    pub host: Bytes,
    pub port: Bytes,
    pub scheme: Scheme,
}

/// Whom a request goes to.
#[derive(Clone)]
pub enum To {
    Group(Arc<Group>),
    /// A name that only a resolver can know, and the port there.
    Name(String, u16),
}

/// Why a computed URL leads nowhere; all are 500 as in nginx, with a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AimFault {
    /// `invalid URL prefix in "..."`.
    Prefix(String),
    /// `invalid port in upstream "..."` and its like.
    Url(String),
}

impl AimFault {
    pub fn status(&self) -> u16 {
        500
    }
}

impl std::fmt::Display for AimFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix(url) => write!(out, "invalid URL prefix in \"{url}\""),
            Self::Url(what) => out.write_str(what),
        }
    }
}

/// Finds out where a request goes.
pub fn aim(request: &Request, pass: &Pass) -> Result<Heading, AimFault> {
    match &pass.target {
        Target::Fixed { scheme, group, host, port, uri } => Ok(Heading {
            scheme: *scheme,
            to: To::Group(Arc::clone(group)),
            uri: fixed_uri(request, uri),
            host: host.clone(),
            port: port.clone(),
        }),
        Target::Computed(template) => computed(request, &request.value(template)),
    }
}

fn computed(request: &Request, url: &[u8]) -> Result<Heading, AimFault> {
    let text = || String::from_utf8_lossy(url).into_owned();
    let (scheme, rest) = match Scheme::split(url) {
        Some((scheme, rest)) if !rest.is_empty() => (scheme, rest),
        _ => return Err(AimFault::Prefix(text())),
    };
    let parsed = Url::parse(rest).map_err(|what| {
        let shown = String::from_utf8_lossy(rest);
        AimFault::Url(format!("{what} in upstream \"{shown}\""))
    })?;
    let uri = match parsed.uri.first() {
        None => fixed_uri(request, &UriPart::Absent),
        Some(b'?') => [b"/", parsed.uri.as_slice()].concat(),
        // A URI that is computed is sent as it is.
        Some(_) => parsed.uri,
    };
    let authority = parsed.authority;
    let to = computed_target(&request.config, &authority, scheme.port());
    let port = authority.port.unwrap_or(scheme.port()).to_string().into_bytes();
    Ok(Heading { to, uri, host: authority.text.into(), port: port.into(), scheme })
}

/// Whom a computed authority means: a group or a server of the configuration, an address, or a name.
pub fn computed_target(config: &Config, authority: &Authority, default_port: u16) -> To {
    let port = authority.port.unwrap_or(default_port);
    let address = match &authority.host {
        Host::Ip(ip) => crate::config::Address::Inet(SocketAddr::new(*ip, port)),
        Host::Unix(path) => crate::config::Address::Unix(path.clone()),
        Host::Name(name) => {
            let group = config.groups.get(name.as_bytes()).filter(|_| authority.port.is_none());
            let direct = || config.groups.get(format!("/{name}:{port}").as_bytes());
            return match group.or_else(direct) {
                Some(group) => To::Group(Arc::clone(group)),
                None => To::Name(name.clone(), port),
            };
        }
    };
    To::Group(Arc::new(Group::implicit(authority.text.clone(), port, vec![address])))
}

/// The target for a `proxy_pass` without variables.
fn fixed_uri(request: &Request, part: &UriPart) -> Vec<u8> {
    let with_args = |mut uri: Vec<u8>| {
        if !request.args.is_empty() {
            uri.push(b'?');
            uri.extend_from_slice(&request.args);
        }
        uri
    };
    match part {
        UriPart::Absent if request.is_unchanged => {
            let raw = request.head.unparsed_uri();
            if raw.first() == Some(&b'/') { raw.to_vec() } else { [b"/", raw].concat() }
        }
        // A path that `rewrite ... break` made is passed whole.
        UriPart::Instead(_) if !request.fits_location => {
            with_args(uri::escape(Escape::Uri, &request.path).into_owned())
        }
        UriPart::Absent => with_args(uri::escape(Escape::Uri, &request.path).into_owned()),
        UriPart::Instead(start) => {
            // What the location matched is replaced; the rest follows, escaped again if the client
            // had escaped anything.
            let matched = match request.location.kind {
                Match::Prefix | Match::PrefixFirm | Match::Exact => request.location.name.len(),
                _ => 0,
            };
            let rest = request.path.get(matched..).unwrap_or_default();
            let mut uri = start.clone();
            if request.head.is_quoted() || request.is_internal {
                uri.extend_from_slice(&uri::escape(Escape::Uri, rest));
            } else {
                uri.extend_from_slice(rest);
            }
            with_args(uri)
        }
    }
}

/// How the body of the request that is sent is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// The framing of what will be sent: of the body in hand, or of the one that is passed on as it
/// comes (T11).
pub fn framing(request: &Request) -> Framing {
    use crate::h1::BodyFraming;
    if !request.location.proxy.proxy_pass_request_body.0
        && request.location.proxy.proxy_set_body.is_none()
    {
        return Framing::None;
    }
    match (&request.body, request.framing) {
        (Body::Broken, _) | (Body::Unread, BodyFraming::None) => Framing::None,
        (Body::Unread, BodyFraming::Length(length)) => Framing::Length(length),
        (Body::Unread, BodyFraming::Chunked) => Framing::Chunked,
        (body, _) => Framing::Length(body.length()),
    }
}

/// The method that the upstream is asked by (`proxy_method`).
pub fn method(request: &Request) -> Cow<'_, [u8]> {
    match &request.location.proxy.proxy_method {
        None => Cow::Borrowed(&request.method),
        Some(template) => Cow::Owned(request.value(template)),
    }
}

/// Writes the head. An offer to switch protocols is the caller's to have made.
pub fn head(
    request: &Request,
    pass: &Pass,
    uri: &[u8],
    framing: Framing,
    offer: &Offer,
    out: &mut BytesMut,
) -> Result<(), UnsafeHead> {
    let version = match request.location.proxy.proxy_http_version {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    let mut writer = HeadWriter::new(out);
    // A raw blank or control in the target would end it early: it is escaped, whatever made it.
    writer.request_line(&method(request), &uri::escape_unsafe(uri), version)?;
    let mut value = Vec::new();
    for (name, template) in &pass.fields {
        value.clear();
        request.evaluate(template, &mut value);
        if same_name(name, "upgrade") {
            value = offer.field().to_vec();
        } else if same_name(name, "connection") {
            value = offer.connection(&value);
        }
        if !value.is_empty() {
            writer.field(name, &value)?;
        }
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            writer.field(b"Content-Length", length.to_string().as_bytes())?;
        }
        Framing::Chunked => writer.field(b"Transfer-Encoding", b"chunked")?,
    }
    let nominated: Vec<&[u8]> = connection_tokens(request.head.fields()).collect();
    let passes = request.location.proxy.proxy_pass_request_headers.0;
    for (name, value) in request.head.fields().iter().filter(|_| passes) {
        if !is_dropped(pass, name, &nominated) {
            writer.field(name, value)?;
        }
    }
    writer.end();
    Ok(())
}

/// Whether a field of the client stays here: the configuration sets it, it is hop-by-hop, or the
/// client itself said so in `Connection` (RFC 9110, 7.6.1; nginx passes the last kind on).
fn is_dropped(pass: &Pass, name: &[u8], nominated: &[&[u8]]) -> bool {
    with_lower(name, |lower| pass.dropped.contains(lower))
        || nominated.iter().any(|token| token.eq_ignore_ascii_case(name))
}
