//! A worker in this process: a configuration goes when nothing uses it any more.

use super::{Inheritance, run_worker};
use crate::config::{Config, Options, build};
use crate::control::{self, Afterwards, ToMaster, ToWorker};
use crate::world::Disk;
use perdura_tunnel::{Limits, Table};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

/// A worker with its master's end of the control socket, and a folder that goes with it.
struct Rig {
    folder: PathBuf,
    control: OwnedFd,
    listener: TcpListener,
    key: String,
    worker: Option<std::thread::JoinHandle<i32>>,
    first: Weak<Config>,
}

fn options(folder: &std::path::Path) -> Options {
    Options {
        conf: folder.join("conf"),
        prefix: folder.to_owned(),
        globals: String::new(),
        error_log: None,
    }
}

impl Rig {
    fn start(text: &str) -> Rig {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let leaf = format!("perdura-worker-{}", listener.local_addr().unwrap().port());
        let folder = std::env::temp_dir().join(leaf);
        std::fs::create_dir_all(&folder).unwrap();
        listener.set_nonblocking(true).unwrap();
        let key = listener.local_addr().unwrap().to_string();
        std::fs::write(folder.join("conf"), text.replace("@listen@", &key)).unwrap();
        let config = build(&Disk::new(), &options(&folder)).config.unwrap();
        let first = Arc::downgrade(&config);
        let limits = Limits { records: 64, chunks: 16, note_bytes: 65536, threads: 2 };
        let (control, theirs) = control::pair().unwrap();
        let inheritance = Inheritance {
            config,
            listeners: vec![(key.clone(), listener.as_raw_fd())],
            logs: Vec::new(),
            table: Arc::new(Table::create(limits).unwrap()),
            control: theirs,
            door: None,
            options: options(&folder),
            recover: false,
            crashed: false,
        };
        let worker = Some(std::thread::spawn(move || run_worker(inheritance)));
        let rig = Rig { folder, control, listener, key, worker, first };
        assert_eq!(rig.hear(), ToMaster::Ready);
        rig
    }

    fn hear(&self) -> ToMaster {
        let mut waited = [PollFd::new(&self.control, PollFlags::IN)];
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut waited, Some(&limit)), Ok(1), "a word comes");
        ToMaster::decode(&control::receive(self.control.as_fd()).unwrap().unwrap()).unwrap()
    }

    fn tell(&self, message: &ToWorker) {
        control::send(self.control.as_fd(), &message.encode()).unwrap();
    }

    /// Reloads, as a master does it.
    fn reload(&self, text: &str) {
        let text = text.replace("@listen@", &self.key);
        std::fs::write(self.folder.join("conf"), text).unwrap();
        let disk = Disk::new();
        assert!(build(&disk, &options(&self.folder)).config.is_some());
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("snapshot", flags).unwrap();
        let mut file = std::fs::File::from(memory);
        file.write_all(&disk.into_snapshot().encode()).unwrap();
        self.tell(&ToWorker::Reload {
            snapshot: file.as_raw_fd(),
            listeners: vec![(self.key.clone(), self.listener.as_raw_fd())],
            logs: Vec::new(),
        });
        assert_eq!(self.hear(), ToMaster::Reloaded);
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.key).unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = control::send(self.control.as_fd(), &ToWorker::Stop.encode());
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn expect(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(end) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&got));
        got.push(byte[0]);
    }
    got
}

const HANDSHAKE: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";
const AGREE: &[u8] = b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n";

fn text(upstream: &str, answer: &str) -> String {
    format!(
        "daemon off; error_log stderr crit; events {{ }} http {{ access_log off; server {{ \
         listen @listen@; location = /which {{ return 200 {answer}; }} location / {{ \
         proxy_pass http://{upstream}; proxy_http_version 1.1; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }} }} }}"
    )
}

#[test]
fn the_old_configuration_goes_as_soon_as_no_request_uses_it() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    let rig = Rig::start(&text(&address, "old"));
    // A tunnel, a connection that is kept, and a request whose answer the upstream still owes.
    let mut tunnel = rig.connect();
    tunnel.write_all(HANDSHAKE).unwrap();
    let (mut far, _) = upstream.accept().unwrap();
    expect(&mut far, b"\r\n\r\n");
    far.write_all(AGREE).unwrap();
    expect(&mut tunnel, b"\r\n\r\n");
    let mut kept = rig.connect();
    kept.write_all(b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    expect(&mut kept, b"old");
    let mut waiting = rig.connect();
    waiting.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut slow, _) = upstream.accept().unwrap();
    expect(&mut slow, b"\r\n\r\n");

    rig.reload(&text(&address, "new"));
    assert!(rig.first.upgrade().is_some(), "the request in flight uses it");
    slow.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").unwrap();
    expect(&mut waiting, b"slow");
    // The answer to the next request comes after whatever the one before has left.
    waiting.write_all(b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    expect(&mut waiting, b"new");
    kept.write_all(b"GET /which HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    expect(&mut kept, b"new");
    assert!(rig.first.upgrade().is_none(), "nothing else does");
    tunnel.write_all(b"still").unwrap();
    expect(&mut far, b"still");
}

#[test]
fn a_graceful_end_waits_for_the_tunnel_and_says_when_it_is_over() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::start(&text(&upstream.local_addr().unwrap().to_string(), "old"));
    let mut tunnel = rig.connect();
    tunnel.write_all(HANDSHAKE).unwrap();
    let (mut far, _) = upstream.accept().unwrap();
    expect(&mut far, b"\r\n\r\n");
    far.write_all(AGREE).unwrap();
    expect(&mut tunnel, b"\r\n\r\n");
    rig.tell(&ToWorker::Quit(Afterwards::Nobody));
    assert_eq!(rig.hear(), ToMaster::Released);
    tunnel.write_all(b"still").unwrap();
    expect(&mut far, b"still");
    // Told once more, it still hears what else it is told.
    rig.tell(&ToWorker::Quit(Afterwards::Nobody));
    assert_eq!(rig.hear(), ToMaster::Released);
    rig.tell(&ToWorker::Freeze);
    assert_eq!(rig.hear(), ToMaster::Frozen);
    rig.tell(&ToWorker::Thaw { checked: true });
    assert_eq!(rig.hear(), ToMaster::Thawed);
    drop((tunnel, far));
    assert_eq!(rig.hear(), ToMaster::Finished);
}
