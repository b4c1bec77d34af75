//! The pure state machine of one tunnel: two pipes in an array, what failed, and the verdict at the
//! end.
//!
//! No descriptor, no clock, no bytes. An idle tunnel has none in private memory: the engine unpacks
//! it from the record's relay word and chunk words, tells it what happened, and packs it again.
//! `engine::turn` drives it.

mod close_frame;
mod frames;
mod pipe;
#[cfg(test)]
pub(crate) mod sim;

pub(crate) use close_frame::CloseFrame;
pub(crate) use frames::Frames;
pub(crate) use pipe::{Pipe, Step};

use crate::{Close, Side};

/// One tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    /// Each named after its source.
    pipes: [Pipe; 2],
    /// Who ended first, in order.
    first_fin: Option<Side>,
    /// Whose connection failed.
    failed: [bool; 2],
    /// Whose FIN the kernel has reported; it may not have been read yet.
    finned: [bool; 2],
    /// The first reason that is not an orderly end.
    failure: Option<Close>,
}

/// How far a tunnel that is being drained has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// A frame is still to be finished, or a Close frame to be sent.
    Speaking,
    /// Both sides have been told; one of them is to answer or to end.
    Listening,
    /// FINs are sent; the peers' are missing.
    Leaving,
}

/// How a connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Reset by the peer, or closed by it while we wrote.
    Reset,
    /// Anything else: timed out, unreachable, not a socket.
    Lost,
    /// Its stream ended without the close_notify that TLS ends with.
    Truncated,
    /// It broke the rules of TLS, or said that we did.
    Tls,
}

impl Relay {
    /// A tunnel in which nothing has happened.
    pub(crate) const fn fresh() -> Relay {
        Relay {
            pipes: [Pipe::Open; 2],
            first_fin: None,
            failed: [false; 2],
            finned: [false; 2],
            failure: None,
        }
    }

    /// The tunnel that `pack` wrote; `kept` tells for which sources the record names a chunk.
    /// `None` if no relay writes this.
    #[inline]
    pub(crate) fn unpack(word: u32, kept: [bool; 2]) -> Option<Relay> {
        if word == 0 {
            // Most tunnels, most of the time.
            let pipe = |kept: bool| if kept { Pipe::Held } else { Pipe::Open };
            return Some(Relay { pipes: [pipe(kept[0]), pipe(kept[1])], ..Relay::fresh() });
        }
        Relay::unpack_any(word, kept)
    }

    fn unpack_any(word: u32, kept: [bool; 2]) -> Option<Relay> {
        let code = (word >> FAILURE_SHIFT) as u8;
        let failure = if code == 0 { None } else { Some(Close::from_code(code)?) };
        let first_fin = match word >> FIRST_FIN_SHIFT & 3 {
            0 => None,
            1 => Some(Side::Client),
            2 => Some(Side::Upstream),
            _ => return None,
        };
        let flag = |bit: u32| word >> bit & 1 != 0;
        let pipe = |source: Side| {
            let low = word >> (2 * source.index()) & 3;
            let high = word >> (PARTING_SHIFT + source.index() as u32) & 1;
            unpack_pipe(high << 2 | low, kept[source])
        };
        Some(Relay {
            pipes: [pipe(Side::Client)?, pipe(Side::Upstream)?],
            first_fin,
            failed: [flag(FAILED_SHIFT), flag(FAILED_SHIFT + 1)],
            finned: [flag(FINNED_SHIFT), flag(FINNED_SHIFT + 1)],
            failure,
        })
        .filter(|relay| relay.pack() == word)
    }

    /// Whether the word says that what comes from `source` is passed on.
    pub(crate) fn passes(word: u32, source: Side) -> bool {
        let at = source.index() as u32;
        word >> (2 * at) & 3 == 0 && word >> (PARTING_SHIFT + at) & 1 == 0
    }

    /// Everything but whether bytes are kept, which the chunk words alone tell.
    pub(crate) fn pack(&self) -> u32 {
        let flag = |set: bool, bit: u32| u32::from(set) << bit;
        let fin = self.first_fin.map_or(0, |side| side.index() as u32 + 1);
        let pipe = |source: Side| {
            let code = pack_pipe(self.pipes[source]);
            let at = source.index() as u32;
            (code & 3) << (2 * at) | (code >> 2) << (PARTING_SHIFT + at)
        };
        pipe(Side::Client)
            | pipe(Side::Upstream)
            | fin << FIRST_FIN_SHIFT
            | flag(self.failed[Side::Client], FAILED_SHIFT)
            | flag(self.failed[Side::Upstream], FAILED_SHIFT + 1)
            | flag(self.finned[Side::Client], FINNED_SHIFT)
            | flag(self.finned[Side::Upstream], FINNED_SHIFT + 1)
            | u32::from(self.failure.map_or(0, Close::code)) << FAILURE_SHIFT
    }

