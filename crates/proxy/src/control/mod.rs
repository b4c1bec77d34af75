//! What master and worker tell each other, one message per packet of a SOCK_SEQPACKET socket pair.
//!
//! Both share one descriptor table, so a descriptor travels as its number. A number in a message is
//! *lent*: it belongs to the master, who alone closes it, and only after the worker has said that it
//! no longer uses it ([`ToMaster`]). The worker never closes it and takes no ownership of it.
//!
//! The master's side blocks or polls ([`send`], [`receive`]); the worker wraps the socket in its
//! runtime and calls `encode` and `decode` itself. Not here: what the messages make anyone do.

pub mod operator;
pub mod word;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::world::wire::{Decoder, Encoder, WireFault};

/// The longest message, in bytes: some thousands of listeners. It stays below the kernel's usual
/// 208 KiB of a socket's send buffer.
pub const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// The most names in one [`ToWorker::Release`].
pub const RELEASED_MAX: usize = 8192;

/// The longest text in [`ToMaster::Refused`], in bytes; the rest is cut off.
pub const WHY_BYTES_MAX: usize = 4096;

/// A message from the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Build from the snapshot and swap to it. `listeners` and `logs` are all that the new
    /// configuration has, not only what is new. Answered by `Reloaded` or `Refused`.
    Reload {
        /// A memfd with an encoded [`crate::Snapshot`] from its start to its end.
        snapshot: RawFd,
        /// [`crate::Listen`]'s key, and the bound socket.
        listeners: Vec<(String, RawFd)>,
        logs: Vec<(PathBuf, RawFd)>,
    },
    /// Take no more clients, serve what is open to its end, then `Finished` (nginx's QUIT).
    /// `Released` says when the listeners are no longer used.
    Quit(Afterwards),
    /// End at once, as nginx's worker on TERM: without waiting for anyone.
    Stop,
    /// Log files are about to be opened again: write what waits for them. Answered by `Flushed`.
    Flush,
    /// As `Quit`, but the master stays and may start another worker (nginx's WINCH).
    Drain(Afterwards),
    /// End this tunnel by the operator's will. Answered by `Closed` with the same request number.
    Close { request: u64, tunnel: u64 },
    /// Tunnels are about to leave: read none until `Thaw`. Answered by `Frozen`.
    Freeze,
    /// These tunnels are about to be let go, over this socket to another master: at most
    /// [`RELEASED_MAX`] at a time, until `Thaw`. Only for a worker that loses its master meanwhile.
    LetGo { link: RawFd, gone: Vec<u64> },
    /// These tunnels go on in another process: give them up. At most [`RELEASED_MAX`]; answered by
    /// `GaveUp`.
    Release { gone: Vec<u64> },
    /// Go on with what is left. Answered by `Thawed`.
    Thaw {
        /// Somebody who is gone may have read meanwhile: look whether every position is right.
        checked: bool,
    },
    /// Tunnels come, and are still read where they are: copy, check and register them, and read none.
    /// Answered by `Prepared`.
    Prepare {
        /// The other process's table, a memfd, lent.
        table: RawFd,
        /// The socket to the other master, lent: for a worker that loses its own meanwhile.
        link: Option<RawFd>,
        /// The name there, and the descriptors of client and upstream, which are *given*: the
        /// worker closes them.
        coming: Vec<(u64, RawFd, RawFd)>,
    },
    /// Nobody reads what was prepared any more: look what has changed. Answered by `Verified`.
    Verify,
    /// The other process has given up what was prepared: go on with it. Answered by `Live`.
    Go,
    /// It has not: drop what was prepared.
    Forget,
}

/// Who serves when a worker has ended: what its clients are told depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    Nobody,
    /// Another program serves already.
    Another,
}

