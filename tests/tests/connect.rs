//! CONNECT: tunnels that a client asks for, what they may lead to, and what is no such request.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::time::Duration;

use perdura_tests::nameserver::{A, CNAME, labels};
use perdura_tests::{
    ACCEPT, Carriers, Client, End, HANDSHAKE, Message, NameServer, Payload, Proxy, ReadAs, Reply,
    Setup, Tunnel, Upstream, connect_head, connected, dead_address, seed, until,
};
use rustix::process::{Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(8);

/// Everything on this machine may be reached.
const OPEN: &str = "tunnel_pass; tunnel_allow_upstream 127.0.0.0/8 port=1-65535;";

fn open() -> Proxy {
    Proxy::examined(&Setup::server(OPEN))
}

/// A CONNECT and its answer, which must be the connection's last word.
#[track_caller]
fn refused(proxy: &Proxy, head: &str) -> Message {
    let mut client = Client::connect(proxy.address());
    client.send(head);
    let answer = client.response();
    client.fin();
    let (rest, end) = client.rest();
    assert_eq!((rest.as_slice(), end), (&b""[..], End::Closed), "{head:?}");
    answer
}

#[track_caller]
fn status(proxy: &Proxy, target: &str) -> u16 {
    refused(proxy, &connect_head(target)).status()
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    let upstream = Upstream::echo();
    let proxy = open();
    let mut tunnel = Tunnel::through(proxy.address(), upstream.address());
    tunnel.echo(b"hello");
    let seed = seed();
    let much = Payload::new(seed).take(1 << 20);
    let mut writer = tunnel.client.wire().stream().try_clone().expect("a second handle");
    let sent = much.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent).expect("it is taken"));
    assert!(tunnel.client.exactly(much.len()) == much, "seed {seed}: the echo differs");
    sender.join().expect("all is sent");
}

#[test]
fn the_answer_is_nginx_s() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&Setup::server(&format!("{OPEN} add_header X-Via a;")));
    let mut client = Client::connect(proxy.address());
    client.send(connect_head(upstream.address()));
    let answer = client.read(ReadAs::HeadResponse).expect("an answer");
    assert_eq!(answer.start(), "HTTP/1.1 200 OK");
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert_eq!(answer.field("x-via").as_deref(), Some("a"));
    for name in ["content-length", "transfer-encoding", "content-type"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert!(answer.field("date").is_some() && answer.field("server").is_some());
}

