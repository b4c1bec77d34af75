//! CONNECT: from a client's target to a connection there, and the tunnel between the two.
//!
//! Nothing is sent to the upstream and nothing is read from the client before the connection is
//! made: what the client has sent too early waits where it is.

use super::connecting::{self, Unconnected};
use super::local::Local;
use super::outgoing::{To, computed_target};
use super::resolve::{self, Unresolved};
use super::{Authority, Group, Host, Lease, Outcome, Passed, Released, Upstream};
use crate::channel::Channel;
use crate::config::Address;
use crate::error_log;
use crate::front::Client;
use crate::guard::{Denied, Guard};
use crate::modules::error_log::Severity;
use crate::request::{Attempt, Request};
use crate::response::Response;
use crate::upgrade::{self, Ends};
use crate::worker::Thread;
use bytes::BytesMut;
use perdura_conf::{Size, Template};
use perdura_tunnel::Seat;
use rustix::fd::BorrowedFd;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A compiled `tunnel_pass`.
pub enum Tunnel {
    /// The configuration names it, so that it is not judged.
    Group(Arc<Group>),
    Computed(Template),
}

/// Answers CONNECT. All but a tunnel give back what they were given.
pub async fn tunnel(
    mut client: Box<Client>,
    mut request: Box<Request>,
    pass: &Tunnel,
    thread: &Rc<Thread>,
) -> Passed {
    match open(&mut client, &mut request, pass, thread).await {
        Ok((seat, upstream, lease)) => {
            let Some(proof) = upgrade::connected(&request, &upstream) else {
                return Passed::Refused(client, request, 500);
            };
            let mut response = Response { status: 200, ..Response::default() };
            let mut head = BytesMut::with_capacity(256);
            crate::front::write_head(&mut request, &mut response, &mut head);
            let limit = Duration::from_millis(request.location.core.client_header_timeout.0);
            if client.channel.is_sealed()
                && Box::pin(client.channel.settle(&mut client.buffer, limit)).await.is_err()
            {
                return Passed::Gone(client, request);
            }
            let ends = Ends { client, upstream, lease };
            thread.begin_tunnel(proof, seat, ends, request, head);
            Passed::Tunnel
        }
        Err(Ended::Gone) => Passed::Gone(client, request),
        Err(Ended::Refused(status)) => Passed::Refused(client, request, status),
    }
}

/// Why there is no tunnel; the error log knows more.
enum Ended {
    Gone,
    Refused(u16),
}

impl From<Unresolved> for Ended {
    fn from(why: Unresolved) -> Self {
        match why {
            Unresolved::Gone => Self::Gone,
            Unresolved::Refused(status) => Self::Refused(status),
        }
    }
}

async fn open(
    client: &mut Client,
    request: &mut Request,
    pass: &Tunnel,
    thread: &Rc<Thread>,
) -> Result<(Seat, Box<Upstream>, Lease), Ended> {
    // A seat is had before anybody is dialled.
    let seat = thread.seats().reserve().ok_or_else(|| {
        error_log::request(request, Severity::Alert, "no place left for a tunnel");
        Ended::Refused(503)
    })?;
    let (group, trust) = match pass {
        Tunnel::Group(group) => (Arc::clone(group), Trust::Configured),
        Tunnel::Computed(template) => computed(client, request, template, thread).await?,
    };
    let (upstream, lease) = dial(client, request, &group, trust).await?;
    Ok((seat, upstream, lease))
}

/// Who chose where the tunnel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The configuration, so that nothing is judged.
    Configured,
    /// The client.
    Asked,
}

/// Whom a target means that has variables: a group of the configuration, or addresses that the guard
/// lets be dialled. A name is resolved once, and what was judged is what is dialled.
async fn computed(
    client: &Client,
    request: &Request,
    template: &Template,
    thread: &Thread,
) -> Result<(Arc<Group>, Trust), Ended> {
    let text = request.value(template);
    let shown = String::from_utf8_lossy(&text);
    let authority = Authority::parse(&text).map_err(|what| {
        let message = format!("{what} in upstream \"{shown}\"");
        error_log::request(request, Severity::Info, &message);
        Ended::Refused(500)
    })?;
    let to = computed_target(&request.config, &authority, 0);
    if let To::Group(group) = &to
        && group.explicit
    {
        return Ok((Arc::clone(group), Trust::Configured));
    }
    if authority.port.is_none() && !matches!(authority.host, Host::Unix(_)) {
        let message = format!("no port in upstream \"{shown}\"");
        error_log::request(request, Severity::Error, &message);
        return Err(Ended::Refused(500));
    }
    let port = authority.port.unwrap_or_default();
    let found = match to {
        To::Group(group) => group.addresses(),
        To::Name(name, port) => {
            let found = resolve::addresses(client, request, &name, true, thread);
            let found = Box::pin(found).await?;
            found.into_iter().map(|ip| Address::Inet(SocketAddr::new(ip, port))).collect()
        }
    };
    let allowed = judged(request, found, &shown)?;
    Ok((Arc::new(Group::implicit(shown.into_owned(), port, allowed)), Trust::Asked))
}

