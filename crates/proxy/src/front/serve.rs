//! One client connection from its first byte to its close.

use super::refused::Stop;
use super::{answer, body, refused, secure, told};
use crate::channel::{Channel, ChannelFault, Read};
use crate::config::{Config, Endpoint, Server};
use crate::counters;
use crate::h1::{
    BodyFraming, Expectation, HeadFault, InvalidFields, MAX_HEADERS_DEFAULT, Persistence, Progress,
    RequestHead, RequestParser, RequestRules, Underscores, request_framing, validate_host,
};
use crate::request::{Body, Connection, Request};
use crate::uri::Slashes;
use crate::worker::Thread;
use bytes::{Bytes, BytesMut};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client's connection with what has been read of it and not used.
pub struct Client {
    pub channel: Channel,
    /// Bytes read and not used: the beginning of a body, or of the next request.
    pub buffer: BytesMut,
    pub facts: Rc<Connection>,
}

impl Client {
    /// A connection of which nothing has been read. It passes through many hands, so it moves as a
    /// pointer.
    pub fn new(channel: Channel, facts: Connection) -> Box<Self> {
        Box::new(Self { channel, buffer: BytesMut::new(), facts: Rc::new(facts) })
    }
}

/// What becomes of the connection behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It may be idle for this long before the next request.
    KeepAlive {
        idle: Duration,
    },
    /// Close, but read on for a while, so that the answer is not lost to a reset.
    Linger,
    Close,
    /// Close with a reset.
    Reset,
}

/// What a request came to: the connection goes on as HTTP, or has become a tunnel.
pub enum Course {
    Http(Box<Client>, After),
    Tunnel,
}

/// What came instead of a head.
enum NoHead {
    /// The client closed or broke the connection, or was silent between requests.
    Gone,
    /// It closed, broke or was silent in the middle of a head.
    Stopped {
        stop: Stop,
        scrap: Scrap,
    },
    Fault {
        fault: HeadFault,
        scrap: Scrap,
    },
}

/// What is known of a head that is no request, for its lines in the logs.
pub struct Scrap {
    /// The request line, as far as it came.
    pub line: Bytes,
    /// How many bytes nginx would have counted.
    pub length: u64,
}

impl Scrap {
    /// Of a head that stopped or broke the rules in one of its lines: the lines before count.
    fn of(parser: &RequestParser, buffer: &[u8]) -> Self {
        let known = parser.request_line(buffer);
        if !known.is_empty() {
            let length = parser.complete_lines(buffer) as u64;
            return Self { line: Bytes::copy_from_slice(known), length };
        }
        let end = buffer.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = &buffer[..end.unwrap_or(buffer.len())];
        Self { line: Bytes::copy_from_slice(line), length: 0 }
    }

    /// Whether the request line was read to its end and accepted.
    pub fn is_understood(&self) -> bool {
        self.length > 0
    }

    /// Of a whole head that is refused for what it says.
    fn refused(fault: &HeadFault, head: &RequestHead) -> Self {
        let line = Bytes::copy_from_slice(head.request_line());
        let length = match fault {
            HeadFault::InvalidUri | HeadFault::FragmentInTarget => line.len() + LINE_END,
            // These are found at their line, before the empty one is read.
            HeadFault::InvalidHost => head.length_through("host"),
            HeadFault::DuplicateField(lines) | HeadFault::DuplicateHost(lines) => {
                let name = String::from_utf8_lossy(&lines.name).to_ascii_lowercase();
                head.length_through(&name)
            }
            _ => head.length(),
        };
        Self { line, length: length as u64 }
    }
}

/// The length of CR LF.
const LINE_END: usize = 2;

/// Serves a connection until it closes or becomes a tunnel.
///
/// What is seldom is boxed here and in all that this calls: the state of a connection and that of a
/// request are then small enough to be had and given back at once.
pub async fn serve(mut client: Box<Client>, thread: Rc<Thread>) {
    let config = thread.config();
    let Some(endpoint) = endpoint_of(&config, &client.facts).cloned() else {
        return;
    };
    if endpoint.proxy_protocol && !Box::pin(told::read(&mut client, &endpoint)).await {
        return;
    }
    let mut ordinal = 0;
    // An ending worker waits for clients that have not asked anything yet, but not for idle ones.
    let mut busy = Some(thread.busy());
    let core = &endpoint.default.core;
    let room = (core.client_header_buffer_size.0 as usize).min(HEAD_READ_MAX);
    let header_timeout = Duration::from_millis(core.client_header_timeout.0);
    if endpoint.speaks_tls {
        match Box::pin(secure::greet(client, &config, &endpoint, header_timeout)).await {
            Some(greeted) => client = greeted,
            None => return,
        }
    }
    drop((endpoint, config));
    // Under load the first request is there when the connection is accepted.
    match client.channel.try_read(&mut client.buffer, room) {
        Ok(0) => return,
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return,
    }
    let mut silence = header_timeout;
    loop {
        if client.buffer.is_empty() {
            let waited = wait_for_request(&client, silence, &thread, busy.is_none()).await;
            if waited == Silence::Ended {
                return client.channel.say_goodbye();
            }
        }
        ordinal += 1;
        let working = busy.take().unwrap_or_else(|| thread.busy());
        // The configuration is taken here, once for each request, and not held while nothing comes.
        match Box::pin(one(client, ordinal, &thread)).await {
            Some((back, idle)) => (client, silence) = (back, idle),
            None => return,
        }
        drop(working);
        if client.buffer.is_empty() {
            // An idle connection holds no buffer.
            client.buffer = BytesMut::new();
        }
    }
}