#[test]
fn the_log_has_what_a_tunnel_came_to() {
    let upstream = Upstream::echo();
    let format = "$request $status $upstream_addr $upstream_status $bytes_sent $body_bytes_sent \
                  $upstream_bytes_sent $upstream_bytes_received $tunnel_close_reason $uri \
                  $host $request_port$is_request_port";
    let proxy = Proxy::examined(&Setup::server(OPEN).log_format(format));
    let mut tunnel = Tunnel::through(proxy.address(), upstream.address());
    tunnel.echo(b"12345");
    drop(tunnel);
    let line = proxy.wait_for_log(1).remove(0);
    let address = upstream.address();
    let words: Vec<_> = line.split(' ').collect();
    assert!(line.starts_with(&format!("CONNECT {address} HTTP/1.1 200 {address} - ")), "{line}");
    let number = |at: usize| words[at].parse::<usize>().expect("a number");
    let (to_client, to_upstream) = (number(7), number(8));
    assert_eq!(to_upstream, HANDSHAKE.len() + 5, "{line}");
    assert_eq!(number(9), to_client, "{line}");
    assert!(number(6) > to_client, "{line}");
    let end = format!("/ 127.0.0.1 {}:", address.port());
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn it_is_off_unless_it_is_configured() {
    let proxy = Proxy::examined(&Setup::server("location / { return 200 hello; }"));
    assert_eq!(status(&proxy, "127.0.0.1:443"), 405);
    // Of two servers, the one that has it.
    let both = Setup::server("server_name a.example; location /x { return 200; }")
        .http("server { listen @listen@; server_name b.example; tunnel_pass; }");
    let proxy = Proxy::examined(&both);
    assert_eq!(status(&proxy, "a.example:443"), 405);
    assert_eq!(status(&proxy, "b.example:443"), 502);
    proxy.wait_for_error("no resolver defined to resolve b.example");
}

#[test]
fn only_http_1_1_and_only_connect() {
    let proxy = open();
    let old = "CONNECT 127.0.0.1:1 HTTP/1.0\r\nHost: 127.0.0.1:1\r\n\r\n";
    assert_eq!(refused(&proxy, old).status(), 405);
    assert_eq!(Client::get(proxy.address(), "/").status(), 405);
}

#[test]
fn what_is_no_target_is_refused() {
    let proxy = open();
    for target in [
        "",
        "a",
        "a:",
        ":443",
        "a:0",
        "a:65536",
        "a:99999999999",
        "a:+80",
        "a:-1",
        "a:80a",
        "http://a:80",
        "http://a",
        "u@a:80",
        "a:b@c:80",
        "a:80/",
        "/a:80",
        "a:80?x",
        "a:80#x",
        "a:80:90",
        "[::1",
        "[::1]",
        "[example.com]:80",
        "[::1%25lo]:80",
        "[::1%eth0]:80",
        "::1:80",
        "[]:80",
        "[1.2.3.4]:80",
        "a b:80",
        "a\\b:80",
        "a..b:80",
        ".:80",
        "a,b:80",
        "*:80",
        "\"a\":80",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(&proxy, &head).status(), 400, "{target:?}");
    }
}

#[test]
fn a_body_is_refused() {
    let proxy = open();
    for field in ["Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 1"] {
        let head = format!("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n{field}\r\n\r\n");
        assert_eq!(refused(&proxy, &head).status(), 400, "{field}");
    }
    let upstream = Upstream::echo();
    let target = upstream.address();
    let mut client = Client::connect(proxy.address());
    client
        .send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(client.read(ReadAs::HeadResponse).expect("an answer").status(), 200);
}

#[test]
fn host_names_the_target_or_the_guard_is_off() {
    let upstream = Upstream::echo();
    let target = upstream.address();
    let answer = |proxy: &Proxy, host: &str| {
        let mut client = Client::connect(proxy.address());
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        client.read(ReadAs::HeadResponse).expect("an answer").status()
    };
    let proxy = open();
    assert_eq!(answer(&proxy, "127.0.0.1"), 200);
    assert_eq!(answer(&proxy, &target.to_string()), 200);
    for host in ["example.com", "127.0.0.1:1", "127.0.0.2"] {
        assert_eq!(answer(&proxy, host), 400, "{host}");
    }
    let proxy = Proxy::examined(&Setup::server("tunnel_pass; tunnel_guard off;"));
    assert_eq!(answer(&proxy, "example.com"), 200);
}

#[test]
fn addresses_off_the_public_network_are_refused() {
    let proxy = Proxy::examined(&Setup::server("tunnel_pass;"));
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "127.0.0.1.",
        "[::]",
        "[::1]",
        "[fc00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::10.0.0.1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
    ] {
        assert_eq!(status(&proxy, &format!("{host}:443")), 403, "{host}");
    }
    proxy.wait_for_error(
        "tunnel to 169.254.169.254:443 for \"169.254.169.254:443\" is forbidden: a link-local address",
    );
    assert!(proxy.workers().len() == 1);
}