/// A message from the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMaster {
    /// Clients are being served.
    Ready,
    /// The new configuration holds: listeners and logs that it does not have are no longer used,
    /// and neither is the snapshot.
    Reloaded,
    /// The old configuration stays as it was.
    Refused {
        why: String,
    },
    /// No listener is used any more (after `Quit` or `Drain`).
    Released,
    /// Everything is served, and the worker is about to exit.
    Finished,
    /// Whether there was such a tunnel (after `Close`).
    Closed {
        request: u64,
        found: bool,
    },
    /// No log line waits that was there when `Flush` came.
    Flushed,
    /// No tunnel is read.
    Frozen,
    /// What was to be released is.
    GaveUp,
    Thawed,
    /// What could not be prepared.
    Prepared {
        refused: Vec<u64>,
    },
    /// What was prepared and cannot go on here, and how many have ended meanwhile where they were.
    Verified {
        /// At most one more than fit into a word to the other master.
        refused: Vec<u64>,
        ended: u32,
    },
    /// So many tunnels go on here.
    Live {
        count: u32,
    },
}

/// Why a packet is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFault {
    UnknownKind { kind: u8 },
    TooLong,
    Wire(WireFault),
}

impl fmt::Display for MessageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageFault::UnknownKind { kind } => write!(f, "a message of unknown kind {kind}"),
            MessageFault::TooLong => {
                write!(f, "a message longer than {MESSAGE_BYTES_MAX} bytes")
            }
            MessageFault::Wire(fault) => write!(f, "a message that is {fault}"),
        }
    }
}

impl std::error::Error for MessageFault {}

impl From<WireFault> for MessageFault {
    fn from(fault: WireFault) -> Self {
        MessageFault::Wire(fault)
    }
}

impl ToWorker {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            ToWorker::Reload { snapshot, listeners, logs } => {
                out.raw(&[RELOAD]);
                descriptor(&mut out, *snapshot);
                out.list(listeners, |out, (key, fd)| {
                    out.text(key);
                    descriptor(out, *fd);
                });
                out.list(logs, |out, (path, fd)| {
                    out.path(path);
                    descriptor(out, *fd);
                });
            }
            ToWorker::Quit(afterwards) => out.raw(&[QUIT, afterwards.word()]),
            ToWorker::Stop => out.raw(&[STOP]),
            ToWorker::Flush => out.raw(&[FLUSH]),
            ToWorker::Drain(afterwards) => out.raw(&[DRAIN, afterwards.word()]),
            ToWorker::Close { request, tunnel } => {
                out.raw(&[CLOSE]);
                out.raw(&request.to_le_bytes());
                out.raw(&tunnel.to_le_bytes());
            }
            ToWorker::Freeze => out.raw(&[FREEZE]),
            ToWorker::Release { gone } => {
                out.raw(&[RELEASE]);
                out.list(gone, |out, name| out.raw(&name.to_le_bytes()));
            }
            ToWorker::Thaw { checked } => out.raw(&[THAW, u8::from(*checked)]),
            ToWorker::LetGo { link, gone } => {
                out.raw(&[LET_GO]);
                descriptor(&mut out, *link);
                out.list(gone, |out, name| out.raw(&name.to_le_bytes()));
            }
            ToWorker::Prepare { table, link, coming } => {
                out.raw(&[PREPARE]);
                descriptor(&mut out, *table);
                out.raw(&[u8::from(link.is_some())]);
                link.iter().for_each(|link| descriptor(&mut out, *link));
                out.list(coming, |out, (name, client, upstream)| {
                    out.raw(&name.to_le_bytes());
                    descriptor(out, *client);
                    descriptor(out, *upstream);
                });
            }
            ToWorker::Verify => out.raw(&[VERIFY]),
            ToWorker::Go => out.raw(&[GO]),
            ToWorker::Forget => out.raw(&[FORGET]),
        }
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<ToWorker, MessageFault> {
        let mut input = open(bytes)?;
        let [kind] = input.array()?;
        let message = match kind {
            RELOAD => ToWorker::Reload {
                snapshot: read_descriptor(&mut input)?,
                listeners: input.list(|input| Ok((input.text()?, read_descriptor(input)?)))?,
                logs: input.list(|input| Ok((input.path()?, read_descriptor(input)?)))?,
            },
            QUIT => ToWorker::Quit(Afterwards::read(&mut input)?),
            STOP => ToWorker::Stop,
            FLUSH => ToWorker::Flush,
            DRAIN => ToWorker::Drain(Afterwards::read(&mut input)?),
            CLOSE => ToWorker::Close {
                request: u64::from_le_bytes(input.array()?),
                tunnel: u64::from_le_bytes(input.array()?),
            },
            FREEZE => ToWorker::Freeze,
            RELEASE => ToWorker::Release { gone: input.list(name)? },
            THAW => ToWorker::Thaw { checked: input.array()? == [1] },
            LET_GO => {
                ToWorker::LetGo { link: read_descriptor(&mut input)?, gone: input.list(name)? }
            }
            PREPARE => ToWorker::Prepare {
                table: read_descriptor(&mut input)?,
                link: match input.array()? {
                    [0] => None,
                    _ => Some(read_descriptor(&mut input)?),
                },
                coming: input.list(|input| {
                    Ok((name(input)?, read_descriptor(input)?, read_descriptor(input)?))
                })?,
            },
            VERIFY => ToWorker::Verify,
            GO => ToWorker::Go,
            FORGET => ToWorker::Forget,
            kind => return Err(MessageFault::UnknownKind { kind }),
        };
        input.end()?;
        Ok(message)
    }
}

