//! One direction of a tunnel: how far it may go, how far it was sent, how far it has arrived.
//!
//! Not the sockets: `tunnel` moves the bytes and tells. Called by `tunnel` and `role`.
//!
//! ```text
//! Open --end()--> Wanted --all sent, FIN sent--> Sent --end of stream read--> Arrived
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::course::Course;

/// How many ticks of one way may be on their way. With one each millisecond that is 16 s: longer
/// than any stall that is not a fault.
const DUES_MAX: usize = 16_384;

/// One direction.
#[derive(Debug)]
pub struct Way {
    /// What its bytes are.
    pub course: Course,
    /// So far it may be sent.
    pub credit: u64,
    /// So far it was sent.
    pub sent: u64,
    /// So far it has arrived, and was right.
    pub got: u64,
    /// Whether and how it ends.
    pub end: End,
    /// Whether its receiver reads.
    pub reader: Reader,
    /// When it last made progress, or had nothing to do.
    since: Instant,
    /// When each tick that is on its way should have left.
    dues: VecDeque<Instant>,
}

/// Where the end of a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is not thought of.
    Open,
    /// It follows what may be sent.
    Wanted,
    /// The FIN was sent.
    Sent,
    /// It was seen on the other side.
    Arrived,
}

/// What the receiver of a direction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It takes what comes.
    Reads,
    /// It lets everything lie.
    Rests,
}

impl Way {
    /// Nothing may be sent yet.
    pub fn new(course: Course, now: Instant) -> Way {
        Way {
            course,
            credit: 0,
            sent: 0,
            got: 0,
            end: End::Open,
            reader: Reader::Reads,
            since: now,
            dues: VecDeque::new(),
        }
    }

    /// The tunnel is open from now on.
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// Allows one more frame.
    pub fn allow_frame(&mut self) {
        self.credit += self.course.frame();
    }

    /// Allows a tick that should leave at `due`.
    pub fn allow_tick(&mut self, due: Instant) {
        if self.dues.len() < DUES_MAX {
            self.dues.push_back(due);
            self.allow_frame();
        }
    }

    /// Lets it end behind what may be sent.
    pub fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::Wanted;
        }
    }

    /// Nothing is to be sent and nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.got == self.credit
    }

    /// Notes that `count` more bytes have arrived, and how late the latest whole tick among them
    /// was.
    pub fn note_arrival(&mut self, count: u64, now: Instant) -> Option<Duration> {
        self.since = now;
        let frame = self.course.frame();
        let frames = (self.got + count) / frame - self.got / frame;
        self.got += count;
        let ticks = (0..frames).filter_map(|_| self.dues.pop_front());
        ticks.map(|due| now.saturating_duration_since(due)).max()
    }

    /// Notes that its end has arrived.
    pub fn note_end(&mut self, now: Instant) {
        self.since = now;
        self.end = End::Arrived;
    }

    /// For how long it has made no progress though it should; zero if it need not.
    pub fn stalled(&mut self, now: Instant) -> Duration {
        let owes = self.got < self.credit || matches!(self.end, End::Wanted | End::Sent);
        if !owes || self.reader == Reader::Rests {
            self.since = now;
        }
        now.saturating_duration_since(self.since)
    }

    /// How long the oldest tick has been on its way.
    pub fn oldest_tick(&self, now: Instant) -> Option<Duration> {
        self.dues.front().map(|due| now.saturating_duration_since(*due))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::*;

    #[test]
    fn a_tick_is_as_late_as_its_last_byte() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut way = Way::new(Course::new(1, Side::Upstream, 16), begun);
        (0..3).for_each(|ms| way.allow_tick(at(ms)));
        assert_eq!(way.credit, 3 * 18);
        assert_eq!(way.note_arrival(17, at(5)), None);
        assert_eq!(way.note_arrival(1, at(6)), Some(Duration::from_millis(6)));
        assert_eq!(way.oldest_tick(at(11)), Some(Duration::from_millis(10)));
        assert_eq!(way.note_arrival(36, at(21)), Some(Duration::from_millis(20)));
        assert_eq!(way.oldest_tick(at(30)), None);
    }

    #[test]
    fn only_what_owes_something_stalls() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut way = Way::new(Course::new(1, Side::Client, 16), begun);
        assert_eq!(way.stalled(at(100)), Duration::ZERO);
        way.allow_frame();
        assert_eq!(way.stalled(at(150)), Duration::from_millis(50));
        way.reader = Reader::Rests;
        assert_eq!(way.stalled(at(200)), Duration::ZERO);
        way.reader = Reader::Reads;
        way.note_arrival(way.credit, at(250));
        assert_eq!(way.stalled(at(300)), Duration::ZERO);
        way.end();
        assert_eq!(way.stalled(at(400)), Duration::from_millis(100));
        way.note_end(at(400));
        assert_eq!(way.stalled(at(500)), Duration::ZERO);
    }

    #[test]
    fn ticks_on_their_way_have_a_limit() {
        let now = Instant::now();
        let mut way = Way::new(Course::new(1, Side::Client, 16), now);
        (0..2 * DUES_MAX).for_each(|_| way.allow_tick(now));
        assert_eq!(way.credit, DUES_MAX as u64 * way.course.frame());
    }
}
