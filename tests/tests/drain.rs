//! Tunnels are ended politely: real WebSocket peers on both sides see the code of the drain.

use std::time::Duration;

use perdura_tests::{Peer, Proxy, Setup, page_conf, until};
use rustix::process::{Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(40);

/// What ended, as the peers saw it.
struct Ends {
    /// Close codes of the clients with their number, and the most in one second.
    clients: String,
    most: usize,
    upstream: Vec<String>,
}

struct Scene {
    server: Peer,
    proxy: Proxy,
    client: Peer,
    count: usize,
}

/// So many tunnels are open, and some of them talk.
fn scene(setup: impl FnOnce(Setup) -> Setup, count: usize, talkers: usize) -> Scene {
    let server = Peer::python("drained_server.py", &[]);
    let (http, location) = page_conf();
    let address = format!("127.0.0.1:{}", server.ready());
    let base = Setup::server(location).http(http).name("upstream", address);
    let proxy = Proxy::examined(&setup(base.log_format("$status $tunnel_close_reason")));
    let url = format!("ws://{}/chat/", proxy.address());
    let arguments = [&url, &count.to_string(), &talkers.to_string()].map(|text| text.to_string());
    let client = Peer::python("drained_client.py", &arguments.each_ref().map(String::as_str));
    assert_eq!(client.line(LIMIT), "open");
    Scene { server, proxy, client, count }
}

impl Scene {
    /// Waits for the ends that the peers see, and for the program's.
    fn end(&mut self) -> Ends {
        let line = self.client.line(LIMIT);
        let (clients, most) = line.rsplit_once(' ').expect("codes and a number");
        let upstream = (0..self.count).map(|_| self.server.line(LIMIT)).collect();
        assert_eq!(self.proxy.wait_for_exit(LIMIT).code(), Some(0));
        Ends { clients: clients.to_owned(), most: most.parse().expect("a number"), upstream }
    }

    fn drained_lines(&self) -> usize {
        self.proxy.access_log().iter().filter(|line| *line == "101 drained").count()
    }
}

#[test]
fn both_sides_of_every_tunnel_see_the_code() {
    let drain = "upgrade_drain window=1500ms code=1012;";
    let mut scene = scene(|setup| setup.http(drain), 40, 8);
    scene.proxy.signal(Signal::QUIT);
    let ends = scene.end();
    assert_eq!(ends.clients, "1012:40");
    assert!(ends.upstream.iter().all(|line| line == "closed 1012"), "{:?}", ends.upstream);
    assert_eq!(scene.drained_lines(), 40);
}

#[test]
fn no_more_leave_in_a_second_than_the_rate_says() {
    let drain = "upgrade_drain window=100ms rate=10;";
    let mut scene = scene(|setup| setup.http(drain), 30, 0);
    scene.proxy.signal(Signal::QUIT);
    let ends = scene.end();
    assert_eq!(ends.clients, "1001:30");
    // Peers that answer late may end together.
    assert!(ends.most <= 15, "{} in a second", ends.most);
}

#[test]
fn the_last_moments_before_the_shutdown_timeout_are_polite() {
    let mut scene = scene(|setup| setup.main("worker_shutdown_timeout 1s;"), 20, 0);
    scene.proxy.signal(Signal::QUIT);
    let ends = scene.end();
    assert_eq!(ends.clients, "1001:20");
    assert!(ends.upstream.iter().all(|line| line == "closed 1001"), "{:?}", ends.upstream);
    assert_eq!(scene.drained_lines(), 20);
}

#[test]
fn a_killed_worker_is_followed_by_one_that_goes_on_draining() {
    let drain = "upgrade_drain window=3s code=1012;";
    let mut scene = scene(|setup| setup.http(drain), 40, 6);
    scene.proxy.signal(Signal::QUIT);
    for more in [5, 12, 20] {
        until("some have left", LIMIT, || scene.drained_lines() >= more);
        let worker = scene.proxy.workers()[0];
        kill_process(worker, Signal::KILL).expect("the worker can be killed");
        until("there is another worker", LIMIT, || {
            scene.proxy.workers().first().is_some_and(|next| *next != worker)
        });
    }
    let ends = scene.end();
    assert_eq!(ends.clients, "1012:40");
    assert!(ends.upstream.iter().all(|line| line == "closed 1012"), "{:?}", ends.upstream);
    assert_eq!(scene.drained_lines(), 40);
}