#[test]
fn spellings_of_addresses_are_names() {
    let names = NameServer::start(|question| match question.name.as_str() {
        "localhost" => Reply::Addresses(60, vec![IpAddr::from(Ipv4Addr::LOCALHOST)]),
        _ => Reply::Code(3),
    });
    let resolver = format!("tunnel_pass; resolver {} ipv6=off;", names.address());
    let proxy = Proxy::examined(&Setup::server(&resolver));
    for name in ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "017700000001"] {
        assert_eq!(status(&proxy, &format!("{name}:443")), 502, "{name}");
        assert_eq!(names.asked(name), 1, "{name}");
    }
    for name in ["localhost", "LOCALHOST", "localhost."] {
        assert_eq!(status(&proxy, &format!("{name}:443")), 403, "{name}");
    }
    assert_eq!(status(&proxy, "xn--localhost-y27f:443"), 502);
    // A letter that is not ASCII is no name at all.
    assert_eq!(status(&proxy, "\u{24db}ocalhost:443"), 400);
}

#[test]
fn ports_other_than_those_of_tls_are_refused() {
    let upstream = Upstream::echo();
    let address = upstream.address();
    let proxy = Proxy::examined(&Setup::server("tunnel_pass; tunnel_allow_upstream 127.0.0.1;"));
    for port in [1, 22, 25, 80, 8443, address.port()] {
        assert_eq!(status(&proxy, &format!("127.0.0.1:{port}")), 403, "{port}");
    }
    let port = address.port();
    let rules =
        format!("tunnel_pass; tunnel_allow_upstream 127.0.0.1; tunnel_allow_upstream port={port};");
    let proxy = Proxy::examined(&Setup::server(&rules));
    Tunnel::through(proxy.address(), address).echo(b"allowed");
    let rules = format!("{OPEN} tunnel_deny_upstream port={port};");
    assert_eq!(status(&Proxy::examined(&Setup::server(&rules)), &address.to_string()), 403);
    let rules = "tunnel_pass; tunnel_guard off; tunnel_deny_upstream 127.0.0.0/8;";
    assert_eq!(status(&Proxy::examined(&Setup::server(rules)), &address.to_string()), 403);
}

#[test]
fn the_proxy_does_not_lead_to_itself() {
    let proxy = Proxy::examined(&Setup::server(OPEN));
    let port = proxy.address().port();
    assert_eq!(status(&proxy, &format!("127.0.0.1:{port}")), 403);
    proxy.wait_for_error("is forbidden: this proxy listens there");
    // Over a listener of all addresses, by any of this machine's.
    let all = perdura_tests::free_port();
    let everywhere = Setup::bare()
        .http(&format!("server {{ listen @listen@; {OPEN} }} server {{ listen {all}; {OPEN} }}"));
    let proxy = Proxy::examined(&everywhere);
    for host in ["127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]"] {
        assert_eq!(status(&proxy, &format!("{host}:{all}")), 403, "{host}");
    }
}

/// Without the guard a client may go round in circles. A hundred rounds carry bytes; more end at
/// the limit of connections, and those who are there already notice nothing.
#[test]
fn circles_end_at_the_limit_of_connections() {
    let upstream = Upstream::echo();
    let conf = "tunnel_pass; tunnel_guard off; location = /a { return 204; }";
    let proxy = Proxy::examined(&Setup::server(conf));
    let again = |client: &mut Client, target| {
        let sent = client.offer(connect_head(target));
        let answer = client.read(ReadAs::HeadResponse);
        sent.is_ok() && answer.is_ok_and(|answer| answer.status() == 200)
    };
    let mut client = connected(proxy.address(), proxy.address());
    for round in 1..100 {
        assert!(again(&mut client, proxy.address()), "round {round}");
    }
    assert!(again(&mut client, upstream.address()));
    client.send(HANDSHAKE);
    assert_eq!(client.response().status(), 101);
    client.send(b"a hundred rounds");
    assert_eq!(client.exactly(16), b"a hundred rounds");
    let mut other = connected(proxy.address(), proxy.address());
    let rounds = (1..512).take_while(|_| again(&mut other, proxy.address())).count();
    assert!(rounds < 256, "each round takes two connections of 512");
    proxy.wait_for_error("512 worker_connections are not enough");
    client.send(b"still here");
    assert_eq!(client.exactly(10), b"still here");
    drop(other);
    until("new clients are served", LIMIT, || {
        let mut client = Client::connect(proxy.address());
        client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
        client.read(ReadAs::Response).is_ok_and(|answer| answer.status() == 204)
    });
}

