//! The real wire: a leg's calls go to the kernel. Also how a leg is closed.

use std::io;

use super::turn::Wire;
use crate::Close;
use crate::kernel::{self, Counts, Hint};
use crate::poll::{Got, Leg};
use crate::table::Span;

/// The kernel's sockets.
pub(crate) struct Sockets;

impl Wire for Sockets {
    #[inline]
    fn recv(&mut self, leg: Leg, into: Span<'_>) -> Got {
        leg.recv(into)
    }

    #[inline]
    fn send(&mut self, leg: Leg, from: Span<'_>) -> Got {
        leg.send(from)
    }

    #[inline]
    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Got {
        leg.peek(into)
    }

    #[inline]
    fn discard(&mut self, leg: Leg, over: Span<'_>) -> Got {
        leg.discard(over)
    }

    #[inline]
    fn send_bytes(&mut self, leg: Leg, from: &[u8]) -> Got {
        leg.send_bytes(from)
    }

    fn is_ending(&mut self, leg: Leg) -> bool {
        leg.is_ending()
    }

    fn shut(&mut self, leg: Leg) {
        // Not connected any more: reading will tell, and there is nobody to send a FIN to.
        let _ = leg.shut();
    }

    fn counts(&mut self, leg: Leg, hint: Hint) -> io::Result<Option<Counts>> {
        kernel::counts(leg, hint)
    }
}

/// What the peer of a leg learns from its close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// A FIN, behind everything that was written.
    Fin,
    /// The same, with care that bytes of the peer's that nobody reads do not destroy it.
    Parting,
    /// A reset, but not at the price of what is still under way.
    Reset,
}

impl Farewell {
    /// What goes with a reason, by side.
    pub(super) fn of(close: Close) -> [Farewell; 2] {
        match close {
            // The culprit is told by an alert, which must arrive.
            Close::ClientTls => [Farewell::Parting, Farewell::Reset],
            Close::UpstreamTls => [Farewell::Reset, Farewell::Parting],
            _ if close.resets() => [Farewell::Reset; 2],
            Close::Drained => [Farewell::Parting; 2],
            _ => [Farewell::Fin; 2],
        }
    }
}

/// Closes a leg if it still is the socket with this cookie: numbers are used again, cookies are
/// not.
pub(super) fn close(leg: Leg, cookie: u64, farewell: Farewell, scratch: Span<'_>) -> bool {
    if leg.cookie().ok() != Some(cookie) {
        return false;
    }
    if farewell == Farewell::Parting {
        part(leg, scratch);
    }
    if farewell == Farewell::Reset {
        if kernel::has_unsent(leg) {
            part(leg, scratch);
        } else {
            // A failure makes it a FIN.
            let _ = leg.reset_on_close();
        }
    }
    leg.into_owned().is_some()
}

/// Sends the FIN and throws away what has come: unread bytes would turn the close into a reset that
/// destroys what is unsent.
fn part(leg: Leg, scratch: Span<'_>) {
    let _ = leg.shut();
    for _ in 0..DISCARDS_MAX {
        match leg.recv(scratch) {
            Got::Bytes(bytes) if bytes > 0 => {}
            _ => return,
        }
    }
}

/// Scratches thrown away at most before a close.
const DISCARDS_MAX: u32 = 16;
