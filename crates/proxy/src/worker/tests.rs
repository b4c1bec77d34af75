//! A worker in this process: a configuration goes when nothing uses it any more.

use super::{Inheritance, run_worker};
use crate::config::{Config, Options, build};
use crate::control::word::{self, Word};
use crate::control::{self, Afterwards, ToMaster, ToWorker};
use crate::world::Disk;
use perdura_tunnel::{Limits, Table};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A worker with its master's end of the control socket, and a folder that goes with it.
struct Rig {
    folder: PathBuf,
    /// `None` once the master has died.
    control: Option<OwnedFd>,
    table: Arc<Table>,
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
        let table = Arc::new(Table::create(limits).unwrap());
        let (control, theirs) = control::pair().unwrap();
        let inheritance = Inheritance {
            config,
            listeners: vec![(key.clone(), listener.as_raw_fd())],
            logs: Vec::new(),
            table: Arc::clone(&table),
            control: theirs,
            door: None,
            options: options(&folder),
            recover: false,
            crashed: false,
        };
        let worker = Some(std::thread::spawn(move || run_worker(inheritance)));
        let rig = Rig { folder, control: Some(control), table, listener, key, worker, first };
        assert_eq!(rig.hear(), ToMaster::Ready);
        rig
    }

    fn control(&self) -> &OwnedFd {
        self.control.as_ref().expect("a master that lives")
    }

    fn hear(&self) -> ToMaster {
        wait(self.control());
        ToMaster::decode(&control::receive(self.control().as_fd()).unwrap().unwrap()).unwrap()
    }

    /// The end of the socket is the end of the master, as far as this worker can see.
    fn lose_master(&mut self) {
        self.control = None;
    }

    fn tell(&self, message: &ToWorker) {
        control::send(self.control().as_fd(), &message.encode()).unwrap();
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

    /// A tunnel's both ends: the client's and the upstream's.
    fn open_tunnel(&self, upstream: &TcpListener) -> (TcpStream, TcpStream) {
        let mut client = self.connect();
        client.write_all(HANDSHAKE).unwrap();
        let (mut far, _) = upstream.accept().unwrap();
        expect(&mut far, b"\r\n\r\n");
        far.write_all(AGREE).unwrap();
        expect(&mut client, b"\r\n\r\n");
        (client, far)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A worker without a master ends with this process.
        if let (Some(control), Some(worker)) = (&self.control, self.worker.take()) {
            // It may have ended by itself.
            let _ = control::send(control.as_fd(), &ToWorker::Stop.encode());
            let _ = worker.join();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait(socket: &OwnedFd) {
    let mut waited = [PollFd::new(socket, PollFlags::IN)];
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut waited, Some(&limit)), Ok(1), "a word comes");
}

/// What the worker says to another master.
fn heard(link: &OwnedFd) -> Word {
    wait(link);
    word::hear(link.as_fd()).unwrap().unwrap().0
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
fn the_old_configuration_goes_once_no_request_uses_it() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    let rig = Rig::start(&text(&address, "old"));
    // A tunnel, a connection that is kept, and a request whose answer the upstream still owes.
    let (mut tunnel, mut far) = rig.open_tunnel(&upstream);
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
    // It is freed at the next sweep, beside the threads that serve.
    let end = Instant::now() + Duration::from_secs(30);
    while rig.first.strong_count() > 0 {
        assert!(Instant::now() < end, "nothing else does");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    tunnel.write_all(b"still").unwrap();
    expect(&mut far, b"still");
}

#[test]
fn a_graceful_end_waits_for_the_tunnel_and_says_when_it_is_over() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let rig = Rig::start(&text(&upstream.local_addr().unwrap().to_string(), "old"));
    let (mut tunnel, mut far) = rig.open_tunnel(&upstream);
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

/// The master dies between `Go` to the other master and its word to the worker: the tunnels are the
/// other's, and the worker, who knows that they were let go, gives them up.
#[test]
fn what_was_let_go_is_given_up_when_the_master_dies() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rig = Rig::start(&text(&upstream.local_addr().unwrap().to_string(), "old"));
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        tunnels.push(rig.open_tunnel(&upstream));
    }
    let names: Vec<u64> = rig.table.live_legs().map(|(id, _)| id.number()).collect();
    let (link, theirs) = control::pair().unwrap();
    rig.tell(&ToWorker::Freeze);
    assert_eq!(rig.hear(), ToMaster::Frozen);
    rig.tell(&ToWorker::LetGo { link: theirs.as_raw_fd(), gone: vec![names[0]] });
    rig.lose_master();
    assert_eq!(heard(&link), Word::Go);
    // It turns again with what is left: the first tunnel is gone, the other is not.
    let (near, far) = &mut tunnels[1];
    near.write_all(b"still").unwrap();
    expect(far, b"still");
    let left: Vec<u64> = rig.table.live_legs().map(|(id, _)| id.number()).collect();
    assert_eq!(left, [names[1]]);
}

/// Whose what came is, the other side is told by the worker when its master cannot any more.
#[test]
fn the_other_side_hears_what_became_of_a_move_when_the_master_dies() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    for goes in [false, true] {
        let mut rig = Rig::start(&text(&address, "old"));
        let limits = Limits { records: 8, chunks: 2, note_bytes: 4096, threads: 1 };
        let other = Table::create(limits).unwrap();
        let (link, theirs) = control::pair().unwrap();
        let number = Some(theirs.as_raw_fd());
        let table = other.fd().as_raw_fd();
        rig.tell(&ToWorker::Prepare { table, link: number, coming: Vec::new() });
        assert_eq!(rig.hear(), ToMaster::Prepared { refused: Vec::new() });
        if goes {
            rig.tell(&ToWorker::Go);
            assert_eq!(rig.hear(), ToMaster::Live { count: 0 });
        }
        rig.lose_master();
        let wanted = if goes { Word::Live { count: 0 } } else { Word::Abort };
        assert_eq!(heard(&link), wanted);
    }
}
