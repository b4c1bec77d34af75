//! Peers that are slow, stuck or too many: timers apply, memory stays bounded, others are
//! served meanwhile.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};

use perdura_tests::{Client, End, Payload, Proxy, Setup, Tunnel, Upstream, chat, pss_kib, until};

const AGREE: &str = "> HTTP/1.1 101 Switching Protocols\n> Upgrade: websocket\n\
    > Connection: Upgrade\n> Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n>\n";

/// One header byte at a time does not stretch `client_header_timeout`: it is a total.
#[test]
fn a_dripping_head_is_cut_off() {
    let setup = Setup::server("client_header_timeout 500ms; location / { return 200; }");
    let proxy = Proxy::examined(&setup);
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nX-A: ");
    let begun = Instant::now();
    client.patience(Duration::from_millis(50));
    while begun.elapsed() < Duration::from_secs(5) {
        let sent = client.offer(b"a");
        let answer = client.wire().some();
        if sent.is_err() || answer != Err(End::Silent) {
            break;
        }
        assert_eq!(Client::get(proxy.address(), "/").status(), 200, "others are served");
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
}

/// `client_body_timeout` is between two reads, so that a slow body is fine and a stuck one not.
#[test]
fn a_slow_body_passes_and_a_stuck_one_does_not() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 0\n>\n");
    let setup =
        Setup::server("client_body_timeout 400ms; location / { proxy_pass http://@upstream@; }")
            .name("upstream", upstream.address());
    let proxy = Proxy::examined(&setup);
    let mut client = Client::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        client.patience(Duration::from_millis(100));
        assert_eq!(client.wire().some(), Err(End::Silent));
        client.send("x");
    }
    client.patience(Duration::from_secs(5));
    assert_eq!(client.response().status(), 200);
    let mut stuck = Client::connect(proxy.address());
    stuck.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nx");
    let (_, end) = stuck.rest();
    assert_ne!(end, End::Silent);
    assert_eq!(upstream.requests().len(), 1, "half a body is not passed on");
}

/// A client that reads a large answer slowly costs no more than the buffers.
#[test]
fn a_slow_reader_of_a_large_answer_costs_little() {
    let size = 48 << 20;
    let script = format!("> HTTP/1.1 200 OK\n> Content-Length: {size}\n>\n>> \\*{size}(x)\n");
    let upstream = Upstream::scripted(&script);
    let setup = Setup::server(
        "location / { proxy_pass http://@upstream@; proxy_buffering off; proxy_http_version 1.1; \
         proxy_set_header Connection ''; }",
    );
    let proxy = Proxy::examined(&setup.name("upstream", upstream.address()));
    Client::get(proxy.address(), "/-").status();
    let before = pss_kib(proxy.pid());
    let mut client = Client::connect(proxy.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.exactly(100_000);
    client.settle();
    let grown = pss_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for a client that does not read");
    let message_left = size - 1000;
    let mut received = 100_000;
    while received < message_left {
        received += client.wire().some().expect("the answer goes on").len();
    }
}

/// Opens tunnels whose client never reads, lets the upstream send, and measures.
#[test]
fn never_reading_clients_cost_two_buffers_each() {
    let script = format!("{AGREE}>> \\*33554432(x)\nhold\n");
    let upstream = Upstream::scripted(&script);
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut first = Tunnel::open(proxy.address());
    first.client.exactly(1000);
    let before = pss_kib(proxy.pid());
    let tunnels: Vec<_> = (0..12).map(|_| Tunnel::open(proxy.address())).collect();
    until("the upstreams are stuck", Duration::from_secs(8), || {
        let now = pss_kib(proxy.pid());
        std::thread::park_timeout(Duration::from_millis(200));
        pss_kib(proxy.pid()).abs_diff(now) < 64
    });
    let grown = pss_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 12 * 128 + 1024, "{grown} KiB for 12 clients that do not read");
    for mut tunnel in tunnels {
        tunnel.client.exactly(100_000);
        tunnel.client.reset();
    }
}