    #[inline]
    pub(crate) fn pipe(&self, source: Side) -> Pipe {
        self.pipes[source]
    }

    pub(crate) fn has_failed(&self, side: Side) -> bool {
        self.failed[side]
    }

    #[inline]
    pub(crate) fn has_finned(&self, side: Side) -> bool {
        self.finned[side]
    }

    /// The kernel reported the FIN of `side`.
    pub(crate) fn handle_finned(&mut self, side: Side) {
        self.finned[side] = true;
    }

    /// The sink did not take all that was read from `source`.
    pub(crate) fn handle_held(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].held();
    }

    /// The sink took all that was kept.
    pub(crate) fn handle_flushed(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].flushed();
    }

    /// Reading from `source` gave its end. After a failed write the kernel says the same: that is
    /// no FIN.
    pub(crate) fn handle_end(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].ended();
        if !self.failed[source] {
            self.first_fin.get_or_insert(source);
        }
    }

    /// A drain begins: the tunnel ends for this reason, and politely.
    pub(crate) fn handle_drain(&mut self) {
        self.handle_close(Close::Drained);
    }

    /// Nothing more of `source` is passed on: a Close frame takes its place in front of the sink.
    pub(crate) fn handle_sealed(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].sealed();
    }

    /// The Close frame was sent completely.
    pub(crate) fn handle_bidden(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].bidden();
    }

    /// The sink gets our FIN, although the source has not ended.
    pub(crate) fn handle_left(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].left();
    }

    /// The FIN of `source` was passed on.
    pub(crate) fn handle_shut(&mut self, source: Side) {
        self.pipes[source] = self.pipes[source].shut();
    }

    /// Reading from `source` failed: it neither gives nor takes any more.
    pub(crate) fn handle_source_failed(&mut self, source: Side, fault: Fault) {
        self.fail(source, fault);
        self.pipes = self.pipes.map(Pipe::broken);
    }

    /// Writing what came from `source` failed. The sink may still have something to give, so that
    /// the other direction goes on to its end.
    pub(crate) fn handle_sink_failed(&mut self, source: Side, fault: Fault) {
        self.fail(source.other(), fault);
        self.pipes[source] = self.pipes[source].broken();
    }

    /// Ends it for a reason from outside: a timer, the operator. The first reason wins.
    pub(crate) fn handle_close(&mut self, close: Close) {
        self.failure.get_or_insert(close);
    }

    /// Nothing moves any more, for a reason that is neither side's.
    pub(crate) fn handle_given_up(&mut self, close: Close) {
        self.handle_close(close);
        self.pipes = self.pipes.map(Pipe::broken);
    }

    /// Whether it is being drained.
    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.failure == Some(Close::Drained)
    }

    /// Whether anything but an orderly end has been noted.
    pub(crate) fn has_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// How far a drain has come.
    pub(crate) fn parting(&self) -> Parting {
        let any = |wanted: &[Pipe]| self.pipes.iter().any(|pipe| wanted.contains(pipe));
        if any(&[Pipe::Open, Pipe::Held, Pipe::Ending, Pipe::Sealed]) {
            Parting::Speaking
        } else if any(&[Pipe::Bidden]) {
            Parting::Listening
        } else {
            Parting::Leaving
        }
    }

    /// The reason, once nothing can move any more.
    #[inline]
    pub(crate) fn verdict(&self) -> Option<Close> {
        let over = self.pipes.iter().all(|pipe| pipe.step() == Step::Over);
        over.then(|| self.reason())
    }

    /// The reason if it ended now.
    pub(crate) fn reason(&self) -> Close {
        self.failure.unwrap_or(Close::closed(self.first_fin.unwrap_or(Side::Client)))
    }

    /// Whether one direction is over, or one leg has failed: the fin timer runs.
    pub(crate) fn is_half(&self) -> bool {
        self.first_fin.is_some() || self.failed.contains(&true)
    }

    fn fail(&mut self, side: Side, fault: Fault) {
        self.failed[side] = true;
        self.failure.get_or_insert(match fault {
            Fault::Reset => Close::reset(side),
            Fault::Lost => Close::lost(side),
            Fault::Truncated => Close::truncated(side),
            Fault::Tls => Close::tls(side),
        });
    }
}

