//! The operator looks at the live tunnels and ends one, through the control socket.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use perdura_tests::{Folder, Program, Proxy, Tunnel, Upstream, chat, until};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
use rustix::process::{Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(8);

/// Runs `perdura tunnels` for the master of this folder.
fn tunnels(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(Program::Perdura.binary())
        .arg("tunnels")
        .args(arguments)
        .arg("-p")
        .arg(folder.path())
        .args(["-c", "proxy.conf", "-e", "stderr"])
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fault(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The ids of the table, in its order.
fn ids(proxy: &Proxy) -> Vec<String> {
    let text = out(&tunnels(proxy.folder(), &[]));
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    text.lines().skip(1).map(first).collect()
}

fn socket(proxy: &Proxy) -> std::path::PathBuf {
    proxy.folder().path().join("proxy.pid.sock")
}

#[test]
fn the_live_tunnels_are_shown() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let empty = out(&tunnels(proxy.folder(), &[]));
    assert_eq!(empty.lines().count(), 1, "only the heading: {empty}");
    assert_eq!(out(&tunnels(proxy.folder(), &["--json"])), "[]\n");
    let mut one = Tunnel::open(proxy.address());
    one.echo(b"hello");
    let _other = Tunnel::open(proxy.address());
    let text = out(&tunnels(proxy.folder(), &[]));
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains(&upstream.address().to_string()), "{text}");
    let json = out(&tunnels(proxy.folder(), &["--json"]));
    assert_eq!(json.matches("\"client\": \"127.0.0.1\"").count(), 2, "{json}");
    assert_eq!(json.matches("\"bytes_to_upstream\": 5,").count(), 1, "{json}");
    assert_eq!(json.matches("\"request\": \"GET /chat/ HTTP/1.1\"").count(), 2, "{json}");
    one.echo(b"nobody was disturbed");
}

#[test]
fn many_tunnels_come_in_several_packets() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "").main("worker_rlimit_nofile 4096;");
    let proxy = Proxy::examined(&setup);
    let open: Vec<_> = (0..200).map(|_| Tunnel::open(proxy.address())).collect();
    let mut seen = ids(&proxy);
    assert_eq!(seen.len(), open.len());
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), open.len(), "none is shown twice");
}

#[test]
fn a_tunnel_is_ended_by_its_id() {
    let upstream = Upstream::echo();
    let format = "$status $tunnel_close_reason";
    let proxy = Proxy::examined(&chat(&upstream, "").log_format(format));
    let mut first = Tunnel::open(proxy.address());
    let found = ids(&proxy);
    let mut second = Tunnel::open(proxy.address());
    out(&tunnels(proxy.folder(), &["--close", &found[0]]));
    assert!(first.client.rest().0.is_empty());
    assert_eq!(proxy.wait_for_log(1), ["101 operator"]);
    second.echo(b"still here");
    assert_eq!(ids(&proxy).len(), 1);
    let said = fault(&tunnels(proxy.folder(), &["--close", &found[0]]));
    assert!(said.contains(&format!("there is no tunnel {}", found[0])), "{said}");
    proxy.wait_for_error("was closed by the operator");
}

#[test]
fn it_answers_after_the_worker_was_killed() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    let before = ids(&proxy);
    let worker = proxy.workers()[0];
    kill_process(worker, Signal::KILL).expect("the worker can be killed");
    until("there is another worker", LIMIT, || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
    tunnel.echo(b"adopted");
    assert_eq!(ids(&proxy), before, "the tunnel has kept its name");
    out(&tunnels(proxy.folder(), &["--close", &before[0]]));
    assert!(tunnel.client.rest().0.is_empty());
}

#[test]
fn only_its_owner_may_use_the_socket_and_it_goes_with_the_master() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&chat(&upstream, ""));
    let path = socket(&proxy);
    until("the socket is there", LIMIT, || path.exists());
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    proxy.stop();
    assert!(!path.exists());
    let said = fault(&tunnels(proxy.folder(), &[]));
    assert!(said.contains("proxy.pid.sock\" failed (2: No such file or directory)"), "{said}");
    assert!(said.contains("is perdura running"), "{said}");
}

/// Connects to the socket without speaking.
fn connect(proxy: &Proxy) -> rustix::fd::OwnedFd {
    let path = socket(proxy);
    until("the socket is there", LIMIT, || path.exists());
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)
        .expect("a unix socket");
    let address = SocketAddrUnix::new(&path).expect("a path of usual length");
    rustix::net::connect(&socket, &address).expect("the master accepts");
    socket
}

fn receive(socket: &rustix::fd::OwnedFd) -> Vec<u8> {
    let mut packet = vec![0; 1 << 16];
    let got = rustix::net::recv(socket, packet.as_mut_slice(), rustix::net::RecvFlags::empty());
    packet.truncate(got.map_or(0, |(length, _)| length));
    packet
}

#[test]
fn nonsense_and_silence_hold_up_nobody() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, ""));
    let mut tunnel = Tunnel::open(proxy.address());
    for packet in [&b"\x01"[..], &[0; 17], &[7; 64], &[0xff; 4096]] {
        let socket = connect(&proxy);
        assert!(receive(&socket).starts_with(b"PERDCTL"));
        rustix::net::send(&socket, packet, SendFlags::NOSIGNAL).expect("a packet can be sent");
        assert!(receive(&socket).is_empty(), "without the nonce it is shown the door");
    }
    // More silent ones than may be served at a time: the others wait until those are dropped.
    let silent: Vec<_> = (0..9).map(|_| connect(&proxy)).collect();
    tunnel.echo(b"undisturbed");
    let began = std::time::Instant::now();
    assert_eq!(ids(&proxy).len(), 1);
    assert!(began.elapsed() < LIMIT);
    drop(silent);
    proxy.signal(Signal::HUP);
    tunnel.echo(b"still undisturbed");
}
