//! The master is killed: its worker serves on, and the next start takes sockets and tunnels over.

use std::fs::Permissions;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use perdura_tests::{
    Carriers, Census, Client, Payload, Program, Proxy, Setup, Tunnel, Upstream, chat, free_port,
    seed, until,
};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType,
};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(10);

fn setup(upstream: &Upstream) -> Setup {
    chat(upstream, "location = /a { return 204; }")
}

/// Kills the master and waits until its worker has seen that; gives the worker.
fn orphan(proxy: &mut Proxy) -> Pid {
    let worker = *proxy.kill_master().first().expect("a worker");
    let said = format!("{}#", worker.as_raw_nonzero());
    until("the worker notices", LIMIT, || {
        let log = proxy.error_log();
        let mut lines = log.lines().filter(|line| line.contains("the worker serves on"));
        lines.any(|line| line.contains(&said))
    });
    worker
}

fn is_gone(pid: Pid) -> bool {
    !Census::runs(pid, &Program::Perdura.binary())
}

#[test]
fn no_tunnel_and_no_byte_is_lost_when_masters_die_one_after_the_other() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let seed = seed();
    let carriers = Carriers::begin(proxy.address(), 6, seed);
    let mut quiet: Vec<_> = (0..194).map(|_| Tunnel::open(proxy.address())).collect();
    for round in 0..2 {
        carriers.wait_for_more();
        let worker = orphan(&mut proxy);
        for tunnel in &mut quiet {
            tunnel.echo(b"without a master");
        }
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
        proxy.start_again();
        let moved = format!("moved 200 tunnels to master process {}", proxy.pid().as_raw_nonzero());
        until("the tunnels move", LIMIT, || proxy.error_log().contains(&moved));
        until("the old worker ends", LIMIT, || is_gone(worker));
        for tunnel in &mut quiet {
            tunnel.echo(b"with the next one");
        }
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204, "round {round}");
        Tunnel::open(proxy.address()).echo(b"a new one");
    }
    // And the last one is a master as any other.
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("reconfiguring");
    carriers.end();
    drop(quiet);
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    assert!(!proxy.folder().path().join("proxy.pid").exists());
    assert!(!proxy.folder().path().join("proxy.pid.sock").exists());
}

#[test]
fn another_configuration_gets_the_tunnels_and_its_own_sockets() {
    let upstream = Upstream::echo();
    let [old, new] =
        [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let with = |address: SocketAddr| {
        setup(&upstream).http(&format!("server {{ listen {address}; return 204; }}"))
    };
    let mut proxy = Proxy::examined(&with(old));
    let mut tunnels: Vec<_> = (0..5).map(|_| Tunnel::open(proxy.address())).collect();
    let worker = orphan(&mut proxy);
    assert_eq!(Client::get(old, "/").status(), 204);
    proxy.rewrite(&with(new));
    proxy.start_again();
    until("the old worker ends", LIMIT, || is_gone(worker));
    for tunnel in &mut tunnels {
        tunnel.echo(b"after");
    }
    assert_eq!(Client::get(new, "/").status(), 204);
    assert!(TcpStream::connect(old).is_err(), "nobody listens there any more");
}

#[test]
fn requests_in_flight_are_finished_and_late_tunnels_follow() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut late = Client::connect(proxy.address());
    let (head, rest) = perdura_tests::HANDSHAKE.split_at(30);
    late.send(head);
    Tunnel::open(proxy.address()).echo(b"so that the head was read");
    let worker = orphan(&mut proxy);
    proxy.start_again();
    proxy.wait_for_error("serves now");
    late.send(rest);
    assert_eq!(late.response().status(), 101);
    until("the late one moves as well", LIMIT, || is_gone(worker));
    late.send(b"here");
    assert_eq!(late.exactly(4), b"here");
}

#[test]
fn a_worker_that_is_stopped_is_told_within_a_bound() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnel = Tunnel::open(proxy.address());
    let worker = orphan(&mut proxy);
    kill_process(worker, Signal::STOP).expect("it can be stopped");
    proxy.launch_again();
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(1));
    let said = proxy.folder().text("stderr");
    assert!(said.contains("[emerg]") && said.contains("does not greet within 5 s"), "{said}");
    kill_process(worker, Signal::CONT).expect("it goes on");
    tunnel.echo(b"nothing has happened");
    proxy.start_again();
    until("the old worker ends", LIMIT, || is_gone(worker));
    tunnel.echo(b"and now it has moved");
}

