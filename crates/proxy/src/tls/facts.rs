//! What is known of a client's TLS connection, for requests, variables and logs.

use super::ciphers;
use super::client_policy::{ClientPolicy, Shown};
use super::curves;
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use std::cell::RefCell;
use std::sync::Arc;

/// What a client has offered in its hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The name that was asked for, as it came.
    pub name: Option<Box<str>>,
    /// Suites and groups in OpenSSL's words, joined by colons.
    pub suites: Box<str>,
    pub groups: Box<str>,
}

/// A finished handshake.
pub struct Facts {
    pub offered: Offered,
    /// The name in lower case, when it chose the server.
    pub chosen_by: Option<Box<[u8]>>,
    pub protocol: &'static str,
    pub suite: Box<str>,
    pub group: Box<str>,
    pub is_resumed: bool,
    pub alpn: Box<[u8]>,
    /// What the client has shown of itself, its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The last judgement and by whom.
    judged: RefCell<Option<(Arc<ClientPolicy>, Shown)>>,
}

impl Offered {
    pub fn of(hello: &ClientHello<'_>) -> Self {
        let suites: Vec<_> =
            hello.cipher_suites().iter().map(|&suite| ciphers::name_of(suite)).collect();
        let groups = hello.named_groups().unwrap_or_default();
        let groups: Vec<_> = groups.iter().map(|&group| curves::name_of(group)).collect();
        Self {
            name: hello.server_name().map(Into::into),
            suites: suites.join(":").into(),
            groups: groups.join(":").into(),
        }
    }
}

impl Facts {
    /// What is known when the client has only said what it wants.
    pub fn of_hello(offered: Offered, chosen_by: Option<Box<[u8]>>) -> Self {
        Self {
            offered,
            chosen_by,
            protocol: "",
            suite: Box::default(),
            group: Box::default(),
            is_resumed: false,
            alpn: Box::default(),
            chain: Vec::new(),
            judged: RefCell::default(),
        }
    }

    pub fn of(
        connection: &ServerConnection,
        offered: Offered,
        chosen_by: Option<Box<[u8]>>,
    ) -> Self {
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        let chain = connection.peer_certificates().unwrap_or_default();
        Self {
            offered,
            chosen_by,
            protocol: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            suite: suite.map(|suite| ciphers::name_of(suite.suite())).unwrap_or_default().into(),
            group: group.map(|group| curves::name_of(group.name())).unwrap_or_default().into(),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: connection.alpn_protocol().unwrap_or_default().into(),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            judged: RefCell::default(),
        }
    }

    /// Judges the client by a policy. A judgement holds for the policy that made it: after a reload,
    /// or for another server of the same connection, it is made anew.
    pub fn shown(&self, policy: &Arc<ClientPolicy>) -> Shown {
        let mut judged = self.judged.borrow_mut();
        match &*judged {
            Some((by, shown)) if Arc::ptr_eq(by, policy) => *shown,
            _ => {
                let shown = policy.judge(&self.chain);
                *judged = Some((Arc::clone(policy), shown));
                shown
            }
        }
    }
}
