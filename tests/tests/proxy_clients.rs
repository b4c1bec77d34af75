//! Clients that know of their proxy: curl, Python's websockets, npm's ws and Chromium, each through
//! a tunnel that it asked for by CONNECT.

use std::process::{Command, Stdio};
use std::time::Duration;

use perdura_tests::{Folder, NameServer, Peer, Program, Proxy, Setup, Upstream, free_port};

const LIMIT: Duration = Duration::from_secs(25);

fn forward() -> Proxy {
    let conf = "tunnel_pass; tunnel_allow_upstream 127.0.0.0/8 port=1-65535;";
    Proxy::examined(&Setup::server(conf).log_format("$request_method $status"))
}

/// What curl printed, if it succeeded.
#[track_caller]
fn curl(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--fail", "--max-time", "20", "-x"])
        .arg(format!("http://{}", proxy.address()))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("no_proxy")
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A key and a certificate of its own.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let folder = Folder::new("certificate");
    let path = |leaf: &str| folder.path().join(leaf);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=tunnel.example", "-keyout"])
        .arg(path("key.pem"))
        .arg("-out")
        .arg(path("cert.pem"))
        .stderr(Stdio::null())
        .status()
        .expect("openssl runs");
    assert!(made.success(), "openssl made no certificate");
    let read = |leaf: &str| std::fs::read(path(leaf)).expect("what was made");
    (read("key.pem"), read("cert.pem"))
}

#[test]
fn curl_to_http() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 5\n>\n>> hello\n");
    let proxy = forward();
    let url = format!("http://{}/", upstream.address());
    assert_eq!(curl(&proxy, &["-p", &url]), "hello");
    assert_eq!(proxy.wait_for_log(1), ["CONNECT 200"]);
}

#[test]
fn curl_to_https_by_a_name() {
    let names = NameServer::knowing("tunnel.example 127.0.0.1\n");
    let port = free_port();
    let (key, certificate) = certificate();
    let tls = Setup::server("return 200 secret;")
        .http(&format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate @dir@/cert.pem; \
             ssl_certificate_key @dir@/key.pem; return 200 secret; }}"
        ))
        .file("key.pem", key)
        .file("cert.pem", certificate);
    let _server = Proxy::start(Program::Nginx, &tls);
    let conf = format!(
        "tunnel_pass; resolver {} ipv6=off; tunnel_allow_upstream 127.0.0.1 port={port};",
        names.address()
    );
    let proxy = Proxy::examined(&Setup::server(&conf).log_format("$request $status $host"));
    let url = format!("https://tunnel.example:{port}/");
    assert_eq!(curl(&proxy, &["-k", &url]), "secret");
    let line = format!("CONNECT tunnel.example:{port} HTTP/1.1 200 tunnel.example");
    assert_eq!(proxy.wait_for_log(1), [line]);
}

#[test]
fn curl_to_http_by_a_proxy_that_speaks_tls() {
    let upstream = Upstream::scripted("> HTTP/1.1 200 OK\n> Content-Length: 5\n>\n>> hello\n");
    let port = free_port();
    let (key, certificate) = certificate();
    let setup = Setup::server("")
        .http(&format!(
            "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate @dir@/cert.pem; \
             ssl_certificate_key @dir@/key.pem; tunnel_pass; \
             tunnel_allow_upstream 127.0.0.1 port={}; }}",
            upstream.address().port()
        ))
        .file("key.pem", key)
        .file("cert.pem", certificate);
    let proxy = Proxy::examined(&setup);
    let url = format!("http://{}/", upstream.address());
    let secure = format!("https://127.0.0.1:{port}");
    assert_eq!(curl(&proxy, &["-p", "-x", &secure, "--proxy-insecure", &url]), "hello");
}

#[test]
fn websockets_through_the_proxy() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = forward();
    let url = format!("ws://127.0.0.1:{}/", server.ready());
    let address = format!("http://{}", proxy.address());
    let client = Peer::python("websockets_client.py", &[&url, &address]);
    assert_eq!(client.line(LIMIT), "ok");
    assert_eq!(proxy.wait_for_log(1), ["CONNECT 200"]);
}

#[test]
fn ws_through_the_proxy() {
    let server = Peer::node("ws_server.js", &[]);
    let proxy = forward();
    let url = format!("ws://127.0.0.1:{}/", server.ready());
    let client = Peer::node("ws_client.js", &[&url, &proxy.address().to_string()]);
    assert_eq!(client.line(LIMIT), "ok");
    assert_eq!(proxy.wait_for_log(2), ["CONNECT 200", "CONNECT 200"]);
}

#[test]
fn a_browser_through_the_proxy() {
    let server = Peer::python("websockets_server.py", &[]);
    let proxy = forward();
    let url = format!("ws://127.0.0.1:{}/", server.ready());
    let address = format!("http://{}", proxy.address());
    let browser = Peer::browser("browser_tunnel.js", &[&url, &address]);
    assert_eq!(browser.line(Duration::from_secs(60)), "ok");
    assert!(proxy.wait_for_log(1).contains(&"CONNECT 200".to_owned()));
}
