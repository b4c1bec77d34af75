//! Which answers become a tunnel, and which do not: both sides must have agreed.

use perdura_tests::{Client, End, Message, Proxy, Setup, Upstream, chat};

/// One way to ask or to answer, and what the client must get.
struct Row {
    what: &'static str,
    request: &'static str,
    answer: &'static str,
    status: u16,
}

const ASK: &str = "GET /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const ROWS: &[Row] = &[
    Row { what: "both agree", request: ASK, answer: AGREE, status: 101 },
    Row {
        what: "the client did not ask",
        request: "GET /chat/ HTTP/1.1\r\nHost: a\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "the client asked with an empty field",
        request: "GET /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade:\r\nConnection: Upgrade\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "an HTTP/1.0 client",
        request: "GET /chat/ HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "Connection does not name the upgrade",
        request: "GET /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "POST",
        request: "POST /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Content-Length: 0\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "no key",
        request: "GET /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n",
        answer: AGREE,
        status: 502,
    },
    Row {
        what: "the answer does not name a protocol",
        request: ASK,
        answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        status: 502,
    },
    Row {
        what: "the answer names another protocol",
        request: ASK,
        answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
        status: 502,
    },
    Row {
        what: "the answer names two protocols",
        request: ASK,
        answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket, other\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        status: 502,
    },
    Row {
        what: "the answer proves nothing",
        request: ASK,
        answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        status: 502,
    },
    Row {
        what: "200 with the fields of an upgrade",
        request: ASK,
        answer: "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Content-Length: 0\r\n\r\n",
        status: 200,
    },
    Row {
        what: "204 with the fields of an upgrade",
        request: ASK,
        answer: "HTTP/1.1 204 No Content\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        status: 204,
    },
    Row {
        what: "500 with the fields of an upgrade",
        request: ASK,
        answer: "HTTP/1.1 500 Oops\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Content-Length: 0\r\n\r\n",
        status: 500,
    },
    Row {
        what: "another protocol that both agree to",
        request: "POST /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\
            Content-Length: 0\r\n\r\n",
        answer: "HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n",
        status: 101,
    },
];

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn ask(row: &Row, extra: &str) -> Message {
    let upstream = Upstream::scripted(&format!(">> {}\necho\n", hex(row.answer)));
    let proxy = Proxy::examined(&chat(&upstream, extra));
    Client::once(proxy.address(), row.request)
}

#[test]
fn every_row_of_the_table_is_judged() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let status = ask(row, "").status();
        if status != row.status {
            wrong.push(format!("{}: {status} instead of {}", row.what, row.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_loose_rule_of_nginx_can_be_had_back() {
    let mut wrong = Vec::new();
    for what in ["an HTTP/1.0 client", "POST", "no key", "the answer proves nothing"] {
        let row = ROWS.iter().find(|row| row.what == what).expect("a row");
        let status = ask(row, "upgrade_check compat;").status();
        if status != 101 {
            wrong.push(format!("{what}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What of the client's `Upgrade` reaches the upstream.
fn forwarded(fields: &str) -> Vec<String> {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let head = format!(
        "GET /chat/ HTTP/1.1\r\nHost: a\r\n{fields}Connection: Upgrade, HTTP2-Settings\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    assert_eq!(Client::once(proxy.address(), &head).status(), 200);
    upstream.requests()[0].all("upgrade")
}

#[test]
fn protocols_that_smuggle_never_travel() {
    let none: [&str; 0] = [];
    assert_eq!(forwarded("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), none);
    assert_eq!(forwarded("Upgrade: H2C\r\n"), none);
    assert_eq!(forwarded("Upgrade: TLS/1.2\r\n"), none);
    assert_eq!(forwarded("Upgrade: HTTP/2.0\r\n"), none);
    assert_eq!(forwarded("Upgrade: websocket, h2c\r\n"), ["websocket"]);
    let several = forwarded("Upgrade: foo, h2c\r\nUpgrade: websocket\r\n").join(", ");
    assert!(!several.contains("h2c"), "{several}");
    assert_eq!(forwarded("Upgrade: SPDY/3.1\r\n"), ["SPDY/3.1"]);
}

#[test]
fn a_refused_upgrade_leaves_an_http_connection() {
    let upstream = Upstream::scripted(
        "> HTTP/1.1 426 Upgrade Required\n> Upgrade: websocket\n> Connection: Upgrade\n\
         > Sec-WebSocket-Version: 13\n> Content-Length: 0\n>\n",
    );
    let setup = chat(&upstream, "location /internal { return 403; }");
    let proxy = Proxy::examined(&setup);
    let mut client = Client::connect(proxy.address());
    client.send(format!("{ASK}GET /internal HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(client.response().status(), 426);
    assert_eq!(client.response().status(), 403, "the second request meets the rules");
    assert_eq!(upstream.requests().len(), 1);
    assert!(upstream.received()[0].bytes.is_empty());
}

#[test]
fn an_unasked_tunnel_closes_the_upstream() {
    let upstream = Upstream::scripted(&format!(">> {}\nhold\n", hex(AGREE)));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut client = Client::connect(proxy.address());
    client.send("GET /chat/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 502);
    assert_ne!(upstream.wait_for_end(0), End::Silent);
    client.send("GET /chat/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 502, "the client's connection is still HTTP");
}

#[test]
fn a_body_comes_before_the_tunnel() {
    let agree = "HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
    let upstream = Upstream::scripted(&format!(">> {}\necho\n", hex(agree)));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut client = Client::connect(proxy.address());
    client.send(
        "POST /chat/ HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\
         Content-Length: 4\r\n\r\nbodytunnel",
    );
    assert_eq!(client.response().status(), 101);
    assert_eq!(client.exactly(6), b"tunnel");
    assert_eq!(upstream.requests()[0].body, b"body");
}

#[test]
fn without_the_lines_of_the_page_nothing_is_passed_on() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let setup = Setup::server("location / { proxy_pass http://@upstream@; }")
        .name("upstream", upstream.address());
    let proxy = Proxy::examined(&setup);
    assert_eq!(Client::once(proxy.address(), ASK).status(), 200);
    let request = upstream.requests().remove(0);
    assert_eq!(request.field("upgrade"), None);
    assert_eq!(request.field("connection").filter(|value| value != "close"), None);
}

/// An upstream that gives `count` interim answers before its 101.
fn after_interim_answers(count: usize) -> u16 {
    let upstream = Upstream::scripted(&format!(
        ">> \\*{count}(HTTP/1.1 102 Processing\\r\\n\\r\\n)\npause\n\
         > HTTP/1.1 103 Early Hints\n>\n>> {}\necho\n",
        hex(AGREE)
    ));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut client = Client::connect(proxy.address());
    client.send(ASK);
    let mut answer = client.response();
    while matches!(answer.status(), 100 | 102 | 103) {
        answer = client.response();
    }
    if answer.status() == 101 {
        client.send(b"x");
        assert_eq!(client.exactly(1), b"x");
    }
    answer.status()
}

#[test]
fn ten_interim_answers_do_not_hurt_and_a_storm_is_refused() {
    assert_eq!(after_interim_answers(10), 101);
    assert_eq!(after_interim_answers(1000), 502);
}
