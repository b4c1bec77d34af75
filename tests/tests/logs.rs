//! Logs that cannot be written must not hurt requests or tunnels.

use std::time::Duration;

use perdura_tests::{Client, Proxy, Tunnel, Upstream, chat, until};

/// Serves and tunnels while the access log is `path`.
fn serves_with_log(path: &str, prepare: impl Fn(&Proxy)) {
    let upstream = Upstream::echo();
    let log = format!("access_log {path}; location = /a {{ access_log {path}; return 204; }}");
    let proxy = Proxy::examined(&chat(&upstream, &log));
    prepare(&proxy);
    let mut tunnel = Tunnel::open(proxy.address());
    for _ in 0..100 {
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
    tunnel.echo(b"still here");
    drop(tunnel);
    Tunnel::open(proxy.address()).echo(b"another");
}

#[test]
fn a_full_disk() {
    serves_with_log("/dev/full", |_| {});
}

#[test]
fn a_deleted_file() {
    serves_with_log("@dir@/gone.log", |proxy| {
        std::fs::remove_file(proxy.folder().path().join("gone.log")).expect("the log is there");
    });
}

#[test]
fn a_full_error_log() {
    let upstream = Upstream::scripted("close\n");
    let proxy = Proxy::examined(&chat(&upstream, "error_log /dev/full;"));
    for _ in 0..50 {
        assert_eq!(Client::get(proxy.address(), "/chat/").status(), 502);
    }
}

/// Many lines at once are all there, each whole.
#[test]
fn no_line_is_lost_or_torn() {
    let upstream = Upstream::echo();
    let proxy = Proxy::examined(&chat(&upstream, "location = /a { return 204; }"));
    let address = proxy.address();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..100 {
                    assert_eq!(Client::get(address, "/a").status(), 204);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
    until("all lines are there", Duration::from_secs(5), || proxy.access_log().len() == 400);
    let first = &proxy.access_log()[0].clone();
    assert!(proxy.access_log().iter().all(|line| line == first));
}

/// A pipe that nobody reads must block neither the start nor a request.
#[test]
fn a_pipe_that_nobody_reads() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = perdura_tests::Folder::new("pipe");
    let pipe = folder.path().join("pipe.log");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    serves_with_log(&pipe.display().to_string(), |_| {});
}
