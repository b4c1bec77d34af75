//! The switch of protocols: who may ask for it, whether both sides agreed, and the hand-over of the
//! two connections to the tunnel engine.
//!
//! ```text
//!  request --offer()--> Offer --(sent upstream)--> answer --judge()--> Switched --hand_over()--> tunnel
//! ```
//!
//! [`judge`] and, for CONNECT, [`connected`] are the only makers of [`Switched`], and [`hand_over`] the
//! only maker of a [`tunnel::Handoff`](perdura_tunnel::Handoff).

use crate::front::Client;
use crate::h1::{BodyFraming, Fields, ResponseHead, Version, connection_tokens, upgrade_tokens};
use crate::ledger::Ledger;
use crate::limits::connections::Place;
use crate::modules::upgrade::Check;
use crate::request::Request;
use crate::upstream::{Lease, Upstream};
use crate::websocket;
use bytes::BytesMut;
use perdura_tunnel::{Framing, Handoff, Keeping, Seat, Terms};

/// What is offered to the upstream in `Upgrade`, and what the client had asked for.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The field as it is sent; empty when nothing is offered.
    field: Vec<u8>,
    tokens: Vec<Vec<u8>>,
    /// The client sent an `Upgrade` field at all.
    was_asked: bool,
    /// The client asked, and what it asked for is not passed on.
    is_withheld: bool,
}

/// Makes the offer: `configured` is what the configuration would send in `Upgrade`, if it does.
///
/// In strict mode it is cut down to what the client asked for in the form that RFC 9110, 7.8 wants,
/// and to protocols that may travel (T5).
pub fn offer(request: &Request, configured: Option<&[u8]>) -> Offer {
    let fields = request.head.fields();
    let was_asked = fields.first("upgrade").is_some();
    // A subrequest is answered by this server alone, so nothing could be upgraded.
    if request.main_method.is_some() {
        return Offer { was_asked, is_withheld: true, ..Offer::default() };
    }
    let Some(configured) = configured.filter(|value| !value.is_empty()) else {
        return Offer { was_asked, ..Offer::default() };
    };
    let settings = &request.location.upgrade;
    if settings.upgrade_check == Check::Compat {
        let tokens = split(configured).map(<[u8]>::to_vec).collect();
        return Offer { field: configured.to_vec(), tokens, was_asked, is_withheld: false };
    }
    let asked: Vec<&[u8]> =
        if is_well_asked(request) { upgrade_tokens(fields).collect() } else { Vec::new() };
    let all: Vec<&[u8]> = split(configured).collect();
    let travels = |token: &&[u8]| {
        settings.upgrade_protocols.allows(token)
            && asked.iter().any(|other| other.eq_ignore_ascii_case(token))
    };
    let tokens: Vec<Vec<u8>> = all.iter().copied().filter(travels).map(<[u8]>::to_vec).collect();
    let field =
        if tokens.len() == all.len() { configured.to_vec() } else { tokens.join(&b", "[..]) };
    Offer { is_withheld: was_asked && tokens.is_empty(), field, tokens, was_asked }
}

/// HTTP/1.1, and `Connection` names the field (RFC 9110, 7.8).
fn is_well_asked(request: &Request) -> bool {
    request.version() >= Version::HTTP_11 && names_upgrade(request.head.fields())
}

fn names_upgrade(fields: &Fields) -> bool {
    connection_tokens(fields).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

fn split(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

impl Offer {
    /// The `Upgrade` field to send.
    pub fn field(&self) -> &[u8] {
        &self.field
    }

    /// Whether the exchange may end as a tunnel, so that a seat must be had.
    pub fn may_switch(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The `Connection` field to send: without `upgrade` when the upgrade is not passed on.
    pub fn connection(&self, configured: &[u8]) -> Vec<u8> {
        if !self.is_withheld {
            return configured.to_vec();
        }
        let kept: Vec<&[u8]> =
            split(configured).filter(|token| !token.eq_ignore_ascii_case(b"upgrade")).collect();
        kept.join(&b", "[..])
    }
}

/// Proof that both sides have agreed to leave HTTP (T1).
pub struct Switched(Protocol);

/// What is spoken from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    /// Another protocol that was upgraded to.
    Other,
    /// Whatever a client that asked for a connection sends through it.
    Unknown,
}

impl Protocol {
    fn upgraded(is_websocket: bool) -> Self {
        if is_websocket { Self::WebSocket } else { Self::Other }
    }
}

/// Why a 101 is no switch; the client gets 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSwitched {
    /// The client did not ask, or what it asked was not passed on.
    NotAsked,
    /// The answer does not name exactly one of the offered protocols.
    OtherProtocol,
    /// The answer says that the connection closes.
    Closes,
    /// A WebSocket handshake without key or version, or by another method than GET.
    BadHandshake,
    /// The upstream did not prove that it read the key (RFC 6455, 4.1).
    BadAccept,
    /// The request's body was not sent completely.
    BodyUnsent,
}

impl NotSwitched {
    /// The words of the error log.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotAsked => "upstream sent 101 to a request that did not ask to switch protocols",
            Self::OtherProtocol => "upstream switched to a protocol that was not offered",
            Self::Closes => "upstream sent 101 with \"Connection: close\"",
            Self::BadHandshake => "upstream sent 101 to an incomplete WebSocket handshake",
            Self::BadAccept => "upstream sent 101 with a wrong \"Sec-WebSocket-Accept\"",
            Self::BodyUnsent => "upstream sent 101 before the request's body was sent",
        }
    }
}

