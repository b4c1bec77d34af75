//! What a leg's peer gets: content cut into records, and what TLS has to say itself.
//!
//! It changes nothing but the progress that it is given, so that the same can be sealed again. The
//! lanes call it and send what comes out.

use super::keyring::{Keyring, Owner};
use super::record::{Alert, CONTENT_MAX, Content, OVERHEAD_MAX};
use super::{Suite, Version};
use crate::Side;
use crate::table::{Flow, Progress};

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'b> {
    /// The tunnelled protocol's, at most `PLAIN_MAX` at a time.
    Data(&'b [u8]),
    /// The key changes behind it.
    KeyUpdate,
    /// Nothing follows.
    CloseNotify,
    /// The connection is given up.
    Fatal(Alert),
}

/// Whether a leg's key may go on being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wear {
    Good,
    /// It is time for a KeyUpdate.
    Due,
    /// Nothing more may be sealed with it, and there is no way to change it.
    Spent,
}

/// How many blocks of AES one key may protect (RFC 8446, 5.5; the same holds for TLS 1.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct WearLimits {
    /// From here on, TLS 1.3 changes the key.
    pub(crate) rekey_blocks: u64,
    /// Here TLS 1.2 ends.
    pub(crate) blocks_max: u64,
}

impl Default for WearLimits {
    fn default() -> WearLimits {
        // 2^24 records of full size, as rustls counts; half of it leaves room to say so.
        WearLimits { rekey_blocks: 1 << 33, blocks_max: 1 << 34 }
    }
}

/// Appends the records of `message` to `out`. `None` if there is no key.
pub(crate) fn seal(
    keys: &mut Keyring,
    owner: Owner<'_>,
    leg: Side,
    message: Message<'_>,
    progress: &mut Progress,
    out: &mut Vec<u8>,
) -> Option<()> {
    let fatal = |alert: Alert| [2, alert as u8];
    let alert;
    let (content, plain): (_, &[u8]) = match message {
        Message::Data(bytes) => (Content::Data, bytes),
        Message::KeyUpdate => (Content::Handshake, &[24, 0, 0, 1, 0]),
        Message::CloseNotify => (Content::Alert, &[1, 0]),
        Message::Fatal(told) => {
            alert = fatal(told);
            (Content::Alert, &alert)
        }
    };
    let epoch = progress.seal_epoch;
    let key = keys.key(owner, leg, Flow::Seal, epoch)?;
    let start = out.len();
    for piece in plain.chunks(CONTENT_MAX) {
        key.seal(progress.seal_seq, content, piece, out)?;
        progress.seal_seq = progress.seal_seq.checked_add(1)?;
        progress.blocks = progress.blocks.saturating_add(blocks_of(piece.len()));
    }
    progress.made += (out.len() - start) as u64;
    if message == Message::KeyUpdate {
        keys.prepare_next(owner, leg, Flow::Seal, epoch)?;
        progress.seal_epoch = epoch.wrapping_add(1);
        (progress.seal_seq, progress.blocks) = (0, 0);
    }
    Some(())
}

/// How worn the key of a leg is.
#[inline]
pub(crate) fn wear(owner: Owner<'_>, leg: Side, blocks: u64, limits: WearLimits) -> Wear {
    if blocks < limits.rekey_blocks {
        return Wear::Good;
    }
    match Keyring::parameters(owner, leg) {
        // It has no such limit.
        Some((_, Suite::Chacha20Poly1305)) | None => Wear::Good,
        Some((Version::Tls13, _)) => Wear::Due,
        Some((Version::Tls12, _)) if blocks < limits.blocks_max => Wear::Good,
        Some((Version::Tls12, _)) => Wear::Spent,
    }
}

/// Blocks of a record, the one for its tag and a half-filled one included.
pub(crate) const fn blocks_of(plain: usize) -> u64 {
    plain as u64 / 16 + 2
}

/// The most content that is sealed at a time: four records, which fit into 64 KiB.
pub(crate) const PLAIN_MAX: usize = 64 * 1024 - 4 * OVERHEAD_MAX;

const _: () = assert!(PLAIN_MAX.div_ceil(CONTENT_MAX) == 4);
