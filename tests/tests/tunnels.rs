//! Bytes through tunnels: what goes in comes out, in order, once, whoever ends first.

use std::time::{Duration, Instant};

use perdura_tests::{Client, End, HANDSHAKE, Payload, Proxy, Tunnel, Upstream, chat, seed, until};

/// Carries `total` bytes each way at once and compares both.
fn carry_both_ways(proxy: &Proxy, total: usize, seed: u64) {
    let tunnel = Tunnel::open(proxy.address());
    let mut reader = tunnel.client;
    let mut writer = reader.wire().stream().try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        let mut payload = Payload::new(seed);
        let mut left = total;
        while left > 0 {
            let piece = left.min(1 + payload.clone().below(60_000));
            writer.write_all(&payload.take(piece)).expect("the proxy takes the bytes");
            left -= piece;
        }
    });
    let mut check = Payload::new(seed);
    let mut received = 0;
    while received < total {
        let bytes = reader.wire().some().expect("the echo comes");
        check.check(&bytes).expect("the echo is what was sent");
        received += bytes.len();
    }
    sender.join().expect("everything was sent");
}

#[test]
fn one_byte_is_echoed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    Tunnel::open(proxy.address()).echo(b"x");
}

#[test]
fn a_mebibyte_is_echoed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    carry_both_ways(&proxy, 1 << 20, seed());
}

#[test]
fn much_is_echoed_over_several_tunnels_at_once() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let seed = seed();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let proxy = &proxy;
            scope.spawn(move || carry_both_ways(proxy, 16 << 20, seed + number));
        }
    });
}

#[test]
fn frames_of_every_kind_pass_unread() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    // Reserved opcodes, reserved bits, unmasked, lengths that lie: a tunnel reads none of it.
    for opcode in 0..=255u8 {
        for length in [0u8, 1, 125, 126, 127, 254, 255] {
            tunnel.echo(&[opcode, length, 0, 0xff, 0xfe, opcode ^ length]);
        }
    }
    let mut big = vec![0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
    big.extend(Payload::new(3).take(1 << 20));
    let mut writer = tunnel.client.wire().stream().try_clone().expect("a second handle");
    let bytes = big.clone();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        writer.write_all(&bytes).expect("the proxy takes the bytes");
    });
    assert!(tunnel.client.exactly(big.len()) == big, "a large frame comes back");
    sender.join().expect("everything was sent");
}

#[test]
fn the_answer_may_be_split_at_every_byte() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
    for at in (1..head.len()).filter(|at| at % 5 == 0 || *at > head.len() - 10) {
        let (before, after) = head.split_at(at);
        let script = format!(">> {}\npause\n>> {}\necho\n", hex(before), hex(after));
        let upstream = Upstream::scripted(&script);
        let proxy = Proxy::examined(&chat(&upstream, ""));
        let mut tunnel = Tunnel::open(proxy.address());
        assert_eq!(tunnel.client.exactly(5), b"first", "split at {at}");
        tunnel.echo(b"then");
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[test]
fn bytes_behind_the_request_are_the_tunnels_first() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut bytes = HANDSHAKE.as_bytes().to_vec();
    bytes.extend(b"early bytes");
    for at in [HANDSHAKE.len() - 1, HANDSHAKE.len(), HANDSHAKE.len() + 3] {
        let mut client = Client::connect(proxy.address());
        client.send_split(&bytes, at);
        assert_eq!(client.response().status(), 101);
        assert_eq!(client.exactly(11), b"early bytes", "split at {at}");
    }
}

#[test]
fn bytes_behind_the_request_wait_for_the_answer() {
    let upstream = Upstream::scripted("hold\n");
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut client = Client::connect(proxy.address());
    client.send(format!("{HANDSHAKE}early"));
    upstream.wait_for_requests(1);
    client.settle();
    assert!(upstream.received()[0].bytes.is_empty(), "nothing may travel before the 101");
}

#[test]
fn a_fast_upstream_tears_no_tunnel_down() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    for number in 0..500u32 {
        let mut tunnel = Tunnel::open(proxy.address());
        tunnel.echo(&number.to_le_bytes());
    }
}

const AGREE: &str = "> HTTP/1.1 101 Switching Protocols\n> Upgrade: websocket\n\
    > Connection: Upgrade\n> Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n>\n";

