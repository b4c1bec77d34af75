//! The messages of the operator's socket beside the pid file, as bytes.
//!
//! Who answers there greets with a nonce, and every request begins with it: who can only write
//! blindly to the socket (a proxied request, a confused program) cannot ask for anything. All
//! decoders take any bytes. The master answers; when it has died, its worker does.

use crate::world::wire::{Decoder, Encoder, WireFault};

/// What is said first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub nonce: [u8; NONCE_BYTES],
    pub who: Who,
    /// The process that greets.
    pub pid: u32,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Master,
    /// A worker whose master has died.
    Orphan,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Every live tunnel: any number of `Rows`, then `Done`.
    List,
    /// End this tunnel.
    Close(u64),
    /// Start the program from disk, move the tunnels to it, and end.
    Upgrade,
    /// A new master asks a worker that has none for its sockets and tunnels; the version of the
    /// words (`word`) in which the connection goes on.
    TakeOver { version: u32 },
}

/// What the master answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Rows(Vec<Row>),
    /// The request was done; what there is to say about it.
    Done(String),
    /// It was not; why.
    Refused(String),
}

/// One live tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: u64,
    pub thread: u32,
    pub client: String,
    pub server: String,
    /// The peer's address, and the group that it belongs to.
    pub upstream: String,
    pub group: String,
    pub request: String,
    pub age_ms: u64,
    pub idle_ms: u64,
    /// Bytes written to client and upstream since the switch.
    pub written: [u64; 2],
    /// Bytes that wait for client and upstream.
    pub waiting: [u64; 2],
    /// One direction has ended.
    pub half_closed: bool,
}

impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(MAGIC);
        out.raw(&self.nonce);
        out.raw(&[match self.who {
            Who::Master => MASTER,
            Who::Orphan => ORPHAN,
        }]);
        out.number(self.pid);
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Hello, WireFault> {
        let mut input = Decoder::new(bytes);
        if input.raw(MAGIC.len())? != MAGIC {
            return Err(WireFault::Malformed);
        }
        let nonce = input.array()?;
        let who = match input.array()? {
            [MASTER] => Who::Master,
            [ORPHAN] => Who::Orphan,
            _ => return Err(WireFault::Malformed),
        };
        let hello = Hello { nonce, who, pid: input.number()? };
        input.end()?;
        Ok(hello)
    }
}

impl Ask {
    pub fn encode(self, nonce: &[u8; NONCE_BYTES]) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(nonce);
        match self {
            Ask::List => out.raw(&[LIST]),
            Ask::Upgrade => out.raw(&[UPGRADE]),
            Ask::Close(tunnel) => {
                out.raw(&[CLOSE]);
                out.raw(&tunnel.to_le_bytes());
            }
            Ask::TakeOver { version } => {
                out.raw(&[TAKE_OVER]);
                out.number(version);
            }
        }
        out.into_bytes()
    }

    /// A request without the right nonce is malformed like any other.
    pub fn decode(bytes: &[u8], nonce: &[u8; NONCE_BYTES]) -> Result<Ask, WireFault> {
        let mut input = Decoder::new(bytes);
        if input.array::<NONCE_BYTES>()? != *nonce {
            return Err(WireFault::Malformed);
        }
        let ask = match input.array()? {
            [LIST] => Ask::List,
            [UPGRADE] => Ask::Upgrade,
            [CLOSE] => Ask::Close(u64::from_le_bytes(input.array()?)),
            [TAKE_OVER] => Ask::TakeOver { version: input.number()? },
            _ => return Err(WireFault::Malformed),
        };
        input.end()?;
        Ok(ask)
    }
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            Reply::Rows(rows) => {
                out.raw(&[ROWS]);
                out.list(rows, |out, row| row.encode(out));
            }
            Reply::Done(text) => {
                out.raw(&[DONE]);
                out.text(cut(text));
            }
            Reply::Refused(text) => {
                out.raw(&[REFUSED]);
                out.text(cut(text));
            }
        }
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Reply, WireFault> {
        let mut input = Decoder::new(bytes);
        let reply = match input.array()? {
            [ROWS] => Reply::Rows(input.list(Row::decode)?),
            [DONE] => Reply::Done(input.text()?),
            [REFUSED] => Reply::Refused(input.text()?),
            _ => return Err(WireFault::Malformed),
        };
        input.end()?;
        Ok(reply)
    }
}

