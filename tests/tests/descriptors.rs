//! Every way a handshake or a tunnel can fail leaves no descriptor behind, and no memory.

use std::time::Duration;

use perdura_tests::{
    Client, HANDSHAKE, Proxy, Setup, Tunnel, Upstream, chat, dead_address, pss_kib, until,
};

const AGREE: &str = "> HTTP/1.1 101 Switching Protocols\n> Upgrade: websocket\n\
    > Connection: Upgrade\n> Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n>\n";

/// Does something often, and counts sockets before and after.
fn leaves_nothing(proxy: &Proxy, times: usize, act: impl Fn(&Proxy)) {
    act(proxy);
    let quiet = settled(proxy);
    for _ in 0..times {
        act(proxy);
    }
    until("the sockets are back at the baseline", Duration::from_secs(8), || {
        proxy.census().sockets() <= quiet
    });
}

/// The number of sockets once it no longer falls.
fn settled(proxy: &Proxy) -> usize {
    let mut last = usize::MAX;
    until("the number of sockets rests", Duration::from_secs(8), || {
        std::thread::park_timeout(Duration::from_millis(60));
        let now = proxy.census().sockets();
        std::mem::replace(&mut last, now) == now
    });
    last
}

/// A handshake that does not become a tunnel.
fn failing_handshake(proxy: &Proxy) {
    let mut client = Client::connect(proxy.address());
    client.send(HANDSHAKE);
    // Whatever comes, even nothing: only the descriptors count here.
    client.patience(Duration::from_secs(3));
    let _ = client.read(perdura_tests::ReadAs::Response);
}

/// One failing path: the upstream's script and what the server's block says besides.
fn path(script: &str, extra: &str) {
    let upstream = Upstream::scripted(script);
    // A kept upstream connection is no leak, but it would move the baseline.
    let proxy = Proxy::examined(&chat(&upstream, extra));
    leaves_nothing(&proxy, 40, failing_handshake);
}

#[test]
fn refused_by_the_upstream() {
    path("> HTTP/1.1 404 Not Found\n> Content-Length: 0\n> Connection: close\n>\nclose\n", "");
}

#[test]
fn closed_by_the_upstream() {
    path("close\n", "");
}

#[test]
fn reset_by_the_upstream() {
    path("reset\n", "");
}

#[test]
fn half_an_answer() {
    path(">> HTTP/1.1 101 Swi\nclose\n", "");
}

#[test]
fn garbage() {
    path(">> \\x00\\x01\\x02garbage\\r\\n\\r\\n\nclose\n", "");
}

#[test]
fn no_answer_in_time() {
    path("hold\n", "proxy_read_timeout 30ms;");
}

#[test]
fn an_unasked_protocol() {
    path(
        "> HTTP/1.1 101 Switching Protocols\n> Upgrade: other\n> Connection: Upgrade\n>\nhold\n",
        "proxy_read_timeout 100ms;",
    );
}

#[test]
fn a_dead_upstream() {
    let (address, _guard) = dead_address();
    let (http, server) = perdura_tests::page_conf();
    let setup = Setup::server(server).http(http).name("upstream", address);
    let proxy = Proxy::examined(&setup);
    leaves_nothing(&proxy, 40, failing_handshake);
}

#[test]
fn a_client_that_goes_away_before_the_answer() {
    let upstream = Upstream::scripted("hold\n");
    let proxy = Proxy::examined(&chat(&upstream, ""));
    leaves_nothing(&proxy, 40, |proxy| {
        let mut client = Client::connect(proxy.address());
        client.send(HANDSHAKE);
        client.settle();
        client.reset();
    });
}

/// Ten thousand handshakes that fail in four ways, from eight clients at a time.
#[test]
fn ten_thousand_failing_handshakes_cost_nothing() {
    let upstream = Upstream::scripted(
        "> HTTP/1.1 404 Not Found\n> Content-Length: 0\n> Connection: close\n>\nclose\n\
         on /reset\nreset\non /silent\nhold\n",
    );
    let (dead, _guard) = dead_address();
    let conf = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
        error_log @dir@/error.log emerg;
        location / { proxy_pass http://@upstream@; }
        location /silent { proxy_read_timeout 10ms; proxy_pass http://@upstream@; }
        location /refused { proxy_pass http://@dead@; }";
    let setup = Setup::server(conf).name("upstream", upstream.address()).name("dead", dead);
    let proxy = Proxy::examined(&setup);
    fail_at_once(&proxy, WARM_UP);
    upstream.forget();
    let (sockets, memory) = (settled(&proxy), pss_kib(proxy.pid()));
    fail_at_once(&proxy, 10_000);
    until("the sockets are back at the baseline", Duration::from_secs(30), || {
        proxy.census().sockets() <= sockets
    });
    let grown = pss_kib(proxy.pid()).saturating_sub(memory);
    assert!(grown <= GROWTH_MAX_KIB, "{grown} KiB more than after {WARM_UP}");
}

/// So many handshakes, each in the way that its number says, with the status that belongs to it.
fn fail_at_once(proxy: &Proxy, count: usize) {
    let ways = [("/404", 404), ("/refused", 502), ("/reset", 502), ("/silent", 504)];
    let address = proxy.address();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for number in (client..count).step_by(CLIENTS) {
                    let (target, status) = ways[number % ways.len()];
                    let head = HANDSHAKE.replacen("/chat/", target, 1);
                    assert_eq!(Client::once(address, &head).status(), status, "{target}");
                }
            });
        }
    });
}

/// After these the allocator has what it needs for as many at a time as there are clients.
const WARM_UP: usize = 1_000;
/// A leak of one byte and a half in each of them would be more.
const GROWTH_MAX_KIB: u64 = 1_024;
/// An odd number, so that each client goes all the ways.
const CLIENTS: usize = 7;

#[test]
fn tunnels_that_end_in_every_way() {
    let upstream = Upstream::scripted(&format!("{AGREE}echo\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    leaves_nothing(&proxy, 15, |proxy| {
        Tunnel::open(proxy.address()).client.fin();
        Tunnel::open(proxy.address()).client.reset();
        let mut tunnel = Tunnel::open(proxy.address());
        tunnel.echo(b"hello");
        let mut tunnel = Tunnel::open(proxy.address());
        tunnel.client.send(vec![7; 200_000]);
        tunnel.client.reset();
    });
}

#[test]
fn upstreams_that_end_in_every_way() {
    for end in ["close", "reset", "fin\nclose", ">> bye\nreset"] {
        let upstream = Upstream::scripted(&format!("{AGREE}{end}\n"));
        let proxy = Proxy::examined(&chat(&upstream, ""));
        leaves_nothing(&proxy, 25, failing_handshake);
    }
}

#[test]
fn bad_requests() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    leaves_nothing(&proxy, 40, |proxy| {
        let mut client = Client::connect(proxy.address());
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n");
        let _ = client.rest();
        drop(Client::connect(proxy.address()));
    });
}