#[test]
fn a_never_reading_upstream_costs_two_buffers() {
    let upstream = Upstream::scripted(&format!("{AGREE}wait-ms 4000\nclose\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    let before = pss_kib(proxy.pid());
    tunnel.client.patience(Duration::from_millis(400));
    let mut sent = 0;
    while sent < 64 << 20 && tunnel.client.offer(vec![1; 65_536]).is_ok() {
        sent += 65_536;
    }
    assert!(sent < 64 << 20, "back-pressure reaches the client");
    let grown = pss_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB for an upstream that does not read");
}

#[test]
fn a_client_that_does_not_take_bytes_is_given_up() {
    let upstream = Upstream::scripted(&format!("{AGREE}>> \\*33554432(x)\nhold\n"));
    let proxy = Proxy::examined(&chat(&upstream, "send_timeout 500ms;"));
    let tunnel = Tunnel::open(proxy.address());
    let begun = Instant::now();
    assert_ne!(upstream.wait_for_end(0), End::Silent);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    drop(tunnel);
}

#[test]
fn many_idle_tunnels_are_held_and_answer() {
    let upstream = Upstream::echo();
    let count = held_tunnels();
    let setup = chat(&upstream, "").main("worker_rlimit_nofile 8192;").worker_connections(8192);
    let proxy = Proxy::examined(&setup);
    let mut tunnels: Vec<_> = (0..count).map(|_| Tunnel::open(proxy.address())).collect();
    for (number, tunnel) in tunnels.iter_mut().enumerate() {
        tunnel.echo(&number.to_le_bytes());
    }
}

/// Two thousand, or as many as this process may have descriptors for: each takes the client's one
/// and the upstream's two.
fn held_tunnels() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, wanted).expect("the limit of descriptors");
    let others = 800;
    (limit.maximum.map_or(2_000, |limit| limit.saturating_sub(others) / 3) as usize).min(2_000)
}

#[test]
fn a_silent_upstream_gives_504() {
    let upstream = Upstream::scripted("hold\n");
    let proxy = Proxy::examined(&chat(&upstream, "proxy_read_timeout 300ms;"));
    let mut client = Client::connect(proxy.address());
    client.send(perdura_tests::HANDSHAKE);
    assert_eq!(client.response().status(), 504);
    proxy.wait_for_error(
        "upstream timed out (110: Connection timed out) while reading response header from \
         upstream",
    );
}

#[test]
fn an_upstream_that_drips_its_head_is_bounded_by_the_buffer() {
    let drip: String = (0..40)
        .map(|_| ">> X-A: 0123456789012345678901234567890123456789\\r\\n\npause\n")
        .collect();
    let script = format!(">> HTTP/1.1 200 OK\\r\\n\n{drip}hold\n");
    let upstream = Upstream::scripted(&script);
    let proxy = Proxy::examined(&chat(&upstream, "proxy_buffer_size 1k; proxy_buffers 8 1k;"));
    let mut client = Client::connect(proxy.address());
    client.send("GET /chat/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status(), 502);
    proxy
        .wait_for_error("upstream sent too big header while reading response header from upstream");
}

#[test]
fn garbage_without_end_is_cut_off() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut client = Client::connect(proxy.address());
    client.patience(Duration::from_secs(5));
    let garbage = Payload::new(11).take(10 << 20);
    let _ = client.offer(&garbage);
    let (bytes, end) = client.rest();
    assert_ne!(end, End::Silent);
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400"));
    assert_eq!(upstream.received().len(), 0, "nothing reaches the upstream");
}

/// The worker runs out of descriptors: what is open lives on, and service comes back.
#[test]
fn tunnels_outlive_a_shortage_of_descriptors() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "").main("worker_rlimit_nofile 200;");
    let proxy = Proxy::examined(&setup);
    let mut tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    let crowd: Vec<_> = (0..250).map(|_| Client::connect(proxy.address())).collect();
    for tunnel in &mut tunnels {
        tunnel.echo(b"still here");
    }
    let busy = cpu_ticks(&proxy);
    std::thread::park_timeout(Duration::from_millis(500));
    let spent = cpu_ticks(&proxy) - busy;
    assert!(spent <= 10, "{spent} ticks of 50 spent while nothing can be accepted");
    drop(crowd);
    let begun = Instant::now();
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"back");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// A request whose upstream cannot be connected to for want of descriptors gets nginx's 500; the
/// upstream is not to blame and serves again at once.
#[test]
fn a_shortage_of_descriptors_is_no_upstreams_fault() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "location = /a { return 204; }");
    let proxy = Proxy::examined(&setup.main("worker_rlimit_nofile 200;"));
    let mut tunnel = Tunnel::open(proxy.address());
    let mut early = Client::connect(proxy.address());
    early.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(early.response().status(), 204);
    let crowd: Vec<_> = (0..250).map(|_| Client::connect(proxy.address())).collect();
    proxy.wait_for_error("accept4() failed (24: Too many open files)");
    early.send(perdura_tests::HANDSHAKE);
    assert_eq!(early.response().status(), 500);
    proxy.wait_for_error("socket() failed (24: Too many open files) while connecting to upstream");
    tunnel.echo(b"still here");
    drop(crowd);
    Tunnel::open(proxy.address()).echo(b"back");
}

/// Processor time of all processes of the proxy, in hundredths of a second.
fn cpu_ticks(proxy: &Proxy) -> u64 {
    let mut family = proxy.workers();
    family.push(proxy.pid());
    let ticks = |pid: rustix::process::Pid| {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        fields.take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>()
    };
    family.into_iter().map(ticks).sum()
}
