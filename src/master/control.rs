//! The answering side of the control socket: a listener and a few clients in the master's loop.
//!
//! Nothing here waits: a client that neither takes nor gives is dropped, and while the most are
//! connected the others wait in the queue. Lists are copied from the table a packet at a time, as
//! fast as the client takes them. Not here: what the other requests do (`operator`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use perdura_proxy::{Ledger, now_ms};
use perdura_tunnel::{LiveTunnel, Table};
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

use super::owned::Owned;
use crate::control::{self, Ask, Hello, NONCE_BYTES, PACKET_BYTES_MAX, Reply, Row, Who};

/// The socket, and who is connected.
pub struct Control {
    path: PathBuf,
    listener: Owned,
    /// Nothing can be accepted any more.
    deaf: bool,
    clients: Vec<Client>,
    next: u64,
}

/// A client whose user was checked.
struct Client {
    number: u64,
    socket: Owned,
    nonce: [u8; NONCE_BYTES],
    turn: Turn,
    /// `None` while it is the master's turn.
    deadline: Option<Instant>,
}

/// Whose turn it is.
enum Turn {
    /// The client may ask.
    Asking,
    /// The master will answer.
    Waiting,
    /// This goes to the client, and then the table from this place on.
    Answering { packet: Vec<u8>, list: Option<u32> },
}

/// A request that is not answered here, and who waits for the answer.
pub type Asked = (u64, Ask);

impl Control {
    /// Binds beside the pid file; a socket that a dead master left there goes.
    pub fn bind(pid: &Path) -> io::Result<Control> {
        let path = control::path(pid);
        let listener = bind(&path).and_then(Owned::new)?;
        Ok(Control { path, listener, deaf: false, clients: Vec::new(), next: 0 })
    }

    /// What to wait for.
    pub fn wait_for(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let open = !self.deaf && self.clients.len() < CLIENTS_MAX;
        let listener = open.then(|| (self.listener.as_fd(), PollFlags::IN));
        let clients = self.clients.iter().map(|client| (client.socket.as_fd(), client.events()));
        listener.into_iter().chain(clients)
    }

    /// The next moment at which a client is dropped.
    pub fn deadline(&self) -> Option<Instant> {
        self.clients.iter().filter_map(|client| client.deadline).min()
    }

    /// Takes and gives what can be taken and given now.
    pub fn serve(&mut self, table: &Table) -> Vec<Asked> {
        self.accept();
        let now = Instant::now();
        let mut asked = Vec::new();
        self.clients.retain_mut(|client| {
            let stays = client.serve(table, now, &mut asked);
            stays && client.deadline.is_none_or(|deadline| now < deadline)
        });
        asked
    }

    /// Answers a request, if who asked is still there.
    pub fn answer(&mut self, number: u64, reply: &Reply) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
            client.say(reply.encode(), None);
        }
    }

    /// The number of the socket that listens, for a worker that outlives the master.
    pub fn door(&self) -> Option<RawFd> {
        (!self.deaf).then(|| self.listener.number())
    }

    /// The numbers that a sweep keeps.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> {
        let clients = self.clients.iter().map(|client| client.socket.number());
        clients.chain([self.listener.number()])
    }

    /// After a worker's crash: forgets what is not its own any more. Whether the listener was.
    pub fn repair(&mut self) -> bool {
        let (intact, lost): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.clients).into_iter().partition(|c| c.socket.is_intact());
        self.clients = intact;
        lost.into_iter().for_each(|client| client.socket.abandon());
        if self.listener.is_intact() {
            return false;
        }
        match bind(&self.path).and_then(Owned::new) {
            Ok(listener) => std::mem::replace(&mut self.listener, listener).abandon(),
            Err(_) => self.deaf = true,
        }
        true
    }

    /// Goes with its pid file to another name.
    pub fn rename(&mut self, pid: &Path) -> io::Result<()> {
        let path = control::path(pid);
        std::fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Removes the file. Not in `Drop`: a child must never do it.
    pub fn remove_file(&self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }

    fn accept(&mut self) {
        while !self.deaf && self.clients.len() < CLIENTS_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => {
                    self.next += 1;
                    self.clients.extend(Client::greet(socket, self.next));
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(
                    rustix::io::Errno::INTR
                    | rustix::io::Errno::CONNABORTED
                    | rustix::io::Errno::MFILE
                    | rustix::io::Errno::NFILE
                    | rustix::io::Errno::NOMEM,
                ) => return,
                // Whatever it is now, it is no socket that listens.
                Err(_) => self.deaf = true,
            }
        }
    }
}

impl Client {
    /// Greets a client of the right user; others find the connection closed.
    fn greet(socket: OwnedFd, number: u64) -> Option<Client> {
        let peer = sockopt::socket_peercred(&socket).ok()?;
        let (ours, theirs) = (rustix::process::geteuid(), peer.uid);
        if theirs != ours && !theirs.is_root() {
            return None;
        }
        let mut nonce = [0; NONCE_BYTES];
        rustix::rand::getrandom(&mut nonce, rustix::rand::GetRandomFlags::empty()).ok()?;
        let socket = Owned::new(socket).ok()?;
        let mut client = Client { number, socket, nonce, turn: Turn::Asking, deadline: None };
        client.say(Hello { nonce, who: Who::Master, pid: std::process::id() }.encode(), None);
        Some(client)
    }

