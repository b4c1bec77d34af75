//! A name server over UDP and TCP that answers as it is told: with the truth, lies, or nothing.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A question that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case.
    pub name: String,
    pub kind: u16,
    pub id: u16,
    /// The port it came from.
    pub port: u16,
    pub by_stream: bool,
    /// How often this name and kind had been asked for before, over UDP.
    pub before: usize,
    message: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Silence,
    /// The addresses of the kind that was asked for, which hold for so many seconds.
    Addresses(u32, Vec<IpAddr>),
    /// The name is the alias of another.
    Alias(String),
    /// RCODE.
    Code(u8),
    /// The answer does not fit a packet.
    Cut,
    /// Records as they stand: owner, type, time to live, content.
    Records(Vec<(String, u16, u32, Vec<u8>)>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// One after the other, each a packet.
    Several(Vec<Reply>),
    /// This, with another number than was asked with.
    OtherId(Box<Reply>),
    /// This, from another port of the server.
    OtherPort(Box<Reply>),
}

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const CNAME: u16 = 5;

type Judge = dyn Fn(&Question) -> Reply + Send + Sync;

pub struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    judge: Box<Judge>,
    questions: Mutex<Vec<Question>>,
    stopped: AtomicBool,
}

impl NameServer {
    pub fn start(judge: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        let (packets, streams) = sockets();
        let address = packets.local_addr().expect("the bound address");
        let shared = Arc::new(Shared {
            judge: Box::new(judge),
            questions: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || serve_packets(&packets, &one)),
            std::thread::spawn(move || serve_streams(&streams, &other)),
        ];
        Self { address, shared, threads }
    }

    /// Answers from the lines of a `-- names` section: `NAME ADDRESS...`, `NAME > ALIAS`,
    /// `NAME = CODE`, `NAME silence`. What is not in it does not exist (code 3).
    #[track_caller]
    pub fn knowing(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let known: Vec<_> = lines.map(line).collect();
        Self::start(move |question| {
            let of = known.iter().find(|(name, _)| *name == question.name);
            of.map_or(Reply::Code(3), |(_, reply)| reply.clone())
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that was asked so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.questions.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// How often a name was asked for, whatever the kind.
    pub fn asked(&self, name: &str) -> usize {
        self.questions().iter().filter(|question| question.name == name).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Either wakes a thread, which sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(b"", self.address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[track_caller]
fn line(text: &str) -> (String, Reply) {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default().to_owned();
    let rest: Vec<_> = words.collect();
    let reply = match rest.as_slice() {
        ["silence"] => Reply::Silence,
        [">", alias] => Reply::Alias((*alias).to_owned()),
        ["=", code] => Reply::Code(code.parse().expect("a code")),
        addresses => {
            let parse = |text: &&str| text.parse().expect("an address");
            Reply::Addresses(60, addresses.iter().map(parse).collect())
        }
    };
    (name, reply)
}

/// One port for both.
fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let streams = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = streams.local_addr().expect("the bound address");
        if let Ok(packets) = UdpSocket::bind(address) {
            return (packets, streams);
        }
    }
    panic!("no port is free for UDP and TCP");
}

fn serve_packets(socket: &UdpSocket, shared: &Shared) {
    let mut packet = [0; 4096];
    loop {
        let received = socket.recv_from(&mut packet);
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok((count, from)) = received else { continue };
        let Some(question) = shared.question(&packet[..count], from.port(), false) else {
            continue;
        };
        let reply = (shared.judge)(&question);
        send(socket, from, &question, &reply);
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, question: &Question, reply: &Reply) {
    match reply {
        Reply::Several(replies) => {
            replies.iter().for_each(|reply| send(socket, to, question, reply));
        }
        Reply::OtherPort(reply) => {
            let other = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            send(&other, to, question, reply);
        }
        reply => {
            if let Some(bytes) = message(question, reply) {
                let _ = socket.send_to(&bytes, to);
            }
        }
    }
}

fn serve_streams(listener: &TcpListener, shared: &Shared) {
    loop {
        let accepted = listener.accept();
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok((mut stream, from)) = accepted else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut bytes).is_err() {
            continue;
        }
        let Some(question) = shared.question(&bytes, from.port(), true) else { continue };
        let reply = (shared.judge)(&question);
        if let Some(bytes) = message(&question, &reply) {
            let length = u16::try_from(bytes.len()).expect("a message of 64 KiB at most");
            let _ = stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat());
        }
    }
}

impl Shared {
    fn question(&self, message: &[u8], port: u16, by_stream: bool) -> Option<Question> {
        let id = u16::from_be_bytes([*message.first()?, *message.get(1)?]);
        let mut name = String::new();
        let mut at = 12;
        loop {
            let length = usize::from(*message.get(at)?);
            if length == 0 {
                break;
            }
            let label = message.get(at + 1..at + 1 + length)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let kind = u16::from_be_bytes([*message.get(at + 1)?, *message.get(at + 2)?]);
        let message = message.get(..at + 5)?.to_vec();
        let mut questions = self.questions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let alike =
            |other: &&Question| other.name == name && other.kind == kind && !other.by_stream;
        let before = questions.iter().filter(alike).count();
        let question = Question { name, kind, id, port, by_stream, before, message };
        questions.push(question.clone());
        Some(question)
    }
}

/// The bytes of a reply; nothing for silence.
fn message(question: &Question, reply: &Reply) -> Option<Vec<u8>> {
    let owner = &question.name;
    let (flags, records) = match reply {
        Reply::Silence | Reply::Several(_) | Reply::OtherPort(_) => return None,
        Reply::Raw(bytes) => return Some(bytes.clone()),
        Reply::OtherId(reply) => {
            let mut bytes = message(question, reply)?;
            bytes[0] ^= 0xff;
            return Some(bytes);
        }
        Reply::Cut => (0x0200, Vec::new()),
        Reply::Code(code) => (u16::from(*code), Vec::new()),
        Reply::Alias(alias) => (0, vec![(owner.clone(), CNAME, 60, labels(alias))]),
        Reply::Records(records) => (0, records.clone()),
        Reply::Addresses(ttl_s, list) => {
            let one = |address: &IpAddr| match (address, question.kind) {
                (IpAddr::V4(ip), A) => Some((owner.clone(), A, *ttl_s, ip.octets().to_vec())),
                (IpAddr::V6(ip), AAAA) => Some((owner.clone(), AAAA, *ttl_s, ip.octets().to_vec())),
                _ => None,
            };
            (0, list.iter().filter_map(one).collect())
        }
    };
    let mut out = question.message.clone();
    out[2..4].copy_from_slice(&(0x8180u16 | flags).to_be_bytes());
    out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (owner, kind, ttl_s, content) in records {
        out.extend(labels(&owner));
        out.extend(kind.to_be_bytes());
        out.extend(1u16.to_be_bytes());
        out.extend(ttl_s.to_be_bytes());
        out.extend((content.len() as u16).to_be_bytes());
        out.extend(content);
    }
    Some(out)
}

/// A name as it stands in a message.
pub fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a short label"));
        out.extend(label.bytes());
    }
    out.push(0);
    out
}
