//! The upstream's side: groups of servers, connections to them, and the exchange of one request.
//!
//! In the order in which data flows: [`url`] names a server, [`resolve`] finds the addresses of a name
//! that only a request brought, [`group`] and [`balance`] choose one, [`pool`] keeps
//! connections, [`outgoing`] writes the request, [`converse`] sends it and hears the answer's head,
//! [`exchange`] tries one peer after the other, [`incoming`] makes the response, [`body`] sends its
//! body on. [`tunnel`] does all of this for CONNECT, where no HTTP is spoken.

mod balance;
mod body;
mod connecting;
mod connection;
mod converse;
mod cookies;
mod exchange;
mod group;
mod incoming;
mod local;
mod outgoing;
mod pass;
mod pool;
mod resolve;
mod tunnel;
mod url;

pub use balance::{Method, Ring};
pub use body::Body;
pub use connection::{Lease, Upstream};
pub use exchange::{Passed, exchange};
pub use group::{Group, Keepalive, Outcome, Peer, Released};
pub use pass::{Pass, Redirects, Rule, Target, UriPart};
pub use pool::Pool;
pub use tunnel::{Tunnel, tunnel};
pub use url::{Authority, HTTP_PORT, Host, Scheme, Url};

use std::fmt;

/// The URL that logs show: the peer's address with the URI that was asked. It is made only when a
/// line is written.
#[derive(Clone, Copy)]
struct ShownUrl<'u> {
    scheme: Scheme,
    uri: &'u [u8],
    peer: &'u str,
}

impl fmt::Display for ShownUrl<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.peer.starts_with("unix:") { ":" } else { "" };
        let (scheme, uri) = (self.scheme.prefix(), String::from_utf8_lossy(self.uri));
        write!(out, "{scheme}{}{separator}{uri}", self.peer)
    }
}