fn pack_pipe(pipe: Pipe) -> u32 {
    match pipe {
        Pipe::Open | Pipe::Held => 0,
        Pipe::Ending => 1,
        Pipe::Ended => 2,
        Pipe::Broken => 3,
        Pipe::Sealed => 4,
        Pipe::Bidden => 5,
        Pipe::Leaving => 6,
        Pipe::Left => 7,
    }
}

/// A pipe that passes nothing on any more may still have its chunk, for the moment between two
/// stores; an ended one may not.
#[inline]
fn unpack_pipe(bits: u32, kept: bool) -> Option<Pipe> {
    match (bits, kept) {
        (0, false) => Some(Pipe::Open),
        (0, true) => Some(Pipe::Held),
        (1, false) => Some(Pipe::Ending),
        (2, false) => Some(Pipe::Ended),
        (3, _) => Some(Pipe::Broken),
        (4, _) => Some(Pipe::Sealed),
        (5, false) => Some(Pipe::Bidden),
        (6, _) => Some(Pipe::Leaving),
        (7, false) => Some(Pipe::Left),
        _ => None,
    }
}

const FIRST_FIN_SHIFT: u32 = 4;
const FAILED_SHIFT: u32 = 6;
const FINNED_SHIFT: u32 = 8;
/// The third bit of each pipe's code.
const PARTING_SHIFT: u32 = 10;
const FAILURE_SHIFT: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_in_order_name_the_first() {
        for first in Side::BOTH {
            let mut relay = Relay::fresh();
            for source in [first, first.other()] {
                assert_eq!(relay.verdict(), None);
                relay.handle_end(source);
                assert_eq!(relay.pipe(source).step(), Step::Shut);
                relay.handle_shut(source);
            }
            assert_eq!(relay.verdict(), Some(Close::closed(first)));
        }
    }

    #[test]
    fn a_failed_sink_still_gives_what_it_had() {
        let mut relay = Relay::fresh();
        relay.handle_sink_failed(Side::Upstream, Fault::Reset);
        assert_eq!(relay.pipe(Side::Upstream), Pipe::Broken);
        assert_eq!((relay.pipe(Side::Client).step(), relay.verdict()), (Step::Read, None));
        relay.handle_end(Side::Client);
        relay.handle_shut(Side::Client);
        assert_eq!(relay.verdict(), Some(Close::ClientReset));
    }

    #[test]
    fn the_first_failure_wins_over_later_ones_and_over_orderly_ends() {
        let mut relay = Relay::fresh();
        relay.handle_end(Side::Client);
        relay.handle_shut(Side::Client);
        relay.handle_source_failed(Side::Upstream, Fault::Lost);
        relay.handle_close(Close::Operator);
        assert_eq!(relay.verdict(), Some(Close::UpstreamLost));
    }

    #[test]
    fn a_drain_speaks_then_listens_then_leaves() {
        let mut relay = Relay::fresh();
        relay.handle_drain();
        for source in Side::BOTH {
            assert_eq!(relay.parting(), Parting::Speaking);
            relay.handle_sealed(source);
            assert_eq!(relay.pipe(source).step(), Step::Bid);
            relay.handle_bidden(source);
        }
        assert_eq!((relay.parting(), relay.verdict()), (Parting::Listening, None));
        relay.handle_left(Side::Client);
        assert_eq!(
            (relay.parting(), relay.pipe(Side::Client).step()),
            (Parting::Listening, Step::Shut)
        );
        relay.handle_shut(Side::Client);
        // The upstream's FIN is passed on at once.
        relay.handle_end(Side::Upstream);
        relay.handle_shut(Side::Upstream);
        assert_eq!(
            (relay.parting(), relay.pipe(Side::Client).step()),
            (Parting::Leaving, Step::Drop)
        );
        relay.handle_end(Side::Client);
        assert_eq!(relay.verdict(), Some(Close::Drained));
    }

    #[test]
    fn every_word_is_either_refused_or_the_same_again() {
        for low in 0..1 << 12 {
            for code in [0, 1, Close::ALL.len() as u32, 255] {
                for kept in [[false, false], [true, false], [true, true]] {
                    let word = low | code << FAILURE_SHIFT;
                    if let Some(relay) = Relay::unpack(word, kept) {
                        assert_eq!(relay.pack(), word);
                    }
                }
            }
        }
        assert_eq!(Relay::unpack(1 << 31, [false; 2]), None);
        assert_eq!(Relay::unpack(1, [true, false]), None);
    }
}