/// What a name server says of a name that rebinds: first a good address, then one that is not.
fn rebinding(good: Ipv4Addr) -> NameServer {
    NameServer::start(move |question| match (question.kind, question.before) {
        (A, 0) => Reply::Addresses(0, vec![IpAddr::from(good)]),
        (A, _) => Reply::Addresses(0, vec![IpAddr::from([10, 0, 0, 1])]),
        _ => Reply::Addresses(0, Vec::new()),
    })
}

#[test]
fn what_was_judged_is_what_is_dialled() {
    let upstream = Upstream::echo();
    let names = rebinding(Ipv4Addr::LOCALHOST);
    let conf = format!("{OPEN} resolver {};", names.address());
    let proxy = Proxy::examined(&Setup::server(&conf));
    let target = format!("rebind.example:{}", upstream.address().port());
    Tunnel::through(proxy.address(), &target).echo(b"hello");
    let asked = names.questions().iter().filter(|question| question.kind == A).count();
    assert_eq!(asked, 1, "one resolution for one request");
    assert_eq!(status(&proxy, &target), 403);
}

#[test]
fn every_address_of_a_name_is_judged() {
    let upstream = Upstream::echo();
    let port = upstream.address().port();
    let names = NameServer::start(|question| match question.name.as_str() {
        "mixed.example" => {
            let bad = (1..100).map(|last| IpAddr::from([10, 0, 0, last]));
            let good = [IpAddr::from(Ipv4Addr::LOCALHOST)];
            Reply::Addresses(60, bad.chain(good).collect())
        }
        "inner.example" => Reply::Records(vec![
            ("inner.example".into(), CNAME, 60, labels("db.internal")),
            ("db.internal".into(), A, 60, vec![192, 168, 0, 1]),
        ]),
        _ => Reply::Code(3),
    });
    let conf = format!("{OPEN} resolver {} ipv6=off;", names.address());
    let proxy = Proxy::examined(&Setup::server(&conf));
    for _ in 0..5 {
        // Whatever the order, only the one that is allowed is dialled.
        Tunnel::through(proxy.address(), format!("mixed.example:{port}")).echo(b"hello");
    }
    assert_eq!(status(&proxy, &format!("inner.example:{port}")), 403);
    assert_eq!(status(&proxy, &format!("none.example:{port}")), 502);
}

#[test]
fn what_the_configuration_names_is_not_judged() {
    let upstream = Upstream::echo();
    let group = Setup::server("tunnel_pass group;")
        .http("upstream group { server @upstream@; }")
        .name("upstream", upstream.address());
    Tunnel::through(Proxy::examined(&group).address(), "any.example:1").echo(b"group");
    let fixed = Setup::server("tunnel_pass @upstream@;").name("upstream", upstream.address());
    Tunnel::through(Proxy::examined(&fixed).address(), "any.example:1").echo(b"fixed");
    let mapped = Setup::server("tunnel_pass $to;")
        .http(
            "upstream group { server @upstream@; } \
             map $request_port $to { default 10.0.0.1:443; 7 group; }",
        )
        .name("upstream", upstream.address());
    let proxy = Proxy::examined(&mapped);
    Tunnel::through(proxy.address(), "any.example:7").echo(b"mapped");
    assert_eq!(status(&proxy, "any.example:8"), 403);
}

#[test]
fn a_server_that_the_configuration_knows_otherwise_is_judged() {
    let upstream = Upstream::echo();
    let port = upstream.address().port();
    // The name of a `proxy_pass` is no way around the guard.
    let conf = format!(
        "tunnel_pass; tunnel_allow_upstream port={port}; \
         location /app {{ proxy_pass http://localhost:{port}; }}"
    );
    let proxy = Proxy::examined(&Setup::server(&conf));
    assert_eq!(status(&proxy, &format!("localhost:{port}")), 403);
}

