//! Tunnels count at their servers for as long as they live: after a reload, and after the worker has
//! died.

use std::time::Duration;

use perdura_tests::{Client, Proxy, Setup, Tunnel, Upstream, until};
use rustix::process::{Signal, kill_process};

/// Two servers behind one group; tunnels go through `/ws`, requests through `/who`.
fn group(upstreams: &[Upstream; 2], method: &str, options: &str, extra: &str) -> Setup {
    let http = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
         upstream group {{ {method} server @one@ {options}; server @two@ {options}; }}"
    );
    let server = format!(
        "location / {{ proxy_pass http://group; proxy_set_header Upgrade $http_upgrade; \
         proxy_set_header Connection $connection_upgrade; }}\n{extra}"
    );
    Setup::server(&server)
        .http(&http)
        .name("one", upstreams[0].address())
        .name("two", upstreams[1].address())
}

/// How many connections each server has.
fn counts(upstreams: &[Upstream; 2]) -> [usize; 2] {
    upstreams.each_ref().map(Upstream::open_connections)
}

fn kill_worker(proxy: &Proxy) {
    let worker = *proxy.workers().first().expect("a worker");
    kill_process(worker, Signal::KILL).expect("the worker can be killed");
    until("there is another worker", Duration::from_secs(8), || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
}

fn reload(proxy: &mut Proxy, setup: &Setup) {
    proxy.rewrite(setup);
    proxy.signal(Signal::HUP);
    until("the new configuration holds", Duration::from_secs(8), || {
        Client::get(proxy.address(), "/new").status() == 204
    });
}

const NEW: &str = "location = /new { return 204; }";

/// Leaves all tunnels at one server, then opens new ones: they go to the other.
fn new_tunnels_go_to_the_idle_server(meanwhile: impl Fn(&mut Proxy, &[Upstream; 2])) {
    let upstreams = [Upstream::echo(), Upstream::echo()];
    let mut proxy = Proxy::examined(&group(&upstreams, "least_conn;", "", ""));
    let (mut stay, mut go) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let before = counts(&upstreams);
        let tunnel = Tunnel::open(proxy.address());
        if counts(&upstreams)[0] > before[0] { stay.push(tunnel) } else { go.push(tunnel) }
    }
    assert_eq!((stay.len(), go.len()), (3, 3));
    drop(go);
    until("one server has no tunnel", Duration::from_secs(5), || counts(&upstreams) == [3, 0]);
    meanwhile(&mut proxy, &upstreams);
    let more: Vec<_> = (0..3).map(|_| Tunnel::open(proxy.address())).collect();
    assert_eq!(counts(&upstreams), [3, 3], "the new ones went to the server without tunnels");
    drop((stay, more));
}

#[test]
fn least_conn_counts_tunnels() {
    new_tunnels_go_to_the_idle_server(|_, _| ());
}

#[test]
fn least_conn_counts_tunnels_after_a_reload() {
    new_tunnels_go_to_the_idle_server(|proxy, upstreams| {
        reload(proxy, &group(upstreams, "least_conn;", "", NEW));
    });
}

#[test]
fn least_conn_counts_tunnels_after_a_kill() {
    new_tunnels_go_to_the_idle_server(|proxy, _| kill_worker(proxy));
}

#[test]
fn a_server_has_no_more_tunnels_than_max_conns_whatever_happens() {
    let upstreams = [Upstream::echo(), Upstream::echo()];
    let options = "max_conns=1";
    let mut proxy = Proxy::examined(&group(&upstreams, "", options, ""));
    let first = Tunnel::open(proxy.address());
    let mut second = Tunnel::open(proxy.address());
    let refused = |proxy: &Proxy| Client::get(proxy.address(), "/who").status();
    assert_eq!(refused(&proxy), 502);
    reload(&mut proxy, &group(&upstreams, "", options, NEW));
    assert_eq!(refused(&proxy), 502, "a reload makes no room");
    kill_worker(&proxy);
    second.echo(b"alive");
    assert_eq!(refused(&proxy), 502, "neither does a kill");
    drop(first);
    until("there is room", Duration::from_secs(5), || {
        let mut client = Client::connect(proxy.address());
        client.send(perdura_tests::HANDSHAKE);
        client.response().status() == 101
    });
}
