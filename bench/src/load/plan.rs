//! What kind of load: the words of the command line and the limits that hold for them.
//!
//! Not how it is made; each plan has its own file beside this one. Called by `main` and `compare`.

use std::fmt;
use std::str::FromStr;

use crate::pattern::MESSAGE_SIZE_MAX;

/// How many tunnels or connections one load holds at most: 20,000 descriptors, less a few.
pub const TUNNELS_MAX: u32 = 19_900;
/// How many messages a second an open loop sends at most.
pub const RATE_MAX: u32 = 1_000_000;
/// The size of a message of a bulk plan, in bytes.
pub const BULK_SIZE: usize = 16 * 1024;
/// The size of the messages of plans that do not name one, in bytes.
pub const SMALL_SIZE: usize = 64;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// `ping:SIZE:TUNNELS`: each tunnel sends its next message when the last one is back.
    Ping { size: usize, tunnels: u32 },
    /// `rate:SIZE:TUNNELS:PER_SECOND`: messages leave by the clock, whatever comes back.
    Rate { size: usize, tunnels: u32, per_second: u32 },
    /// `bulk:TUNNELS`: the upstream sends as fast as it can.
    Bulk { tunnels: u32 },
    /// `churn:CONCURRENCY`: tunnels are opened, used once and closed.
    Churn { concurrency: u32 },
    /// `connect:CONCURRENCY`: the same through tunnels that are asked for by CONNECT.
    Connect { concurrency: u32 },
    /// `idle:TUNNELS`: tunnels are opened, used once and held.
    Idle { tunnels: u32 },
    /// `idle-connect:TUNNELS`: the same through tunnels that are asked for by CONNECT.
    IdleConnect { tunnels: u32 },
    /// `http:CONNECTIONS`: plain requests over kept connections.
    Http { connections: u32 },
}

/// Why a word is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanFault {
    /// No plan has that name and that many numbers.
    Unknown(String),
    /// The number named so is zero, too large or none.
    OutOfRange(&'static str),
}

impl Plan {
    /// How long one message is, in bytes; for pages, their body.
    pub fn size(&self) -> usize {
        match *self {
            Plan::Ping { size, .. } | Plan::Rate { size, .. } => size,
            Plan::Bulk { .. } => BULK_SIZE,
            Plan::Churn { .. } | Plan::Connect { .. } | Plan::Http { .. } => SMALL_SIZE,
            Plan::Idle { .. } | Plan::IdleConnect { .. } => SMALL_SIZE,
        }
    }

    /// Whether its tunnels are asked for by CONNECT.
    pub fn is_by_connect(&self) -> bool {
        matches!(self, Plan::Connect { .. } | Plan::IdleConnect { .. })
    }

    /// Whether it holds tunnels that say nothing, so that memory is what is measured.
    pub fn is_idle(&self) -> bool {
        matches!(self, Plan::Idle { .. } | Plan::IdleConnect { .. })
    }
}

impl FromStr for Plan {
    type Err = PlanFault;

    fn from_str(word: &str) -> Result<Self, PlanFault> {
        let parts: Vec<&str> = word.split(':').collect();
        Ok(match parts[..] {
            ["ping", size, tunnels] => {
                Plan::Ping { size: size_of(size)?, tunnels: count(tunnels)? }
            }
            ["rate", size, tunnels, rate] => Plan::Rate {
                size: size_of(size)?,
                tunnels: count(tunnels)?,
                per_second: number(rate, RATE_MAX, "PER_SECOND")?,
            },
            ["bulk", tunnels] => Plan::Bulk { tunnels: count(tunnels)? },
            ["churn", concurrency] => Plan::Churn { concurrency: count(concurrency)? },
            ["connect", concurrency] => Plan::Connect { concurrency: count(concurrency)? },
            ["idle", tunnels] => Plan::Idle { tunnels: count(tunnels)? },
            ["idle-connect", tunnels] => Plan::IdleConnect { tunnels: count(tunnels)? },
            ["http", connections] => Plan::Http { connections: count(connections)? },
            _ => return Err(PlanFault::Unknown(word.to_owned())),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Plan::Ping { size, tunnels } => write!(f, "ping:{size}:{tunnels}"),
            Plan::Rate { size, tunnels, per_second } => {
                write!(f, "rate:{size}:{tunnels}:{per_second}")
            }
            Plan::Bulk { tunnels } => write!(f, "bulk:{tunnels}"),
            Plan::Churn { concurrency } => write!(f, "churn:{concurrency}"),
            Plan::Connect { concurrency } => write!(f, "connect:{concurrency}"),
            Plan::Idle { tunnels } => write!(f, "idle:{tunnels}"),
            Plan::IdleConnect { tunnels } => write!(f, "idle-connect:{tunnels}"),
            Plan::Http { connections } => write!(f, "http:{connections}"),
        }
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            PlanFault::Unknown(word) => write!(
                f,
                "no plan \"{word}\"; there are ping:SIZE:TUNNELS, rate:SIZE:TUNNELS:PER_SECOND, \
                 bulk:TUNNELS, churn:CONCURRENCY, connect:CONCURRENCY, idle:TUNNELS, \
                 idle-connect:TUNNELS and http:CONNECTIONS"
            ),
            PlanFault::OutOfRange(name) => write!(f, "{name} is out of range"),
        }
    }
}

impl std::error::Error for PlanFault {}

fn size_of(text: &str) -> Result<usize, PlanFault> {
    number(text, MESSAGE_SIZE_MAX as u32, "SIZE").map(|size| size as usize)
}

fn count(text: &str) -> Result<u32, PlanFault> {
    number(text, TUNNELS_MAX, "TUNNELS, CONCURRENCY or CONNECTIONS")
}

fn number(text: &str, max: u32, name: &'static str) -> Result<u32, PlanFault> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or(PlanFault::OutOfRange(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_reads_what_it_prints() {
        let words = [
            "ping:64:100",
            "rate:64:10:500",
            "bulk:4",
            "churn:32",
            "connect:32",
            "idle:19900",
            "idle-connect:9000",
            "http:8",
        ];
        for word in words {
            assert_eq!(word.parse::<Plan>().unwrap().to_string(), word);
        }
    }

    #[test]
    fn limits_hold() {
        for word in ["ping:0:1", "ping:1048577:1", "ping:1:19901", "rate:1:1:1000001", "idle:x"] {
            assert!(matches!(word.parse::<Plan>(), Err(PlanFault::OutOfRange(_))), "{word}");
        }
        for word in ["", "ping", "ping:1", "ping:1:1:1", "pong:1:1"] {
            assert_eq!(word.parse::<Plan>(), Err(PlanFault::Unknown(word.to_owned())));
        }
    }
}