/// Judges a 101 answer.
pub fn judge(
    request: &Request,
    offer: &Offer,
    answer: &ResponseHead,
    body_was_sent: bool,
) -> Result<Switched, NotSwitched> {
    if !body_was_sent {
        return Err(NotSwitched::BodyUnsent);
    }
    if request.location.upgrade.upgrade_check == Check::Compat {
        // nginx looks at nothing but the client's field.
        if !offer.was_asked {
            return Err(NotSwitched::NotAsked);
        }
        // What neither side has proven is not taken for granted.
        let is_websocket = judge_websocket(request, answer).is_ok();
        return Ok(Switched(Protocol::upgraded(is_websocket)));
    }
    if !offer.may_switch() {
        return Err(NotSwitched::NotAsked);
    }
    let mut named = upgrade_tokens(answer.fields());
    let (Some(protocol), None) = (named.next(), named.next()) else {
        return Err(NotSwitched::OtherProtocol);
    };
    if !offer.tokens.iter().any(|token| token.eq_ignore_ascii_case(protocol)) {
        return Err(NotSwitched::OtherProtocol);
    }
    if connection_tokens(answer.fields()).any(|token| token.eq_ignore_ascii_case(b"close")) {
        return Err(NotSwitched::Closes);
    }
    let is_websocket = protocol.eq_ignore_ascii_case(b"websocket");
    if is_websocket {
        judge_websocket(request, answer)?;
    }
    Ok(Switched(Protocol::upgraded(is_websocket)))
}

/// The client has asked for a connection and nothing else (RFC 9110, 9.3.6), and here is one that
/// nothing has been said on: HTTP is over for both.
pub fn connected(request: &Request, upstream: &Upstream) -> Option<Switched> {
    let is_fresh = upstream.requests == 1 && !upstream.is_reused && upstream.buffer.is_empty();
    let is_whole = matches!(request.framing, BodyFraming::None | BodyFraming::Length(0));
    (request.is_connect() && is_fresh && is_whole).then_some(Switched(Protocol::Unknown))
}

fn judge_websocket(request: &Request, answer: &ResponseHead) -> Result<(), NotSwitched> {
    let fields = request.head.fields();
    let version = fields.first("sec-websocket-version");
    let (Some(key), Some(b"13")) = (fields.first("sec-websocket-key"), version) else {
        return Err(NotSwitched::BadHandshake);
    };
    if request.head.method() != b"GET" {
        return Err(NotSwitched::BadHandshake);
    }
    match answer.fields().first("sec-websocket-accept") {
        Some(accept) if accept == websocket::accept_of(key).as_bytes() => Ok(()),
        _ => Err(NotSwitched::BadAccept),
    }
}

/// The two connections at the switch.
pub struct Ends {
    pub client: Box<Client>,
    pub upstream: Box<Upstream>,
    pub lease: Lease,
}

/// Leaves HTTP: consumes the request and both connections, and gives the engine what it needs. The
/// 101 is the first content of the tunnel, so that a crash at this very moment loses nothing.
pub fn hand_over(
    proof: Switched,
    seat: Seat,
    ends: Ends,
    mut request: Box<Request>,
    head: BytesMut,
) -> std::io::Result<Handoff> {
    let Ends { client, upstream, lease } = ends;
    if request.location.core.tcp_nodelay.0 {
        client.channel.set_nodelay();
        upstream.channel.set_nodelay();
    }
    let head_bytes = head.len() as u64;
    let ledger = Ledger::open(&request, &lease, head_bytes);
    let mut to_client = head.to_vec();
    to_client.extend_from_slice(&upstream.buffer);
    // From here on the account gives back what the request holds.
    request.places.drain(..).for_each(Place::keep);
    let (group, index) = lease.keep();
    let peer = crate::ledger::peer_key(&group.name, group.shown(index));
    let (client, upstream) = (*client, *upstream);
    let (client_leg, client_tls) = client.channel.leave()?;
    let (upstream_leg, upstream_tls) = upstream.channel.leave()?;
    Ok(Handoff {
        seat,
        legs: [client_leg, upstream_leg],
        first: [to_client, client.buffer.to_vec()],
        tls: [client_tls, upstream_tls],
        keeping: match request.location.upgrade.ssl_tunnel_survive.0 {
            true => Keeping::Shared,
            false => Keeping::Private,
        },
        framing: match proof.0 {
            Protocol::WebSocket => Framing::WebSocket { head: head.len() as u32 },
            Protocol::Other | Protocol::Unknown => Framing::Opaque,
        },
        terms: terms(&request, proof.0),
        keys: [peer, ledger.limit_key()],
        note: ledger.encode(),
        started_ms: crate::now_ms(),
    })
}

fn terms(request: &Request, protocol: Protocol) -> Terms {
    let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let scope = &request.location.settings;
    let (proxy, tunnel) = (&scope.proxy, &scope.tunnel);
    let (idle, send) = match protocol {
        Protocol::Unknown => (tunnel.tunnel_read_timeout, tunnel.tunnel_send_timeout),
        Protocol::WebSocket | Protocol::Other => {
            (proxy.proxy_read_timeout, proxy.proxy_send_timeout)
        }
    };
    Terms {
        idle_timeout_ms: ms(idle.0),
        client_send_timeout_ms: ms(scope.core.send_timeout.0),
        upstream_send_timeout_ms: ms(send.0),
        fin_timeout_ms: ms(scope.upgrade.upgrade_fin_timeout.0),
    }
}
