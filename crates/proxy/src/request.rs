//! One request while it is worked on, and what is known of it for variables and logs.
//!
//! The front makes it from a head, the phases move it from location to location, the access log
//! reads it last. It holds the [`Config`] that it began with; a reload does not change it.

use crate::access::Standing;
use crate::clock::Wall;
use crate::config::{Address, Config, Location, Server};
use crate::front::{Answered, Kept};
use crate::h1::{BodyFraming, RequestHead, ResponseHead, Version};
use crate::known_keys::KnownMap;
use crate::limits::Verdict;
use crate::limits::connections::Place;
use crate::password::{Credentials, Judgement};
use crate::proxy_header::ProxyHeader;
use crate::regex::{Captures, Regex};
use crate::tls;
use bytes::Bytes;
use perdura_conf::VariableId;
use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of a client's connection.
pub struct Connection {
    /// `$connection`: unique in the life of the worker.
    pub number: u64,
    pub peer: Peer,
    /// What a balancer in front told of the client, by the PROXY protocol.
    pub proxy: Option<ProxyHeader>,
    /// The address that the client connected to.
    pub local: Address,
    /// The key of the socket that it came through.
    pub socket: Rc<str>,
    pub accepted: Instant,
    pub pid: u32,
    pub security: Security,
}

/// How a client's connection is secured.
pub enum Security {
    Plain,
    /// It speaks plain HTTP where TLS is spoken.
    PlainOnTls,
    Tls(Box<tls::Facts>),
}

impl Connection {
    /// The same connection with other facts of its security.
    pub fn with_security(&self, security: Security) -> Self {
        Self {
            number: self.number,
            peer: self.peer.clone(),
            proxy: self.proxy.clone(),
            local: self.local.clone(),
            socket: Rc::clone(&self.socket),
            accepted: self.accepted,
            pid: self.pid,
            security,
        }
    }

    /// What is known of the connection's TLS.
    pub fn tls(&self) -> Option<&tls::Facts> {
        match &self.security {
            Security::Tls(facts) => Some(facts),
            Security::Plain | Security::PlainOnTls => None,
        }
    }

    /// `$scheme`.
    pub fn scheme(&self) -> &'static str {
        if self.tls().is_some() { "https" } else { "http" }
    }
}

/// The other end of a client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    Inet(SocketAddr),
    Unix,
}

impl Peer {
    /// `$remote_addr`.
    pub fn address(&self) -> String {
        match self {
            Self::Inet(SocketAddr::V4(address)) => dotted(address.ip().octets()),
            Self::Inet(SocketAddr::V6(address)) => address.ip().to_string(),
            Self::Unix => "unix:".to_owned(),
        }
    }
}

/// An address of IPv4 as text; every request has one.
fn dotted(octets: [u8; 4]) -> String {
    let mut text = String::with_capacity("255.255.255.255".len());
    for (at, octet) in octets.into_iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        for (unit, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text.push(char::from(b'0' + octet / unit % 10));
            }
        }
    }
    text
}

/// One attempt to have the request answered by an upstream.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// As `$upstream_addr` shows it; the group's name when no server was live.
    pub address: Arc<str>,
    pub status: Option<u16>,
    pub connect_time: Option<Duration>,
    pub header_time: Option<Duration>,
    pub response_time: Option<Duration>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub response_length: u64,
    /// The attempt belongs to another `proxy_pass` than the one before it, after an internal
    /// redirect.
    pub after_redirect: bool,
}

/// What has been sent to the client.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    pub status: u16,
    pub head_bytes: u64,
    pub body_bytes: u64,
    /// The head as it went out, kept only when some `$sent_http_NAME` is used.
    pub head: Option<Bytes>,
    pub complete: bool,
    /// Bytes of the body that were compressed, and what they came to, once that has ended.
    pub compressed: Option<(u64, u64)>,
}

/// The body of a request.
#[derive(Default)]
pub enum Body {
    /// Not read yet, or none.
    #[default]
    Unread,
    /// It was malformed, too large or cut off: what the connection brings cannot be told apart.
    Broken,
    Memory(Bytes),
    File {
        file: std::fs::File,
        length: u64,
    },
}

impl Body {
    /// Bytes that are in hand.
    pub fn length(&self) -> u64 {
        match self {
            Self::Unread | Self::Broken => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }
}

/// Where the request's response is in the course of its error pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ErrorPage {
    #[default]
    None,
    /// An error page is being made; the status it keeps, if it does.
    Making { status: Option<u16> },
}

/// A head that was refused.
pub struct Refused {
    /// The request line, as far as it came.
    pub line: Bytes,
    /// How many bytes nginx would have counted.
    pub length: u64,
    /// Its target was understood.
    pub has_target: bool,
}

