//! How a connection leaves rustls for a tunnel: its secrets, in the tunnel's own form.
//!
//! Beside the keys, those of TLS 1.3 need their traffic secrets, which are caught when rustls makes
//! them.
//!
//! A tunnel needs them to follow a `KeyUpdate`. rustls tells them to the
//! [`KeyLog`] of a configuration, which many connections share, but always within the call that
//! opens a record: so they are caught in a place of the thread, and taken from there at once.

use perdura_tunnel::tls::{Secrets, SecretsFault, Suite, Traffic};
use rustls::{Connection, ConnectionTrafficSecrets, KeyLog, ProtocolVersion};
use std::cell::RefCell;
use zeroize::Zeroizing;

/// What was caught of one connection; empty in TLS 1.2, which has no such secrets.
///
/// What was secret is not left behind in free memory.
#[derive(Default)]
pub struct Captured {
    pub client: Zeroizing<Vec<u8>>,
    pub server: Zeroizing<Vec<u8>>,
}

thread_local! {
    static CAUGHT: RefCell<Captured> = RefCell::default();
}

/// Calls `act`, within which rustls may make secrets of the connection that `captured` belongs to.
pub fn capture<R>(captured: &mut Captured, act: impl FnOnce() -> R) -> R {
    // Nobody else's are left from before.
    CAUGHT.take();
    let result = act();
    CAUGHT.with_borrow_mut(|caught| {
        if !caught.client.is_empty() {
            captured.client = std::mem::take(&mut caught.client);
        }
        if !caught.server.is_empty() {
            captured.server = std::mem::take(&mut caught.server);
        }
    });
    result
}

/// The log that catches.
#[derive(Debug)]
pub struct Catcher;

impl KeyLog for Catcher {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        CAUGHT.with_borrow_mut(|caught| match label {
            "CLIENT_TRAFFIC_SECRET_0" => *caught.client = secret.to_vec(),
            "SERVER_TRAFFIC_SECRET_0" => *caught.server = secret.to_vec(),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, "CLIENT_TRAFFIC_SECRET_0" | "SERVER_TRAFFIC_SECRET_0")
    }
}

/// Why a connection cannot leave.
#[derive(Debug)]
pub enum LeaveFault {
    /// rustls does not give the keys away.
    Kept(rustls::Error),
    /// A suite that tunnels do not know.
    UnknownSuite,
    Foreign(SecretsFault),
}

impl std::fmt::Display for LeaveFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kept(fault) => write!(out, "its keys are kept: {fault}"),
            Self::UnknownSuite => out.write_str("its cipher suite is not known to tunnels"),
            Self::Foreign(fault) => write!(out, "its secrets do not fit: {fault:?}"),
        }
    }
}

/// The secrets of a connection, which ends for rustls.
pub fn leave(connection: Connection, captured: &Captured) -> Result<Secrets, LeaveFault> {
    let version = connection.protocol_version();
    let is_server = matches!(connection, Connection::Server(_));
    let extracted = connection.dangerous_extract_secrets().map_err(LeaveFault::Kept)?;
    let (client, server) = (&captured.client[..], &captured.server[..]);
    let (of_peer, own) = if is_server { (client, server) } else { (server, client) };
    let (suite, read) = traffic(version, extracted.rx, of_peer)?;
    let (_, write) = traffic(version, extracted.tx, own)?;
    Ok(match version {
        Some(ProtocolVersion::TLSv1_2) => Secrets::tls12(suite, read, write),
        _ => Secrets::tls13(suite, read, write),
    })
}

fn traffic(
    version: Option<ProtocolVersion>,
    (seq, secrets): (u64, ConnectionTrafficSecrets),
    first: &[u8],
) -> Result<(Suite, Traffic), LeaveFault> {
    let (suite, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::Chacha20Poly1305, key, iv)
        }
        _ => return Err(LeaveFault::UnknownSuite),
    };
    let traffic = match version {
        Some(ProtocolVersion::TLSv1_2) => {
            let iv = iv.as_ref().try_into().map_err(|_| LeaveFault::UnknownSuite)?;
            Traffic::tls12(suite, key.as_ref(), iv, seq)
        }
        _ => Traffic::tls13(suite, key.as_ref(), seq, first),
    };
    Ok((suite, traffic.map_err(LeaveFault::Foreign)?))
}
