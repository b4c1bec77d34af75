//! The header of the PROXY protocol, read before the first byte of HTTP where `listen` says so.

use super::serve::Client;
use crate::channel::Read;
use crate::config::Endpoint;
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::proxy_header::{HEADER_MAX, HeaderFault, Parsed, ProxyHeader};
use crate::request::Connection;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Reads the header; `false` when the connection is to be closed. What follows the header stays in
/// the client's buffer. Nobody else knows the client's facts yet.
pub async fn read(client: &mut Client, endpoint: &Endpoint) -> bool {
    let Client { channel, buffer, facts } = client;
    let Some(facts) = Rc::get_mut(facts) else {
        return false;
    };
    let limit = Duration::from_millis(endpoint.default.core.client_header_timeout.0);
    let targets = &endpoint.default.base.error_logs;
    let deadline = Instant::now() + limit;
    loop {
        match ProxyHeader::parse(buffer) {
            Ok(Parsed::Header(header, length)) => {
                let _ = buffer.split_to(length);
                facts.proxy = header;
                return true;
            }
            Ok(Parsed::More) => {}
            Err(fault) => return refused(facts, targets, &fault),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !matches!(channel.read(buffer, HEADER_MAX, left).await, Ok(Read::Bytes(_))) {
            return match buffer.is_empty() {
                true => false,
                false => refused(facts, targets, &HeaderFault::Broken(buffer.to_vec())),
            };
        }
    }
}

fn refused(
    facts: &Connection,
    targets: &[crate::config::ErrorTarget],
    fault: &HeaderFault,
) -> bool {
    let message = format!(
        "{} while reading PROXY protocol, client: {}, server: {}",
        fault.words(),
        facts.peer.address(),
        facts.socket
    );
    error_log::connection(targets, Severity::Error, facts, &message);
    false
}
