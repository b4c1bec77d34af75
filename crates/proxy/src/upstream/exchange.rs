//! One request's exchange with its upstream: choosing a peer, connecting, trying the next one, and
//! what the answer becomes.

use super::connecting::{self, Unconnected};
use super::converse::{self, Conversation, Deed, Failure};
use super::local::Local;
use super::outgoing::{self, Heading, To};
use super::pool::Kin;
use super::resolve::{self, Unresolved};
use super::{Group, Lease, Outcome, Pass, Released, Scheme, ShownUrl, Upstream, incoming};
use crate::channel::Channel;
use crate::config::Address;
use crate::error_log;
use crate::front::Client;
use crate::front::body::{self, BodyFault};
use crate::front::serve::has_body;
use crate::h1::{ResponseHead, same_name};
use crate::modules::error_log::Severity;
use crate::modules::proxy::NextUpstream;
use crate::request::{Attempt, Body, Request};
use crate::response::Response;
use crate::tls::{AcceptFault, Dialling, Unsecured};
use crate::upgrade::{self, Offer, Switched};
use crate::worker::Thread;
use bytes::BytesMut;
use perdura_conf::Number;
use perdura_tunnel::{Seat, Side};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What came of passing a request on. All but a tunnel give back what they were given.
pub enum Passed {
    Tunnel,
    /// The client went away first.
    Gone(Box<Client>, Box<Request>),
    Response(Box<Client>, Box<Request>, Response),
    Refused(Box<Client>, Box<Request>, u16),
    /// The client's body could not be read.
    BadBody(Box<Client>, Box<Request>, BodyFault),
}

impl Passed {
    /// The client, if it is still one.
    fn client(&mut self) -> Option<&mut Client> {
        match self {
            Self::Tunnel => None,
            Self::Gone(client, _)
            | Self::Response(client, ..)
            | Self::Refused(client, ..)
            | Self::BadBody(client, ..) => Some(client),
        }
    }
}

/// How an exchange ended, before the pieces are put together.
enum Ended {
    Answer(Box<Answer>),
    Gone,
    Refused(u16),
    BadBody(BodyFault),
}

/// An answer whose head has been read.
pub struct Answer {
    pub upstream: Box<Upstream>,
    pub lease: Lease,
    pub head: Rc<ResponseHead>,
    pub kin: Kin,
    pub began: Instant,
    /// The URI that was asked, for the log.
    pub uri: Vec<u8>,
    /// The whole request was sent, so the connection can be kept.
    pub request_was_sent: bool,
}

/// Passes a request on and reads the answer's head.
pub async fn exchange(
    mut client: Box<Client>,
    mut request: Box<Request>,
    pass: &Arc<Pass>,
    thread: &Rc<Thread>,
) -> Passed {
    let ready = match prepare(&mut client, &mut request, pass, thread).await {
        Ok(ready) => ready,
        Err(Ended::BadBody(fault)) => {
            return Passed::BadBody(client, request, fault);
        }
        Err(Ended::Refused(status)) => {
            return Passed::Refused(client, request, status);
        }
        Err(_) => return Passed::Gone(client, request),
    };
    let mut passed = match try_peers(&mut client, &mut request, &ready, thread).await {
        Ended::Answer(answer) if answer.head.status() == 101 => {
            switch(client, request, pass, thread, answer, ready).await
        }
        Ended::Answer(answer) => answered(client, request, pass, thread, *answer, *ready),
        Ended::Gone => Passed::Gone(client, request),
        Ended::Refused(status) => Passed::Refused(client, request, status),
        Ended::BadBody(fault) => Passed::BadBody(client, request, fault),
    };
    if let Some(client) = passed.client() {
        client.channel.unexpect();
    }
    passed
}

/// Whom a request goes to, once names have addresses, and what it asks for there.
struct Aim {
    group: Arc<Group>,
    /// The request's target, as it is sent.
    uri: Vec<u8>,
    scheme: Scheme,
    /// How TLS is spoken, and to which name; absent where it is not.
    tls: Option<(Arc<Dialling>, Vec<u8>)>,
}