/// Runs the program for this folder, as another user if one is named.
fn run(proxy: &Proxy, arguments: &[&str], user: Option<u32>) -> Output {
    let mut command = Command::new(Program::Perdura.binary());
    command.args(arguments).arg("-p").arg(proxy.folder().path());
    command.args(["-c", "proxy.conf", "-e", "stderr"]).stdin(Stdio::null());
    user.into_iter().for_each(|user| _ = command.uid(user));
    command.output().expect("the program runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn who_asks_is_told_that_the_master_has_gone() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnel = Tunnel::open(proxy.address());
    orphan(&mut proxy);
    for arguments in [&["tunnels"][..], &["-s", "upgrade"]] {
        let output = run(&proxy, arguments, None);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("start perdura again"), "{}", said(&output));
    }
    tunnel.echo(b"undisturbed");
}

/// The kernel's word counts, even where the file's mode does not keep others out.
#[test]
fn another_user_is_not_greeted() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnel = Tunnel::open(proxy.address());
    let path = proxy.folder().path().join("proxy.pid.sock");
    let refuses = |proxy: &Proxy| {
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its mode");
        let kept_out = said(&run(proxy, &["tunnels"], Some(NOBODY)));
        assert!(kept_out.contains("13: Permission denied"), "{kept_out}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("its mode");
        let output = run(proxy, &["tunnels"], Some(NOBODY));
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("closed the connection"), "{}", said(&output));
    };
    refuses(&proxy);
    orphan(&mut proxy);
    refuses(&proxy);
    tunnel.echo(b"undisturbed");
}

/// Connects to the operator's socket; gives it with the greeting's nonce.
fn greeted(proxy: &Proxy) -> (OwnedFd, Vec<u8>) {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)
        .expect("a unix socket");
    let path = proxy.folder().path().join("proxy.pid.sock");
    let address = SocketAddrUnix::new(&path).expect("a path of usual length");
    rustix::net::connect(&socket, &address).expect("somebody listens");
    let hello = receive(&socket);
    assert!(hello.starts_with(b"PERDCTL\x02") && hello.len() == 29 && hello[24] == 2, "{hello:?}");
    (socket, hello[8..24].to_vec())
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut packet = vec![0; 4096];
    let got = rustix::net::recv(socket, packet.as_mut_slice(), RecvFlags::empty());
    packet.truncate(got.map_or(0, |(length, _)| length));
    packet
}

fn send(socket: &OwnedFd, packet: &[u8]) {
    // The other side may have closed it already.
    let _ = rustix::net::send(socket, packet, SendFlags::NOSIGNAL);
}

fn take_over(nonce: &[u8], version: u32) -> Vec<u8> {
    [nonce, &[4], &version.to_le_bytes()].concat()
}

/// The words of two masters that are said here.
const VERSION: u32 = 2;
const SERVING: [u8; 5] = [1, VERSION as u8, 0, 0, 0];
const SOCKETS: u8 = 9;
const ABORT: [u8; 1] = [8];