/// What may be dialled of `found`; 403 when it is nothing.
fn judged(request: &Request, found: Vec<Address>, shown: &str) -> Result<Vec<Address>, Ended> {
    let mut denied = None;
    let allowed: Vec<_> = found
        .into_iter()
        .filter(|address| match judge(request, address, &|address| is_own(request, address)) {
            Ok(()) => true,
            Err(why) => {
                denied.get_or_insert((address.clone(), why));
                false
            }
        })
        .collect();
    match denied {
        Some((address, why)) if allowed.is_empty() => Err(forbidden(request, &address, shown, why)),
        _ => Ok(allowed),
    }
}

fn forbidden(request: &Request, address: &Address, shown: &str, why: Denied) -> Ended {
    let message = format!("tunnel to {address} for \"{shown}\" is forbidden: {why}");
    error_log::request(request, Severity::Error, &message);
    Ended::Refused(403)
}

fn judge(
    request: &Request,
    address: &Address,
    own: &dyn Fn(SocketAddr) -> bool,
) -> Result<(), Denied> {
    let settings = &request.location.settings.tunnel;
    let guard = Guard {
        is_on: settings.tunnel_guard.0,
        allow: &settings.tunnel_allow_upstream.0,
        deny: &settings.tunnel_deny_upstream.0,
        own,
    };
    match address {
        Address::Inet(address) => guard.judge(*address),
        // Nobody can mean a path of this machine from outside.
        Address::Unix(_) if guard.is_on => Err(Denied::Own),
        Address::Unix(_) => Ok(()),
    }
}

/// Whether this proxy listens at an address, as far as can be told before it is dialled.
fn is_own(request: &Request, address: SocketAddr) -> bool {
    let ip = address.ip();
    let came_to = match &request.connection.local {
        Address::Inet(local) => Some(local.ip().to_canonical()),
        Address::Unix(_) => None,
    };
    let is_here = ip.is_loopback() || ip.is_unspecified() || Some(ip) == came_to;
    request.config.sockets.iter().any(|listen| match &listen.address {
        Address::Inet(own) if own.port() != address.port() => false,
        Address::Inet(own) => own.ip().to_canonical() == ip || listen.is_wildcard() && is_here,
        Address::Unix(_) => false,
    })
}

/// Tries one peer after the other.
async fn dial(
    client: &mut Client,
    request: &mut Request,
    group: &Arc<Group>,
    trust: Trust,
) -> Result<(Box<Upstream>, Lease), Ended> {
    let location = Arc::clone(&request.location);
    let settings = &location.settings.tunnel;
    let mut left = group.tries();
    match settings.tunnel_next_upstream_tries.0 as usize {
        0 => {}
        limit => left = left.min(limit),
    }
    let began = Instant::now();
    let mut turn = group.turn(request);
    let mut after_redirect = !request.attempts.is_empty();
    loop {
        let Some(index) = group.pick(&mut turn, crate::now_ms()) else {
            return Err(no_live_peer(request, group, after_redirect));
        };
        let lease = Lease::new(Arc::clone(group), index);
        let shown = Arc::clone(group.shown(index));
        request.attempts.push(Attempt {
            address: Arc::clone(&shown),
            after_redirect: std::mem::take(&mut after_redirect),
            ..Attempt::default()
        });
        left = left.saturating_sub(1);
        let attempt_began = Instant::now();
        let why = match connect(client, request, (&group.peer(index).address, trust), &shown).await
        {
            Ok(Err(why)) => {
                return Err(forbidden(request, &group.peer(index).address, &shown, why));
            }
            Ok(Ok(upstream)) => {
                let took = attempt_began.elapsed();
                request.attempt().connect_time = Some(took);
                request.attempt().header_time = Some(took);
                return Ok((upstream, lease));
            }
            Err(why) => why,
        };
        request.attempt().response_time = Some(attempt_began.elapsed());
        let (status, wanted) = match why {
            Unconnected::Gone => return Err(Ended::Gone),
            Unconnected::Own => (500, false),
            Unconnected::Failed => (502, settings.tunnel_next_upstream.has_error()),
            Unconnected::TimedOut => (504, settings.tunnel_next_upstream.has_timeout()),
        };
        let outcome = if status == 500 { Outcome::Fine } else { Outcome::Failed };
        if lease.give_back(outcome, crate::now_ms()) == Released::Disabled {
            let message = "upstream server temporarily disabled while connecting to upstream";
            error_log::upstream(request, Severity::Warn, message, &shown);
        }
        request.attempt().status = Some(status).filter(|_| !matches!(why, Unconnected::Own));
        let time_max = settings.tunnel_next_upstream_timeout.0;
        let late = time_max > 0 && began.elapsed() >= Duration::from_millis(time_max);
        if left == 0 || late || !wanted {
            return Err(Ended::Refused(status));
        }
    }
}