#[test]
fn bytes_that_come_too_early_wait_for_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("the bound address");
    let proxy = open();
    let early: Vec<u8> = Payload::new(7).take(1 << 20);
    let mut client = Client::connect(proxy.address());
    let head = connect_head(target);
    let mut writer = client.wire().stream().try_clone().expect("a second handle");
    let sent = early.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&[head.as_bytes(), &sent].concat()).expect("it is taken");
    });
    let (mut stream, _) = listener.accept().expect("the proxy connects");
    assert_eq!(client.read(ReadAs::HeadResponse).expect("an answer").status(), 200);
    let mut received = vec![0; early.len()];
    stream.read_exact(&mut received).expect("all of it comes");
    assert!(received == early, "the early bytes differ");
    sender.join().expect("all is sent");
}

#[test]
fn early_bytes_are_dropped_when_there_is_no_tunnel() {
    let (dead, _guard) = dead_address();
    let proxy = open();
    let mut client = Client::connect(proxy.address());
    // What follows looks like a request, and must not be taken for one (RFC 9931).
    let behind = "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{}{behind}", connect_head(dead)));
    assert_eq!(client.response().status(), 502);
    client.fin();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    for target in ["10.0.0.1:443", "a"] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{behind}");
        let answer = refused(&proxy, &head).status();
        assert_eq!(answer, if target == "a" { 400 } else { 403 });
    }
    let lines = proxy.wait_for_log(3);
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:?}");
}

#[test]
fn nobody_there_is_502_and_silence_504() {
    let (dead, _guard) = dead_address();
    let proxy = open();
    assert_eq!(status(&proxy, &dead.to_string()), 502);
    proxy.wait_for_error("connect() failed (111: Connection refused) while connecting to upstream");
    // A queue that is full answers nobody.
    let full = Full::new();
    let slow = Proxy::examined(&Setup::server(&format!("{OPEN} tunnel_connect_timeout 300ms;")));
    assert_eq!(status(&slow, &full.address.to_string()), 504);
    slow.wait_for_error(
        "upstream timed out (110: Connection timed out) while connecting to upstream",
    );
}

/// A listener whose queue is full: a new connection waits.
struct Full {
    address: std::net::SocketAddr,
    _listener: rustix::fd::OwnedFd,
    _queued: Vec<std::net::TcpStream>,
}

impl Full {
    fn new() -> Self {
        use rustix::net;
        let family = net::AddressFamily::INET;
        let listener = net::socket(family, net::SocketType::STREAM, None).expect("a socket");
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        net::bind(&listener, &any).expect("a free port");
        net::listen(&listener, 0).expect("it listens");
        let address = net::getsockname(&listener).expect("the bound address");
        let address = std::net::SocketAddr::try_from(address).expect("an address");
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50));
        let queued = (0..8).map_while(|_| connect().ok()).collect();
        Self { address, _listener: listener, _queued: queued }
    }
}

#[test]
fn the_next_address_is_tried() {
    let upstream = Upstream::echo();
    let (dead, _guard) = dead_address();
    let setup = |extra: &str| {
        Setup::server(&format!("tunnel_pass group; {extra}"))
            .http("upstream group { server @dead@; server @upstream@; }")
            .name("dead", dead)
            .name("upstream", upstream.address())
            .log_format("$status [$upstream_addr] [$upstream_status]")
    };
    let proxy = Proxy::examined(&setup(""));
    Tunnel::through(proxy.address(), "a:1").echo(b"hello");
    let line = proxy.wait_for_log(1).remove(0);
    assert_eq!(line, format!("200 [{dead}, {}] [502, -]", upstream.address()));
    for extra in [
        "tunnel_next_upstream off;",
        "tunnel_next_upstream_tries 1;",
        "tunnel_next_upstream timeout;",
    ] {
        let proxy = Proxy::examined(&setup(extra));
        assert_eq!(status(&proxy, "a:1"), 502, "{extra}");
    }
}

