//! TLS of a client's connection: the greeting before the first request, and whom a request is
//! refused to because of it.

use super::refused::head_of;
use super::serve::Client;
use crate::config::{Config, Endpoint, Server};
use crate::error_log;
use crate::h1::validate_host;
use crate::modules::error_log::Severity;
use crate::modules::ssl::Demand;
use crate::request::{Connection, Request, Security};
use crate::tls::{self, Acceptance, Accepted, Choice, Chosen, Greeting, Offered, Refused};
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Shakes hands where the endpoint speaks TLS. `None` when the client is no client. What was read
/// of the connection before stands in the client's buffer, and nobody else knows its facts yet.
pub async fn greet(
    client: Box<Client>,
    config: &Arc<Config>,
    endpoint: &Endpoint,
    limit: Duration,
) -> Option<Box<Client>> {
    let Client { channel, buffer, facts } = *client;
    let mut facts = Rc::into_inner(facts)?;
    let choose = |offered: &Offered| {
        let (server, name) = choose(endpoint, offered.name.as_deref());
        let chosen = greeting(server, offered, name.as_deref(), (config, &facts));
        Choice { chosen, name }
    };
    let accepted = tls::accept((channel, buffer), limit, choose).await;
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

/// The server that greets for a name, and the name if a server has it. Where none is named or known,
/// or the one that is has nothing to greet with, it is the default one.
fn choose<'e>(endpoint: &'e Endpoint, name: Option<&str>) -> (&'e Arc<Server>, Option<Box<[u8]>>) {
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
    let greets = |tls: &Arc<Acceptance>| !matches!(tls.greeting, Greeting::OfDefault);
    let server = match &server.tls {
        Some(tls) if greets(tls) => server,
        _ => &endpoint.default,
    };
    (server, name)
}

/// How a server greets. Certificates whose names have variables are read now.
fn greeting(
    server: &Arc<Server>,
    offered: &Offered,
    name: Option<&[u8]>,
    (config, facts): (&Arc<Config>, &Connection),
) -> Chosen {
    let computed = match server.tls.as_ref().map(|tls| &tls.greeting) {
        Some(Greeting::Config(config)) => return Chosen::Greets(Arc::clone(config)),
        Some(Greeting::Computed(computed)) => computed,
        _ => return Chosen::Rejects,
    };
    let known = tls::Facts::of_hello(offered.clone(), name.map(Into::into));
    let connection = Rc::new(facts.with_security(Security::Tls(Box::new(known))));
    // nginx makes a request for this as well, of which there is nothing but the connection.
    let Some(head) = head_of(Bytes::from_static(b"GET / HTTP/1.0\r\n\r\n")) else {
        return Chosen::Lacks;
    };
    let request = Request::new(Arc::clone(config), connection, 0, head, Arc::clone(server));
    match computed.load(|template| request.value(template)) {
        Ok(config) => Chosen::Greets(Arc::new(config)),
        Err(fault) => {
            let (client, local) = (facts.peer.address(), &facts.local);
            let message = format!(
                "{} while SSL handshaking, client: {client}, server: {local}",
                fault.message
            );
            error_log::connection(&server.base.error_logs, Severity::Error, facts, &message);
            Chosen::Lacks
        }
    }
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
