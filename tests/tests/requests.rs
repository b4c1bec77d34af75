//! Requests that come in pieces, and many at once: the cut must not show in the answers.

use std::time::Duration;

use perdura_tests::{Client, End, Proxy, Setup, Tunnel, Upstream, chat, until};

fn proxy(upstream: &Upstream) -> Proxy {
    let setup = Setup::server(
        "keepalive_requests 10000; location / { proxy_pass http://@upstream@; } \
         location /r { return 200 \"$request_method $uri $http_x_a\"; }",
    );
    Proxy::examined(&setup.name("upstream", upstream.address()))
}

#[test]
fn a_request_may_be_split_at_every_byte() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 2\n>\n>> ok\n");
    let proxy = proxy(&upstream);
    let request = b"POST /some/path?x=y HTTP/1.1\r\nHost: a\r\nX-A: value\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: v\r\n\r\n";
    let mut client = Client::connect(proxy.address());
    for at in 1..request.len() {
        client.send_split(request, at);
        let answer = client.response();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"), "split at {at}");
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), request.len() - 1);
    assert!(requests.iter().all(|one| one.body == b"hello!"), "every body is whole");
    let first = &requests[0].head;
    assert!(requests.iter().all(|one| one.head == *first), "every head is the same");
}

#[test]
fn two_requests_may_be_split_at_every_byte() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let proxy = proxy(&upstream);
    let requests = b"GET /r/one HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n\
        GET /r/two HTTP/1.1\r\nHost: a\r\nX-A: 2\r\n\r\n";
    let mut client = Client::connect(proxy.address());
    for at in 1..requests.len() {
        client.send_split(requests, at);
        assert_eq!(client.response().text(), "GET /r/one 1", "split at {at}");
        assert_eq!(client.response().text(), "GET /r/two 2", "split at {at}");
    }
}

#[test]
fn a_thousand_requests_in_one_write_are_answered_in_order() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let proxy = proxy(&upstream);
    let mut client = Client::connect(proxy.address());
    let mut bytes = Vec::new();
    for number in 0..1000 {
        bytes.extend(format!("GET /r/{number} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes());
    }
    client.send(&bytes);
    for number in 0..1000 {
        assert_eq!(client.response().text(), format!("GET /r/{number} "));
    }
}

#[test]
fn a_response_may_be_split_at_every_byte() {
    let answer = "HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let hex = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let mut script = String::new();
    for at in 1..answer.len() {
        let (before, after) = answer.split_at(at);
        script.push_str(&format!(">> {}\npause\n>> {}\nthen\n", hex(before), hex(after)));
    }
    let upstream = Upstream::scripted(&script);
    let proxy = proxy(&upstream);
    let mut client = Client::connect(proxy.address());
    for at in 1..answer.len() {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.text(), "hello!", "split at {at}");
        assert_eq!(answer.field("x-a").as_deref(), Some("b"), "split at {at}");
    }
}

/// What stands behind an answer belongs to nobody: the next client must not get it.
#[test]
fn bytes_behind_an_answer_reach_no_other_client() {
    let upstream = Upstream::scripted(
        "> HTTP/1.1 200 OK\n> Content-Length: 2\n>\n\
         >> okHTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\npoison\n",
    );
    let setup = Setup::server(
        "location / { proxy_pass http://up; proxy_http_version 1.1; \
         proxy_set_header Connection ''; }",
    )
    .http("upstream up { server @upstream@; keepalive 8; }")
    .name("upstream", upstream.address());
    let proxy = Proxy::examined(&setup);
    for _ in 0..20 {
        assert_eq!(Client::get(proxy.address(), "/").text(), "ok");
    }
}

/// An upstream that answers before it has read the body keeps no place in the pool.
#[test]
fn an_early_answer_ends_its_upstream_connection() {
    let upstream = Upstream::scripted(
        "> HTTP/1.1 200 OK\n> Content-Length: 2\n>\n>> ok\n\
         on /early\nearly\n> HTTP/1.1 413 Large\n> Content-Length: 0\n>\nhold\n",
    );
    let setup = Setup::server(
        "location / { proxy_pass http://up; proxy_http_version 1.1; \
         proxy_set_header Connection ''; proxy_request_buffering off; client_max_body_size 0; }",
    )
    .http("upstream up { server @upstream@; keepalive 8; }")
    .name("upstream", upstream.address());
    let proxy = Proxy::examined(&setup);
    let mut client = Client::connect(proxy.address());
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome");
    assert_eq!(client.response().status(), 413);
    assert_ne!(upstream.wait_for_end(0), End::Silent);
    for _ in 0..5 {
        assert_eq!(Client::get(proxy.address(), "/").text(), "ok");
    }
}

#[test]
fn a_storm_of_interim_answers_is_refused() {
    let upstream = Upstream::scripted(
        ">> \\*1000(HTTP/1.1 103 Early Hints\\r\\nLink: <a>\\r\\n\\r\\n)\nhold\n",
    );
    let proxy = proxy(&upstream);
    assert_eq!(Client::get(proxy.address(), "/").status(), 502);
}

#[test]
fn too_many_fields_are_refused() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let proxy = proxy(&upstream);
    let fields: String = (0..1100).map(|number| format!("X-{number}: a\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    assert_eq!(Client::once(proxy.address(), &head).status(), 400);
    assert!(upstream.requests().is_empty());
}

#[test]
fn chunk_extensions_are_bounded() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let proxy = proxy(&upstream);
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(500));
    let body = chunk.repeat(100);
    let head =
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n");
    assert_eq!(Client::once(proxy.address(), &head).status(), 400);
    assert!(upstream.requests().is_empty());
}

/// `stub_status` counts tunnels as connections that are written to.
#[test]
fn the_status_page_counts_tunnels() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, "location = /status { stub_status; }"));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"x");
    let page =
        || String::from_utf8_lossy(&Client::get(proxy.address(), "/status").body).into_owned();
    until("the tunnel and the request itself are counted", Duration::from_secs(5), || {
        let page = page();
        page.starts_with("Active connections: 2 \nserver accepts handled requests\n ")
            && page.ends_with("Reading: 0 Writing: 2 Waiting: 0 \n")
    });
    drop(tunnel);
    until("the tunnel has gone", Duration::from_secs(5), || {
        page().starts_with("Active connections: 1 \n")
    });
}