#[test]
fn error_pages_apply_and_none_is_taken_for_a_tunnel() {
    let upstream = Upstream::echo();
    let (dead, _guard) = dead_address();
    let conf = format!(
        "{OPEN} error_page 502 /sorry; error_page 403 =200 /fine; error_page 504 @other; \
         location = /sorry {{ return 502 sorry; }} location = /fine {{ return 200 fine; }}"
    );
    let proxy = Proxy::examined(&Setup::server(&conf).name("upstream", upstream.address()));
    let answer = refused(&proxy, &connect_head(dead));
    assert_eq!((answer.status(), answer.text().as_str()), (502, "sorry"));
    assert_eq!(status(&proxy, "10.0.0.1:443"), 405);
    proxy.wait_for_error("an answer of 200 to CONNECT would be taken for a tunnel");
    let conf = format!("{OPEN} location / {{ return 200 hello; }}");
    let proxy = Proxy::examined(&Setup::server(&conf));
    assert_eq!(status(&proxy, "127.0.0.1:1"), 405);
}

#[test]
fn a_named_location_may_lead_elsewhere() {
    let upstream = Upstream::echo();
    let (dead, _guard) = dead_address();
    let conf =
        format!("{OPEN} error_page 502 = @other; location @other {{ tunnel_pass @upstream@; }}");
    let proxy = Proxy::examined(&Setup::server(&conf).name("upstream", upstream.address()));
    Tunnel::through(proxy.address(), dead).echo(b"elsewhere");
}

#[test]
fn connections_come_from_where_they_should() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = listener.local_addr().expect("the bound address");
    let conf = format!(
        "{OPEN} tunnel_bind 127.0.0.9; tunnel_socket_keepalive on; tunnel_socket_rcvbuf 16k; \
         tunnel_socket_sndbuf 16k;"
    );
    let proxy = Proxy::examined(&Setup::server(&conf));
    let client = connected(proxy.address(), target);
    let (_stream, from) = listener.accept().expect("the proxy connects");
    assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 9]));
    drop(client);
}

#[test]
fn an_idle_tunnel_ends_at_its_own_timeout() {
    let upstream = Upstream::echo();
    let conf = format!("{OPEN} tunnel_read_timeout 300ms; proxy_read_timeout 1h;");
    let proxy = Proxy::examined(&Setup::server(&conf).log_format("$status $tunnel_close_reason"));
    let mut client = connected(proxy.address(), upstream.address());
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    assert_eq!(proxy.wait_for_log(1), ["200 idle-timeout"]);
}

#[test]
fn a_half_close_is_carried_through() {
    let upstream = Upstream::scripted(&format!(
        "> HTTP/1.1 101 Switching Protocols\n> Upgrade: websocket\n> Connection: Upgrade\n\
         > Sec-WebSocket-Accept: {ACCEPT}\n>\nrest\n>> bye\nclose\n"
    ));
    let proxy = open();
    let mut tunnel = Tunnel::through(proxy.address(), upstream.address());
    tunnel.client.fin();
    assert_eq!(tunnel.client.rest(), (b"bye".to_vec(), End::Closed));
}

#[test]
fn tunnels_survive_kills_of_the_worker_and_reloads() {
    let upstream = Upstream::echo();
    let proxy = open();
    let seed = seed();
    let mut idle = Tunnel::through(proxy.address(), upstream.address());
    let carriers = Carriers::over(4, seed, || Tunnel::through(proxy.address(), upstream.address()));
    for round in 0..6 {
        carriers.wait_for_more();
        let worker = *proxy.workers().first().expect("a worker");
        if round % 2 == 0 {
            kill_process(worker, Signal::KILL).expect("the worker can be killed");
            until("there is another worker", LIMIT, || {
                proxy.workers().first().is_some_and(|next| *next != worker)
            });
        } else {
            proxy.signal(Signal::HUP);
        }
        carriers.wait_for_more();
        idle.echo(b"still here");
    }
    carriers.end();
}

