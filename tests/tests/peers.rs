//! Real peers on both sides of the proxy: Python's websockets and aiohttp, npm's ws and
//! Socket.IO, and nginx as an upstream.

use std::time::Duration;

use perdura_tests::{Client, Peer, Program, Proxy, Setup, page_conf};

const LIMIT: Duration = Duration::from_secs(25);

/// A proxy with the page's configuration before a peer.
fn before(server: &Peer) -> Proxy {
    let (http, location) = page_conf();
    let address = format!("127.0.0.1:{}", server.ready());
    Proxy::examined(&Setup::server(location).http(http).name("upstream", address))
}

fn url(proxy: &Proxy) -> String {
    format!("ws://{}/chat/", proxy.address())
}

#[track_caller]
fn says_ok(client: &Peer) {
    assert_eq!(client.line(LIMIT), "ok");
}

#[test]
fn websockets_to_websockets() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = before(&server);
    says_ok(&Peer::python("websockets_client.py", &[&url(&proxy)]));
}

#[test]
fn aiohttp_to_aiohttp_with_pages() {
    let server = Peer::python("aiohttp_server.py", &[]);
    let proxy = before(&server);
    let url = format!("http://{}/chat/", proxy.address());
    says_ok(&Peer::python("aiohttp_client.py", &[&url, "pages"]));
}

#[test]
fn aiohttp_to_ws() {
    let server = Peer::node("ws_server.js", &[]);
    let proxy = before(&server);
    let url = format!("http://{}/chat/", proxy.address());
    says_ok(&Peer::python("aiohttp_client.py", &[&url, "no"]));
}

#[test]
fn ws_to_ws() {
    let server = Peer::node("ws_server.js", &[]);
    let proxy = before(&server);
    says_ok(&Peer::node("ws_client.js", &[&url(&proxy)]));
}

#[test]
fn ws_to_websockets() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = before(&server);
    says_ok(&Peer::node("ws_client.js", &[&url(&proxy)]));
}

#[test]
fn socket_io_begins_with_polling_and_changes_over() {
    let server = Peer::node("socketio_server.js", &[]);
    let proxy = before(&server);
    let url = format!("http://{}", proxy.address());
    says_ok(&Peer::node("socketio_client.js", &[&url]));
}

#[test]
fn a_tunnel_through_two_proxies() {
    let server = Peer::python("websockets_server.py", &[]);
    let (http, location) = page_conf();
    let address = format!("127.0.0.1:{}", server.ready());
    let nginx =
        Proxy::start(Program::Nginx, &Setup::server(location).http(http).name("upstream", address));
    let setup = Setup::server(location).http(http).name("upstream", nginx.address());
    let proxy = Proxy::examined(&setup);
    says_ok(&Peer::python("websockets_client.py", &[&url(&proxy)]));
}

#[test]
fn nginx_as_an_upstream_serves_files() {
    let body: String = (0..200_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let files =
        Setup::server("").file("html/big.txt", body.clone()).file("html/index.html", "front");
    let nginx = Proxy::start(Program::Nginx, &files);
    let setup = Setup::server(
        "location / { proxy_pass http://@upstream@; proxy_http_version 1.1; \
         proxy_set_header Connection ''; }",
    );
    let proxy = Proxy::examined(&setup.name("upstream", nginx.address()));
    assert_eq!(Client::get(proxy.address(), "/").text(), "front");
    assert_eq!(Client::get(proxy.address(), "/big.txt").text(), body);
    assert_eq!(Client::get(proxy.address(), "/none").status(), 404);
    let range = "GET /big.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=26-51\r\n\r\n";
    let answer = Client::once(proxy.address(), range);
    assert_eq!((answer.status(), answer.text().as_str()), (206, &body[26..52]));
}
