//! From a name that a variable brought to a group of the addresses that a resolver found for it.

use super::Group;
use crate::config::Address;
use crate::error_log;
use crate::front::Client;
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::resolver::LookupFault;
use crate::worker::Thread;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Why there is nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The client has gone.
    Gone,
    /// The status to answer; the error log knows why.
    Refused(u16),
}

/// A group of the addresses of a name, called `text`. With `watches`, the client's end ends the wait.
pub async fn group(
    client: &Client,
    request: &Request,
    (name, port): (&str, u16),
    (text, watches): (&str, bool),
    thread: &Thread,
) -> Result<Arc<Group>, Unresolved> {
    let found = addresses(client, request, name, watches, thread).await?;
    let addresses = found.into_iter().map(|ip| Address::Inet(SocketAddr::new(ip, port)));
    Ok(Arc::new(Group::implicit(text.to_owned(), port, addresses.collect())))
}

/// The addresses of a name.
pub async fn addresses(
    client: &Client,
    request: &Request,
    name: &str,
    watches: bool,
    thread: &Thread,
) -> Result<Vec<IpAddr>, Unresolved> {
    let Some(setup) = &request.location.name_servers else {
        let message = format!("no resolver defined to resolve {name}");
        error_log::request(request, Severity::Error, &message);
        return Err(Unresolved::Refused(502));
    };
    let resolver = thread.resolvers.get(setup);
    let limit = Duration::from_millis(request.location.resolver.resolver_timeout.0);
    let found = tokio::select! {
        biased;
        found = resolver.resolve(name, limit) => found,
        () = client.channel.closed(), if watches => {
            let message = "client prematurely closed connection while resolving";
            error_log::request(request, Severity::Info, message);
            return Err(Unresolved::Gone);
        }
    };
    found.map_err(|fault: LookupFault| {
        let message = format!("{name} could not be resolved ({fault})");
        error_log::request(request, Severity::Error, &message);
        Unresolved::Refused(502)
    })
}
