//! The worker is killed with SIGKILL while tunnels carry bytes: the tunnels go on, and not a
//! byte is lost or doubled.

use std::time::Duration;

use perdura_tests::{
    Carriers, Client, HANDSHAKE, Payload, Proxy, ReadAs, Tunnel, Upstream, chat, seed, until,
};
use rustix::process::{Signal, kill_process};

/// Kills the worker and waits for the next one.
fn kill_worker(proxy: &Proxy) {
    let workers = proxy.workers();
    let worker = *workers.first().expect("a worker");
    kill_process(worker, Signal::KILL).expect("the worker can be killed");
    until("there is another worker", Duration::from_secs(8), || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
}

#[test]
fn an_idle_tunnel_survives() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"before");
    kill_worker(&proxy);
    tunnel.echo(b"after");
}

/// A worker that is stopped for a while, as by a debugger or a frozen machine, goes on as if nothing
/// had been, and obeys what it was told meanwhile.
#[test]
fn a_stopped_worker_goes_on() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&chat(&upstream, "location = /a { return 204; }"));
    let mut tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    let worker = proxy.workers()[0];
    kill_process(worker, Signal::STOP).expect("it can be stopped");
    for tunnel in &mut tunnels {
        tunnel.client.send(b"while it stands still");
    }
    proxy.rewrite(&chat(&upstream, "location = /a { return 205; }"));
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("reconfiguring");
    proxy.signal(Signal::USR1);
    proxy.wait_for_error("reopening logs");
    kill_process(worker, Signal::CONT).expect("it goes on");
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.client.exactly(21), b"while it stands still");
    }
    until("it has obeyed", Duration::from_secs(8), || {
        Client::get(proxy.address(), "/a").status() == 205
    });
    assert_eq!(proxy.workers(), [worker]);
}

/// Tunnels hold every descriptor that there may be when the worker dies.
#[test]
fn tunnels_survive_when_there_is_no_descriptor_left() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "").main("worker_rlimit_nofile 100;");
    let proxy = Proxy::examined(&setup);
    let mut tunnels = Vec::new();
    let full = || proxy.error_log().contains("24: Too many open files");
    while !full() {
        let mut client = Client::connect(proxy.address());
        client.send(HANDSHAKE);
        client.patience(Duration::from_secs(2));
        match client.read(ReadAs::Response) {
            Ok(answer) if answer.status() == 101 => tunnels.push(client),
            // It has reached the proxy, whose upstream connection finds no descriptor, or waits to
            // be accepted.
            _ => assert!(full(), "{}", proxy.error_log()),
        }
    }
    assert!(tunnels.len() > 20, "{} tunnels", tunnels.len());
    for _ in 0..3 {
        kill_worker(&proxy);
        for tunnel in &mut tunnels {
            tunnel.send(b"still here");
            assert_eq!(tunnel.exactly(10), b"still here");
        }
    }
    drop(tunnels);
    Tunnel::open(proxy.address()).echo(b"and there is room again");
}

/// The next worker has fewer threads than the one that was killed.
#[test]
fn tunnels_of_threads_that_are_no_more_survive() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&chat(&upstream, "").worker_processes(4));
    let mut tunnels: Vec<_> = (0..60).map(|_| Tunnel::open(proxy.address())).collect();
    proxy.rewrite(&chat(&upstream, "").worker_processes(1));
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("worker_processes");
    for _ in 0..2 {
        kill_worker(&proxy);
        for tunnel in &mut tunnels {
            tunnel.echo(b"still here");
        }
    }
    proxy.wait_for_error("adopted 60 tunnels");
}

#[test]
fn service_goes_on() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, "location = /a { return 204; }"));
    for _ in 0..3 {
        kill_worker(&proxy);
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
        Tunnel::open(proxy.address()).echo(b"hello");
    }
    proxy.wait_for_error("exited on signal 9");
}

#[test]
fn a_killed_worker_leaves_no_descriptor_behind() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    Tunnel::open(proxy.address()).echo(b"hello");
    kill_worker(&proxy);
    Tunnel::open(proxy.address()).echo(b"hello");
    until("the tunnels are gone", Duration::from_secs(5), || upstream.open_connections() == 0);
    let before = proxy.census().count();
    let clients: Vec<_> = (0..20).map(|_| Client::connect(proxy.address())).collect();
    let tunnels: Vec<_> = (0..20).map(|_| Tunnel::open(proxy.address())).collect();
    kill_worker(&proxy);
    drop((clients, tunnels));
    until("the descriptors are back at the baseline", Duration::from_secs(8), || {
        proxy.census().count() <= before + 2
    });
}

#[test]
fn no_byte_is_lost_or_doubled_under_kills() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let seed = seed();
    let carriers = Carriers::begin(proxy.address(), 8, seed);
    let mut pause = Payload::new(seed ^ 0x77);
    for _ in 0..KILLS {
        carriers.wait_for_more();
        std::thread::park_timeout(Duration::from_millis(pause.below(40) as u64));
        kill_worker(&proxy);
    }
    println!("{KILLS} kills, {} MiB", carriers.end() >> 20);
}

const KILLS: u32 = 25;