/// Every peer rests or has been tried.
fn no_live_peer(request: &mut Request, group: &Group, after_redirect: bool) -> Ended {
    let address = Arc::clone(group.kin());
    let status = Some(502);
    request.attempts.push(Attempt { address, status, after_redirect, ..Attempt::default() });
    let message = "no live upstreams while connecting to upstream";
    error_log::upstream(request, Severity::Error, message, &group.name);
    Ended::Refused(502)
}

/// Connects as the location says.
async fn connect(
    client: &Client,
    request: &Request,
    (peer, trust): (&Address, Trust),
    shown: &str,
) -> Result<Result<Box<Upstream>, Denied>, Unconnected> {
    let settings = &request.location.settings.tunnel;
    let limit = Duration::from_millis(settings.tunnel_connect_timeout.0);
    let bind = Local::of(request, &settings.tunnel_bind);
    let sizes = (settings.tunnel_socket_rcvbuf, settings.tunnel_socket_sndbuf);
    let connecting = tokio::time::timeout(limit, reach(request, (peer, trust), bind, sizes));
    let connected = tokio::select! {
        biased;
        connected = connecting => connected,
        () = client.channel.closed() => {
            connecting::log_gone(request, &shown);
            return Err(Unconnected::Gone);
        }
    };
    let reached = connecting::judge(request, peer, &shown, connected)?;
    if let Ok(upstream) = &reached
        && settings.tunnel_socket_keepalive.0
    {
        upstream.channel.set_keepalive();
    }
    Ok(reached)
}

/// Makes the connection; it may turn out to lead to this proxy itself.
async fn reach(
    request: &Request,
    (peer, trust): (&Address, Trust),
    bind: Option<Local>,
    (rcvbuf, sndbuf): (Option<Size>, Option<Size>),
) -> io::Result<Result<Box<Upstream>, Denied>> {
    use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
    let size = |Size(size)| usize::try_from(size).unwrap_or(usize::MAX);
    let prepare = |socket: BorrowedFd<'_>| {
        if let Some(bytes) = rcvbuf {
            set_socket_recv_buffer_size(socket, size(bytes))?;
        }
        if let Some(bytes) = sndbuf {
            set_socket_send_buffer_size(socket, size(bytes))?;
        }
        if let (Some(local), Address::Inet(_)) = (bind, peer) {
            local.prepare(socket)?;
        }
        Ok(())
    };
    let channel = Channel::connect_prepared(peer, prepare).await?;
    if trust == Trust::Asked && channel.is_home() && is_listened_on(request, peer) {
        // An address of this machine that nothing else tells: both ends have it.
        if let Err(denied) = judge(request, peer, &|_| true) {
            return Ok(Err(denied));
        }
    }
    Ok(Ok(Upstream::new(channel, peer)))
}

/// Whether this proxy listens on the port at every address.
fn is_listened_on(request: &Request, peer: &Address) -> bool {
    request.config.sockets.iter().any(|listen| match (&listen.address, peer) {
        (Address::Inet(own), Address::Inet(peer)) => {
            listen.is_wildcard() && own.port() == peer.port()
        }
        _ => false,
    })
}
