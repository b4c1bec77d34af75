//! Tunnels with TLS: what tunnels survive, they survive with TLS, and a real peer compares every
//! byte meanwhile.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use perdura_tests::{Census, Peer, Proxy, Setup, page_conf, until};
use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(60);

/// A certificate for 127.0.0.1 and its key, in PEM.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let made = |key: &str| {
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "30", "-subj", "/CN=localhost", "-keyout", key])
            .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
            .stderr(Stdio::null())
            .output()
            .expect("openssl runs")
    };
    let folder = perdura_tests::Folder::new("certificate");
    let key = folder.path().join("key.pem");
    let output = made(key.to_str().expect("a path in UTF-8"));
    assert!(output.status.success(), "openssl makes a certificate");
    (output.stdout, folder.text("key.pem").into_bytes())
}

/// The page's tunnel behind `listen ... ssl`, before a peer.
fn secure(port: u16, extra: &str) -> Setup {
    let (http, location) = page_conf();
    let (certificate, key) = certificate();
    let block = format!(
        "{http}
        server {{
            listen @listen@ ssl;
            ssl_certificate cert.pem;
            ssl_certificate_key key.pem;
            {extra}
            {location}
        }}"
    );
    Setup::bare()
        .http(&block)
        .file("cert.pem", certificate)
        .file("key.pem", key)
        .name("upstream", format!("127.0.0.1:{port}"))
}

/// A client over TLS that compares what it sends with what comes back for so many seconds.
fn client(proxy: &Proxy, seconds: u32, tunnels: u32) -> Peer {
    let url = format!("wss://{}/chat/", proxy.address());
    let certificate = proxy.folder().path().join("cert.pem");
    let certificate = certificate.to_str().expect("a path in UTF-8");
    let arguments = [&url, certificate, &seconds.to_string(), &tunnels.to_string()];
    let client = Peer::python("secure_client.py", &arguments);
    assert_eq!(client.line(LIMIT), "open");
    client
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
    until("there is another worker", Duration::from_secs(8), || {
        proxy.workers().first().is_some_and(|next| *next != worker)
    });
}

#[test]
fn wss_to_ws_with_every_version_and_suite() {
    let server = Peer::python("websockets_server.py", &[]);
    let port = server.ready();
    for extra in [
        "ssl_protocols TLSv1.3;",
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;",
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES256-GCM-SHA384;",
        "ssl_protocols TLSv1.2; ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;",
    ] {
        let proxy = Proxy::examined(&secure(port, extra));
        assert_eq!(client(&proxy, 0, 4).line(LIMIT), "ok", "{extra}");
    }
}

#[test]
fn wss_to_ws_while_workers_are_killed() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = Proxy::examined(&secure(server.ready(), ""));
    let client = client(&proxy, 4, 12);
    let kills = meanwhile(4, || kill_worker(&proxy));
    assert_eq!(client.line(LIMIT), "ok", "{kills} kills");
    assert!(kills > 3, "{kills} kills");
}

#[test]
fn wss_to_ws_while_the_configuration_is_reloaded() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = Proxy::examined(&secure(server.ready(), ""));
    let client = client(&proxy, 3, 12);
    let mut reloads = 0;
    meanwhile(3, || {
        let before = proxy.error_log().matches("reconfiguring").count();
        proxy.signal(Signal::HUP);
        reloads += 1;
        until("it was reloaded", Duration::from_secs(8), || {
            proxy.error_log().matches("reconfiguring").count() > before
        });
    });
    assert_eq!(client.line(LIMIT), "ok", "{reloads} reloads");
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

#[test]
fn wss_to_ws_while_the_program_is_replaced() {
    let server = Peer::python("websockets_server.py", &[]);
    let mut proxy = Proxy::examined(&secure(server.ready(), ""));
    let client = client(&proxy, 3, 12);
    let (old, mut new) = (proxy.pid(), None);
    proxy.signal(Signal::USR2);
    until("a new master serves", Duration::from_secs(20), || {
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
fn with_private_keys_a_tunnel_ends_with_its_worker_and_says_so() {
    let server = Peer::python("websockets_server.py", &[]);
    let setup = secure(server.ready(), "ssl_tunnel_survive off;");
    let proxy = Proxy::examined(&setup.log_format("$status $tunnel_close_reason"));
    let _client = client(&proxy, 30, 2);
    proxy.signal(Signal::HUP);
    proxy.wait_for_error("reconfiguring");
    kill_worker(&proxy);
    until("both are logged", LIMIT, || {
        let log = proxy.access_log();
        log.iter().filter(|line| line.contains("keys-lost")).count() == 2
    });
}
