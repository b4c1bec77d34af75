//! What the peer of a leg sent, record by record: content for the other side, and what concerns
//! TLS only.
//!
//! It changes nothing but the progress that it is given, so that the same bytes can be opened
//! again. The lanes call it with bytes that are still in the kernel.

use super::keyring::{Keyring, Owner};
use super::record::{Alert, Content, whole};
use super::{Suite, Version};
use crate::Side;
use crate::table::{Flow, Progress, SKIP_MASK};

/// What became of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// So many of them were whole records that are done with.
    pub(crate) used: usize,
    /// So many bytes of content lie at their start now.
    pub(crate) content: usize,
    pub(crate) stop: Stop,
}

/// Why it went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// What is left, if anything, is no whole record.
    Partial,
    /// There may be more: the next record has another key, or nothing follows.
    Turn,
    /// The next record cannot be believed.
    Refused(Misdeed),
}

/// What a peer does that ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misdeed {
    /// It is told so.
    Told(Alert),
    /// It said so itself, by a fatal alert.
    Said,
    /// Our own: the key is missing.
    NoKey,
}

impl From<Alert> for Misdeed {
    fn from(alert: Alert) -> Misdeed {
        Misdeed::Told(alert)
    }
}

/// Opens what is whole in `bytes` and moves its content to their start.
pub(crate) fn open(
    keys: &mut Keyring,
    owner: Owner<'_>,
    leg: Side,
    bytes: &mut [u8],
    progress: &mut Progress,
) -> Opened {
    let mut opened = Opened { used: 0, content: 0, stop: Stop::Partial };
    let Some(parameters) = Keyring::parameters(owner, leg) else {
        return Opened { stop: Stop::Refused(Misdeed::NoKey), ..opened };
    };
    while opened.stop == Stop::Partial {
        let before = *progress;
        let step = open_one(keys, owner, leg, parameters, bytes, &mut opened, progress);
        match step {
            Ok(Some(stop)) => opened.stop = stop,
            Ok(None) => return opened,
            Err(misdeed) => {
                *progress = before;
                opened.stop = Stop::Refused(misdeed);
            }
        }
    }
    opened
}

/// `None` if what is left is no whole record.
fn open_one(
    keys: &mut Keyring,
    owner: Owner<'_>,
    leg: Side,
    (version, _): (Version, Suite),
    bytes: &mut [u8],
    opened: &mut Opened,
    progress: &mut Progress,
) -> Result<Option<Stop>, Misdeed> {
    let Some(length) = whole(version, &bytes[opened.used..])? else { return Ok(None) };
    let epoch = progress.open_epoch;
    let key = keys.key(owner, leg, Flow::Open, epoch).ok_or(Misdeed::NoKey)?;
    let from = opened.used;
    let record = key.open(progress.open_seq, &mut bytes[from..from + length])?;
    let (start, end) = (from + record.start, from + record.end);
    progress.open_seq += 1;
    progress.quiet = progress.quiet.saturating_add(1);
    if progress.skip > 0 && record.content != Content::Handshake {
        // Messages of the handshake are not interleaved with others (RFC 8446, 5.1).
        return Err(Alert::UnexpectedMessage.into());
    }
    let mut stop = Stop::Partial;
    match record.content {
        Content::Data => {
            if end > start {
                progress.quiet = 0;
            }
            bytes.copy_within(start..end, opened.content);
            opened.content += end - start;
        }
        Content::Alert => stop = hear_alert(version, &bytes[start..end], progress)?,
        Content::Handshake => {
            let updated = hear_handshake(version, leg, &bytes[start..end], progress)?;
            if updated {
                keys.prepare_next(owner, leg, Flow::Open, epoch).ok_or(Misdeed::NoKey)?;
                progress.open_epoch = epoch.wrapping_add(1);
                progress.open_seq = 0;
                stop = Stop::Turn;
            }
        }
    }
    if progress.quiet > QUIET_MAX {
        return Err(Alert::UnexpectedMessage.into());
    }
    opened.used += length;
    Ok(Some(stop))
}

fn hear_alert(version: Version, alert: &[u8], progress: &mut Progress) -> Result<Stop, Misdeed> {
    const WARNING: u8 = 1;
    match (version, alert) {
        (_, [_, CLOSE_NOTIFY]) => {
            progress.closed = true;
            Ok(Stop::Turn)
        }
        (_, [_, USER_CANCELED]) | (Version::Tls12, [WARNING, _]) => Ok(Stop::Partial),
        // In TLS 1.3 everything else is fatal, whatever its level (RFC 8446, 6).
        (_, [_, _]) => Err(Misdeed::Said),
        _ => Err(Alert::DecodeError.into()),
    }
}

/// Messages behind the handshake; whether the key changes with this record.
fn hear_handshake(
    version: Version,
    leg: Side,
    mut bytes: &[u8],
    progress: &mut Progress,
) -> Result<bool, Misdeed> {
    if bytes.is_empty() {
        return Err(Alert::UnexpectedMessage.into());
    }
    let skipped = bytes.len().min(progress.skip as usize);
    progress.skip -= skipped as u32;
    bytes = &bytes[skipped..];
    while !bytes.is_empty() {
        let (&[kind, high, middle, low], rest) =
            bytes.split_first_chunk::<4>().ok_or(Alert::DecodeError)?;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let whole = rest.get(..length as usize);
        match (version, kind) {
            // RFC 8446, 4.6.3: nothing follows it in its record.
            (Version::Tls13, KEY_UPDATE) => {
                return match (whole, rest.len()) {
                    (Some([0]), 1) => Ok(true),
                    (Some([1]), 1) => {
                        progress.asked = progress.asked.wrapping_add(1);
                        Ok(true)
                    }
                    (Some([_]), 1) => Err(Alert::IllegalParameter.into()),
                    _ => Err(Alert::DecodeError.into()),
                };
            }
            // A server's, for sessions that nobody resumes from here.
            (Version::Tls13, NEW_SESSION_TICKET) if leg == Side::Upstream => {}
            // May be ignored (RFC 5246, 7.4.1.1).
            (Version::Tls12, HELLO_REQUEST) if leg == Side::Upstream && length == 0 => {}
            (Version::Tls12, CLIENT_HELLO) if leg == Side::Client => {
                return Err(Alert::NoRenegotiation.into());
            }
            _ => return Err(Alert::UnexpectedMessage.into()),
        }
        if whole.is_none() {
            progress.skip = (length - rest.len() as u32) & SKIP_MASK;
            return Ok(false);
        }
        bytes = &rest[length as usize..];
    }
    Ok(false)
}

const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// Records in a row that carry no content: KeyUpdates, warnings, tickets, empty ones.
pub(crate) const QUIET_MAX: u8 = 32;
