//! One client connection from its first byte to its close.

use super::{answer, body, refused};
use crate::channel::{Channel, ChannelFault, Read};
use crate::config::{Config, Endpoint, Server};
use crate::h1::{
    BodyFraming, Expectation, HeadFault, InvalidFields, MAX_HEADERS_DEFAULT, Persistence, Progress,
    RequestHead, RequestParser, RequestRules, Underscores, request_framing,
};
use crate::request::{Body, Connection, ErrorPage, Request, Sent};
use crate::uri::Slashes;
use crate::worker::Thread;
use bytes::{Bytes, BytesMut};
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

/// What becomes of the connection behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    /// Close, but read on for a while, so that the answer is not lost to a reset.
    Linger,
    Close,
    /// Close with a reset.
    Reset,
}

/// What a request came to: the connection goes on as HTTP, or has become a tunnel.
pub enum Course {
    Http(Client, After),
    Tunnel,
}

/// What came instead of a head.
enum NoHead {
    /// The client closed or broke the connection, or was silent between requests.
    Gone,
    /// It closed or broke in the middle of a head.
    Broken {
        line: Bytes,
    },
    TimedOut {
        line: Bytes,
    },
    Fault {
        fault: HeadFault,
        line: Bytes,
    },
    /// The worker is ending.
    Ending,
}

/// Serves a connection until it closes or becomes a tunnel.
pub async fn serve(channel: Channel, facts: Connection, thread: Rc<Thread>) {
    let mut client = Client { channel, buffer: BytesMut::new(), facts: Rc::new(facts) };
    let mut ordinal = 0;
    loop {
        let config = thread.config();
        let Some(endpoint) = endpoint_of(&config, &client.facts).cloned() else {
            return;
        };
        ordinal += 1;
        let head = match read_head(&mut client, &endpoint.default, ordinal, &thread).await {
            Ok(head) => head,
            Err(NoHead::Gone | NoHead::Ending) => return,
            Err(NoHead::Broken { line }) => {
                return refused::broken(&config, &endpoint, &client, ordinal, line);
            }
            Err(NoHead::TimedOut { line }) => {
                return refused::timed_out(&config, &endpoint, &client, ordinal, line);
            }
            Err(NoHead::Fault { fault, line }) => {
                let server = &endpoint.default;
                return refused::fault(&config, server, client, ordinal, (fault, line), &thread)
                    .await;
            }
        };
        let busy = thread.busy();
        let request = match make_request(config, &endpoint, &client, ordinal, head, &thread) {
            Ok(request) => request,
            Err(refusal) => {
                let Refusal { config, server, fault, head } = *refusal;
                let line = Bytes::copy_from_slice(head.request_line());
                return refused::fault(&config, &server, client, ordinal, (fault, line), &thread)
                    .await;
            }
        };
        let (after, back) = match answer::run(client, request, &thread).await {
            Course::Tunnel => return,
            Course::Http(back, after) => (after, back),
        };
        drop(busy);
        client = back;
        match after {
            After::KeepAlive => {}
            After::Linger => return body::linger(client).await,
            After::Close => return,
            After::Reset => return client.channel.set_reset_on_close(),
        }
        if client.buffer.is_empty() {
            // An idle connection holds no buffer.
            client.buffer = BytesMut::new();
        }
    }
}

fn endpoint_of<'c>(config: &'c Arc<Config>, facts: &Connection) -> Option<&'c Arc<Endpoint>> {
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

async fn read_head(
    client: &mut Client,
    server: &Arc<Server>,
    ordinal: u64,
    thread: &Thread,
) -> Result<RequestHead, NoHead> {
    let rules = rules(server);
    let mut parser = RequestParser::new(&rules);
    let limit = Duration::from_millis(server.core.client_header_timeout.0);
    // Between requests another clock runs.
    if ordinal > 1 && client.buffer.is_empty() {
        let idle = Duration::from_millis(server.core.keepalive_timeout.timeout_ms);
        wait_for_request(client, idle, thread).await?;
    }
    let deadline = Instant::now() + limit;
    loop {
        match parser.parse(&client.buffer, &rules) {
            Ok(Progress::Complete { length }) => {
                let text = client.buffer.split_to(length).freeze();
                return Ok(parser.finish(text));
            }
            Ok(Progress::Skip { length }) => {
                let _ = client.buffer.split_to(length);
                continue;
            }
            Ok(Progress::More) => {}
            Err(fault) => {
                let line = Bytes::copy_from_slice(parser.request_line(&client.buffer));
                return Err(NoHead::Fault { fault, line });
            }
        }
        let begun = parser.has_begun();
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let line = Bytes::copy_from_slice(parser.request_line(&client.buffer));
            return Err(if begun { NoHead::TimedOut { line } } else { NoHead::Gone });
        }
        let missing =
            if client.buffer.is_empty() { rules.header_buffer } else { rules.large_buffers.1 };
        client.buffer.reserve(missing.min(HEAD_READ_MAX));
        match client.channel.read(&mut client.buffer, left).await {
            Ok(Read::Bytes(_)) => {}
            Ok(Read::Closed) | Err(ChannelFault::Io(_)) => {
                let line = Bytes::copy_from_slice(parser.request_line(&client.buffer));
                return Err(if begun { NoHead::Broken { line } } else { NoHead::Gone });
            }
            Err(ChannelFault::TimedOut) => {
                let line = Bytes::copy_from_slice(parser.request_line(&client.buffer));
                return Err(if begun { NoHead::TimedOut { line } } else { NoHead::Gone });
            }
        }
    }
}