/// What is settled before a peer is chosen.
struct Ready {
    aim: Aim,
    offer: Offer,
    seat: Option<Seat>,
    head: BytesMut,
}

async fn prepare(
    client: &mut Client,
    request: &mut Request,
    pass: &Pass,
    thread: &Thread,
) -> Result<Box<Ready>, Ended> {
    let heading = outgoing::aim(request, pass).map_err(|fault| {
        error_log::request(request, Severity::Error, &fault.to_string());
        Ended::Refused(fault.status())
    })?;
    request.proxy_host = heading.host.clone();
    request.proxy_port = heading.port.clone();
    let configured = pass
        .fields
        .iter()
        .find(|(name, _)| same_name(name, "upgrade"))
        .map(|(_, template)| request.value(template));
    let offer = upgrade::offer(request, configured.as_deref());
    let proxy = &request.location.proxy;
    let is_replaced = proxy.proxy_set_body.is_some() || !proxy.proxy_pass_request_body.0;
    let is_whole = proxy.proxy_request_buffering.0 || offer.may_switch() || is_replaced;
    if request.expects_continue || has_body(request) {
        let read = Box::pin(async {
            match is_whole {
                true => body::read_all(client, request).await,
                false => body::invite(client, request).await,
            }
        });
        read.await.map_err(Ended::BadBody)?;
    }
    replace_body(request);
    // A seat is had before the upstream is asked, so that no answer can come that has no place.
    let seat = match offer.may_switch() {
        false => None,
        true => Some(thread.seats().reserve().ok_or_else(|| {
            error_log::request(request, Severity::Alert, "no place left for a tunnel");
            Ended::Refused(503)
        })?),
    };
    let mut head = BytesMut::with_capacity(1024);
    let framing = outgoing::framing(request);
    outgoing::head(request, pass, &heading.uri, framing, &offer, &mut head).map_err(|fault| {
        let message = format!("a field of the upstream request cannot be sent: {fault:?}");
        error_log::request(request, Severity::Error, &message);
        Ended::Refused(400)
    })?;
    let tls = match heading.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let name = request.value(&request.location.proxy_ssl.proxy_ssl_name);
            pass.tls.clone().map(|rules| (rules, name))
        }
    };
    let aim = Aim { tls, ..aim(client, request, heading, thread).await? };
    Ok(Box::new(Ready { aim, offer, seat, head }))
}

/// `proxy_set_body` and `proxy_pass_request_body`: what is sent instead of the client's body.
fn replace_body(request: &mut Request) {
    let proxy = &request.location.proxy;
    let body = match &proxy.proxy_set_body {
        Some(template) => request.value(template),
        None if proxy.proxy_pass_request_body.0 => return,
        None => Vec::new(),
    };
    request.body = Body::Memory(body.into());
}

/// `X-Accel-Limit-Rate`: the rate of the response, as the upstream wants it.
fn obey_limit_rate(request: &mut Request, head: &ResponseHead) {
    if request.location.proxy.proxy_ignore_headers.has("X-Accel-Limit-Rate") {
        return;
    }
    let rate = head.fields().first("x-accel-limit-rate").and_then(Number::parse);
    request.limit_rate = rate.or(request.limit_rate);
}

/// Finds the addresses of a name that only a resolver knows.
async fn aim(
    client: &Client,
    request: &Request,
    heading: Heading,
    thread: &Thread,
) -> Result<Aim, Ended> {
    let Heading { to, uri, host, scheme, .. } = heading;
    let (name, port) = match to {
        To::Group(group) => return Ok(Aim { group, uri, scheme, tls: None }),
        To::Name(name, port) => (name, port),
    };
    let watches = !request.location.proxy.proxy_ignore_client_abort.0;
    let text = String::from_utf8_lossy(&host);
    let found = resolve::group(client, request, (&name, port), (&text, watches), thread);
    match Box::pin(found).await {
        Ok(group) => Ok(Aim { group, uri, scheme, tls: None }),
        Err(Unresolved::Gone) => Err(Ended::Gone),
        Err(Unresolved::Refused(status)) => Err(Ended::Refused(status)),
    }
}

