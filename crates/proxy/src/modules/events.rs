//! The `events` block: how many connections there may be.

use perdura_conf::{Arity, Fault, Number, Reader, Value, Word, directives};

directives! {
    /// How many connections each thread may hold, those to upstreams among them: a tunnel holds
    /// two. Beyond it a new connection is closed at once, with "worker_connections are not enough"
    /// in the error log.
    worker_connections: Connections = "512", in EVENTS;
}

/// A number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections(pub u64);

impl Value for Connections {
    const SYNTAX: &'static str = "number";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], _reader: &mut Reader<'_>) -> Result<Self, Fault> {
        // nginx words this one as no other number.
        let invalid = || {
            Fault::new(args[0].place, format!("invalid number \"{}\"", args[0].text()))
                .hint("write digits only")
        };
        Number::parse(&args[0].bytes).map(Self).ok_or_else(invalid)
    }
}
