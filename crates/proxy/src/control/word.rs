//! What two masters say to each other while both serve, one word per packet, with descriptors.
//!
//! The socket is a pair that the older one made for the younger one; both speak alike, so that
//! tunnels can go either way. A worker that has lost its master speaks in its place to the next
//! one. Not here: what the words make anyone do (`master::link`, `leave`, `come`, `worker::orphan`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::world::wire::{Decoder, Encoder, WireFault};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A worker serves here that can take tunnels; the version of this language.
    Serving { version: u32 },
    /// Not any more.
    Resting,
    /// Tunnels will come, out of this table: one descriptor.
    Offer,
    /// These, with two descriptors each: client, upstream.
    Batch { names: Vec<u64> },
    /// The batch is prepared, but for these.
    Prepared { refused: Vec<u64> },
    /// All that was prepared stands still from here on: nobody reads it.
    Frozen,
    /// It was looked at once more, and can go on here but for these.
    Verified { refused: Vec<u64> },
    /// They are yours.
    Go,
    /// They go on here.
    Live { count: u32 },
    /// What was offered is not to be had, or cannot be taken: everything stays as it was.
    Abort,
    /// Sockets that listen, one descriptor each.
    Sockets {
        count: u32,
        /// Others follow.
        more: bool,
    },
}

/// The version of the words and of the order in which they are said.
pub const VERSION: u32 = 2;

/// Tunnels in one batch: the kernel passes 253 descriptors at a time.
pub const BATCH_MAX: usize = 126;

/// Sockets in one word.
pub const SOCKETS_MAX: usize = 2 * BATCH_MAX;

impl Word {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        let names = |out: &mut Encoder, names: &[u64]| {
            out.list(names, |out, name| out.raw(&name.to_le_bytes()));
        };
        match self {
            Word::Serving { version } => {
                out.raw(&[1]);
                out.number(*version);
            }
            Word::Resting => out.raw(&[2]),
            Word::Offer => out.raw(&[3]),
            Word::Batch { names: all } => {
                out.raw(&[4]);
                names(&mut out, all);
            }
            Word::Prepared { refused } => {
                out.raw(&[5]);
                names(&mut out, refused);
            }
            Word::Go => out.raw(&[6]),
            Word::Live { count } => {
                out.raw(&[7]);
                out.number(*count);
            }
            Word::Abort => out.raw(&[8]),
            Word::Sockets { count, more } => {
                out.raw(&[9, u8::from(*more)]);
                out.number(*count);
            }
            Word::Frozen => out.raw(&[10]),
            Word::Verified { refused } => {
                out.raw(&[11]);
                names(&mut out, refused);
            }
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Word, WireFault> {
        let mut input = Decoder::new(bytes);
        let name = |input: &mut Decoder<'_>| Ok(u64::from_le_bytes(input.array()?));
        let word = match input.array()? {
            [1] => Word::Serving { version: input.number()? },
            [2] => Word::Resting,
            [3] => Word::Offer,
            [4] => Word::Batch { names: input.list(name)? },
            [5] => Word::Prepared { refused: input.list(name)? },
            [6] => Word::Go,
            [7] => Word::Live { count: input.number()? },
            [8] => Word::Abort,
            [9] => {
                let [more] = input.array()?;
                Word::Sockets { more: more == 1, count: input.number()? }
            }
            [10] => Word::Frozen,
            [11] => Word::Verified { refused: input.list(name)? },
            _ => return Err(WireFault::Malformed),
        };
        input.end()?;
        Ok(word)
    }

    /// How many descriptors come with it.
    fn descriptors(&self) -> usize {
        match self {
            Word::Offer => 1,
            Word::Batch { names } => 2 * names.len(),
            Word::Sockets { count, .. } => *count as usize,
            _ => 0,
        }
    }
}

/// Says a word, or fails with `WouldBlock`: nobody waits for the other master.
pub fn say(socket: BorrowedFd<'_>, word: &Word, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    debug_assert_eq!(with.len(), word.descriptors());
    let bytes = word.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * BATCH_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() && !control.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)
    })?;
    Ok(())
}

/// The next word and its descriptors, close-on-exec; `None` when the other side is gone.
/// `WouldBlock` when there is none. A batch for which there was no room comes without any.
pub fn hear(socket: BorrowedFd<'_>) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    let mut bytes = [0; BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * BATCH_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    })?;
    let mut with = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            with.extend(descriptors);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    let word =
        Word::decode(&bytes[..got.bytes]).map_err(|fault| io::Error::other(fault.to_string()))?;
    // Without room for a descriptor the kernel leaves it out and says so.
    if got.flags.contains(ReturnFlags::CTRUNC) && matches!(word, Word::Batch { .. }) {
        return Ok(Some((word, Vec::new())));
    }
    let whole = !got.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC);
    if !whole || with.len() != word.descriptors() {
        return Err(io::Error::other("descriptors are missing"));
    }
    Ok(Some((word, with)))
}

/// The socket of two masters.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    super::pair()
}

/// Whether the error is only that there is nothing now.
pub fn is_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// A batch of names with its frame; longer packets are cut and refused.
const BYTES_MAX: usize = 16 + BATCH_MAX * 8;

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    fn words() -> Vec<Word> {
        vec![
            Word::Serving { version: VERSION },
            Word::Resting,
            Word::Prepared { refused: vec![1, u64::MAX] },
            Word::Frozen,
            Word::Verified { refused: vec![u64::MAX, 2] },
            Word::Go,
            Word::Live { count: 3 },
            Word::Abort,
        ]
    }

    #[test]
    fn words_and_descriptors_travel() {
        let (one, two) = pair().unwrap();
        for word in words() {
            say(one.as_fd(), &word, &[]).unwrap();
            let (heard, with) = hear(two.as_fd()).unwrap().unwrap();
            assert_eq!((heard, with.len()), (word, 0));
        }
        let word = Word::Batch { names: (0..BATCH_MAX as u64).collect() };
        let many = vec![one.as_fd(); 2 * BATCH_MAX];
        say(one.as_fd(), &word, &many).unwrap();
        let (heard, with) = hear(two.as_fd()).unwrap().unwrap();
        assert_eq!((heard, with.len()), (word, 2 * BATCH_MAX));
        assert!(with.iter().all(|fd| fd.as_raw_fd() > 2));
        assert!(is_nothing(&hear(two.as_fd()).unwrap_err()));
        drop((one, with));
        // A child that another test makes at this moment holds a copy until it runs its program.
        let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut ends = [rustix::event::PollFd::new(&two, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut ends, Some(&limit)).unwrap(), 1);
        assert!(hear(two.as_fd()).unwrap().is_none());
    }

    #[test]
    fn missing_descriptors_and_nonsense_are_refused() {
        let (one, two) = pair().unwrap();
        let packets = [
            Word::Offer.encode(),
            vec![99],
            Word::Sockets { count: 1, more: false }.encode(),
            vec![],
            Word::Batch { names: vec![1] }.encode(),
            vec![5; 4000],
        ];
        for packet in packets.into_iter().filter(|packet| !packet.is_empty()) {
            rustix::net::send(&one, &packet, SendFlags::empty()).unwrap();
            let error = hear(two.as_fd()).map(|heard| heard.map(|(word, _)| word)).unwrap_err();
            assert!(!is_nothing(&error), "{packet:?}");
        }
        for word in words() {
            let bytes = word.encode();
            for end in 0..bytes.len() {
                assert!(Word::decode(&bytes[..end]).is_err());
            }
        }
    }
}