/// Serves one request; gives the connection back with the time that it may be idle, if it goes on.
async fn one(
    mut client: Box<Client>,
    ordinal: u64,
    thread: &Rc<Thread>,
) -> Option<(Box<Client>, Duration)> {
    let config = thread.config();
    let endpoint = Arc::clone(endpoint_of(&config, &client.facts)?);
    let reading = counters::reading();
    let head = match read_head(&mut client, &endpoint).await {
        Ok(head) => head,
        Err(NoHead::Gone) => return None,
        Err(NoHead::Stopped { stop, scrap }) => {
            refused::unanswered(&config, &endpoint, &client, ordinal, (stop, scrap));
            return None;
        }
        Err(NoHead::Fault { fault, scrap }) => {
            let server = &endpoint.default;
            let fault = (fault, scrap);
            Box::pin(refused::fault(&config, server, client, ordinal, fault, thread)).await;
            return None;
        }
    };
    let request = match make_request(config, &endpoint, &client, ordinal, head, thread) {
        Ok(request) => request,
        Err(refusal) => {
            let Refusal { config, server, fault, head } = *refusal;
            let scrap = Scrap::refused(&fault, &head);
            let fault = (fault, scrap);
            Box::pin(refused::fault(&config, &server, client, ordinal, fault, thread)).await;
            return None;
        }
    };
    drop(reading);
    let _writing = counters::writing();
    let Course::Http(client, after) = answer::run(client, request, thread).await else {
        return None;
    };
    match after {
        After::KeepAlive { idle } => return Some((client, idle)),
        After::Linger => Box::pin(body::linger(client)).await,
        After::Reset => client.channel.set_reset_on_close(),
        After::Close => client.channel.say_goodbye(),
    }
    None
}

pub(super) fn endpoint_of<'c>(
    config: &'c Arc<Config>,
    facts: &Connection,
) -> Option<&'c Arc<Endpoint>> {
    let local = match &facts.local {
        crate::config::Address::Inet(address) => Some(*address),
        crate::config::Address::Unix(_) => None,
    };
    config.endpoint(&facts.socket, local)
}

/// The rules by which a head is read: those of the address's default server, as in nginx, because
/// the host is not known yet.
fn rules(server: &Server) -> RequestRules {
    let core = &server.core;
    RequestRules {
        underscores: match core.underscores_in_headers.0 {
            true => Underscores::Allowed,
            false => Underscores::Invalid,
        },
        invalid: match core.ignore_invalid_headers.0 {
            true => InvalidFields::Dropped,
            false => InvalidFields::Kept,
        },
        header_buffer: core.client_header_buffer_size.0 as usize,
        large_buffers: (
            core.large_client_header_buffers.count,
            core.large_client_header_buffers.size,
        ),
        max_headers: MAX_HEADERS_DEFAULT,
    }
}

async fn read_head(client: &mut Client, endpoint: &Endpoint) -> Result<RequestHead, NoHead> {
    let server = &endpoint.default;
    let rules = rules(server);
    let mut parser = RequestParser::new(&rules);
    let limit = Duration::from_millis(server.core.client_header_timeout.0);
    let deadline = Instant::now() + limit;
    loop {
        match parser.parse(&client.buffer, &rules) {
            Ok(Progress::Complete { length }) => {
                let text = match client.buffer.len() == length {
                    true => std::mem::take(&mut client.buffer),
                    false => client.buffer.split_to(length),
                };
                let text = text.freeze();
                let head = parser.finish(text.clone());
                return Ok(by_rules_of_its_host(head, text, &rules, endpoint));
            }
            Ok(Progress::Skip { length }) => {
                let _ = client.buffer.split_to(length);
                continue;
            }
            Ok(Progress::More) => {}
            Err(fault) => {
                let scrap = Scrap::of(&parser, &client.buffer);
                return Err(NoHead::Fault { fault, scrap });
            }
        }
        let begun = parser.has_begun();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let scrap = Scrap::of(&parser, &client.buffer);
            return Err(if begun {
                NoHead::Stopped { stop: Stop::TimedOut, scrap }
            } else {
                NoHead::Gone
            });
        }
        let missing =
            if client.buffer.is_empty() { rules.header_buffer } else { rules.large_buffers.1 };
        let room = missing.min(HEAD_READ_MAX);
        match client.channel.read(&mut client.buffer, room, left).await {
            Ok(Read::Bytes(_)) => {}
            Ok(Read::Closed) | Err(ChannelFault::Io(_)) => {
                let scrap = Scrap::of(&parser, &client.buffer);
                return Err(if begun {
                    NoHead::Stopped { stop: Stop::Broken, scrap }
                } else {
                    NoHead::Gone
                });
            }
            Err(ChannelFault::TimedOut) => {
                let scrap = Scrap::of(&parser, &client.buffer);
                return Err(if begun {
                    NoHead::Stopped { stop: Stop::TimedOut, scrap }
                } else {
                    NoHead::Gone
                });
            }
        }
    }
}