impl Afterwards {
    fn word(self) -> u8 {
        match self {
            Afterwards::Nobody => 0,
            Afterwards::Another => 1,
        }
    }

    fn read(input: &mut Decoder<'_>) -> Result<Afterwards, WireFault> {
        match input.array()? {
            [0] => Ok(Afterwards::Nobody),
            [1] => Ok(Afterwards::Another),
            _ => Err(WireFault::Malformed),
        }
    }
}

impl ToMaster {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            ToMaster::Ready => out.raw(&[READY]),
            ToMaster::Reloaded => out.raw(&[RELOADED]),
            ToMaster::Refused { why } => {
                out.raw(&[REFUSED]);
                out.text(cut(why));
            }
            ToMaster::Released => out.raw(&[RELEASED]),
            ToMaster::Finished => out.raw(&[FINISHED]),
            ToMaster::Closed { request, found } => {
                out.raw(&[CLOSED]);
                out.raw(&request.to_le_bytes());
                out.raw(&[u8::from(*found)]);
            }
            ToMaster::Frozen => out.raw(&[FROZEN]),
            ToMaster::GaveUp => out.raw(&[GAVE_UP]),
            ToMaster::Thawed => out.raw(&[THAWED]),
            ToMaster::Flushed => out.raw(&[FLUSHED]),
            ToMaster::Prepared { refused } => {
                out.raw(&[PREPARED]);
                out.list(refused, |out, name| out.raw(&name.to_le_bytes()));
            }
            ToMaster::Verified { refused, ended } => {
                out.raw(&[VERIFIED]);
                out.number(*ended);
                out.list(refused, |out, name| out.raw(&name.to_le_bytes()));
            }
            ToMaster::Live { count } => {
                out.raw(&[LIVE]);
                out.number(*count);
            }
        }
        out.into_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<ToMaster, MessageFault> {
        let mut input = open(bytes)?;
        let [kind] = input.array()?;
        let message = match kind {
            READY => ToMaster::Ready,
            RELOADED => ToMaster::Reloaded,
            REFUSED => ToMaster::Refused { why: cut(&input.text()?).to_owned() },
            RELEASED => ToMaster::Released,
            FINISHED => ToMaster::Finished,
            CLOSED => ToMaster::Closed {
                request: u64::from_le_bytes(input.array()?),
                found: input.array()? == [1],
            },
            FROZEN => ToMaster::Frozen,
            GAVE_UP => ToMaster::GaveUp,
            THAWED => ToMaster::Thawed,
            FLUSHED => ToMaster::Flushed,
            PREPARED => ToMaster::Prepared { refused: input.list(name)? },
            VERIFIED => ToMaster::Verified { ended: input.number()?, refused: input.list(name)? },
            LIVE => ToMaster::Live { count: input.number()? },
            kind => return Err(MessageFault::UnknownKind { kind }),
        };
        input.end()?;
        Ok(message)
    }
}

/// The two ends of a control socket, close-on-exec: the master's and the worker's. The master's
/// never blocks; the worker's blocks until its runtime says otherwise.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (master, worker) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((master, worker))
}

