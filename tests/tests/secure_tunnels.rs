//! Tunnels with TLS: what tunnels survive, they survive with TLS, and a real peer compares every
//! byte meanwhile.

use std::time::{Duration, Instant};

use perdura_tests::{Census, Peer, Proxy, Setup, certificate, page_conf, until};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

/// Which sides of a tunnel speak TLS.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    WssToWs,
    WsToWss,
    WssToWss,
}

impl Way {
    const ALL: [Self; 3] = [Self::WssToWs, Self::WsToWss, Self::WssToWss];

    fn client_is_secure(self) -> bool {
        self != Self::WsToWss
    }

    fn upstream_is_secure(self) -> bool {
        self != Self::WssToWs
    }

    /// An echo, as the way has it.
    fn server(self) -> Peer {
        let files = ["server.crt", "server.key"].map(certificate);
        let files: Vec<_> = files.iter().filter_map(|path| path.to_str()).collect();
        let count = if self.upstream_is_secure() { files.len() } else { 0 };
        Peer::python("websockets_server.py", &files[..count])
    }

    /// The page's tunnel before a server at this port, `extra` beside its location.
    fn setup(self, port: u16, extra: &str) -> Setup {
        let (http, location) = page_conf();
        let ssl = if self.client_is_secure() { "ssl" } else { "" };
        let scheme = if self.upstream_is_secure() { "https" } else { "http" };
        let location = location.replace("http://backend", &format!("{scheme}://backend"));
        let block = format!(
            "{http}
            server {{
                listen @listen@ {ssl};
                ssl_certificate server.crt;
                ssl_certificate_key server.key;
                {extra}
                {location}
            }}"
        );
        let address = format!("127.0.0.1:{port}");
        Setup::bare().http(&block).certificates().name("upstream", address)
    }

    /// A client that compares what it sends with what comes back for so many seconds.
    #[track_caller]
    fn client(self, proxy: &Proxy, seconds: u32, tunnels: u32) -> Peer {
        let scheme = if self.client_is_secure() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/chat/", proxy.address());
        let root = certificate("ca.crt").display().to_string();
        let arguments = [&url, root.as_str(), &seconds.to_string(), &tunnels.to_string()];
        let client = Peer::python("secure_client.py", &arguments);
        assert_eq!(client.line(LIMIT), "open", "{self:?}");
        client
    }
}

/// Calls `deed` again and again for some seconds.
fn meanwhile(seconds: u32, mut deed: impl FnMut()) -> u32 {
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let mut count = 0;
    while Instant::now() < end {
        deed();
        count += 1;
    }
    count
}

fn kill_worker(proxy: &Proxy) {
    let workers = proxy.workers();
    let worker = *workers.first().expect("a worker");
    kill_process(worker, Signal::KILL).expect("the worker can be killed");
    until("there is another worker", LIMIT, || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
}

#[test]
fn every_version_and_suite_on_either_side() {
    for way in Way::ALL {
        let server = way.server();
        let port = server.ready();
        for (version, suite) in [
            ("TLSv1.3", "DEFAULT"),
            ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("TLSv1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ] {
            let extra = format!(
                "ssl_protocols {version}; ssl_ciphers {suite}; \
                 proxy_ssl_protocols {version}; proxy_ssl_ciphers {suite};"
            );
            let proxy = Proxy::examined(&way.setup(port, &extra));
            assert_eq!(way.client(&proxy, 0, 4).line(LIMIT), "ok", "{way:?} {extra}");
        }
    }
}

fn while_workers_are_killed(way: Way) {
    let server = way.server();
    let proxy = Proxy::examined(&way.setup(server.ready(), ""));
    let client = way.client(&proxy, 3, 12);
    let kills = meanwhile(3, || kill_worker(&proxy));
    assert_eq!(client.line(LIMIT), "ok", "{kills} kills");
    assert!(kills > 2, "{kills} kills");
}

#[test]
fn wss_to_ws_while_workers_are_killed() {
    while_workers_are_killed(Way::WssToWs);
}

#[test]
fn ws_to_wss_while_workers_are_killed() {
    while_workers_are_killed(Way::WsToWss);
}

#[test]
fn wss_to_wss_while_workers_are_killed() {
    while_workers_are_killed(Way::WssToWss);
}

#[test]
fn all_ways_while_the_configuration_is_reloaded() {
    for way in Way::ALL {
        let server = way.server();
        let proxy = Proxy::examined(&way.setup(server.ready(), ""));
        let client = way.client(&proxy, 2, 12);
        let reloads = meanwhile(2, || {
            let before = proxy.error_log().matches("reconfiguring").count();
            proxy.signal(Signal::HUP);
            until("it was reloaded", LIMIT, || {
                proxy.error_log().matches("reconfiguring").count() > before
            });
        });
        assert_eq!(client.line(LIMIT), "ok", "{way:?}: {reloads} reloads");
    }
}

/// The new master of an upgrade, ended at the end of a test.
struct Successor(Pid);

impl Drop for Successor {
    fn drop(&mut self) {
        for one in Census::family(self.0) {
            let _ = kill_process(one, Signal::KILL);
        }
    }
}

fn while_the_program_is_replaced(way: Way) {
    let server = way.server();
    let mut proxy = Proxy::examined(&way.setup(server.ready(), ""));
    let client = way.client(&proxy, 3, 12);
    let (old, mut new) = (proxy.pid(), None);
    proxy.signal(Signal::USR2);
    until("a new master serves", LIMIT, || {
        let pid = Pid::from_raw(proxy.folder().text("proxy.pid").trim().parse().unwrap_or(0));
        new = pid.filter(|pid| *pid != old);
        let number = new.map_or(0, |pid| pid.as_raw_nonzero().get());
        proxy.error_log().contains(&format!("master process {number} serves"))
    });
    let successor = Successor(new.expect("it serves"));
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    assert!(proxy.error_log().contains("moved 12 tunnels"), "{}", proxy.error_log());
    assert_eq!(client.line(LIMIT), "ok");
    drop(successor);
}

#[test]
fn wss_to_ws_while_the_program_is_replaced() {
    while_the_program_is_replaced(Way::WssToWs);
}

#[test]
fn ws_to_wss_while_the_program_is_replaced() {
    while_the_program_is_replaced(Way::WsToWss);
}

#[test]
fn wss_to_wss_while_the_program_is_replaced() {
    while_the_program_is_replaced(Way::WssToWss);
}

/// Keys that only the worker has die with it, on whichever side they are.
#[test]
fn with_private_keys_a_tunnel_ends_with_its_worker_and_says_so() {
    for way in Way::ALL {
        let server = way.server();
        let setup = way.setup(server.ready(), "ssl_tunnel_survive off;");
        let proxy = Proxy::examined(&setup.log_format("$status $tunnel_close_reason"));
        let _client = way.client(&proxy, 60, 2);
        proxy.signal(Signal::HUP);
        proxy.wait_for_error("reconfiguring");
        kill_worker(&proxy);
        until("both are logged", LIMIT, || {
            let log = proxy.access_log();
            log.iter().filter(|line| line.contains("keys-lost")).count() == 2
        });
    }
}