async fn try_peers(
    client: &mut Client,
    request: &mut Request,
    ready: &Ready,
    thread: &Rc<Thread>,
) -> Ended {
    let Ready { aim, seat, head, .. } = ready;
    let seat = seat.as_ref();
    let mut turn = aim.group.turn(request);
    let limit = request.location.proxy.proxy_next_upstream_tries.0 as usize;
    let mut left = aim.group.tries();
    if limit > 0 {
        left = left.min(limit);
    }
    let began = Instant::now();
    let mut after_redirect = !request.attempts.is_empty();
    loop {
        let Some(index) = aim.group.pick(&mut turn, crate::now_ms()) else {
            return no_live_peer(request, aim, after_redirect);
        };
        let lease = Lease::new(Arc::clone(&aim.group), index);
        let shown = Arc::clone(aim.group.shown(index));
        // One attempt is the rule.
        request.attempts.reserve_exact(1);
        request.attempts.push(Attempt {
            address: Arc::clone(&shown),
            after_redirect: std::mem::take(&mut after_redirect),
            ..Attempt::default()
        });
        left = left.saturating_sub(1);
        let mut failure = match attempt(client, request, aim, head, (lease, seat), thread).await {
            Ok(answer) => match status_failure(request, &answer, left) {
                None => return Ended::Answer(Box::new(answer)),
                Some(failure) => {
                    let attempt = request.attempt();
                    attempt.response_time = Some(answer.began.elapsed());
                    fail(request, answer.lease, &failure, shown_url(aim, &shown));
                    failure
                }
            },
            Err(ended) => match ended {
                AttemptEnd::Gone => return Ended::Gone,
                AttemptEnd::BadBody(fault) => return Ended::BadBody(fault),
                AttemptEnd::Failed(lease, failure) => {
                    fail(request, lease, &failure, shown_url(aim, &shown));
                    failure
                }
            },
        };
        // A kept connection that the server had closed says nothing about the server.
        if failure.was_reused && failure.bit == NextUpstream::ERROR {
            left += 1;
            turn = aim.group.turn(request);
            failure.was_reused = false;
        }
        // What this process lacks is no answer of an upstream, as in nginx's log.
        request.attempt().status = (failure.bit != NextUpstream::OWN).then_some(failure.status);
        let time_max = request.location.proxy.proxy_next_upstream_timeout.0;
        let late = time_max > 0 && began.elapsed() >= Duration::from_millis(time_max);
        if left == 0 || late || !may_retry(request, &failure) {
            return Ended::Refused(failure.status);
        }
    }
}

/// Every peer rests or has been tried.
fn no_live_peer(request: &mut Request, aim: &Aim, after_redirect: bool) -> Ended {
    let address = Arc::clone(aim.group.kin());
    let status = Some(502);
    request.attempts.push(Attempt { address, status, after_redirect, ..Attempt::default() });
    let url = shown_url(aim, &aim.group.name);
    let message = "no live upstreams while connecting to upstream";
    error_log::upstream(request, Severity::Error, message, &url);
    Ended::Refused(502)
}

/// Whether another peer may have the request: the configuration says so for this failure, and what
/// was sent can be sent again.
fn may_retry(request: &Request, failure: &Failure) -> bool {
    let next = request.location.proxy.proxy_next_upstream;
    let wanted = match failure.bit {
        0 => next.has_status(failure.status),
        bit => next.has(bit),
    };
    let idempotent = !matches!(&request.method[..], b"POST" | b"LOCK" | b"PATCH");
    let repeatable = !failure.request_sent
        || ((idempotent || next.has(NextUpstream::NON_IDEMPOTENT)) && !failure.body_streamed);
    wanted && repeatable
}

