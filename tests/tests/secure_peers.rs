//! Real peers over TLS, on both sides of the proxy: Python's websockets, npm's ws, Chromium, curl,
//! and nginx behind and before it.

use std::process::{Command, Stdio};
use std::time::Duration;

use perdura_tests::{Peer, Program, Proxy, Setup, certificate, page_conf};

const LIMIT: Duration = Duration::from_secs(60);

/// How a side speaks.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Plain,
    Tls,
}

/// The page's tunnel, and files, with or without TLS on either side; every certificate is checked.
fn setup(client: Side, upstream: Side, address: impl ToString) -> Setup {
    let (http, location) = page_conf();
    let (ssl, scheme) = (
        if client == Side::Tls { " ssl" } else { "" },
        if upstream == Side::Tls { "https" } else { "http" },
    );
    let location = location.replace("http://backend", &format!("{scheme}://backend"));
    let text = format!(
        "{http}
        server {{
            listen @listen@{ssl};
            root @dir@/html;
            ssl_certificate server.crt; ssl_certificate_key server.key;
            ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.crt;
            proxy_ssl_name a.test; proxy_ssl_server_name on;
            location = /page {{ return 200 \"$ssl_protocol $https $scheme\"; }}
            location /behind/ {{ proxy_pass {scheme}://backend/; }}
            {location}
        }}"
    );
    Setup::bare().http(&text).certificates().name("upstream", address)
}

fn path(name: &str) -> String {
    certificate(name).display().to_string()
}

fn python_server(side: Side) -> (Peer, String) {
    let files = [path("server.crt"), path("server.key")];
    let arguments: Vec<_> = files.iter().map(String::as_str).collect();
    let count = if side == Side::Tls { arguments.len() } else { 0 };
    let server = Peer::python("websockets_server.py", &arguments[..count]);
    let address = format!("127.0.0.1:{}", server.ready());
    (server, address)
}

fn node_server(side: Side) -> (Peer, String) {
    let files = [path("rsa.crt"), path("rsa.key")];
    let arguments: Vec<_> = files.iter().map(String::as_str).collect();
    let count = if side == Side::Tls { arguments.len() } else { 0 };
    let server = Peer::node("ws_server.js", &arguments[..count]);
    let address = format!("127.0.0.1:{}", server.ready());
    (server, address)
}

fn url(side: Side, proxy: &Proxy) -> String {
    let scheme = if side == Side::Tls { "wss" } else { "ws" };
    format!("{scheme}://{}/chat/", proxy.address())
}

#[track_caller]
fn python_says_ok(side: Side, proxy: &Proxy) {
    let (url, root) = (url(side, proxy), path("ca.crt"));
    let arguments = [url.as_str(), "", root.as_str()];
    let count = if side == Side::Tls { 3 } else { 1 };
    assert_eq!(Peer::python("websockets_client.py", &arguments[..count]).line(LIMIT), "ok");
}

#[track_caller]
fn node_says_ok(side: Side, proxy: &Proxy) {
    let (url, root) = (url(side, proxy), path("ca.crt"));
    assert_eq!(Peer::node("ws_client.js", &[&url, "", &root]).line(LIMIT), "ok");
}

#[test]
fn websockets_over_tls_on_either_side_and_both() {
    for (client, upstream) in
        [(Side::Tls, Side::Plain), (Side::Plain, Side::Tls), (Side::Tls, Side::Tls)]
    {
        let (_server, address) = python_server(upstream);
        let proxy = Proxy::examined(&setup(client, upstream, address));
        python_says_ok(client, &proxy);
    }
}

#[test]
fn ws_over_tls_on_either_side_and_both() {
    for (client, upstream) in
        [(Side::Tls, Side::Plain), (Side::Plain, Side::Tls), (Side::Tls, Side::Tls)]
    {
        let (_server, address) = node_server(upstream);
        let proxy = Proxy::examined(&setup(client, upstream, address));
        node_says_ok(client, &proxy);
    }
}

#[test]
fn a_browser_over_tls() {
    for upstream in [Side::Plain, Side::Tls] {
        let (_server, address) = python_server(upstream);
        let proxy = Proxy::examined(&setup(Side::Tls, upstream, address));
        let page = format!("https://{}/page", proxy.address());
        let browser = Peer::browser("browser_socket.js", &[&page, &url(Side::Tls, &proxy)]);
        assert_eq!(browser.line(LIMIT), "ok TLS 1.3");
    }
}

#[test]
fn a_tunnel_through_nginx_with_tls_behind() {
    let (_server, address) = python_server(Side::Tls);
    let nginx = Proxy::start(Program::Nginx, &setup(Side::Tls, Side::Tls, address));
    let proxy = Proxy::examined(&setup(Side::Tls, Side::Tls, nginx.address()));
    python_says_ok(Side::Tls, &proxy);
}

#[test]
fn a_tunnel_through_nginx_with_tls_before() {
    let (_server, address) = node_server(Side::Tls);
    let proxy = Proxy::examined(&setup(Side::Tls, Side::Tls, address));
    let nginx = Proxy::start(Program::Nginx, &setup(Side::Tls, Side::Tls, proxy.address()));
    node_says_ok(Side::Tls, &nginx);
}

/// What curl prints of an address; it checks the certificate.
fn curl(proxy: &Proxy, target: &str, arguments: &[&str]) -> String {
    let port = proxy.address().port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "50", "--noproxy", "*", "--cacert"])
        .arg(certificate("ca.crt"))
        .args(["--resolve", &format!("a.test:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://a.test:{port}{target}"))
        .stdin(Stdio::null())
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {target}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_gets_pages_over_tls() {
    let body: String = (0..300_000).map(|number| char::from(b'a' + (number % 26) as u8)).collect();
    let files = setup(Side::Tls, Side::Plain, "127.0.0.1:1").file("html/big.txt", body.clone());
    let nginx = Proxy::start(Program::Nginx, &files);
    let setup = setup(Side::Tls, Side::Tls, nginx.address()).file("html/own.txt", body.clone());
    let proxy = Proxy::examined(&setup);
    assert_eq!(curl(&proxy, "/page", &[]), "TLSv1.3 on https");
    assert_eq!(curl(&proxy, "/page", &["--tls-max", "1.2"]), "TLSv1.2 on https");
    assert_eq!(curl(&proxy, "/own.txt", &[]), body);
    assert_eq!(curl(&proxy, "/behind/big.txt", &[]), body);
    assert_eq!(curl(&proxy, "/behind/page", &[]), "TLSv1.3 on https");
    let redirect = curl(&proxy, "/behind", &["-w", "%{redirect_url}", "-o", "/dev/null"]);
    assert_eq!(redirect, format!("https://a.test:{}/behind/", proxy.address().port()));
}
