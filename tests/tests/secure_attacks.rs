//! What clients and upstreams do to TLS that they should not: stalls, bytes before and instead of a
//! handshake, ends without a word, and handshakes while certificates are read anew.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use perdura_tests::{Client, Greeting, Proxy, Setup, Visitor, until};
use rustix::process::Signal;

const LIMIT: Duration = Duration::from_secs(60);

fn setup(extra: &str) -> Setup {
    let text = format!(
        "server {{
            listen @listen@ ssl;
            ssl_certificate server.crt; ssl_certificate_key server.key;
            location = /page {{ return 200 page; }}
            {extra}
        }}"
    );
    Setup::bare().http(&text).certificates()
}

fn greeting() -> Greeting {
    Greeting { name: Some("a.test".to_owned()), ..Greeting::default() }
}

/// A page over a new connection with TLS; an error says what went wrong.
fn page(address: SocketAddr) -> Result<u16, String> {
    let mut client = Client::connect(address);
    client.patience(LIMIT);
    client.secure(Visitor::default().greet(&greeting()))?;
    client.send("GET /page HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    Ok(client.response().status())
}

/// What a client says first.
fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut connection = Visitor::default().greet(&greeting());
    while connection.wants_write() {
        connection.write_tls(&mut bytes).expect("a hello");
    }
    bytes
}

#[test]
fn a_handshake_that_stalls_ends_at_the_header_timeout() {
    let proxy = Proxy::examined(&setup("client_header_timeout 1s;"));
    let hello = hello();
    let pieces = [0, 1, 4, 5, 6, 60, hello.len() - 1, hello.len()];
    let mut stalled: Vec<_> = pieces
        .into_iter()
        .map(|length| {
            let mut client = Client::connect(proxy.address());
            client.patience(LIMIT);
            client.send(&hello[..length]);
            client
        })
        .collect();
    // Whoever shakes hands meanwhile is served.
    assert_eq!(page(proxy.address()), Ok(200));
    let begun = Instant::now();
    for client in &mut stalled {
        let (_, end) = client.rest();
        assert_ne!(end, perdura_tests::End::Silent, "it is closed");
    }
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    until("all are logged", LIMIT, || {
        proxy.error_log().matches("client timed out (110: Connection timed out)").count()
            == pieces.len()
    });
}

#[test]
fn a_hello_in_records_of_one_byte_is_heard() {
    let proxy = Proxy::examined(&setup(""));
    let hello = hello();
    let (header, content) = hello.split_at(5);
    let mut client = Client::connect(proxy.address());
    client.patience(LIMIT);
    for byte in content {
        client.send([header[0], header[1], header[2], 0, 1, *byte]);
    }
    // Its answer is a handshake, and no alert.
    assert_eq!(client.exactly(1), [22]);
}

/// An upstream that speaks before it is spoken to, and never with TLS.
fn intruder(said: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(said);
            let _ = stream.set_read_timeout(Some(LIMIT));
            // The proxy ends the connection.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn what_an_upstream_says_before_the_handshake_reaches_nobody() {
    for said in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwrong",
        b"\x17\x03\x03\x00\x05wrong",
        b"\x15\x03\x03\x00\x02\x02\x28",
    ] {
        let extra = "location / { proxy_pass https://@upstream@; proxy_http_version 1.1; \
                     proxy_set_header Upgrade $http_upgrade; \
                     proxy_set_header Connection upgrade; }";
        let proxy = Proxy::examined(&setup(extra).name("upstream", intruder(said)));
        let mut client = Client::connect(proxy.address());
        client.patience(LIMIT);
        client.secure(Visitor::default().greet(&greeting())).expect("a handshake");
        client.send(
            "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let answer = client.response();
        assert_eq!(answer.status(), 502, "{said:?}");
        assert!(!answer.text().contains("wrong"), "{}", answer.text());
        let log = proxy.error_log();
        assert!(log.contains("while SSL handshaking to upstream"), "{log}");
    }
}

#[test]
fn no_handshake_fails_while_certificates_are_read_anew() {
    let proxy = Proxy::examined(&setup(""));
    let address = proxy.address();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let knockers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(page(address), Ok(200));
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..10 {
        // The other certificate takes the place of the first, and the first that of the other.
        let name = if round % 2 == 0 { "rsa" } else { "server" };
        for ending in ["crt", "key"] {
            let bytes = std::fs::read(perdura_tests::certificate(&format!("{name}.{ending}")));
            proxy.folder().write(&format!("server.{ending}"), &bytes.expect("a file"));
        }
        let (before, seen) = (proxy.error_log().matches("reconfiguring").count(), &done);
        proxy.signal(Signal::HUP);
        until("it was reloaded", LIMIT, || {
            proxy.error_log().matches("reconfiguring").count() > before
        });
        let count = seen.load(Ordering::Relaxed);
        until("hands are shaken", LIMIT, || seen.load(Ordering::Relaxed) > count + 4);
    }
    stop.store(true, Ordering::Relaxed);
    for knocker in knockers {
        knocker.join().expect("no handshake has failed");
    }
}

#[test]
fn a_body_that_is_cut_without_a_goodbye_is_cut_for_the_client_too() {
    let extra = "location / { proxy_pass https://@upstream@; }";
    let upstream = perdura_tests::Upstream::secured(
        perdura_tests::Blocks::parse("> HTTP/1.1 200 OK\n>\n>> half\nclose\n").expect("a script"),
        "server-unasked",
    );
    let proxy = Proxy::examined(&setup(extra).name("upstream", upstream.address()));
    let mut client = Client::connect(proxy.address());
    client.patience(LIMIT);
    client.secure(Visitor::default().greet(&greeting())).expect("a handshake");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = client.response();
    // Chunked without the last chunk: the client knows that something is missing.
    assert!(answer.is_chunked() && answer.end.is_some(), "{}", answer.text());
}

#[test]
fn a_plain_client_of_a_port_with_tls_gets_a_page_and_its_connection_ends() {
    let proxy = Proxy::examined(&setup(""));
    let mut stream = TcpStream::connect(proxy.address()).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(b"GET /page HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("The plain HTTP request was sent to HTTPS port"), "{answer}");
}