fn status_failure(request: &Request, answer: &Answer, left: usize) -> Option<Failure> {
    let status = answer.head.status();
    let wanted = left > 0 && request.location.proxy.proxy_next_upstream.has_status(status);
    let failure = Failure { status, deed: Deed::Reading, request_sent: true, ..Failure::default() };
    (wanted && may_retry(request, &failure)).then_some(failure)
}

fn fail(request: &Request, lease: Lease, failure: &Failure, url: ShownUrl<'_>) {
    // 403 and 404 are the server's opinion, and a failure of this process is none of its.
    let outcome = match failure.status {
        _ if failure.bit == NextUpstream::OWN => Outcome::Fine,
        403 | 404 => Outcome::Fine,
        _ => Outcome::Failed,
    };
    if lease.give_back(outcome, crate::now_ms()) == Released::Disabled {
        let message =
            format!("upstream server temporarily disabled while {}", failure.deed.words());
        error_log::upstream(request, Severity::Warn, &message, &url);
    }
}

/// Why an attempt gave no answer.
enum AttemptEnd {
    Gone,
    BadBody(BodyFault),
    Failed(Lease, Failure),
}

async fn attempt(
    client: &mut Client,
    request: &mut Request,
    aim: &Aim,
    head: &BytesMut,
    (lease, seat): (Lease, Option<&Seat>),
    thread: &Rc<Thread>,
) -> Result<Answer, AttemptEnd> {
    let mut kin = Kin::new(&aim.group, Arc::as_ptr(&request.location) as usize);
    if let Some((rules, name)) = &aim.tls {
        kin = kin.secured(rules, name);
    }
    let began = Instant::now();
    let peer = &aim.group.peer(lease.index()).address;
    let url = shown_url(aim, aim.group.shown(lease.index()));
    // What may become a tunnel begins on a connection of its own (T3).
    let kept = match seat {
        Some(_) => None,
        None => thread.pool().get(&kin, peer),
    };
    let upstream = match kept {
        Some(upstream) => upstream,
        None => {
            match Box::pin(connected(client, request, (peer, aim), url, (seat, thread))).await {
                Ok(upstream) => upstream,
                Err(None) => return Err(AttemptEnd::Gone),
                Err(Some(failure)) => return Err(AttemptEnd::Failed(lease, failure)),
            }
        }
    };
    request.attempt().connect_time = Some(began.elapsed());
    if seat.is_some() {
        upstream.channel.read_exactly();
    }
    let conversation = Conversation { upstream, url };
    match converse::converse(client, request, conversation, head).await {
        Ok(heard) => {
            request.attempt().header_time = Some(began.elapsed());
            request.attempt().status = Some(heard.head.status());
            Ok(Answer {
                upstream: heard.upstream,
                lease,
                head: Rc::new(heard.head),
                kin,
                began,
                uri: Vec::new(),
                request_was_sent: heard.request_was_sent,
            })
        }
        Err(converse::Ended::Gone) => Err(AttemptEnd::Gone),
        Err(converse::Ended::BadBody(fault)) => Err(AttemptEnd::BadBody(fault)),
        Err(converse::Ended::Failed(failure)) => {
            request.attempt().response_time = Some(began.elapsed());
            Err(AttemptEnd::Failed(lease, failure))
        }
    }
}

/// Connects, and secures the connection where TLS is spoken; `Err(None)` when the client went away
/// meanwhile.
async fn connected(
    client: &Client,
    request: &Request,
    (peer, aim): (&Address, &Aim),
    url: ShownUrl<'_>,
    tunnel: (Option<&Seat>, &Thread),
) -> Result<Box<Upstream>, Option<Failure>> {
    let upstream = connect(client, request, peer, url, tunnel).await?;
    let Some((rules, name)) = &aim.tls else {
        return Ok(upstream);
    };
    // Boxed, because most upstreams speak no TLS.
    Box::pin(secured(client, request, upstream, (rules, name), url)).await
}

