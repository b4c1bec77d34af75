//! The worker is killed with SIGKILL while tunnels carry bytes: the tunnels go on, and not a
//! byte is lost or doubled.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use perdura_tests::{Client, Payload, Proxy, Tunnel, Upstream, chat, seed, until};
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

/// One tunnel that sends and checks until it is told to stop.
fn carry(
    proxy: &Proxy,
    seed: u64,
    stop: &Arc<AtomicBool>,
    carried: &Arc<AtomicU64>,
) -> [std::thread::JoinHandle<()>; 2] {
    let mut tunnel = Tunnel::open(proxy.address());
    let stream = tunnel.client.wire().stream().try_clone().expect("a second handle");
    let mut writer = stream.try_clone().expect("a third handle");
    let (stop, carried) = (Arc::clone(stop), Arc::clone(carried));
    let sender = std::thread::spawn(move || {
        let mut payload = Payload::new(seed);
        let mut size = Payload::new(seed ^ 0xabcd);
        while !stop.load(Ordering::Relaxed) {
            let piece = 1 + size.below(40_000);
            writer.write_all(&payload.take(piece)).expect("the tunnel takes the bytes");
        }
        writer.shutdown(std::net::Shutdown::Write).expect("a FIN");
    });
    let mut reader = stream;
    let receiver = std::thread::spawn(move || {
        let mut check = Payload::new(seed);
        let mut buffer = vec![0; 65_536];
        loop {
            let count = reader.read(&mut buffer).expect("the echo comes");
            if count == 0 {
                return;
            }
            check.check(&buffer[..count]).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
            carried.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    // The tunnel's own handle may go: the threads hold theirs.
    drop(tunnel);
    [sender, receiver]
}

#[test]
fn no_byte_is_lost_or_doubled_under_kills() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let seed = seed();
    let (stop, carried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> =
        (0..8).flat_map(|number| carry(&proxy, seed + number, &stop, &carried)).collect();
    let mut pause = Payload::new(seed ^ 0x77);
    let end = Instant::now() + Duration::from_secs(6);
    let mut kills = 0;
    while Instant::now() < end {
        let seen = carried.load(Ordering::Relaxed);
        until("bytes flow", Duration::from_secs(8), || carried.load(Ordering::Relaxed) > seen);
        std::thread::park_timeout(Duration::from_millis(pause.below(40) as u64));
        kill_worker(&proxy);
        kills += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("no tunnel is lost and no byte is wrong");
    }
    println!("{kills} kills, {} MiB", carried.load(Ordering::Relaxed) >> 20);
    assert!(kills >= 10, "only {kills} kills");
}
