//! The detectors prove themselves: a relay that flips a bit, loses a byte, drops a FIN or
//! leaks a descriptor stands where the proxy stands, and each must be caught.

use std::time::Duration;

use perdura_tests::{
    Case, Census, End, Fault, Outcome, Payload, Program, Proxy, Relay, Setup, Tunnel, Upstream,
    page_conf, play, until,
};

/// Sends a payload through the relay and checks the echo.
fn echo_through(fault: Fault) -> Result<(), String> {
    let upstream = Upstream::echo();
    let relay = Relay::start(upstream.address(), fault);
    let mut tunnel = Tunnel::open(relay.address());
    tunnel.client.patience(Duration::from_millis(500));
    tunnel.client.send(Payload::new(5).take(20_000));
    let received = tunnel.client.wire().exactly(20_000);
    Payload::new(5).check(&received.map_err(|end| format!("{end:?}"))?)
}

#[test]
fn an_honest_relay_passes() {
    assert_eq!(echo_through(Fault::None), Ok(()));
}

#[test]
fn a_flipped_bit_is_caught() {
    let fault = echo_through(Fault::FlipBit(5_000)).expect_err("the bit must be noticed");
    assert!(fault.contains("is wrong"), "{fault}");
}

#[test]
fn a_lost_byte_is_caught() {
    echo_through(Fault::LoseByte(5_000)).expect_err("the byte must be missed");
}

/// Whether the client's FIN reaches the upstream.
fn fin_arrives(fault: Fault) -> bool {
    let upstream = Upstream::echo();
    let relay = Relay::start(upstream.address(), fault);
    let mut tunnel = Tunnel::open(relay.address());
    tunnel.echo(b"hello");
    tunnel.client.fin();
    tunnel.client.patience(Duration::from_millis(500));
    let (bytes, end) = tunnel.client.rest();
    assert!(bytes.is_empty());
    end == End::Closed && upstream.wait_for_end(0) == End::Closed
}

#[test]
fn a_dropped_fin_is_caught() {
    assert!(fin_arrives(Fault::None));
    assert!(!fin_arrives(Fault::DropFin));
}

#[test]
fn a_leaked_descriptor_is_caught() {
    let myself = rustix::process::getpid();
    let upstream = Upstream::echo();
    let leaks = |fault: Fault| {
        let relay = Relay::start(upstream.address(), fault);
        let before = Census::take(myself).sockets();
        for _ in 0..5 {
            Tunnel::open(relay.address()).echo(b"hello");
        }
        let closed = || upstream.open_connections() == 0;
        until("the relay ends its connections", Duration::from_secs(5), closed);
        // Other tests of this process open and close sockets too: the leak is waited for.
        Census::take(myself).sockets().saturating_sub(before)
    };
    assert!(leaks(Fault::LeakDescriptor) >= 5);
}

/// A case whose outcome the runner must find different.
fn outcome(server: &str) -> Outcome {
    let text = format!("-- server\n{server}\n-- upstream\n-- gets errors\n/a\n");
    let case = Case::parse("planted", &text).expect("a case");
    let outcomes = play(Program::Nginx, &case, &[]).expect("nginx runs");
    outcomes.into_iter().next().expect("one client")
}

#[test]
fn every_part_of_an_outcome_tells() {
    if Program::Nginx.find().is_none() {
        println!("skipped: nginx is not installed");
        return;
    }
    let base = outcome("location / { proxy_pass http://@upstream@; }");
    assert_eq!(base, outcome("location / { proxy_pass http://@upstream@; }"));
    let field = outcome("add_header X-A b; location / { proxy_pass http://@upstream@; }");
    assert_ne!(base.client, field.client);
    let target = outcome("location / { proxy_pass http://@upstream@/b; }");
    assert_ne!(base.upstream, target.upstream);
    let missing = outcome("location / { root @dir@/none; }");
    assert_ne!(base.log, missing.log);
    assert_ne!(base.errors, missing.errors);
}

#[test]
fn the_baseline_of_a_proxy_is_counted() {
    if Program::Nginx.find().is_none() {
        println!("skipped: nginx is not installed");
        return;
    }
    let upstream = Upstream::echo();
    let (http, server) = page_conf();
    let setup = Setup::server(server).http(http).name("upstream", upstream.address());
    let proxy = Proxy::start(Program::Nginx, &setup);
    Tunnel::open(proxy.address()).echo(b"hello");
    let baseline = || proxy.census().sockets();
    until("the tunnel is gone", Duration::from_secs(5), || upstream.open_connections() == 0);
    let quiet = baseline();
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"hello");
    assert_eq!(baseline(), quiet + 2, "a tunnel holds two sockets");
}

#[test]
fn a_configuration_that_does_not_start_is_told() {
    if Program::Nginx.find().is_none() {
        println!("skipped: nginx is not installed");
        return;
    }
    let setup = Setup::server("no_such_directive;");
    let started = std::panic::catch_unwind(|| Proxy::start(Program::Nginx, &setup));
    let panic = started.err().expect("it cannot start");
    let text = panic.downcast_ref::<String>().expect("a message");
    assert!(text.contains("unknown directive"), "{text}");
}
