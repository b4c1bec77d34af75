//! Why a run cannot go on. What happens to tunnels is a `Harm` and only counted.
//!
//! Made by every file beside this one.

use std::fmt;
use std::time::Duration;

use crate::compare;

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This program could not do its part.
    Own(String),
    /// A process could not be started or measured.
    Process(compare::Fault),
    /// The proxy did not do so within that time; what it said last.
    Late { what: &'static str, patience: Duration, said: String },
    /// The proxy refused an order.
    Order { order: String, said: String },
}

impl From<compare::Fault> for Fault {
    fn from(fault: compare::Fault) -> Fault {
        Fault::Process(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Fault::Own(what) => write!(f, "{what}"),
            Fault::Process(fault) => write!(f, "{fault}"),
            Fault::Late { what, patience, said } => {
                write!(f, "within {patience:?} it did not happen that {what}: {said}")
            }
            Fault::Order { order, said } => write!(f, "the proxy refused \"{order}\": {said}"),
        }
    }
}