/// Reads a head again when its host has other rules for field names than the address's default
/// server, by which it was read. nginx changes rules behind the `Host` line; here they hold for all.
fn by_rules_of_its_host(
    head: RequestHead,
    text: Bytes,
    used: &RequestRules,
    endpoint: &Endpoint,
) -> RequestHead {
    if !endpoint.rules_differ {
        return head;
    }
    let host = head.fields().first("host").and_then(|value| validate_host(value).ok());
    let server = host.and_then(|host| match endpoint.names.find(&host.host) {
        Ok(Some((server, _))) => Some(rules(server)),
        _ => None,
    });
    let Some(own) = server.filter(|own| own != used) else {
        return head;
    };
    // Its size was judged already, by the buffers that it was read into.
    let own = RequestRules {
        header_buffer: used.header_buffer,
        large_buffers: used.large_buffers,
        ..own
    };
    let mut parser = RequestParser::new(&own);
    match parser.parse(&text, &own) {
        Ok(Progress::Complete { .. }) => parser.finish(text),
        _ => head,
    }
}

/// How much is read ahead of a head at once, at most.
const HEAD_READ_MAX: usize = 16 * 1024;

/// What a silence came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Broken,
    /// It lasted too long, the client has gone, or the worker is ending.
    Ended,
}

/// Waits for the first byte of a request. An idle connection ends with the worker.
async fn wait_for_request(
    client: &Client,
    limit: Duration,
    thread: &Thread,
    is_idle: bool,
) -> Silence {
    let ready = client.channel.ready(tokio::io::Interest::READABLE);
    tokio::select! {
        biased;
        ready = tokio::time::timeout(limit, ready) => match ready {
            Ok(Ok(_)) => Silence::Broken,
            _ => Silence::Ended,
        },
        () = thread.ending(), if is_idle => Silence::Ended,
    }
}

/// A head that framing refuses.
struct Refusal {
    config: Arc<Config>,
    server: Arc<Server>,
    fault: HeadFault,
    head: RequestHead,
}

fn make_request(
    config: Arc<Config>,
    endpoint: &Endpoint,
    client: &Client,
    ordinal: u64,
    head: RequestHead,
    thread: &Thread,
) -> Result<Box<Request>, Box<Refusal>> {
    // nginx normalises the path before it has read any field, so by the default server's rule.
    let path = match head.path(Slashes::of(&endpoint.default.core)) {
        Ok(path) => path.into_owned(),
        Err(_) => {
            let (server, fault) = (Arc::clone(&endpoint.default), HeadFault::InvalidUri);
            return Err(Box::new(Refusal { config, server, fault, head }));
        }
    };
    let facts = match request_framing(&head) {
        Ok(framing) => {
            let asked = match framing.host {
                Some(named) => (named.host.into_owned(), named.port),
                None => Default::default(),
            };
            (framing.body, framing.persistence, framing.expectation, asked)
        }
        Err(fault) => {
            let server = Arc::clone(secure::own_server(endpoint, &client.facts));
            return Err(Box::new(Refusal { config, server, fault, head }));
        }
    };
    let (framing, persistence, expectation, (host, port)) = facts;
    let found = endpoint.names.find(&host);
    let (mut captured, mut is_misdirected) = (None, false);
    let mut server = match found {
        Ok(Some((server, captures))) => {
            captured = captures.map(|(regex, captures)| (regex.clone(), captures));
            server
        }
        _ => &endpoint.default,
    };
    if secure::is_misdirected(&client.facts, &host, server) {
        is_misdirected = true;
        server = secure::own_server(endpoint, &client.facts);
    }
    let server = Arc::clone(server);
    let args = head.args().unwrap_or_default().to_vec();
    let connection = Rc::clone(&client.facts);
    let mut request = Request::new(config, connection, ordinal, head, server);
    request.framing = framing;
    request.expects_continue = expectation == Expectation::Continue;
    request.keepalive = persistence == Persistence::KeepAlive && !thread.is_ending();
    request.is_misdirected = is_misdirected;
    request.host = host;
    request.port = port;
    request.path = path;
    request.args = args;
    if let Some((regex, captures)) = captured {
        request.take_captures(&regex, captures);
    }
    Ok(request)
}

/// Whether a request has a body that is still to be read.
pub fn has_body(request: &Request) -> bool {
    matches!(request.body, Body::Unread)
        && !matches!(request.framing, BodyFraming::None | BodyFraming::Length(0))
}
