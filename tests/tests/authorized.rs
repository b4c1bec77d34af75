//! Tunnels behind `auth_request`: another server says who may have one, and can have none itself.

use perdura_tests::{ACCEPT, Client, HANDSHAKE, Proxy, ReadAs, Setup, Tunnel, Upstream, chat};

/// The page's tunnel, for whom `judge` lets in. Even what the judge is told of an upgrade is passed
/// on by the configuration.
fn guarded(upstream: &Upstream, judge: &Upstream) -> Setup {
    let guard = "auth_request /judge; auth_request_set $user $upstream_http_x_user;
        add_header X-User $user always;
        location = /judge {
            internal;
            proxy_pass http://@judge@;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }";
    chat(upstream, guard).name("judge", judge.address())
}

#[test]
fn who_is_let_in_gets_his_tunnel() {
    let upstream = Upstream::echo();
    let judge = Upstream::scripted("> HTTP/1.1 204 No Content\n> X-User: ann\n>\n");
    let proxy = Proxy::examined(&guarded(&upstream, &judge));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"hello");
    let asked = judge.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].start(), "GET /judge HTTP/1.1");
    assert_eq!(asked[0].field("upgrade"), None, "a subrequest never upgrades");
    assert_ne!(asked[0].field("connection").as_deref(), Some("upgrade"));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn who_is_not_let_in_never_reaches_the_upstream() {
    let upstream = Upstream::echo();
    for (script, status) in [
        ("> HTTP/1.1 403 Forbidden\n> Content-Length: 0\n>\n", 403),
        ("> HTTP/1.1 401 Unauthorized\n> WWW-Authenticate: Bearer\n> Content-Length: 0\n>\n", 401),
        ("> HTTP/1.1 500 No\n> Content-Length: 0\n>\n", 500),
        ("close\n", 500),
    ] {
        let judge = Upstream::scripted(script);
        let proxy = Proxy::examined(&guarded(&upstream, &judge));
        let mut client = Client::connect(proxy.address());
        client.send(HANDSHAKE);
        let answer = client.read(ReadAs::Response).expect("an answer");
        assert_eq!(answer.status(), status);
        let wanted = (status == 401).then_some("Bearer");
        assert_eq!(answer.field("www-authenticate").as_deref(), wanted);
    }
    assert!(upstream.requests().is_empty());
}

/// A judge that answers with a switch of protocols gets none.
#[test]
fn a_judge_cannot_become_a_tunnel() {
    let upstream = Upstream::echo();
    let judge = Upstream::scripted(&format!(
        "> HTTP/1.1 101 Switching Protocols\n> Upgrade: websocket\n> Connection: Upgrade\n\
         > Sec-WebSocket-Accept: {ACCEPT}\n>\nhold\n"
    ));
    let proxy = Proxy::examined(&guarded(&upstream, &judge));
    let mut client = Client::connect(proxy.address());
    client.send(HANDSHAKE);
    assert_eq!(client.read(ReadAs::Response).expect("an answer").status(), 500);
    assert!(upstream.requests().is_empty());
}
