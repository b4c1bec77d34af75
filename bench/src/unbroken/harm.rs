//! What must not happen to a tunnel, and how often it has.
//!
//! Made by `tunnel`; counted by `crowd`.

use std::fmt;

use rustix::io::Errno;

use super::Side;

/// The end of a tunnel that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// What arrived from `source` is not what it sent, from byte `at` on.
    WrongByte { source: Side, at: u64 },
    /// More arrived than was sent.
    TooMany { source: Side, at: u64 },
    /// The end arrived before the bytes, or although nobody ended.
    EarlyEnd { source: Side, at: u64, of: u64 },
    /// A socket broke.
    Broken { side: Side, errno: Errno },
    /// A direction stands still.
    Stalled { source: Side, at: u64, of: u64 },
    /// No answer to the handshake, or its connection was closed.
    NoAnswer,
    /// The answer to the handshake is no HTTP.
    NotHttp,
    /// The handshake was refused.
    Refused { answer: String },
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tunnels that were open at any time.
    pub opened: u64,
    /// Tunnels that ended before their time, or that stand still.
    pub lost: u64,
    /// Tunnels in which a byte was wrong, lost or doubled.
    pub wrong: u64,
    /// Handshakes that came to nothing.
    pub failed: u64,
    /// What arrived, in bytes.
    pub carried: u64,
    /// What the first few harms were.
    pub first: Vec<String>,
}

impl Harm {
    /// Whether bytes were wrong, not only missing.
    pub fn is_wrong(&self) -> bool {
        matches!(self, Harm::WrongByte { .. } | Harm::TooMany { .. })
            || matches!(self, Harm::EarlyEnd { at, of, .. } if at < of)
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Harm::WrongByte { source, at } => write!(f, "byte {at} from the {source} is wrong"),
            Harm::TooMany { source, at } => {
                write!(f, "more arrived from the {source} than the {at} bytes it sent")
            }
            Harm::EarlyEnd { source, at, of } => {
                write!(f, "the stream from the {source} ended at byte {at} of {of}")
            }
            Harm::Broken { side, errno } => write!(f, "the {side}'s socket broke: {errno}"),
            Harm::Stalled { source, at, of } => {
                write!(f, "nothing more comes from the {source} behind byte {at} of {of}")
            }
            Harm::NoAnswer => write!(f, "no answer to the handshake"),
            Harm::NotHttp => write!(f, "the answer to the handshake is no HTTP"),
            Harm::Refused { answer } => write!(f, "the handshake was refused: {answer}"),
        }
    }
}

impl Tally {
    /// Nothing was lost and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.wrong == 0
    }

    /// Counts the end of an open tunnel.
    pub fn note_harm(&mut self, index: u32, what: &str, harm: &Harm) {
        match harm.is_wrong() {
            true => self.wrong += 1,
            false => self.lost += 1,
        }
        self.describe(index, what, harm);
    }

    /// Counts a handshake that came to nothing.
    pub fn note_failed(&mut self, index: u32, what: &str, harm: &Harm) {
        self.failed += 1;
        self.describe(index, what, harm);
    }

    fn describe(&mut self, index: u32, what: &str, harm: &Harm) {
        if self.first.len() < DESCRIBED_MAX {
            self.first.push(format!("tunnel {index} ({what}): {harm}"));
        }
    }
}

/// How many harms are described; more are only counted.
const DESCRIBED_MAX: usize = 12;
