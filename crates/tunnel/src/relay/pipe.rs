//! One direction of a tunnel, named after the side that it reads from. Pure; `Relay` holds two of
//! them.

/// The state of one direction, from its source to its sink.
///
/// ```text
///       read n, all sent          read n, sink full
///          +--------+           +-------------------+
///          |        v           |                   v
///          +------ Open --------+                  Held
///                   | ^                             | |
///            read 0 | +--------- all sent ----------+ |
///                   v                                 |
///                 Ending ------+                      |
///                   |          | sink or source       | sink failed
///          FIN sent |          | failed (Open too)    |
///                   v          v                      |
///                 Ended      Broken <-----------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipe {
    /// Nothing is kept; the source may be read.
    Open,
    /// Bytes are kept in a chunk, because the sink did not take them. The source is not read (T8).
    Held,
    /// The source has ended, everything was sent, the FIN is due.
    Ending,
    /// The sink has everything, the FIN included.
    Ended,
    /// One of its ends failed: nothing moves here any more.
    Broken,
}

/// What a direction does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read from the source.
    Read,
    /// Send what is kept to the sink.
    Send,
    /// Send the FIN to the sink.
    Shut,
    /// Nothing, ever again.
    Over,
}

impl Pipe {
    #[inline]
    pub(crate) fn step(self) -> Step {
        match self {
            Pipe::Open => Step::Read,
            Pipe::Held => Step::Send,
            Pipe::Ending => Step::Shut,
            Pipe::Ended | Pipe::Broken => Step::Over,
        }
    }

    /// The sink did not take everything.
    pub(crate) fn held(self) -> Pipe {
        debug_assert_eq!(self, Pipe::Open, "only what was just read can be kept");
        if self == Pipe::Open { Pipe::Held } else { self }
    }

    /// The sink took what was kept.
    pub(crate) fn flushed(self) -> Pipe {
        debug_assert_eq!(self, Pipe::Held);
        if self == Pipe::Held { Pipe::Open } else { self }
    }

    /// The source ended in order.
    pub(crate) fn ended(self) -> Pipe {
        debug_assert_eq!(self, Pipe::Open, "the end is behind everything that was kept");
        if self == Pipe::Open { Pipe::Ending } else { self }
    }

    /// The FIN was given to the sink.
    pub(crate) fn shut(self) -> Pipe {
        debug_assert_eq!(self, Pipe::Ending, "one FIN per direction");
        if self == Pipe::Ending { Pipe::Ended } else { self }
    }

    /// The source or the sink failed. What had ended before stays so.
    pub(crate) fn broken(self) -> Pipe {
        if self == Pipe::Ended { Pipe::Ended } else { Pipe::Broken }
    }
}