/// The same connection, once hands have been shaken on it.
async fn secured(
    client: &Client,
    request: &Request,
    upstream: Box<Upstream>,
    (rules, name): (&Dialling, &[u8]),
    url: ShownUrl<'_>,
) -> Result<Box<Upstream>, Option<Failure>> {
    let limit = Duration::from_millis(request.location.proxy.proxy_connect_timeout.0);
    let watches = !request.location.proxy.proxy_ignore_client_abort.0;
    let Upstream { channel, buffer, address, requests, made, is_reused } = *upstream;
    let secured = tokio::select! {
        biased;
        secured = rules.secure(channel, name, limit) => secured,
        () = client.channel.closed(), if watches => {
            let message = "client prematurely closed connection, so upstream connection is closed too \
                           while SSL handshaking to upstream";
            error_log::upstream(request, Severity::Info, message, &url);
            return Err(None);
        }
    };
    match secured {
        Ok(channel) => {
            Ok(Box::new(Upstream { channel, buffer, address, requests, made, is_reused }))
        }
        Err(fault) => {
            let (words, failure) = unsecured(&fault, name);
            let message = format!("{words} while SSL handshaking to upstream");
            error_log::upstream(request, Severity::Error, &message, &url);
            Err(Some(failure))
        }
    }
}

/// What a failed handshake is for the log and for the request.
fn unsecured(fault: &Unsecured, name: &[u8]) -> (String, Failure) {
    let deed = Deed::ShakingHands;
    let failed = |words: String| {
        (words, Failure { status: 502, bit: NextUpstream::ERROR, deed, ..Failure::default() })
    };
    match fault {
        Unsecured::Handshake(AcceptFault::TimedOut) => (
            "upstream timed out (110: Connection timed out)".to_owned(),
            Failure { status: 504, bit: NextUpstream::TIMEOUT, deed, ..Failure::default() },
        ),
        Unsecured::Handshake(fault) => failed(fault.words()),
        Unsecured::Untrusted(fault) => {
            let (number, words) = (fault.number(), fault.words());
            failed(format!("upstream SSL certificate verify error: ({number}:{words})"))
        }
        Unsecured::OtherName => {
            let name = String::from_utf8_lossy(name);
            failed(format!("upstream SSL certificate does not match \"{name}\""))
        }
    }
}

/// Connects; `Err(None)` when the client went away meanwhile.
async fn connect(
    client: &Client,
    request: &Request,
    peer: &Address,
    url: ShownUrl<'_>,
    (seat, thread): (Option<&Seat>, &Thread),
) -> Result<Box<Upstream>, Option<Failure>> {
    if let Some(seat) = seat {
        thread.expect(&client.channel, seat, Side::Client);
    }
    let begun = |upstream: &Channel| {
        if let Some(seat) = seat {
            thread.expect(upstream, seat, Side::Upstream);
        }
    };
    let limit = Duration::from_millis(request.location.proxy.proxy_connect_timeout.0);
    let bind = request.location.proxy.proxy_bind.as_ref();
    let local = bind.and_then(|bind| Local::of(request, bind));
    let connecting = tokio::time::timeout(limit, Upstream::connect(peer, local, begun));
    let watches = !request.location.proxy.proxy_ignore_client_abort.0;
    let connected = tokio::select! {
        biased;
        connected = connecting => connected,
        () = client.channel.closed(), if watches => {
            connecting::log_gone(request, &url);
            return Err(None);
        }
    };
    let failed = |status, bit| Some(Failure { status, bit, ..Failure::default() });
    match connecting::judge(request, peer, &url, connected) {
        Ok(upstream) => {
            if request.location.proxy.proxy_socket_keepalive.0 {
                upstream.channel.set_keepalive();
            }
            Ok(upstream)
        }
        Err(Unconnected::Gone) => Err(None),
        Err(Unconnected::Own) => Err(failed(500, NextUpstream::OWN)),
        Err(Unconnected::Failed) => Err(failed(502, NextUpstream::ERROR)),
        Err(Unconnected::TimedOut) => Err(failed(504, NextUpstream::TIMEOUT)),
    }
}