/// Sends one encoded message, or fails with `WouldBlock`: a worker that does not read must not
/// stop the master.
pub fn send(socket: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(MessageFault::TooLong));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    })?;
    Ok(())
}

/// The next packet, without waiting for it; `None` when the other side has closed its end.
/// `WouldBlock` when there is none.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let mut packet = vec![0; MESSAGE_BYTES_MAX + 1];
    // A packet longer than the buffer is cut, which the decoder then finds too long.
    let (length, _) = rustix::io::retry_on_intr(|| {
        rustix::net::recv(socket, packet.as_mut_slice(), RecvFlags::DONTWAIT)
    })?;
    packet.truncate(length);
    Ok((length > 0).then_some(packet))
}

const RELOAD: u8 = 1;
const QUIT: u8 = 2;
const STOP: u8 = 3;
const DRAIN: u8 = 4;
const CLOSE: u8 = 5;
const FREEZE: u8 = 6;
const RELEASE: u8 = 7;
const THAW: u8 = 8;
const PREPARE: u8 = 9;
const GO: u8 = 10;
const FORGET: u8 = 11;
const LET_GO: u8 = 12;
const VERIFY: u8 = 13;
const FLUSH: u8 = 14;

const READY: u8 = 65;
const RELOADED: u8 = 66;
const REFUSED: u8 = 67;
const RELEASED: u8 = 68;
const FINISHED: u8 = 69;
const CLOSED: u8 = 70;
const FROZEN: u8 = 71;
const THAWED: u8 = 72;
const PREPARED: u8 = 73;
const LIVE: u8 = 74;
const GAVE_UP: u8 = 75;
const VERIFIED: u8 = 76;
const FLUSHED: u8 = 77;

fn open(bytes: &[u8]) -> Result<Decoder<'_>, MessageFault> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(MessageFault::TooLong);
    }
    Ok(Decoder::new(bytes))
}

fn descriptor(out: &mut Encoder, fd: RawFd) {
    out.raw(&fd.to_le_bytes());
}

fn read_descriptor(input: &mut Decoder<'_>) -> Result<RawFd, WireFault> {
    match RawFd::from_le_bytes(input.array()?) {
        fd if fd >= 0 => Ok(fd),
        _ => Err(WireFault::Malformed),
    }
}

/// A tunnel's.
fn name(input: &mut Decoder<'_>) -> Result<u64, WireFault> {
    Ok(u64::from_le_bytes(input.array()?))
}

