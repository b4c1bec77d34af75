//! TLS of a client's connection: the greeting before the first request, and whom a request is
//! refused to because of it.

use super::serve::Client;
use crate::config::{Endpoint, Server};
use crate::error_log;
use crate::h1::validate_host;
use crate::modules::error_log::Severity;
use crate::modules::ssl::Demand;
use crate::request::{Connection, Request, Security};
use crate::tls::{self, Accepted, Choice, Greeting, Refused};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Shakes hands where the endpoint speaks TLS. `None` when the client is no client. What was read
/// of the connection before stands in the client's buffer, and nobody else knows its facts yet.
pub async fn greet(
    client: Box<Client>,
    endpoint: &Endpoint,
    limit: Duration,
) -> Option<Box<Client>> {
    let Client { channel, buffer, facts } = *client;
    let mut facts = Rc::into_inner(facts)?;
    let accepted = tls::accept((channel, buffer), limit, |name| choose(endpoint, name)).await;
    match accepted {
        Ok(Accepted::Secured(channel, tls)) => {
            facts.security = Security::Tls(tls);
            Some(Client::new(channel, facts))
        }
        Ok(Accepted::Plain(channel, buffer)) => {
            facts.security = Security::PlainOnTls;
            Some(Box::new(Client { channel, buffer, facts: Rc::new(facts) }))
        }
        Err(fault) => {
            let targets = &endpoint.default.base.error_logs;
            let (client, server) = (facts.peer.address(), &facts.local);
            let message = format!(
                "{} while SSL handshaking, client: {client}, server: {server}",
                fault.words()
            );
            error_log::connection(targets, Severity::Info, &facts, &message);
            None
        }
    }
}

/// The server that a name belongs to; where none is named or known, the default one.
fn choose(endpoint: &Endpoint, name: Option<&str>) -> Choice {
    let host = name.and_then(|name| validate_host(name.as_bytes()).ok());
    let host = host.filter(|_| !endpoint.is_lone);
    let chosen = host.and_then(|host| match endpoint.names.find(&host.host) {
        Ok(Some((server, _))) => Some((server, host.host.into_owned().into_boxed_slice())),
        _ => None,
    });
    let (server, name) = match chosen {
        Some((server, name)) => (server, Some(name)),
        None => (&endpoint.default, None),
    };
    let greets = |server: &Server| {
        let own = server.tls.clone();
        own.filter(|tls| !matches!(tls.greeting, Greeting::OfDefault))
    };
    Choice { acceptance: greets(server).or_else(|| endpoint.default.tls.clone()), name }
}

/// The server of requests before it is known what they name: the one that the handshake chose.
pub fn own_server<'e>(endpoint: &'e Endpoint, connection: &Connection) -> &'e Arc<Server> {
    let Security::Tls(tls) = &connection.security else {
        return &endpoint.default;
    };
    match tls.chosen_by.as_deref().map(|name| endpoint.names.find(name)) {
        Some(Ok(Some((server, _)))) => server,
        _ => &endpoint.default,
    }
}

/// Whether a request names a server that demands certificates, after the handshake was another's:
/// what the client showed was for that one (`ngx_http_set_virtual_server`).
pub fn is_misdirected(connection: &Connection, host: &[u8], server: &Server) -> bool {
    let Security::Tls(tls) = &connection.security else {
        return false;
    };
    server.ssl.ssl_verify_client != Demand::Off
        && tls.chosen_by.as_deref().is_some_and(|name| name != host)
}

/// The status that refuses a request for what its connection is (`ngx_http_process_request`), with
/// its line in the log.
pub fn refusal(request: &Request) -> Option<u16> {
    let (status, message) = match &request.connection.security {
        Security::Plain => return None,
        Security::PlainOnTls => (497, "client sent plain HTTP request to HTTPS port".to_owned()),
        Security::Tls(tls) => refusal_of_tls(request, tls)?,
    };
    let message = format!("{message} while reading client request headers");
    error_log::request(request, Severity::Info, &message);
    Some(status)
}

fn refusal_of_tls(request: &Request, tls: &tls::Facts) -> Option<(u16, String)> {
    if request.is_misdirected {
        let message = "client attempted to request the server name different from the one that \
                       was negotiated";
        return Some((421, message.to_owned()));
    }
    let server = &request.server;
    if server.ssl.ssl_verify_client == Demand::Off {
        return None;
    }
    // A server without a policy of its own cannot know whom it demands.
    let Some(acceptance) = &server.tls else {
        return Some((496, "client sent no required SSL certificate".to_owned()));
    };
    let policy = &acceptance.policy;
    match policy.admit(tls.shown(policy)) {
        Ok(()) => None,
        Err(Refused::Bad(fault)) => {
            let (number, words) = (fault.number(), fault.words());
            Some((495, format!("client SSL certificate verify error: ({number}:{words})")))
        }
        Err(Refused::Missing) => Some((496, "client sent no required SSL certificate".to_owned())),
    }
}