fn shown_url<'u>(aim: &'u Aim, peer: &'u str) -> ShownUrl<'u> {
    ShownUrl { scheme: aim.scheme, uri: &aim.uri, peer }
}

/// What an answer that is no switch of protocols becomes.
fn answered(
    client: Box<Client>,
    mut request: Box<Request>,
    pass: &Pass,
    thread: &Rc<Thread>,
    mut answer: Answer,
    ready: Ready,
) -> Passed {
    request.upstream_head = Some(Rc::clone(&answer.head));
    obey_limit_rate(&mut request, &answer.head);
    answer.upstream.channel.unexpect();
    match incoming::framing(&request, &answer.head) {
        Ok(framing) => {
            let answer = Answer { uri: ready.aim.uri, ..answer };
            let response = incoming::response(&request, pass, answer, framing, thread);
            Passed::Response(client, request, response)
        }
        Err(fault) => {
            let reason = fault.reason();
            let message = String::from_utf8_lossy(&reason).into_owned();
            let url = shown_url(&ready.aim, answer.lease.group().shown(answer.lease.index()));
            error_log::upstream(&request, Severity::Error, &message, &url);
            request.attempt().status = Some(502);
            Passed::Refused(client, request, 502)
        }
    }
}

/// What a 101 becomes: a tunnel, if both sides have agreed to it.
async fn switch(
    client: Box<Client>,
    mut request: Box<Request>,
    pass: &Pass,
    thread: &Rc<Thread>,
    answer: Box<Answer>,
    ready: Box<Ready>,
) -> Passed {
    request.upstream_head = Some(Rc::clone(&answer.head));
    obey_limit_rate(&mut request, &answer.head);
    let Ready { aim, offer, seat, .. } = *ready;
    let proof = upgrade::judge(&request, &offer, &answer.head, answer.request_was_sent);
    let seat = seat.or_else(|| thread.seats().reserve());
    match (proof, seat) {
        (Ok(proof), Some(seat)) => {
            begin(client, request, (pass, thread), answer, (proof, seat, aim)).await
        }
        (Ok(_), None) => {
            error_log::request(&request, Severity::Alert, "no place left for a tunnel");
            Passed::Refused(client, request, 503)
        }
        (Err(why), _) => {
            let url = shown_url(&aim, answer.lease.group().shown(answer.lease.index()));
            let message = format!("{} while reading response header from upstream", why.words());
            error_log::upstream(&request, Severity::Error, &message, &url);
            request.attempt().response_time = Some(answer.began.elapsed());
            Passed::Refused(client, request, 502)
        }
    }
}

/// Begins the tunnel; what TLS still has under way is waited for.
async fn begin(
    mut client: Box<Client>,
    mut request: Box<Request>,
    (pass, thread): (&Pass, &Rc<Thread>),
    answer: Box<Answer>,
    (proof, seat, aim): (Switched, Seat, Aim),
) -> Passed {
    let mut response = incoming::head_of(&request, pass, &answer.head);
    let mut head = BytesMut::with_capacity(512);
    crate::front::write_head(&mut request, &mut response, &mut head);
    drop(response);
    let Answer { mut upstream, lease, .. } = *answer;
    let limit = Duration::from_millis(request.location.proxy.proxy_read_timeout.0);
    if client.channel.is_sealed() {
        let settled = Box::pin(client.channel.settle(&mut client.buffer, limit)).await;
        if settled.is_err() {
            return Passed::Gone(client, request);
        }
    }
    if upstream.channel.is_sealed() {
        let settled = Box::pin(upstream.channel.settle(&mut upstream.buffer, limit)).await;
        if settled.is_err() {
            let url = shown_url(&aim, lease.group().shown(lease.index()));
            let message = "upstream prematurely closed connection while it became a tunnel";
            error_log::upstream(&request, Severity::Error, message, &url);
            return Passed::Refused(client, request, 502);
        }
    }
    let ends = upgrade::Ends { client, upstream, lease };
    thread.begin_tunnel(proof, seat, ends, request, head);
    Passed::Tunnel
}