    fn events(&self) -> PollFlags {
        match self.turn {
            // Also while it waits: its end is something to read.
            Turn::Asking | Turn::Waiting => PollFlags::IN,
            Turn::Answering { .. } => PollFlags::OUT,
        }
    }

    fn say(&mut self, packet: Vec<u8>, list: Option<u32>) {
        self.turn = Turn::Answering { packet, list };
        self.deadline = Some(Instant::now() + CLIENT_TIME_MAX);
    }

    /// Goes on with a client; false when it is done with.
    fn serve(&mut self, table: &Table, now: Instant, asked: &mut Vec<Asked>) -> bool {
        loop {
            match &mut self.turn {
                Turn::Answering { packet, list } => {
                    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                    match rustix::net::send(&self.socket, packet, flags) {
                        Ok(_) => {}
                        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return true,
                        Err(_) => return false,
                    }
                    match *list {
                        Some(place) => {
                            let (reply, next) = rows(table, place);
                            self.say(reply.encode(), next);
                            // The others and the signals come first.
                            return true;
                        }
                        None => self.turn = Turn::Asking,
                    }
                    self.deadline = Some(now + CLIENT_TIME_MAX);
                }
                Turn::Asking => match self.hear() {
                    Ok(None) => return true,
                    Ok(Some(Ask::List)) => self.say(Reply::Rows(Vec::new()).encode(), Some(0)),
                    Ok(Some(ask)) => {
                        self.turn = Turn::Waiting;
                        self.deadline = None;
                        asked.push((self.number, ask));
                        return true;
                    }
                    Err(Gone) => return false,
                },
                // It has gone, or speaks out of turn.
                Turn::Waiting => return matches!(self.hear(), Ok(None)),
            }
        }
    }

    /// A request, if there is one.
    fn hear(&self) -> Result<Option<Ask>, Gone> {
        let mut packet = [0; ASK_BYTES_MAX];
        match rustix::net::recv(&self.socket, &mut packet, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(Gone),
            // What is longer than the buffer was cut, and its sender is not one of ours.
            Ok((length, _)) => {
                Ask::decode(&packet[..length], &self.nonce).map(Some).map_err(|_| Gone)
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(_) => Err(Gone),
        }
    }
}

/// The client has gone, or what it says makes no sense.
struct Gone;

/// One packet of the list from a place on, and where the next one begins.
fn rows(table: &Table, place: u32) -> (Reply, Option<u32>) {
    let now = now_ms();
    let mut walk = table.snapshot_from(place);
    let mut rows = Vec::new();
    let mut bytes = 0;
    while bytes < PACKET_BYTES_MAX / 2 {
        let Some(tunnel) = walk.next() else { break };
        let row = row(&tunnel, now);
        bytes += row.client.len() + row.server.len() + row.upstream.len() + row.group.len();
        bytes += row.request.len() + ROW_BYTES_FIXED;
        rows.push(row);
    }
    if rows.is_empty() {
        return (Reply::Done(String::new()), None);
    }
    (Reply::Rows(rows), Some(walk.place()))
}

fn row(tunnel: &LiveTunnel, now: u64) -> Row {
    let ledger = Ledger::decode(&tunnel.note);
    let text = |of: fn(&Ledger) -> String| {
        let mut text = ledger.as_ref().map_or_else(|| UNKNOWN.into(), of);
        text.truncate(text.floor_char_boundary(control::TEXT_BYTES_MAX));
        text
    };
    Row {
        id: tunnel.id.number(),
        thread: tunnel.thread,
        client: text(|ledger| ledger.client.clone()),
        server: text(|ledger| ledger.server.clone()),
        upstream: text(|ledger| ledger.peer.clone()),
        group: text(|ledger| ledger.group.clone()),
        request: text(|ledger| String::from_utf8_lossy(&ledger.request_line).into_owned()),
        age_ms: now.saturating_sub(tunnel.started_ms),
        idle_ms: now.saturating_sub(tunnel.active_ms),
        written: tunnel.written,
        waiting: tunnel.kept,
        half_closed: tunnel.half_closed,
    }
}

/// Made for its owner only from its first moment on: the mask holds while the name appears.
fn bind(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // What is there is a dead master's, or belongs to one whose pid file was just overwritten.
    let _ = std::fs::remove_file(path);
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(mask);
    bound?;
    rustix::net::listen(&socket, QUEUE)?;
    Ok(socket)
}

/// Clients at a time; others wait in the queue.
const CLIENTS_MAX: usize = 8;

const QUEUE: i32 = 16;

/// How long a client may take to ask or to take an answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(5);

/// A request is shorter.
const ASK_BYTES_MAX: usize = 64;

/// What a row needs beside its texts: seven numbers, the thread, a flag, five lengths.
const ROW_BYTES_FIXED: usize = 7 * 8 + 4 + 1 + 5 * 4;

/// In place of what an account that cannot be read would say.
const UNKNOWN: &str = "?";

const _: () = assert!(
    PACKET_BYTES_MAX / 2 + 5 * control::TEXT_BYTES_MAX + ROW_BYTES_FIXED < PACKET_BYTES_MAX
);