fn cut(why: &str) -> &str {
    &why[..why.floor_char_boundary(WHY_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn to_worker() -> Vec<ToWorker> {
        vec![
            ToWorker::Reload {
                snapshot: 7,
                listeners: vec![("127.0.0.1:80".into(), 8), ("unix:/x".into(), 9)],
                logs: vec![("/var/log/a.log".into(), 10)],
            },
            ToWorker::Reload { snapshot: 0, listeners: vec![], logs: vec![] },
            ToWorker::Quit(Afterwards::Nobody),
            ToWorker::Stop,
            ToWorker::Flush,
            ToWorker::Drain(Afterwards::Another),
            ToWorker::Close { request: 1, tunnel: u64::MAX },
            ToWorker::Freeze,
            ToWorker::Release { gone: vec![1, u64::MAX] },
            ToWorker::Thaw { checked: true },
            ToWorker::LetGo { link: 9, gone: vec![1, u64::MAX] },
            ToWorker::Prepare { table: 3, link: None, coming: vec![(1, 4, 5), (2, 6, 7)] },
            ToWorker::Prepare { table: 3, link: Some(8), coming: vec![] },
            ToWorker::Verify,
            ToWorker::Go,
            ToWorker::Forget,
        ]
    }

    fn to_master() -> Vec<ToMaster> {
        vec![
            ToMaster::Ready,
            ToMaster::Reloaded,
            ToMaster::Refused { why: "no \"events\" section".into() },
            ToMaster::Released,
            ToMaster::Finished,
            ToMaster::Closed { request: u64::MAX, found: true },
            ToMaster::Frozen,
            ToMaster::GaveUp,
            ToMaster::Thawed,
            ToMaster::Flushed,
            ToMaster::Prepared { refused: vec![7] },
            ToMaster::Verified { refused: vec![7, u64::MAX], ended: 3 },
            ToMaster::Live { count: 8 },
        ]
    }

    #[test]
    fn messages_come_back_as_they_were() {
        for message in to_worker() {
            assert_eq!(ToWorker::decode(&message.encode()), Ok(message));
        }
        for message in to_master() {
            assert_eq!(ToMaster::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn truncations_and_additions_are_refused() {
        for message in to_worker() {
            let mut bytes = message.encode();
            for length in 0..bytes.len() {
                assert!(ToWorker::decode(&bytes[..length]).is_err(), "{length} bytes accepted");
            }
            bytes.push(0);
            assert_eq!(ToWorker::decode(&bytes), Err(MessageFault::Wire(WireFault::Trailing)));
        }
    }

    #[test]
    fn any_byte_may_be_any_value() {
        for message in to_worker() {
            let bytes = message.encode();
            for index in 0..bytes.len() {
                for value in 0..=255 {
                    let mut hostile = bytes.clone();
                    hostile[index] = value;
                    let _ = ToWorker::decode(&hostile);
                    let _ = ToMaster::decode(&hostile);
                }
            }
        }
    }

    #[test]
    fn a_message_of_one_side_is_none_of_the_other() {
        assert!(ToWorker::decode(&ToMaster::Ready.encode()).is_err());
        assert_eq!(
            ToMaster::decode(&ToWorker::Stop.encode()),
            Err(MessageFault::UnknownKind { kind: STOP })
        );
        let mut negative =
            ToWorker::Reload { snapshot: 1, listeners: vec![], logs: vec![] }.encode();
        negative[4] = 0xff;
        assert_eq!(ToWorker::decode(&negative), Err(MessageFault::Wire(WireFault::Malformed)));
    }

    #[test]
    fn the_longest_why_is_cut_between_characters() {
        let why = "ä".repeat(WHY_BYTES_MAX);
        let Ok(ToMaster::Refused { why: cut }) =
            ToMaster::decode(&ToMaster::Refused { why: why.clone() }.encode())
        else {
            panic!("not decoded");
        };
        assert_eq!(cut.len(), WHY_BYTES_MAX);
        assert!(why.starts_with(&cut));
    }

    #[test]
    fn packets_keep_their_borders_and_an_end_is_seen() {
        let (master, worker) = pair().unwrap();
        assert_eq!(
            receive(master.as_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "the master must never wait here"
        );
        send(worker.as_fd(), &ToMaster::Ready.encode()).unwrap();
        send(worker.as_fd(), &ToMaster::Finished.encode()).unwrap();
        let first = receive(master.as_fd()).unwrap().unwrap();
        assert_eq!(ToMaster::decode(&first), Ok(ToMaster::Ready));
        let second = receive(master.as_fd()).unwrap().unwrap();
        assert_eq!(ToMaster::decode(&second), Ok(ToMaster::Finished));
        drop(worker);
        assert_eq!(receive(master.as_fd()).unwrap(), None);
    }

    #[test]
    fn the_longest_message_passes_and_the_next_does_not() {
        let (master, worker) = pair().unwrap();
        let longest = vec![1; MESSAGE_BYTES_MAX];
        send(master.as_fd(), &longest).unwrap();
        assert_eq!(receive(worker.as_fd()).unwrap().unwrap().len(), MESSAGE_BYTES_MAX);
        assert!(send(master.as_fd(), &vec![1; MESSAGE_BYTES_MAX + 1]).is_err());
        let too_long = vec![QUIT; MESSAGE_BYTES_MAX + 1];
        assert_eq!(ToWorker::decode(&too_long), Err(MessageFault::TooLong));
    }

    #[test]
    fn a_worker_that_does_not_read_does_not_stop_the_master() {
        let (master, _worker) = pair().unwrap();
        let message = vec![1; MESSAGE_BYTES_MAX];
        let blocked = (0..1000).find_map(|_| send(master.as_fd(), &message).err());
        assert_eq!(blocked.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }
}