#[test]
fn after_the_clients_fin_the_upstream_goes_on() {
    let upstream = Upstream::scripted(&format!("{AGREE}rest\n>> \\*1048576(x)\nclose\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.client.send(b"last words");
    tunnel.client.fin();
    let (bytes, end) = tunnel.client.rest();
    assert_eq!((bytes.len(), end), (1 << 20, End::Closed));
    assert_eq!(upstream.received()[0].bytes, b"last words");
}

#[test]
fn after_the_upstreams_fin_the_client_goes_on() {
    let upstream = Upstream::scripted(&format!("{AGREE}>> bye\nfin\nhold\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    assert_eq!(tunnel.client.rest(), (b"bye".to_vec(), End::Closed));
    tunnel.client.send(Payload::new(1).take(1 << 20));
    tunnel.client.fin();
    assert_eq!(upstream.wait_for_end(0), End::Closed);
    let received = upstream.received();
    assert_eq!(received[0].bytes.len(), 1 << 20);
    assert_eq!(Payload::new(1).check(&received[0].bytes), Ok(()));
}

#[test]
fn both_may_end_at_once() {
    let upstream = Upstream::scripted(&format!("{AGREE}>> bye\nfin\nhold\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.client.send(b"me too");
    tunnel.client.fin();
    assert_eq!(tunnel.client.rest(), (b"bye".to_vec(), End::Closed));
    assert_eq!(upstream.wait_for_end(0), End::Closed);
    assert_eq!(upstream.received()[0].bytes, b"me too");
}

#[test]
fn a_half_closed_tunnel_ends_after_its_linger_time() {
    let upstream = Upstream::scripted(&format!("{AGREE}hold\n"));
    let slow = Upstream::scripted(&format!("{AGREE}rest\nwait-ms 8000\nclose\n"));
    drop(upstream);
    let proxy = Proxy::examined(&chat(&slow, "upgrade_fin_timeout 300ms;"));
    let mut tunnel = Tunnel::open(proxy.address());
    let begun = Instant::now();
    tunnel.client.fin();
    let (_, end) = tunnel.client.rest();
    assert_ne!(end, End::Silent, "the other direction is given up");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[test]
fn a_clients_reset_reaches_the_upstream() {
    let upstream = Upstream::scripted(&format!("{AGREE}hold\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.client.send(b"before");
    until("the bytes arrive", Duration::from_secs(5), || {
        upstream.received().first().is_some_and(|one| one.bytes == b"before")
    });
    let quiet = proxy.census().sockets();
    tunnel.client.reset();
    assert_ne!(upstream.wait_for_end(0), End::Silent);
    until("both sockets are closed", Duration::from_secs(5), || {
        proxy.census().sockets() + 2 == quiet
    });
}

#[test]
fn an_upstreams_reset_reaches_the_client_with_what_came_before() {
    let upstream = Upstream::scripted(&format!("{AGREE}>> before\nread 2\nreset\n"));
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    assert_eq!(tunnel.client.exactly(6), b"before");
    tunnel.client.send(b"go");
    let (bytes, end) = tunnel.client.rest();
    assert!(bytes.is_empty());
    assert_ne!(end, End::Silent);
}

#[test]
fn an_idle_tunnel_ends_at_its_timeout() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "proxy_read_timeout 400ms;");
    let proxy = Proxy::examined(&setup);
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"hello");
    let begun = Instant::now();
    let (bytes, end) = tunnel.client.rest();
    assert!(bytes.is_empty());
    assert_eq!(end, End::Closed);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(proxy.wait_for_log(1)[0].starts_with("101 "), "the timeout is not a status");
}

/// nginx arms the timer anew for bytes in either direction (facts of its tunnel mode, 5.6).
#[test]
fn traffic_from_the_client_alone_keeps_a_tunnel() {
    let upstream = Upstream::scripted(&format!("{AGREE}hold\n"));
    let proxy = Proxy::examined(&chat(&upstream, "proxy_read_timeout 500ms;"));
    let mut tunnel = Tunnel::open(proxy.address());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1500) {
        tunnel.client.send(b".");
        tunnel.client.patience(Duration::from_millis(100));
        assert_eq!(tunnel.client.wire().exactly(1), Err(End::Silent));
    }
    tunnel.client.patience(Duration::from_secs(5));
    let (_, end) = tunnel.client.rest();
    assert_eq!(end, End::Closed, "silence ends it");
}

#[test]
fn the_log_line_comes_at_the_end_with_both_counts() {
    let upstream = Upstream::echo();
    let format = "$status $upstream_status $body_bytes_sent $upstream_response_length \
                  $request_completion";
    let proxy = Proxy::examined(&chat(&upstream, "").log_format(
        &format.replace("$upstream_response_length ", "").replace(" $request_completion", ""),
    ));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"12345");
    assert!(proxy.access_log().is_empty(), "nothing is logged while the tunnel lives");
    drop(tunnel);
    assert_eq!(proxy.wait_for_log(1), ["101 101 5"]);
}

#[test]
fn the_log_says_why_a_tunnel_ended() {
    let upstream = Upstream::scripted(&format!("{AGREE}echo\non /bye\n{AGREE}>> bye\nclose\n"));
    let setup = chat(&upstream, "proxy_read_timeout 600ms;").log_format("$tunnel_close_reason");
    let proxy = Proxy::examined(&setup);
    let mut first = Tunnel::open(proxy.address());
    first.client.fin();
    first.client.rest();
    let one = proxy.wait_for_log(1)[0].clone();
    let mut second = Tunnel::open(proxy.address());
    second.client.rest();
    let two = proxy.wait_for_log(2)[1].clone();
    assert_ne!(one, two, "the client's end and silence are told apart");
    assert!(one != "-" && two != "-", "{one} {two}");
}
