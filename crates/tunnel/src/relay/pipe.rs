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
///
///  a drain:
///   Open, Held --at a frame boundary--> Sealed --Close frame sent--> Bidden --read 0--> Ending
///   Open, Held, Sealed, Bidden --time, or no frames--> Leaving --FIN sent--> Left --read 0--> Ended
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
    /// The sink is owed a Close frame, or the rest of it. The source is not read meanwhile.
    Sealed,
    /// The sink has the Close frame; what the source gives is thrown away.
    Bidden,
    /// The FIN is due, although the source goes on.
    Leaving,
    /// The sink has the FIN; what the source gives is thrown away.
    Left,
}

/// What a direction does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read from the source.
    Read,
    /// Send what is kept to the sink.
    Send,
    /// Send the Close frame to the sink.
    Bid,
    /// Read from the source, for its end only.
    Drop,
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
            Pipe::Sealed => Step::Bid,
            Pipe::Bidden | Pipe::Left => Step::Drop,
            Pipe::Ending | Pipe::Leaving => Step::Shut,
            Pipe::Ended | Pipe::Broken => Step::Over,
        }
    }

    /// Whether it waits for its sink, and not for its source.
    #[inline]
    pub(crate) fn waits_for_sink(self) -> bool {
        matches!(self, Pipe::Held | Pipe::Sealed)
    }

    /// Whether the sink gets nothing more.
    pub(crate) fn is_silent(self) -> bool {
        matches!(self, Pipe::Bidden | Pipe::Left | Pipe::Ended | Pipe::Broken)
    }

    /// Whether the source's bytes become the sink's, so that the positions depend on each other.
    pub(crate) fn passes_on(self) -> bool {
        matches!(self, Pipe::Open | Pipe::Held)
    }

    /// Whether a chunk that it still has is left over.
    pub(crate) fn has_given_up(self) -> bool {
        matches!(self, Pipe::Broken | Pipe::Sealed | Pipe::Leaving)
    }

    /// Nothing more is passed on; the sink is owed a Close frame.
    pub(crate) fn sealed(self) -> Pipe {
        debug_assert!(self.passes_on(), "{self:?}");
        if self.passes_on() { Pipe::Sealed } else { self }
    }

    /// The Close frame was sent.
    pub(crate) fn bidden(self) -> Pipe {
        debug_assert_eq!(self, Pipe::Sealed);
        if self == Pipe::Sealed { Pipe::Bidden } else { self }
    }

    /// Our FIN is due before the source's.
    pub(crate) fn left(self) -> Pipe {
        match self {
            Pipe::Open | Pipe::Held | Pipe::Sealed | Pipe::Bidden => Pipe::Leaving,
            later => later,
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
        match self {
            Pipe::Open | Pipe::Bidden => Pipe::Ending,
            Pipe::Left => Pipe::Ended,
            other => {
                debug_assert!(false, "the end is behind everything that was kept: {other:?}");
                other
            }
        }
    }

    /// The FIN was given to the sink.
    pub(crate) fn shut(self) -> Pipe {
        match self {
            Pipe::Ending => Pipe::Ended,
            Pipe::Leaving => Pipe::Left,
            other => {
                debug_assert!(false, "one FIN per direction: {other:?}");
                other
            }
        }
    }

    /// The source or the sink failed. What had ended before stays so.
    pub(crate) fn broken(self) -> Pipe {
        if self == Pipe::Ended { Pipe::Ended } else { Pipe::Broken }
    }
}
