//! Limits: a tunnel holds its place until it ends, over reloads and over the worker's death; a
//! response goes at its rate.

use std::time::{Duration, Instant};

use perdura_tests::{Client, Proxy, Setup, Tunnel, Upstream, chat, until};
use rustix::process::{Signal, kill_process};

/// The page's configuration with places for two requests of one address, the tunnels among them.
fn limited(upstream: &Upstream, extra: &str) -> Setup {
    let extra =
        format!("location /file/ {{ limit_conn address 2; }}\nlimit_conn address 2;\n{extra}");
    chat(upstream, &extra).http("limit_conn_zone $binary_remote_addr zone=address:1m;")
}

/// The status of a request that needs a place.
fn status(proxy: &Proxy) -> u16 {
    Client::get(proxy.address(), "/file/x").status()
}

#[test]
fn a_tunnel_holds_its_place_until_it_ends() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&limited(&upstream, ""));
    let mut first = Tunnel::open(proxy.address());
    assert_eq!(status(&proxy), 404, "one place is left");
    let second = Tunnel::open(proxy.address());
    assert_eq!(status(&proxy), 503, "both places are taken");
    drop(second);
    until("the place is free", Duration::from_secs(5), || status(&proxy) == 404);
    first.echo(b"alive");
}

#[test]
fn a_reload_keeps_the_places_of_tunnels() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&limited(&upstream, ""));
    let first = Tunnel::open(proxy.address());
    let mut second = Tunnel::open(proxy.address());
    proxy.rewrite(&limited(&upstream, "location = /new { limit_conn address 9; return 204; }"));
    proxy.signal(Signal::HUP);
    until("the new configuration holds", Duration::from_secs(8), || {
        Client::get(proxy.address(), "/new").status() == 204
    });
    assert_eq!(status(&proxy), 503, "both places are taken still");
    drop(first);
    until("the place is free", Duration::from_secs(5), || status(&proxy) == 404);
    second.echo(b"alive");
}

#[test]
fn a_killed_worker_leaves_the_places_to_the_next_one() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&limited(&upstream, ""));
    let first = Tunnel::open(proxy.address());
    let mut second = Tunnel::open(proxy.address());
    let worker = *proxy.workers().first().expect("a worker");
    kill_process(worker, Signal::KILL).expect("the worker can be killed");
    until("there is another worker", Duration::from_secs(8), || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
    second.echo(b"alive");
    assert_eq!(status(&proxy), 503, "both places are taken still");
    drop(first);
    until("the place is free", Duration::from_secs(5), || status(&proxy) == 404);
}

#[test]
fn a_zone_keeps_its_key_over_a_reload() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&limited(&upstream, ""));
    let other = chat(&upstream, "").http("limit_conn_zone $host zone=address:1m;");
    proxy.rewrite(&other);
    proxy.signal(Signal::HUP);
    proxy.wait_for_error(
        "limit_conn_zone \"address\" uses the \"$host\" key while previously it used the \
         \"$binary_remote_addr\" key",
    );
    assert_eq!(status(&proxy), 404, "the old configuration holds");
}

#[test]
fn a_response_goes_at_its_rate() {
    let content = vec![b'x'; 30_000];
    let proxy = Proxy::examined(
        &Setup::server("location /a.bin { limit_rate 20000; limit_rate_after 5000; }")
            .file("html/a.bin", content.clone()),
    );
    let began = Instant::now();
    let answer = Client::get(proxy.address(), "/a.bin");
    let took = began.elapsed();
    assert_eq!(answer.body, content);
    // 25,000 bytes and the head at 20,000 in a second, of which the last piece costs nothing.
    assert!(took > Duration::from_millis(900), "it took {took:?}");
    assert!(took < Duration::from_secs(8), "it took {took:?}");
}
