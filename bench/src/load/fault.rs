//! Why a load fails. Every one of them makes the whole run worthless: there is no tolerance.
//!
//! Not for the proxy's own words, which are in its error log. Made by every file beside this one.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

/// The end of a run that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A system call failed.
    System { deed: &'static str, errno: Errno },
    /// A byte came back that was not sent.
    WrongByte { tunnel: u32, message: u64, at: usize, expected: u8, found: u8 },
    /// Bytes came that nobody sent.
    TooMany { tunnel: u32 },
    /// The proxy answered, but not with what was asked for; its first line.
    Refused { answer: String },
    /// The proxy's answer is no HTTP.
    NotHttp,
    /// The body of a page is not the one that belongs to its target.
    WrongPage { number: u64 },
    /// A tunnel or connection ended before its time.
    Ended { tunnel: u32, message: u64 },
    /// For so long nothing happened at all, though something should have.
    Stalled { patience: Duration },
    /// An open loop has more messages under way in one tunnel than it may.
    TooSlow { tunnel: u32 },
    /// The process that runs us went away or said something else.
    Abandoned,
}

impl Fault {
    /// For `map_err`: the culprit is the system, the deed is ours.
    pub fn system(deed: &'static str) -> impl Fn(Errno) -> Fault {
        move |errno| Fault::System { deed, errno }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::System { deed, errno } => write!(f, "{deed}: {errno}"),
            Fault::WrongByte { tunnel, message, at, expected, found } => write!(
                f,
                "wrong byte in tunnel {tunnel}, message {message}, byte {at} of the frame: \
                 {found:#04x} instead of {expected:#04x}"
            ),
            Fault::TooMany { tunnel } => write!(f, "tunnel {tunnel} brought more than was sent"),
            Fault::Refused { answer } => write!(f, "refused: {answer}"),
            Fault::NotHttp => write!(f, "the answer is no HTTP"),
            Fault::WrongPage { number } => write!(f, "page {number} has the wrong body"),
            Fault::Ended { tunnel, message } => {
                write!(f, "tunnel {tunnel} ended early, at message {message}")
            }
            Fault::Stalled { patience } => write!(f, "nothing happened for {patience:?}"),
            Fault::TooSlow { tunnel } => write!(f, "tunnel {tunnel} cannot keep the rate"),
            Fault::Abandoned => write!(f, "the process that runs this load went away"),
        }
    }
}