/// One request.
pub struct Request {
    pub config: Arc<Config>,
    pub connection: Rc<Connection>,
    /// The number of this request on its connection, from 1.
    pub ordinal: u64,
    pub head: RequestHead,
    /// What is known of it when its head was refused.
    pub refused: Option<Refused>,
    /// The method that counts; an error page is asked for by GET.
    pub method: Bytes,
    pub framing: BodyFraming,
    pub expects_continue: bool,
    pub keepalive: bool,
    /// The host that was asked for, validated and in lower case; empty when there was none.
    pub host: Vec<u8>,
    /// The port that was asked for, if one was named beside the host.
    pub port: Option<u16>,
    pub server: Arc<Server>,
    /// It names another server than the handshake, and one that it must not reach this way.
    pub is_misdirected: bool,
    pub location: Arc<Location>,
    /// `$uri`: decoded and normalised.
    pub path: Vec<u8>,
    pub args: Vec<u8>,
    /// The path is still what the client sent, so it may be passed on as it was.
    pub is_unchanged: bool,
    /// The path is what the location was found by, so what its name stands for can be cut off.
    pub fits_location: bool,
    /// `try_files` has found the path below what an alias gives for a pattern.
    pub adds_to_alias: bool,
    /// The path has been changed by `rewrite` since the location was found.
    pub is_rewritten: bool,
    /// The request has been redirected internally, or rewritten.
    pub is_internal: bool,
    pub redirects: u32,
    /// The handler of the phases that was called last.
    pub phase: usize,
    /// The client's address, when a trusted proxy told it.
    pub real_peer: Option<Peer>,
    pub standing: Standing,
    /// What the limits did, once they were asked, and the places that were taken.
    pub limit_conn: Option<Verdict>,
    pub limit_req: Option<Verdict>,
    pub places: Vec<Place>,
    /// The rate that an upstream set for the response, instead of `limit_rate`.
    pub limit_rate: Option<u64>,
    /// What is known of the password, once somebody has looked.
    pub judgement: Option<Judgement>,
    /// The method of the request that this one is made for, if it is a subrequest.
    pub main_method: Option<Bytes>,
    /// What the request of `auth_request` came to, until somebody has judged it.
    pub answered: Option<Box<Answered>>,
    /// What stays of an answer with `X-Accel-Redirect`.
    pub kept: Option<Box<Kept>>,
    /// The field that asks for a password, with its value.
    pub challenge: Option<(&'static str, Vec<u8>)>,
    pub error_page: ErrorPage,
    pub captures: RefCell<Option<Captures>>,
    /// Values of maps and named captures.
    pub memo: RefCell<KnownMap<VariableId, Option<Bytes>>>,
    pub map_depth: std::cell::Cell<u32>,
    /// `$request_id`, once somebody has asked for it.
    pub id: OnceCell<Option<[u8; 16]>>,
    pub started: Instant,
    pub body: Body,
    /// Bytes of the body that came from the client, as they were framed.
    pub body_bytes_read: u64,
    /// Bytes of the body itself.
    pub body_length: u64,
    pub attempts: Vec<Attempt>,
    pub proxy_host: Bytes,
    pub proxy_port: Bytes,
    pub upstream_head: Option<Rc<ResponseHead>>,
    pub sent: Sent,
    /// Why a tunnel ended, once it has.
    pub close_reason: Option<&'static str>,
}

impl Request {
    /// A request of which only the head is known; who asks for what is the front's to fill in. It
    /// is large and passes through many hands, so it moves as a pointer.
    pub fn new(
        config: Arc<Config>,
        connection: Rc<Connection>,
        ordinal: u64,
        head: RequestHead,
        server: Arc<Server>,
    ) -> Box<Self> {
        Box::new(Self {
            config,
            connection,
            ordinal,
            method: Bytes::copy_from_slice(head.method()),
            head,
            refused: None,
            framing: BodyFraming::None,
            expects_continue: false,
            keepalive: false,
            host: Vec::new(),
            port: None,
            location: Arc::clone(&server.base),
            server,
            is_misdirected: false,
            path: Vec::new(),
            args: Vec::new(),
            is_unchanged: true,
            fits_location: true,
            adds_to_alias: false,
            is_rewritten: false,
            is_internal: false,
            redirects: 0,
            phase: 0,
            real_peer: None,
            standing: Standing::Open,
            limit_conn: None,
            limit_req: None,
            places: Vec::new(),
            limit_rate: None,
            judgement: None,
            main_method: None,
            answered: None,
            kept: None,
            challenge: None,
            error_page: ErrorPage::None,
            captures: RefCell::default(),
            memo: RefCell::default(),
            map_depth: std::cell::Cell::default(),
            id: OnceCell::new(),
            started: Instant::now(),
            body: Body::Unread,
            body_bytes_read: 0,
            body_length: 0,
            attempts: Vec::new(),
            proxy_host: Bytes::new(),
            proxy_port: Bytes::new(),
            upstream_head: None,
            sent: Sent::default(),
            close_reason: None,
        })
    }

    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The client, as far as it is known.
    pub fn peer(&self) -> &Peer {
        self.real_peer.as_ref().unwrap_or(&self.connection.peer)
    }