#[test]
fn nonsense_at_the_door_changes_nothing() {
    let upstream = Upstream::echo();
    let mut proxy = Proxy::examined(&setup(&upstream));
    let mut tunnel = Tunnel::open(proxy.address());
    let worker = orphan(&mut proxy);
    for packet in [&b"\x01"[..], &[0; 21], &[7; 64], &[0xff; 4096]] {
        let (socket, _) = greeted(&proxy);
        send(&socket, packet);
        assert!(receive(&socket).is_empty(), "without the nonce it is shown the door");
    }
    // Another version is told so, and the tunnels stay where they are.
    let (socket, nonce) = greeted(&proxy);
    send(&socket, &take_over(&nonce, 99));
    assert_eq!(receive(&socket), ABORT);
    proxy.wait_for_error("a new master speaks version 99, this worker 2: it serves on alone");
    // One that vanishes, and others that speak out of turn or nonsense: the worker serves on.
    let words = [&b""[..], &[6], &[7, 1, 0, 0, 0], &[5, 0xff, 0xff, 0xff, 0xff], &[200], &[1, 1]];
    for (round, word) in words.iter().enumerate() {
        let (socket, nonce) = greeted(&proxy);
        send(&socket, &take_over(&nonce, VERSION));
        assert_eq!(receive(&socket)[0], SOCKETS);
        if !word.is_empty() {
            send(&socket, word);
        }
        drop(socket);
        until("it is alone again", LIMIT, || {
            proxy.error_log().matches("did not take over").count() > round
        });
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
    tunnel.echo(b"undisturbed");
    proxy.start_again();
    until("the old worker ends", LIMIT, || is_gone(worker));
    tunnel.echo(b"moved in the end");
}

/// A master that serves and then does not do its part of the move.
#[test]
fn a_new_master_that_is_slow_or_wrong_or_dies_in_the_move_costs_no_tunnel() {
    let upstream = Upstream::echo();
    // What it says to the batch, and to the word that they stand still; nothing is silence.
    let (prepared, verified) = ([5, 0, 0, 0, 0], [11, 0, 0, 0, 0]);
    let ways: [&[&[u8]]; 8] = [
        &[],
        &[&ABORT],
        &[&[99]],
        &[&[5, 1, 0, 0, 0]],
        &[&prepared],
        &[&prepared, &ABORT],
        &[&prepared, &prepared],
        &[&prepared, &verified],
    ];
    for way in ways {
        let mut proxy = Proxy::examined(&setup(&upstream));
        let mut tunnels: Vec<_> = (0..3).map(|_| Tunnel::open(proxy.address())).collect();
        orphan(&mut proxy);
        let (socket, nonce) = greeted(&proxy);
        send(&socket, &take_over(&nonce, VERSION));
        assert_eq!(receive(&socket)[0], SOCKETS);
        send(&socket, &SERVING);
        assert_eq!(receive(&socket), [3], "an offer");
        assert_eq!(receive(&socket)[0], 4, "a batch");
        tunnels[0].echo(b"until all is prepared they are served");
        for (at, word) in way.iter().enumerate() {
            send(&socket, word);
            if at == 0 && *word == prepared {
                assert_eq!(receive(&socket), [10], "they stand still");
            }
            if *word == verified {
                assert_eq!(receive(&socket), [6], "they are let go");
            }
        }
        if !way.is_empty() {
            drop(socket);
        }
        for tunnel in &mut tunnels {
            tunnel.echo(b"it goes on with the old worker");
        }
        until("what became of it is said", LIMIT, || {
            let log = proxy.error_log();
            log.contains("the tunnels stay") || log.contains("keeps its tunnels")
        });
    }
}

/// Somebody who plays a worker that has lost its master: behind the operator's socket of a program
/// that is no more.
struct Pretender(OwnedFd);

impl Pretender {
    /// In the place of the proxy's own, which ends.
    fn instead_of(proxy: &mut Proxy) -> Self {
        let worker = orphan(proxy);
        kill_process(worker, Signal::KILL).expect("it can be killed");
        until("it has ended", LIMIT, || is_gone(worker));
        let path = proxy.folder().path().join("proxy.pid.sock");
        std::fs::remove_file(&path).expect("its socket");
        let door = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None);
        let door = door.expect("a unix socket");
        let address = SocketAddrUnix::new(&path).expect("a path of usual length");
        rustix::net::bind(&door, &address).expect("its place");
        rustix::net::listen(&door, 4).expect("it listens");
        Self(door)
    }

    /// Greets the next master, and hears that it wants to take over.
    fn greet(&self) -> OwnedFd {
        let socket = rustix::net::accept(&self.0).expect("a master");
        let hello = [&b"PERDCTL\x02"[..], &[7; 16], &[2], &std::process::id().to_le_bytes()];
        send(&socket, &hello.concat());
        assert_eq!(receive(&socket), take_over(&[7; 16], VERSION));
        socket
    }
}

/// Says a word with descriptors.
fn send_with(socket: &OwnedFd, packet: &[u8], with: &[&OwnedFd]) {
    let with: Vec<_> = with.iter().map(|fd| fd.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&with)), "room for eight");
    let bytes = [std::io::IoSlice::new(packet)];
    // The other side may have closed it already.
    let _ = rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL);
}

/// What it does with a connection.
type Deed<'d> = &'d dyn Fn(&OwnedFd);

