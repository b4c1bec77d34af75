//! `proxy_pass`, compiled: where a location's requests go and what becomes of their path.

use crate::known_keys::KnownSet;
use crate::regex::Regex;
use crate::tls::Dialling;
use crate::upstream::{Group, Scheme};
use bytes::Bytes;
use perdura_conf::Template;
use std::sync::Arc;

/// What a location passes requests to.
pub struct Pass {
    pub target: Target,
    /// How TLS is spoken to the server, where the URL is one of `https` or may be.
    pub tls: Option<Arc<Dialling>>,
    /// Fields set by `proxy_set_header` and by default, in the order in which they are sent.
    pub fields: Vec<(Vec<u8>, Template)>,
    /// Names in lower case that are not copied from the client, because they are set or dropped.
    pub dropped: KnownSet<Vec<u8>>,
    /// How `Location` and `Refresh` fields of answers are rewritten.
    pub redirects: Redirects,
    /// Response fields, in lower case, that do not reach the client.
    pub hidden: KnownSet<Vec<u8>>,
}

/// The server or group.
pub enum Target {
    Fixed {
        scheme: Scheme,
        group: Arc<Group>,
        host: Bytes,
        port: Bytes,
        uri: UriPart,
    },
    /// The URL has variables: it is cut up for each request.
    Computed(Template),
}

/// The part of a `proxy_pass` URL behind the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UriPart {
    /// None: the request's own URI is passed as it was sent.
    Absent,
    /// It stands for what the location matched.
    Instead(Vec<u8>),
}

/// How `Location` and `Refresh` are rewritten, tried in order.
pub enum Redirects {
    Off,
    Rules(Vec<Rule>),
}

/// One rewriting.
pub enum Rule {
    Prefix { redirect: Template, replacement: Template },
    Pattern { regex: Regex, replacement: Template },
}

/// Asks about a field name in lower case, which needs no memory of its own for names of usual length.
pub fn with_lower<T>(name: &[u8], ask: impl FnOnce(&[u8]) -> T) -> T {
    let mut lower = [0u8; 64];
    match lower.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            ask(lower)
        }
        None => ask(&name.to_ascii_lowercase()),
    }
}