    /// The name and the password that the client sent, if it did.
    pub fn credentials(&self) -> Option<Credentials> {
        let name = if self.is_connect() { "proxy-authorization" } else { "authorization" };
        Credentials::read(self.head.fields().first(name)?)
    }

    /// Decides anew whether the connection may bring another request, by what holds in this
    /// location.
    pub fn update_keepalive(&mut self) {
        let core = &self.location.core;
        self.keepalive = self.keepalive
            && core.keepalive_timeout.timeout_ms > 0
            && self.ordinal < core.keepalive_requests.0
            && self.connection.accepted.elapsed() < Duration::from_millis(core.keepalive_time.0);
    }

    /// Makes `location` the one that the request is in.
    pub fn enter(&mut self, location: Arc<Location>) {
        let method = crate::modules::limit_except::bit(&self.method);
        self.location = match &location.limit_except {
            Some(limit) if !limit.methods.allows(method) => Arc::clone(&limit.location),
            _ => location,
        };
        self.update_keepalive();
    }

    /// A request for `path` on this one's behalf. The values of variables go along until
    /// [`Request::take_back`], because both share them in nginx.
    pub fn subrequest(&mut self, path: Vec<u8>) -> Box<Self> {
        let (config, connection) = (Arc::clone(&self.config), Rc::clone(&self.connection));
        let (head, server) = (self.head.clone(), Arc::clone(&self.server));
        let mut request = Self::new(config, connection, self.ordinal, head, server);
        request.main_method = Some(self.method.clone());
        request.method = Bytes::from_static(b"GET");
        request.host.clone_from(&self.host);
        request.port = self.port;
        request.path = path;
        request.is_unchanged = false;
        request.is_internal = true;
        request.real_peer.clone_from(&self.real_peer);
        request.limit_conn = self.limit_conn;
        request.limit_req = self.limit_req;
        request.started = self.started;
        request.id = self.id.clone();
        request.memo = std::mem::take(&mut self.memo);
        request
    }

    /// Takes back what a subrequest has found out.
    pub fn take_back(&mut self, request: &mut Self) {
        self.memo = std::mem::take(&mut request.memo);
        self.id = std::mem::take(&mut request.id);
    }

    /// The request stays in its location, whatever its path has become (`break`).
    pub fn stay(&mut self) {
        if std::mem::take(&mut self.is_rewritten) {
            self.fits_location = false;
        }
    }

    /// `$request`: the request line as the client sent it.
    pub fn request_line(&self) -> &[u8] {
        match &self.refused {
            Some(refused) => &refused.line,
            None => self.head.request_line(),
        }
    }

    pub fn is_head(&self) -> bool {
        // nginx answers HEAD without a body even when the rest of the line was not understood.
        &self.method[..] == b"HEAD" || self.method.is_empty() && self.head.method() == b"HEAD"
    }

    pub fn is_connect(&self) -> bool {
        self.head.method() == b"CONNECT"
    }

    /// A moment for logs.
    pub fn now(&self) -> Wall {
        Wall::now()
    }

    /// Takes what a regular expression matched: `$1` and the named groups.
    pub fn take_captures(&self, regex: &Regex, captures: Captures) {
        let mut memo = self.memo.borrow_mut();
        for (group, id) in regex.named() {
            let text = captures.group(*group).unwrap_or_default();
            memo.insert(*id, Some(Bytes::copy_from_slice(text)));
        }
        *self.captures.borrow_mut() = Some(captures);
    }

    /// `$request_length`: the head and what was read of the body.
    pub fn length(&self) -> u64 {
        match &self.refused {
            Some(refused) => refused.length,
            None => self.head.length() as u64 + self.body_bytes_read,
        }
    }

    /// The last attempt; exchanges begin with one.
    pub fn attempt(&mut self) -> &mut Attempt {
        if self.attempts.is_empty() {
            self.attempts.push(Attempt::default());
        }
        let last = self.attempts.len() - 1;
        &mut self.attempts[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_the_library_writes_it() {
        for octet in 0..=255 {
            for octets in [[octet, 0, 10, 255], [1, octet, 100, 9], [127, 0, octet, octet]] {
                assert_eq!(dotted(octets), std::net::Ipv4Addr::from(octets).to_string());
            }
        }
    }
}