/// What it says before there is a link ends the start with a reason, or is passed over.
#[test]
fn a_pretender_cannot_keep_a_start_waiting_or_slip_a_socket_in() {
    let upstream = Upstream::echo();
    let (file, _) = rustix::pipe::pipe().expect("a pipe");
    let too_many = |socket: &OwnedFd| {
        // Until it has enough of it.
        let word = [SOCKETS, 1, 0, 0, 0, 0];
        for _ in 0..2_000_000 {
            if rustix::net::send(socket, &word, SendFlags::NOSIGNAL).is_err() {
                return;
            }
        }
    };
    let ways: [(Deed<'_>, &str); 5] = [
        (&|socket| send(socket, &[SOCKETS, 0, 5, 0, 0, 0]), "descriptors are missing"),
        (&|socket| send(socket, &[200; 100]), "recvmsg() failed"),
        (&|socket| send(socket, &[6]), "it speaks out of turn"),
        (&|_| {}, "it has closed the connection"),
        (&too_many, "it does not answer"),
    ];
    for (says, why) in ways {
        let mut proxy = Proxy::examined(&setup(&upstream));
        let pretender = Pretender::instead_of(&mut proxy);
        proxy.launch_again();
        let socket = pretender.greet();
        says(&socket);
        drop(socket);
        assert_eq!(proxy.wait_for_exit(Duration::from_secs(30)).code(), Some(1), "{why}");
        let said = proxy.folder().text("stderr");
        assert!(said.contains("cannot be taken over") && said.contains(why), "{said}");
    }
    // A socket that does not listen, or something else: it is not used.
    let mut proxy = Proxy::examined(&setup(&upstream));
    let pretender = Pretender::instead_of(&mut proxy);
    proxy.launch_again();
    let socket = pretender.greet();
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    send_with(&socket, &[SOCKETS, 0, 2, 0, 0, 0], &[&file, &one.into()]);
    until("it serves", LIMIT, || TcpStream::connect(proxy.address()).is_ok());
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
}

/// What it says behind that, in the place of tunnels: the master believes nothing, serves, and
/// keeps no descriptor.
#[test]
fn a_pretender_that_offers_nonsense_gets_nothing_and_leaves_nothing() {
    let upstream = Upstream::echo();
    let (pipe, _writer) = rustix::pipe::pipe().expect("a pipe");
    let memory = |bytes: &[u8], flags| {
        let memory = rustix::fs::memfd_create("x", flags).expect("memory");
        rustix::io::write(&memory, bytes).expect("it can be written");
        memory
    };
    let unsealed = memory(&[0xff; 65536], rustix::fs::MemfdFlags::empty());
    let sealed = memory(&[0; 65536], rustix::fs::MemfdFlags::ALLOW_SEALING);
    let seals = rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::GROW;
    rustix::fs::fcntl_add_seals(&sealed, seals).expect("it can be sealed");
    let batch = |names: &[u64]| {
        let names: Vec<u8> = names.iter().flat_map(|name| name.to_le_bytes()).collect();
        [&[4][..], &(names.len() as u32 / 8).to_le_bytes(), &names].concat()
    };
    for table in [&pipe, &unsealed, &sealed] {
        let mut proxy = Proxy::examined(&setup(&upstream));
        let pretender = Pretender::instead_of(&mut proxy);
        proxy.launch_again();
        let socket = pretender.greet();
        send(&socket, &[SOCKETS, 0, 0, 0, 0, 0]);
        // `Serving`, once its worker does.
        while receive(&socket) != SERVING {}
        let before = proxy.census().count();
        send_with(&socket, &[3], &[table]);
        send_with(&socket, &batch(&[1, u64::MAX]), &[&pipe, &pipe, table, table]);
        for word in [&[10][..], &[6], &[8], &[6], &[10]] {
            send(&socket, word);
        }
        // And once more, with a name twice, which ends it.
        send_with(&socket, &[3], &[&sealed]);
        send_with(&socket, &batch(&[5, 5]), &[&pipe; 4]);
        send_with(&socket, &batch(&[5]), &[&pipe, &pipe]);
        send(&socket, &[7, 1, 0, 0, 0]);
        until("it is listened to no more", LIMIT, || {
            proxy.error_log().contains("without a master has ended")
        });
        drop(socket);
        Tunnel::open(proxy.address()).echo(b"it serves");
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
        assert!(!proxy.error_log().contains(" exited on signal "), "{}", proxy.error_log());
        until("no descriptor is left", LIMIT, || proxy.census().count() <= before);
    }
}

/// Kills one of two masters at a random moment of a move. Whoever has the tunnels then carries them.
#[test]
fn a_master_that_dies_in_a_move_costs_no_tunnel() {
    let upstream = Upstream::echo();
    let seed = seed();
    let mut chance = Payload::new(seed ^ 0x3d1e);
    for round in 0..6 {
        let proxy = Proxy::examined(&setup(&upstream));
        let mut tunnels: Vec<_> = (0..150).map(|_| Tunnel::open(proxy.address())).collect();
        let old = proxy.pid();
        proxy.signal(Signal::USR2);
        let mut new = None;
        until("a new master serves", LIMIT, || {
            let text = proxy.folder().text("proxy.pid");
            new = text.trim().parse().ok().and_then(Pid::from_raw).filter(|pid| *pid != old);
            let number = new.map_or(0, |pid| pid.as_raw_nonzero().get());
            proxy.error_log().contains(&format!("master process {number} serves"))
        });
        let new = new.expect("it serves");
        let family: Vec<_> = [old, new].into_iter().flat_map(Census::family).collect();
        proxy.signal(Signal::QUIT);
        std::thread::park_timeout(Duration::from_micros(chance.below(25_000) as u64));
        let dies = if round % 2 == 0 { new } else { old };
        // The old one may have ended by itself, and then there is nobody to kill.
        if !is_gone(dies) {
            let _ = kill_process(dies, Signal::KILL);
        }
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            tunnel.client.send(b"who");
            let got = tunnel.client.exactly(3);
            assert_eq!(got, b"who", "seed {seed}, round {round}, tunnel {number}");
        }
        drop(tunnels);
        for pid in family {
            if !is_gone(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
