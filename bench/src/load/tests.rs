//! Every plan against a real echo, directly, through a faithful relay and through a corrupting one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::echo;

const PLANS: [&str; 7] =
    ["ping:64:3", "ping:70000:2", "rate:64:4:2000", "bulk:2", "churn:3", "idle:5", "http:3"];

const TIMES: Times = Times { warm: Duration::from_millis(5), window: Duration::from_millis(30) };

/// An echo on a thread of its own; it ends with this value.
struct Echo {
    address: SocketAddr,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start() -> Self {
        let (listener, address) = echo::bind(0).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || echo::serve(listener, stopped).unwrap());
        Echo { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A relay that flips a bit in every `nth` byte it carries from the upstream; 0: in none.
/// Its threads end when their connections do; its listener lives as long as the test.
fn relay(upstream: SocketAddr, nth: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, upstream) = (client.unwrap(), TcpStream::connect(upstream).unwrap());
            let (back_in, back_out) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || carry(client, upstream, 0));
            std::thread::spawn(move || carry(back_in, back_out, nth));
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, nth: usize) {
    let (mut buffer, mut carried) = ([0; 4096], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        for byte in &mut buffer[..count] {
            carried += 1;
            if nth > 0 && carried % nth == 0 {
                *byte ^= 0x10;
            }
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn try_plan(plan: &str, proxy: SocketAddr) -> Result<Report, Fault> {
    run(plan.parse().unwrap(), proxy, TIMES, &mut OpenGate)
}

#[test]
fn every_plan_passes_without_a_proxy_and_through_a_faithful_relay() {
    let echo = Echo::start();
    for proxy in [echo.address, relay(echo.address, 0)] {
        for plan in PLANS {
            let report = try_plan(plan, proxy).unwrap_or_else(|fault| panic!("{plan}: {fault}"));
            assert!(report.messages > 0 && report.nanoseconds > 0, "{plan}: {report}");
        }
    }
}

/// A relay that answers a CONNECT itself and carries what is behind it.
fn granting(upstream: SocketAddr, nth: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let inner = relay(upstream, nth);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, upstream) = (client.unwrap(), TcpStream::connect(inner).unwrap());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            assert!(head.starts_with(b"CONNECT "));
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (back_in, back_out) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || carry(client, upstream, 0));
            std::thread::spawn(move || carry(back_in, back_out, 0));
        }
    });
    address
}

#[test]
fn connect_needs_its_200_and_right_bytes() {
    let echo = Echo::start();
    let report = try_plan("connect:3", granting(echo.address, 0)).unwrap();
    assert!(report.messages > 0, "{report}");
    try_plan("connect:3", granting(echo.address, 150)).unwrap_err();
    // A proxy that has never heard of it.
    try_plan("connect:3", echo.address).unwrap_err();
}

#[test]
fn every_plan_fails_through_a_relay_that_flips_a_bit() {
    let echo = Echo::start();
    // The first place is within the messages, behind the 101 of 129 bytes, but for the pages and
    // the short tunnels of churn; the second spoils heads too.
    for (nth, plans) in [(150, &PLANS[..]), (40, &PLANS[..])] {
        let proxy = relay(echo.address, nth);
        for plan in plans {
            let fault = try_plan(plan, proxy).expect_err(plan);
            let seen = matches!(
                fault,
                Fault::WrongByte { .. }
                    | Fault::WrongPage { .. }
                    | Fault::Refused { .. }
                    | Fault::NotHttp
            );
            assert!(seen, "{plan}, every {nth}th byte: {fault}");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_message_is_called_a_wrong_byte() {
    let echo = Echo::start();
    let fault = try_plan("ping:64:1", relay(echo.address, 150)).unwrap_err();
    assert!(matches!(fault, Fault::WrongByte { tunnel: 0, message: 0, .. }), "{fault}");
}

#[test]
fn nobody_listening_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let fault = try_plan("ping:64:1", address).unwrap_err();
    assert!(matches!(fault, Fault::System { deed: "connect", .. }), "{fault}");
}

#[test]
fn an_upstream_that_hangs_up_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.read(&mut [0; 4096]);
    });
    let fault = try_plan("ping:64:1", address).unwrap_err();
    assert_eq!(fault, Fault::Ended { tunnel: 0, message: 0 });
    thread.join().unwrap();
}

#[test]
fn an_upstream_that_says_nothing_is_given_up() {
    // Its queue takes connections, but nobody accepts them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for plan in ["ping:64:1", "http:1"] {
        let patience = fleet::PATIENCE;
        assert_eq!(try_plan(plan, address), Err(Fault::Stalled { patience }), "{plan}");
    }
}

#[test]
fn a_rate_that_cannot_be_kept_is_a_fault() {
    // This upstream agrees to the tunnel, echoes the first message and then only listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut input = [0; 4096];
        let count = client.read(&mut input).unwrap();
        let head = crate::head::Head::find(&input[..count]).unwrap().unwrap();
        let key = crate::handshake::asked(&head).unwrap().to_owned();
        client.write_all(crate::handshake::response(&key).as_bytes()).unwrap();
        let mut first = [0; 2 + 4 + 64];
        client.read_exact(&mut first).unwrap();
        let payload = crate::pattern::Pattern::new(64);
        client.write_all(&[0x82, 64]).unwrap();
        client.write_all(payload.payload(0, 0)).unwrap();
        while let Ok(1..) = client.read(&mut input) {}
    });
    let fault = try_plan("rate:64:1:100000", address).unwrap_err();
    assert_eq!(fault, Fault::TooSlow { tunnel: 0 });
    thread.join().unwrap();
}
