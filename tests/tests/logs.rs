//! Logs that cannot be written must not hurt requests or tunnels.

use std::time::Duration;

use perdura_tests::{Client, Proxy, Tunnel, Upstream, chat, until};
use rustix::process::{Signal, kill_process};

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

/// Neither master nor worker can write a line: reload, crash and upgrade are the same without.
#[test]
fn a_full_error_log_of_the_master() {
    let upstream = Upstream::echo();
    let setup = chat(&upstream, "location = /a { return 204; }");
    let proxy = Proxy::examined(&setup.main("error_log /dev/full info;"));
    // The actor's own error log is left out: only the full disk is there.
    let text = proxy.folder().text("proxy.conf").replace("error.log info", "gone.log emerg");
    std::fs::write(proxy.folder().path().join("proxy.conf"), text).expect("the configuration");
    let mut tunnel = Tunnel::open(proxy.address());
    proxy.signal(Signal::HUP);
    until("it has reloaded", Duration::from_secs(8), || {
        proxy.folder().path().join("gone.log").exists()
    });
    for _ in 0..3 {
        let worker = proxy.workers()[0];
        kill_process(worker, Signal::KILL).expect("the worker can be killed");
        until("there is another worker", Duration::from_secs(8), || {
            proxy.workers().first().is_some_and(|next| *next != worker)
        });
        tunnel.echo(b"still here");
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
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

/// The path of a log may depend on the request, and so may whether there is a line.
#[test]
fn a_log_of_its_own_for_each_name() {
    let upstream = Upstream::echo();
    let log = "location = /a { root @dir@; access_log @dir@/of-$arg_n.log combined if=$arg_l; \
               return 204; } location /none { root /nowhere; access_log @dir@/none-$arg_n.log; \
               return 204; }";
    let proxy = Proxy::examined(&chat(&upstream, log));
    let lines = |name: &str| {
        let text = std::fs::read_to_string(proxy.folder().path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for target in ["/a?n=x&l=1", "/a?n=y&l=1", "/a?n=x&l=yes", "/a?n=x", "/a?n=x&l=0", "/none?n=x"]
    {
        assert_eq!(Client::get(proxy.address(), target).status(), 204, "{target}");
    }
    until("all lines are there", Duration::from_secs(5), || {
        (lines("of-x.log").len(), lines("of-y.log").len()) == (2, 1)
    });
    proxy.wait_for_error("testing \"/nowhere\" existence failed (2: No such file or directory)");
    assert!(lines("none-x.log").is_empty());
}

/// Both logs go to a syslog server, a tunnel's line too, and nobody minds when the server has gone.
#[test]
fn a_syslog_server() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let to = format!("syslog:server={}", server.local_addr().expect("its address"));
    let upstream = Upstream::echo();
    let log = format!(
        "access_log {to},facility=user,severity=notice,tag=lines,nohostname combined; \
         error_log {to},tag=errors info; location = /a {{ return 204; }}"
    );
    let proxy = Proxy::examined(&chat(&upstream, &log));
    let mut buffer = [0; 4096];
    let mut next = || {
        let count = server.recv(&mut buffer).expect("a datagram");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    // 1 * 8 + 5: facility user, severity notice.
    let line = next();
    assert!(line.starts_with("<13>") && line.contains(" lines: 127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /a HTTP/1.1\" 204 0"), "{line}");
    let mut tunnel = Tunnel::open(proxy.address());
    tunnel.echo(b"x");
    drop(tunnel);
    let line = next();
    assert!(line.starts_with("<13>") && line.contains(" 101 "), "{line}");
    assert_eq!(Client::get(proxy.address(), "/nowhere").status(), 404);
    // 23 * 8 + 3: facility local7, severity error.
    let line = next();
    assert!(line.starts_with("<187>") && line.contains(" errors: "), "{line}");
    assert!(line.contains("[error] ") && line.contains("\"GET /nowhere HTTP/1.1\""), "{line}");
    drop(server);
    for _ in 0..10 {
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
}

/// The lines of a file.
fn lines_of(proxy: &Proxy, name: &str) -> usize {
    std::fs::read(proxy.folder().path().join(name))
        .map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

fn gathering(upstream: &Upstream, log: &str) -> Proxy {
    let log = format!(
        "location = /a {{ access_log @dir@/some.log combined {log}; \
         access_log @dir@/access.log case; return 204; }}"
    );
    Proxy::examined(&chat(upstream, &log))
}

/// Asks, and waits until every line is where it should be: the other log gets its lines last.
fn ask(proxy: &Proxy, count: usize) {
    let before = proxy.access_log().len();
    for _ in 0..count {
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
    proxy.wait_for_log(before + count);
}

const LIMIT: Duration = Duration::from_secs(30);

/// Lines wait for company until somebody wants to see them: a rotation, a reload, the end.
#[test]
fn lines_that_wait_are_written_at_every_occasion() {
    let upstream = Upstream::echo();
    let mut proxy = gathering(&upstream, "buffer=64k");
    ask(&proxy, 3);
    assert_eq!(lines_of(&proxy, "some.log"), 0, "they wait");
    let path = |name: &str| proxy.folder().path().join(name);
    std::fs::rename(path("some.log"), path("old.log")).expect("a rotation");
    proxy.signal(Signal::USR1);
    until("there is a new file", LIMIT, || path("some.log").exists());
    assert_eq!(lines_of(&proxy, "old.log"), 3, "they belong into the old file");
    assert_eq!(lines_of(&proxy, "some.log"), 0);

    ask(&proxy, 2);
    proxy.signal(Signal::HUP);
    until("a reload writes them", LIMIT, || lines_of(&proxy, "some.log") == 2);
    ask(&proxy, 4);
    assert_eq!(lines_of(&proxy, "some.log"), 2, "they wait again");
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    assert_eq!(lines_of(&proxy, "some.log"), 6);
}

#[test]
fn a_line_waits_no_longer_than_flush() {
    let upstream = Upstream::echo();
    let proxy = gathering(&upstream, "buffer=64k flush=20ms");
    for count in 1..4 {
        ask(&proxy, 1);
        until("its time comes", LIMIT, || lines_of(&proxy, "some.log") == count);
    }
}

/// A buffer that is full is written, and the file is one that gzip reads.
#[test]
fn lines_may_be_compressed() {
    let upstream = Upstream::echo();
    let mut proxy = gathering(&upstream, "gzip=9 buffer=1k");
    ask(&proxy, 100);
    let path = proxy.folder().path().join("some.log");
    assert!(std::fs::metadata(&path).expect("the log").len() > 0, "full buffers were written");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait_for_exit(LIMIT).code(), Some(0));
    let mut gzip = std::process::Command::new("gzip");
    let output = gzip.arg("-dc").arg("--").stdin(std::fs::File::open(&path).expect("the log"));
    let output = output.output().expect("gzip runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().filter(|line| line.contains("GET /a HTTP/1.1")).count(), 100);
}

/// A pipe whose reader has fallen asleep holds up nobody, and neither does a reload then.
#[test]
fn a_pipe_whose_reader_sleeps() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = perdura_tests::Folder::new("pipe");
    let path = folder.path().join("pipe.log");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("a reader");
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).expect("a small pipe");
    let upstream = Upstream::echo();
    let path = path.display();
    let log = format!(
        "access_log {path}; error_log {path} info; \
         location = /a {{ access_log {path} combined buffer=1k; return 204; }}"
    );
    let proxy = Proxy::examined(&chat(&upstream, &log));
    let mut tunnel = Tunnel::open(proxy.address());
    for _ in 0..200 {
        assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
    }
    tunnel.echo(b"still here");
    proxy.signal(Signal::HUP);
    tunnel.echo(b"and after a reload");
    assert_eq!(Client::get(proxy.address(), "/a").status(), 204);
}