/// How much is read ahead of a head at once, at most.
const HEAD_READ_MAX: usize = 16 * 1024;

/// Waits for the first byte of a request on an idle connection.
async fn wait_for_request(
    client: &mut Client,
    idle: Duration,
    thread: &Thread,
) -> Result<(), NoHead> {
    // The usual case on a busy connection: the next request is there already.
    client.buffer.reserve(HEAD_READ_MAX / 4);
    match client.channel.try_read(&mut client.buffer) {
        Ok(0) => return Err(NoHead::Gone),
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(NoHead::Gone),
    }
    client.buffer = BytesMut::new();
    let ready = client.channel.ready(tokio::io::Interest::READABLE);
    tokio::select! {
        biased;
        ready = tokio::time::timeout(idle, ready) => match ready {
            Ok(Ok(_)) => Ok(()),
            _ => Err(NoHead::Gone),
        },
        () = thread.ending() => Err(NoHead::Ending),
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
) -> Result<Request, Box<Refusal>> {
    let facts = match request_framing(&head) {
        Ok(framing) => {
            let host = framing.host.map(|host| host.host.into_owned()).unwrap_or_default();
            (framing.body, framing.persistence, framing.expectation, host)
        }
        Err(fault) => {
            let server = Arc::clone(&endpoint.default);
            return Err(Box::new(Refusal { config, server, fault, head }));
        }
    };
    let (framing, persistence, expectation, host) = facts;
    let found = endpoint.names.find(&host);
    let mut captured = None;
    let server = match found {
        Ok(Some((server, captures))) => {
            captured = captures.map(|(regex, captures)| (regex.clone(), captures));
            Arc::clone(server)
        }
        _ => Arc::clone(&endpoint.default),
    };
    let slashes = if server.core.merge_slashes.0 { Slashes::Merged } else { Slashes::Kept };
    let path = match head.path(slashes) {
        Ok(path) => path.into_owned(),
        Err(_) => {
            let fault = HeadFault::InvalidUri;
            return Err(Box::new(Refusal { config, server, fault, head }));
        }
    };
    let args = head.args().unwrap_or_default().to_vec();
    let keepalive = persistence == Persistence::KeepAlive
        && !thread.is_ending()
        && may_keep(client, &server, ordinal);
    let request = Request {
        connection: Rc::clone(&client.facts),
        ordinal,
        method: Bytes::copy_from_slice(head.method()),
        framing,
        expects_continue: expectation == Expectation::Continue,
        keepalive,
        host,
        location: Arc::clone(&server.base),
        server,
        path,
        args,
        is_unchanged: true,
        is_internal: false,
        redirects: 0,
        error_page: ErrorPage::None,
        captures: Default::default(),
        memo: Default::default(),
        map_depth: Default::default(),
        started: Instant::now(),
        body: Body::Unread,
        body_bytes_read: 0,
        attempts: Vec::new(),
        proxy_host: Vec::new(),
        proxy_port: Vec::new(),
        upstream_head: None,
        sent: Sent::default(),
        close_reason: None,
        refused_line: None,
        config,
        head,
    };
    if let Some((regex, captures)) = captured {
        request.take_captures(&regex, captures);
    }
    Ok(request)
}

/// Whether the server lets the connection bring another request.
fn may_keep(client: &Client, server: &Server, ordinal: u64) -> bool {
    let core = &server.core;
    core.keepalive_timeout.timeout_ms > 0
        && ordinal < core.keepalive_requests.0
        && client.facts.accepted.elapsed() < Duration::from_millis(core.keepalive_time.0)
}

/// Whether a request has a body that is still to be read.
pub fn has_body(request: &Request) -> bool {
    matches!(request.body, Body::Unread)
        && !matches!(request.framing, BodyFraming::None | BodyFraming::Length(0))
}