impl Row {
    fn encode(&self, out: &mut Encoder) {
        for number in self.numbers() {
            out.raw(&number.to_le_bytes());
        }
        out.number(self.thread);
        out.raw(&[u8::from(self.half_closed)]);
        for text in [&self.client, &self.server, &self.upstream, &self.group, &self.request] {
            out.text(cut(text));
        }
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Row, WireFault> {
        let mut number = || Ok::<u64, WireFault>(u64::from_le_bytes(input.array()?));
        let (id, age_ms, idle_ms) = (number()?, number()?, number()?);
        let written = [number()?, number()?];
        let waiting = [number()?, number()?];
        Ok(Row {
            id,
            age_ms,
            idle_ms,
            written,
            waiting,
            thread: input.number()?,
            half_closed: input.array()? == [1],
            client: input.text()?,
            server: input.text()?,
            upstream: input.text()?,
            group: input.text()?,
            request: input.text()?,
        })
    }

    fn numbers(&self) -> [u64; 7] {
        let [to_client, to_upstream] = self.written;
        let [for_client, for_upstream] = self.waiting;
        [self.id, self.age_ms, self.idle_ms, to_client, to_upstream, for_client, for_upstream]
    }
}

/// No more of a text than is shown.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

/// The longest text in a message, in bytes; the rest is cut off.
pub const TEXT_BYTES_MAX: usize = 2048;

/// The longest packet: below the kernel's usual 208 KiB of a socket's send buffer.
pub const PACKET_BYTES_MAX: usize = 96 << 10;

pub const NONCE_BYTES: usize = 16;

/// The name and the version of the protocol.
const MAGIC: &[u8] = b"PERDCTL\x02";

const LIST: u8 = 1;
const CLOSE: u8 = 2;
const UPGRADE: u8 = 3;
const TAKE_OVER: u8 = 4;

const MASTER: u8 = 1;
const ORPHAN: u8 = 2;

const ROWS: u8 = 65;
const DONE: u8 = 66;
const REFUSED: u8 = 67;

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: u64::MAX,
            thread: 3,
            client: "::1".into(),
            server: "a".into(),
            upstream: "127.0.0.1:9".into(),
            group: "backend".into(),
            request: "GET / HTTP/1.1".into(),
            age_ms: 1,
            idle_ms: 2,
            written: [3, 4],
            waiting: [5, 6],
            half_closed: true,
        }
    }

    #[test]
    fn messages_travel() {
        let nonce = [7; NONCE_BYTES];
        for who in [Who::Master, Who::Orphan] {
            let hello = Hello { nonce, who, pid: 12 };
            assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        }
        let take = Ask::TakeOver { version: 7 };
        for ask in [Ask::List, Ask::Close(u64::MAX), Ask::Upgrade, take] {
            assert_eq!(Ask::decode(&ask.encode(&nonce), &nonce), Ok(ask));
        }
        for reply in [
            Reply::Rows(vec![]),
            Reply::Rows(vec![row(), row()]),
            Reply::Done("x".into()),
            Reply::Refused("no".into()),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn without_the_nonce_nothing_can_be_asked() {
        let packet = Ask::List.encode(&[7; NONCE_BYTES]);
        assert_eq!(Ask::decode(&packet, &[8; NONCE_BYTES]), Err(WireFault::Malformed));
    }

    #[test]
    fn cut_and_changed_messages_are_refused_or_others_but_never_fatal() {
        let nonce = [7; NONCE_BYTES];
        let packets = [
            Ask::Close(1).encode(&nonce),
            Reply::Rows(vec![row()]).encode(),
            Hello { nonce, who: Who::Orphan, pid: 1 }.encode(),
        ];
        for packet in packets {
            for end in 0..packet.len() {
                assert!(Ask::decode(&packet[..end], &nonce).is_err());
                assert!(Reply::decode(&packet[..end]).is_err());
                assert!(Hello::decode(&packet[..end]).is_err());
            }
            for at in 0..packet.len() {
                for flip in [1, 0x80, 0xff] {
                    let mut changed = packet.clone();
                    changed[at] ^= flip;
                    let _ = (Ask::decode(&changed, &nonce), Reply::decode(&changed));
                    let _ = Hello::decode(&changed);
                }
            }
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let long = Reply::Done("ä".repeat(TEXT_BYTES_MAX));
        let Ok(Reply::Done(text)) = Reply::decode(&long.encode()) else { panic!("not decoded") };
        assert_eq!(text.len(), TEXT_BYTES_MAX);
    }
}
