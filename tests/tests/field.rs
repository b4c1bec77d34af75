//! The files that people have: main files as distributions lay them out, and a site for each of the
//! usual WebSocket applications behind them (`tests/conf/field`), with real peers where there are.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use perdura_tests::{Client, Peer, Proxy, Setup, Upstream, certificate, dead_address, root};

const LIMIT: Duration = Duration::from_secs(60);

/// A file of `tests/conf/field`.
fn field(name: &str) -> String {
    let path = root().join("tests/conf/field").join(format!("{name}.conf"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const TYPES: &str = "types { text/html html htm; text/css css; application/javascript js; \
                     image/png png; text/plain txt; }\n";

/// A site behind a main file.
fn setup(main: &str, site: &str, upstream: SocketAddr) -> Setup {
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    // The files leave the terminal, and would outlive the test.
    Setup::whole(&field(main))
        .argument("-g")
        .argument("daemon off;")
        .name("user", user)
        .name("upstream", upstream)
        .file("mime.types", TYPES)
        .file(
            "modules-enabled/50-mod-http-echo.conf",
            "load_module modules/ngx_http_echo_module.so;\n",
        )
        .file(&format!("sites-enabled/{site}"), field(site))
        .certificates()
}

fn proxy(site: &str, upstream: SocketAddr) -> Proxy {
    Proxy::examined(&setup("debian", site, upstream))
}

/// An upstream that answers everything with the same page.
fn pages() -> Upstream {
    Upstream::scripted(
        "> HTTP/1.1 200 OK\n> Content-Type: text/html\n> Content-Length: 4\n>\n>> page\n",
    )
}

/// An echo of Python's websockets, on any path.
fn kernels() -> (Peer, SocketAddr) {
    let server = Peer::python("websockets_server.py", &[]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.ready()));
    (server, address)
}

#[track_caller]
fn converses(proxy: &Proxy, scheme: &str, path: &str) {
    let url = format!("{scheme}://{}{path}", proxy.address());
    let trusted = certificate("ca.crt").display().to_string();
    let arguments = [url.as_str(), "", trusted.as_str()];
    let count = if scheme == "wss" { 3 } else { 1 };
    assert_eq!(Peer::python("websockets_client.py", &arguments[..count]).line(LIMIT), "ok");
}

/// Head and body as curl gets them over TLS.
#[track_caller]
fn curl(proxy: &Proxy, target: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "50", "--noproxy", "*"])
        .arg("--cacert")
        .arg(certificate("ca.crt"))
        .args(arguments)
        .arg(format!("https://{}{target}", proxy.address()))
        .output()
        .expect("curl runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{target}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the upstream was asked last: a field of the request.
#[track_caller]
fn told(upstream: &Upstream, name: &str) -> String {
    let requests = upstream.requests();
    let last = requests.last().expect("a request");
    last.field(name).unwrap_or_default()
}

#[test]
fn stock_files_serve_the_default_site() {
    for main in ["debian", "official"] {
        let files = setup(main, "default", pages().address())
            .file("html/index.html", "welcome, this page is compressed for whoever takes it");
        let proxy = Proxy::examined(&files);
        assert_eq!(Client::get(proxy.address(), "/").status(), 200);
        assert_eq!(Client::get(proxy.address(), "/none").status(), 404);
        assert_eq!(Client::get(proxy.address(), "/.htaccess").status(), 403);
        let request = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
        let packed = Client::once(proxy.address(), request).field("content-encoding");
        assert_eq!(packed.as_deref(), (main == "debian").then_some("gzip"));
        until_logged(&proxy, "access.log");
    }
}

#[track_caller]
fn until_logged(proxy: &Proxy, name: &str) {
    let is_logged = || !proxy.folder().text(name).is_empty();
    perdura_tests::until("a line in the access log", Duration::from_secs(30), is_logged);
}

#[test]
fn a_module_that_cannot_be_loaded_is_warned_about() {
    let proxy = proxy("default", pages().address());
    let said = proxy.complaints();
    assert!(said.contains("[warn] \"load_module\" has no effect"), "{said}");
    assert!(said.contains("[warn]") && !said.contains("[emerg]"), "{said}");
}

#[test]
fn socket_io() {
    let server = Peer::node("socketio_server.js", &["/socket.io/"]);
    let address = SocketAddr::from(([127, 0, 0, 1], server.ready()));
    let proxy = Proxy::examined(
        &setup("official", "socketio", address).file("html/index.html", "<title>chat</title>"),
    );
    let url = format!("http://{}", proxy.address());
    assert_eq!(Peer::node("socketio_client.js", &[&url, "/socket.io/"]).line(LIMIT), "ok");
    assert_eq!(Client::get(proxy.address(), "/any/room").text(), "<title>chat</title>");
}

#[test]
fn jupyter() {
    let (_server, kernel) = kernels();
    let hub = proxy("jupyter", kernel);
    converses(&hub, "wss", "/user/ann/api/kernels/0-1/channels?session_id=1");
    converses(&hub, "wss", "/user/ann/terminals/websocket/1");
    converses(&hub, "wss", "/hub/any");
    let upstream = pages();
    let hub = proxy("jupyter", upstream.address());
    let page = curl(&hub, "/hub/home", &[]);
    assert!(page.contains("\r\nStrict-Transport-Security: max-age=15768000\r\n"), "{page}");
    assert!(page.ends_with("page"), "{page}");
    assert_eq!(told(&upstream, "x-scheme"), "https");
    assert_eq!(told(&upstream, "connection"), "close");
}

#[test]
fn grafana() {
    let (_server, live) = kernels();
    converses(&proxy("grafana", live), "ws", "/grafana/api/live/ws");
    let upstream = pages();
    let proxy = proxy("grafana", upstream.address());
    assert_eq!(Client::get(proxy.address(), "/grafana/d/abc?orgId=1").text(), "page");
    assert_eq!(upstream.requests()[0].start(), "GET /d/abc?orgId=1 HTTP/1.1");
    let statuses: Vec<u16> =
        (0..8).map(|_| Client::get(proxy.address(), "/grafana/login").status()).collect();
    assert_eq!(statuses[..6], [200; 6], "{statuses:?}");
    assert_eq!(statuses[7], 429, "{statuses:?}");
    assert!(Client::get(proxy.address(), "/status").text().starts_with("Active connections:"));
}

#[test]
fn home_assistant() {
    let (_server, core) = kernels();
    let home = proxy("homeassistant", core);
    converses(&home, "wss", "/api/websocket");
    let said = home.complaints();
    assert!(said.contains("[warn] \"http2\" has no effect: HTTP/2 is not spoken yet"), "{said}");
    let upstream = Upstream::scripted(
        "> HTTP/1.1 302 Found\n> Location: http://home.example.com/auth\n> Content-Length: 0\n>\n",
    );
    let home = proxy("homeassistant", upstream.address());
    let page = curl(&home, "/", &[]);
    assert!(page.contains("\r\nLocation: https://home.example.com/auth\r\n"), "{page}");
    assert_eq!(told(&upstream, "x-forwarded-for"), "127.0.0.1");
}

#[test]
fn mattermost() {
    let (_server, hub) = kernels();
    converses(&proxy("mattermost", hub), "wss", "/api/v4/websocket");
    let upstream = pages();
    let proxy = proxy("mattermost", upstream.address());
    let body = "x".repeat(3 << 20);
    let file = proxy.folder().write("upload", body.as_bytes());
    let data = format!("@{}", file.display());
    let page = curl(&proxy, "/api/v4/files", &["--data-binary", &data, "--header", "Expect:"]);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert_eq!(upstream.requests()[0].body.len(), body.len());
    assert_eq!(told(&upstream, "x-forwarded-proto"), "https");
    assert_eq!(told(&upstream, "connection"), "", "it may be kept");
}

#[test]
fn rocket_chat() {
    let (dead, _guard) = dead_address();
    let (_server, ddp) = kernels();
    let chat =
        |upstream| Proxy::examined(&setup("official", "rocketchat", upstream).name("dead", dead));
    converses(&chat(ddp), "ws", "/websocket");
    converses(&chat(ddp), "ws", "/sockjs/123/abcdefgh/websocket");
    let upstream = pages();
    assert_eq!(Client::get(chat(upstream.address()).address(), "/home").text(), "page");
    assert_eq!(told(&upstream, "x-nginx-proxy"), "true");
}

#[test]
fn gitea() {
    let (_server, events) = kernels();
    converses(&proxy("gitea", events), "ws", "/git/-/ws");
    let upstream = pages();
    let files = setup("debian", "gitea", upstream.address())
        .file("html/assets/site.css", "body { }")
        .file("html/assets/site.css.gz", "packed");
    let proxy = Proxy::examined(&files);
    Client::get(proxy.address(), "/git/me/repo/src/branch/a%2Fb?x=1");
    assert_eq!(upstream.requests()[0].start(), "GET /me/repo/src/branch/a%2Fb?x=1 HTTP/1.1");
    let request = "GET /git/assets/site.css HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    assert_eq!(Client::once(proxy.address(), request).text(), "packed");
    assert_eq!(Client::get(proxy.address(), "/git/assets/site.css").text(), "body { }");
    assert_eq!(Client::get(proxy.address(), "/git/me/dump.sql").status(), 404);
}

#[test]
fn nextcloud() {
    let (_server, push) = kernels();
    converses(&proxy("nextcloud", push), "wss", "/push/ws");
    let upstream = pages();
    let files = setup("debian", "nextcloud", upstream.address()).file("html/core/a.js", "let a;");
    let cloud = Proxy::examined(&files);
    let page = curl(&cloud, "/apps/files/", &[]);
    assert!(
        page.ends_with("page") && page.contains("\r\nX-Frame-Options: SAMEORIGIN\r\n"),
        "{page}"
    );
    let script = curl(&cloud, "/core/a.js?v=1", &[]);
    assert!(
        script.contains("\r\nCache-Control: public, max-age=15778463, immutable\r\n"),
        "{script}"
    );
    let moved = curl(&cloud, "/.well-known/caldav", &[]);
    assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
    assert!(curl(&cloud, "/data/secret", &[]).starts_with("HTTP/1.1 404 "));
    let robots = curl(&cloud, "/robots.txt", &[]);
    assert!(robots.ends_with("User-agent: *\nDisallow: /\n"), "{robots}");
}

#[test]
fn kubernetes() {
    let (_server, service) = kernels();
    converses(&proxy("kubernetes", service), "ws", "/any/socket");
    let upstream = pages();
    let ingress = proxy("kubernetes", upstream.address());
    let request = "GET /a HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 192.0.2.7\r\n\
                   X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    assert_eq!(Client::once(ingress.address(), request).text(), "page");
    assert_eq!(told(&upstream, "x-real-ip"), "192.0.2.7");
    assert_eq!(told(&upstream, "x-forwarded-proto"), "https");
    assert_eq!(told(&upstream, "host"), "shop.example.com");
    let id = told(&upstream, "x-request-id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    until_logged(&ingress, "ingress.log");
    let line = ingress.folder().text("ingress.log");
    assert!(line.starts_with("192.0.2.7 - - [") && line.contains(&id), "{line}");
    assert!(line.contains(" [default-chat-80] "), "{line}");
    assert_eq!(Client::get(ingress.address(), "/healthz").status(), 200);
}

/// Every file of the folder stands in a test above.
#[test]
fn no_file_is_forgotten() {
    let this = include_str!("field.rs");
    let folder = root().join("tests/conf/field");
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let name = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(this.contains(&format!("\"{name}\"")), "{name}");
    }
}
