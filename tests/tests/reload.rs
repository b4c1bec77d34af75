//! A reload changes the configuration and nothing else: tunnels, connections and requests in
//! flight go on, and a broken file changes nothing at all.

use std::time::{Duration, Instant};

use perdura_tests::{Census, Client, Payload, Proxy, Setup, Tunnel, Upstream, chat, until};
use rustix::process::Signal;

/// Waits until a GET of `/which` is answered with `text`.
fn wait_for_answer(proxy: &Proxy, text: &str) {
    until(&format!("the answer is {text:?}"), Duration::from_secs(8), || {
        Client::get(proxy.address(), "/which").text() == text
    });
}

fn which(upstream: &Upstream, text: &str) -> Setup {
    chat(upstream, &format!("location = /which {{ return 200 \"{text}\"; }}"))
}

#[test]
fn fifty_tunnels_live_through_twenty_reloads() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&which(&upstream, "0"));
    let mut tunnels: Vec<_> =
        (0..50).map(|seed| (Tunnel::open(proxy.address()), Payload::new(seed))).collect();
    for round in 1..=20 {
        proxy.rewrite(&which(&upstream, &round.to_string()));
        proxy.signal(Signal::HUP);
        for (tunnel, payload) in &mut tunnels {
            tunnel.echo(&payload.take(1000));
        }
        wait_for_answer(&proxy, &round.to_string());
    }
    for (tunnel, payload) in &mut tunnels {
        tunnel.echo(&payload.take(1000));
    }
    assert_eq!(proxy.access_log().iter().filter(|line| line.starts_with("101")).count(), 0);
}

#[test]
fn a_reload_starts_no_process_and_keeps_the_worker() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&which(&upstream, "old"));
    let mut tunnel = Tunnel::open(proxy.address());
    let workers = proxy.workers();
    let count = Census::family(proxy.pid()).len();
    for round in 0..5 {
        let text = format!("new {round}");
        proxy.rewrite(&which(&upstream, &text));
        proxy.signal(Signal::HUP);
        wait_for_answer(&proxy, &text);
    }
    until("no process is left over", Duration::from_secs(5), || {
        Census::family(proxy.pid()).len() == count
    });
    assert_eq!(proxy.workers(), workers, "the worker is the same");
    tunnel.echo(b"still here");
}

#[test]
fn reloads_leave_no_descriptor_behind() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&which(&upstream, "old"));
    let mut reload = |text: &str| {
        proxy.rewrite(&which(&upstream, text));
        proxy.signal(Signal::HUP);
        wait_for_answer(&proxy, text);
        proxy.census().count()
    };
    let before = reload("first");
    let mut last = before;
    for round in 0..10 {
        last = reload(&format!("round {round}"));
    }
    assert!(last <= before + 4, "{before} descriptors became {last}");
}

#[test]
fn a_kept_connection_gets_the_new_configuration() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&which(&upstream, "old"));
    let mut client = Client::connect(proxy.address());
    client.send("GET /which HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "old");
    proxy.rewrite(&which(&upstream, "new"));
    proxy.signal(Signal::HUP);
    wait_for_answer(&proxy, "new");
    client.send("GET /which HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "new");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&which(&upstream, "old"));
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.rewrite(&chat(&upstream, "no_such_directive on;"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("unknown directive \"no_such_directive\"");
    tunnel.echo(b"still here");
    assert_eq!(Client::get(proxy.address(), "/which").text(), "old");
    proxy.rewrite_text("events { }\nhttp { server { listen @listen@;");
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("unexpected end of file, expecting \"}\"");
    tunnel.echo(b"still here");
    proxy.rewrite(&which(&upstream, "repaired"));
    proxy.signal(Signal::HUP);
    wait_for_answer(&proxy, "repaired");
    tunnel.echo(b"still here");
}

#[test]
fn a_request_in_flight_is_finished() {
    let upstream =
        Upstream::scripted("wait-ms 700\n> HTTP/1.1 200 OK\n> Content-Length: 4\n>\n>> late\n");
    let mut proxy = Proxy::examined(&which(&upstream, "old"));
    let mut client = Client::connect(proxy.address());
    client.send("GET /chat/ HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.wait_for_requests(1);
    proxy.rewrite(&which(&upstream, "new"));
    proxy.signal(Signal::HUP);
    wait_for_answer(&proxy, "new");
    assert_eq!(client.response().text(), "late");
}

#[test]
fn no_connection_is_refused_while_reloading() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&which(&upstream, "same"));
    let end = Instant::now() + Duration::from_secs(2);
    let address = proxy.address();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            std::thread::spawn(move || {
                let mut served = 0;
                while Instant::now() < end {
                    assert_eq!(Client::get(address, "/which").text(), "same");
                    Tunnel::open(address).echo(b"hello");
                    served += 1;
                }
                served
            })
        })
        .collect();
    while Instant::now() < end {
        proxy.signal(Signal::HUP);
        std::thread::park_timeout(Duration::from_millis(60));
    }
    for client in clients {
        assert!(client.join().expect("no client fails") > 0);
    }
}
