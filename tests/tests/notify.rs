//! What a service manager hears of the program's life (sd_notify), over both kinds of sockets.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use perdura_tests::{Census, Client, Folder, Program, Proxy, Setup, Tunnel, Upstream, chat, until};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(30);

/// A service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    name: String,
    /// Holds the socket's file.
    _folder: Folder,
}

impl Manager {
    fn at_a_path() -> Self {
        let folder = Folder::new("notify");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self::new(socket, path.display().to_string(), folder)
    }

    fn of_an_abstract_name() -> Self {
        let folder = Folder::new("notify");
        // The folder's name is this test's own.
        let name = folder.path().display().to_string();
        let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self::new(socket, format!("@{name}"), folder)
    }

    fn new(socket: UnixDatagram, name: String, folder: Folder) -> Self {
        socket.set_read_timeout(Some(LIMIT)).expect("a limit");
        Self { socket, name, _folder: folder }
    }

    fn hears(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn setup(&self, setup: Setup) -> Setup {
        setup.environment("NOTIFY_SOCKET", &self.name)
    }
}

fn has_line(message: &str, line: &str) -> bool {
    message.lines().any(|one| one == line)
}

#[test]
fn a_life_with_a_reload_over_a_path() {
    let manager = Manager::at_a_path();
    let mut proxy = Proxy::examined(&manager.setup(Setup::server("return 204;")));
    assert!(has_line(&manager.hears(), "READY=1"));
    for conf in ["return 200 new;", "not_a_directive;", "return 200 newer;"] {
        proxy.rewrite(&manager.setup(Setup::server(conf)));
        proxy.signal(Signal::HUP);
        let reloading = manager.hears();
        assert!(has_line(&reloading, "RELOADING=1"), "{reloading}");
        let moment = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(moment.is_some_and(|text| text.parse::<u64>().is_ok_and(|usec| usec > 0)));
        let ready = manager.hears();
        assert!(has_line(&ready, "READY=1"), "{conf}: {ready}");
    }
    assert_eq!(Client::get(proxy.address(), "/").body, b"newer");
    proxy.signal(Signal::QUIT);
    assert!(has_line(&manager.hears(), "STOPPING=1"));
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
}

#[test]
fn one_process_over_an_abstract_name() {
    let manager = Manager::of_an_abstract_name();
    let setup = Setup::server("return 204;").main("master_process off;");
    let mut proxy = Proxy::examined(&manager.setup(setup));
    assert!(has_line(&manager.hears(), "READY=1"));
    proxy.signal(Signal::HUP);
    assert!(has_line(&manager.hears(), "RELOADING=1"));
    assert!(has_line(&manager.hears(), "READY=1"));
    proxy.signal(Signal::TERM);
    assert!(has_line(&manager.hears(), "STOPPING=1"));
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
}

/// The one that ends names the one that stays, so that the service does not end with it.
#[test]
fn a_successor_becomes_the_main_process() {
    let upstream = Upstream::echo();
    let manager = Manager::of_an_abstract_name();
    let mut proxy = Proxy::examined(&manager.setup(chat(&upstream, "")));
    assert!(has_line(&manager.hears(), "READY=1"));
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"before");
    let old = proxy.pid();
    proxy.signal(Signal::USR2);
    until("two programs serve", LIMIT, || successor(&proxy, old).is_some());
    let new = successor(&proxy, old).expect("it serves");
    let _end = Ended(new);
    proxy.signal(Signal::QUIT);
    let message = manager.hears();
    assert!(has_line(&message, &format!("MAINPID={}", new.as_raw_nonzero())), "{message}");
    assert!(!message.contains("STOPPING"), "{message}");
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    tunnel.echo(b"after");
    kill_process(new, Signal::HUP).expect("it takes a signal");
    let mut heard = Vec::new();
    while !heard.iter().any(|one: &String| has_line(one, "RELOADING=1")) {
        heard.push(manager.hears());
    }
    assert!(heard.iter().all(|one| !one.contains("STOPPING")), "{heard:?}");
    assert!(has_line(&manager.hears(), "READY=1"));
}

fn successor(proxy: &Proxy, old: Pid) -> Option<Pid> {
    let text = std::fs::read_to_string(proxy.folder().path().join("proxy.pid")).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?).filter(|pid| *pid != old)?;
    let serves = format!("master process {} serves", pid.as_raw_nonzero());
    proxy.error_log().contains(&serves).then_some(pid)
}

/// A master that is no child of the test, ended with it.
struct Ended(Pid);

impl Drop for Ended {
    fn drop(&mut self) {
        for one in Census::family(self.0) {
            if Census::runs(one, &Program::Perdura.binary()) {
                let _ = kill_process(one, Signal::KILL);
            }
        }
    }
}
