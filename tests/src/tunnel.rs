//! A WebSocket handshake by hand, and the tunnel behind it.

use std::net::SocketAddr;

use crate::client::Client;
use crate::message::{Message, ReadAs};
use crate::proxy::Setup;
use crate::upstream::Upstream;

/// The key of RFC 6455, 1.3, and the answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A good handshake for `/chat/`.
pub const HANDSHAKE: &str = "GET /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The second configuration of nginx's WebSocket page, with an upstream named `backend` at
/// `@upstream@`: what belongs into the http block, and what belongs into a server.
pub fn page_conf() -> (&'static str, &'static str) {
    (
        "upstream backend { server @upstream@; }
    map $http_upgrade $connection_upgrade {
        default upgrade;
        ''      close;
    }
",
        "
        location /chat/ {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
",
    )
}

/// The page's second configuration before this upstream, with `extra` in the location's server.
pub fn chat(upstream: &Upstream, extra: &str) -> Setup {
    let (http, server) = page_conf();
    let server = format!("{extra}\n{server}");
    Setup::server(&server).http(http).name("upstream", upstream.address())
}

/// An open tunnel, seen from the client.
#[derive(Debug)]
pub struct Tunnel {
    pub client: Client,
    /// The 101.
    pub answer: Message,
}

impl Tunnel {
    /// Shakes hands and expects a 101.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut client = Client::connect(address);
        client.send(HANDSHAKE);
        let answer = client.read(ReadAs::Response);
        let answer = answer.unwrap_or_else(|end| panic!("no answer to the handshake: {end:?}"));
        assert_eq!(answer.status(), 101, "{}", answer.start());
        Self { client, answer }
    }

    /// Asks a proxy for a tunnel to `target` by CONNECT, expects its 200, and shakes hands with the
    /// upstream there.
    #[track_caller]
    pub fn through(proxy: SocketAddr, target: impl std::fmt::Display) -> Self {
        let mut client = connected(proxy, target);
        client.send(HANDSHAKE);
        let answer = client.read(ReadAs::Response);
        let answer = answer.unwrap_or_else(|end| panic!("no answer to the handshake: {end:?}"));
        assert_eq!(answer.status(), 101, "{}", answer.start());
        Self { client, answer }
    }

    /// Sends bytes and expects the same bytes back.
    #[track_caller]
    pub fn echo(&mut self, bytes: &[u8]) {
        self.client.send(bytes);
        assert!(self.client.exactly(bytes.len()) == bytes, "the echo differs");
    }

    /// Whether the tunnel still carries bytes both ways.
    pub fn is_alive(&mut self) -> bool {
        let sent = self.client.offer(b"alive?");
        sent.is_ok() && self.client.wire().exactly(6).is_ok_and(|bytes| bytes == b"alive?")
    }
}

/// The head of a CONNECT.
pub fn connect_head(target: impl std::fmt::Display) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// A client whose CONNECT was answered with 200: what it says next is the upstream's to hear.
#[track_caller]
pub fn connected(proxy: SocketAddr, target: impl std::fmt::Display) -> Client {
    let mut client = Client::connect(proxy);
    client.send(connect_head(&target));
    let answer = client.read(ReadAs::HeadResponse);
    let answer = answer.unwrap_or_else(|end| panic!("no answer to CONNECT {target}: {end:?}"));
    assert_eq!(answer.status(), 200, "{}", answer.start());
    client
}