#[test]
fn a_tunnel_keeps_its_place_in_a_limit() {
    let upstream = Upstream::echo();
    let conf = format!("{OPEN} limit_conn clients 1;");
    let zone = "limit_conn_zone $binary_remote_addr zone=clients:1m;";
    let proxy = Proxy::examined(&Setup::server(&conf).http(zone));
    let mut first = Tunnel::through(proxy.address(), upstream.address());
    assert_eq!(status(&proxy, &upstream.address().to_string()), 503);
    first.echo(b"hello");
    drop(first);
    until("the place is free again", LIMIT, || {
        let mut client = Client::connect(proxy.address());
        client.send(connect_head(upstream.address()));
        client.read(ReadAs::HeadResponse).is_ok_and(|answer| answer.status() == 200)
    });
}

#[test]
fn refusals_leave_no_descriptor_behind() {
    let upstream = Upstream::echo();
    let (dead, _guard) = dead_address();
    let proxy = open();
    Tunnel::through(proxy.address(), upstream.address()).echo(b"hello");
    until("the tunnel is gone", LIMIT, || upstream.open_connections() == 0);
    assert_eq!(status(&proxy, &dead.to_string()), 502);
    let before = proxy.census().count();
    for _ in 0..30 {
        assert_eq!(status(&proxy, &dead.to_string()), 502);
        assert_eq!(status(&proxy, "10.0.0.1:443"), 403);
        drop(connected(proxy.address(), upstream.address()));
    }
    until("the descriptors are back", LIMIT, || proxy.census().count() <= before + 2);
}

#[test]
fn who_has_no_password_gets_407_and_no_more() {
    let upstream = Upstream::echo();
    let target = upstream.address();
    let conf = format!("{OPEN} auth_basic tunnels; auth_basic_user_file @dir@/users;");
    let setup = Setup::server(&conf).file("users", "user:{PLAIN}pass\n");
    let proxy = Proxy::examined(&setup.log_format("$status $remote_user"));
    let behind = "GET /secret HTTP/1.1\r\nHost: a\r\n\r\n";
    // `user:pasS`, and the field that is for the server behind.
    for field in
        ["", "Proxy-Authorization: Basic dXNlcjpwYXNT\r\n", "Authorization: Basic dXNlcjpwYXNz\r\n"]
    {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{field}\r\n{behind}");
        let answer = refused(&proxy, &head);
        assert_eq!(answer.status(), 407, "{field}");
        let challenge = answer.field("proxy-authenticate");
        assert_eq!(challenge.as_deref(), Some("Basic realm=\"tunnels\""));
        assert_eq!(answer.field("www-authenticate"), None);
    }
    assert_eq!(upstream.open_connections(), 0);
    let mut client = Client::connect(proxy.address());
    let right = "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n";
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{right}\r\n"));
    assert_eq!(client.read(ReadAs::HeadResponse).expect("an answer").status(), 200);
    client.send(HANDSHAKE);
    assert_eq!(client.response().status(), 101);
    // Nothing of what the proxy was told goes on.
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].field("proxy-authorization"), None);
    drop(client);
    assert_eq!(proxy.wait_for_log(4).pop().as_deref(), Some("200 user"));
}

#[test]
fn a_condition_may_lead_elsewhere_or_nowhere() {
    let (one, other) = (Upstream::echo(), Upstream::echo());
    let conf = "location / { tunnel_pass @one@; if ($request_port = 2) { tunnel_pass @other@; } \
                if ($request_port = 3) { return 403; } }";
    let setup = Setup::server(conf).name("one", one.address()).name("other", other.address());
    let proxy = Proxy::examined(&setup);
    Tunnel::through(proxy.address(), "a.example:1").echo(b"one");
    assert_eq!((one.requests().len(), other.requests().len()), (1, 0));
    Tunnel::through(proxy.address(), "a.example:2").echo(b"other");
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
    assert_eq!(status(&proxy, "a.example:3"), 403);
}
