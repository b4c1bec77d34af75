//! What a tunnel does with its life: when each of its two ways may go on.
//!
//! Not how bytes are moved. Called by `tunnel` after each progress and at each tick of the clock.

use std::time::{Duration, Instant};

use super::Side;
use super::chance::Chance;
use super::way::{End, Reader, Way};

/// The kinds of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, until the end.
    Quiet,
    /// A frame each millisecond from both sides, by the clock: these see pauses.
    Ticker,
    /// One message in flight, there and back: these see lost events.
    Message,
    /// Both sides send without a break.
    Bulk,
    /// One side sends, the other lets it lie for a while; then the other way round.
    Blocked,
    /// One side ends early, the other goes on; then a new tunnel.
    Half,
    /// A message there and back, the end; then a new tunnel.
    Churn,
}

/// A kind, and where in its life the tunnel is.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    Quiet,
    Ticker {
        next: Instant,
    },
    Message {
        next: Instant,
    },
    Bulk {
        next: Instant,
    },
    Blocked {
        source: Side,
        stage: Stage,
    },
    Half {
        first: Side,
        left: u32,
        next: Instant,
    },
    Churn,
    /// Whatever it was: a last message from each side, and the end.
    Last,
}

/// What a blocked tunnel waits for.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// The moment at which the receiver wakes up.
    Lying { until: Instant },
    /// All that was sent.
    Clearing,
}

impl Kind {
    /// Every kind.
    #[cfg(test)]
    pub const ALL: [Kind; 7] = [
        Kind::Quiet,
        Kind::Ticker,
        Kind::Message,
        Kind::Bulk,
        Kind::Blocked,
        Kind::Half,
        Kind::Churn,
    ];

    /// How long the payload of a frame is, in bytes.
    pub fn size(self) -> usize {
        match self {
            Kind::Ticker => 16,
            Kind::Quiet | Kind::Churn => 64,
            Kind::Message => 200,
            Kind::Half => 3000,
            Kind::Bulk | Kind::Blocked => 16 * 1024,
        }
    }

    /// Whether a tunnel that has ended as it should is followed by another.
    pub fn begins_again(self) -> bool {
        matches!(self, Kind::Half | Kind::Churn)
    }

    /// Whether nothing happens unless the clock moves.
    pub fn is_quiet(self) -> bool {
        self == Kind::Quiet
    }
}

impl Role {
    /// The beginning of a life. `ways` are new.
    pub fn begin(kind: Kind, ways: &mut [Way; 2], chance: &mut Chance, now: Instant) -> Role {
        match kind {
            Kind::Quiet => Role::Quiet,
            Kind::Ticker => Role::Ticker { next: now },
            Kind::Message => Role::Message { next: now },
            Kind::Bulk => Role::Bulk { next: now },
            Kind::Blocked => {
                let source = chance.side();
                Role::Blocked { source, stage: lie(&mut ways[source.index()], chance, now) }
            }
            Kind::Half => {
                // Often nothing at all, often more than all buffers on the way hold.
                let first = chance.side();
                let way = &mut ways[first.index()];
                way.credit = chance.below(HALF_MAX).saturating_sub(HALF_MAX / 8);
                way.end();
                Role::Half { first, left: 1 + chance.below(HALF_PIECES_MAX) as u32, next: now }
            }
            Kind::Churn => {
                ways[Side::Client.index()].allow_frame();
                Role::Churn
            }
        }
    }

    /// Allows what is due by `now`.
    pub fn drive(&mut self, ways: &mut [Way; 2], chance: &mut Chance, now: Instant) {
        match self {
            Role::Quiet | Role::Last => {}
            Role::Ticker { next } => {
                while *next <= now {
                    ways.iter_mut().for_each(|way| way.allow_tick(*next));
                    *next += TICK;
                }
            }
            Role::Message { next } => drive_message(ways, next, now),
            Role::Bulk { next } => {
                while *next <= now {
                    *next += TICK;
                    let more =
                        |way: &mut Way| (way.credit + BULK_PER_TICK).min(way.got + BULK_WINDOW);
                    ways.iter_mut().for_each(|way| way.credit = more(way).max(way.sent));
                }
            }
            Role::Blocked { source, stage } => match *stage {
                Stage::Lying { until } if now < until => {}
                Stage::Lying { .. } => {
                    let way = &mut ways[source.index()];
                    way.credit = way.sent;
                    way.reader = Reader::Reads;
                    *stage = Stage::Clearing;
                }
                Stage::Clearing if ways[source.index()].is_quiet() => {
                    *source = source.other();
                    *stage = lie(&mut ways[source.index()], chance, now);
                }
                Stage::Clearing => {}
            },
            Role::Half { first, left, next } => {
                let other = &mut ways[first.other().index()];
                if *left == 0 {
                    other.end();
                } else if *next <= now {
                    other.allow_frame();
                    *left -= 1;
                    *next = now + HALF_PACE;
                }
            }
            Role::Churn => {
                let [client, upstream] = ways;
                if client.got > 0 && client.is_quiet() && upstream.end == End::Open {
                    upstream.allow_frame();
                    upstream.end();
                }
                if upstream.end == End::Arrived {
                    client.end();
                }
            }
        }
    }

    /// Changes to the last part of every life.
    pub fn finish(&mut self, ways: &mut [Way; 2]) {
        *self = Role::Last;
        for way in ways {
            way.reader = Reader::Reads;
            if way.end == End::Open {
                // What was allowed and not sent yet is let go.
                way.credit = way.sent;
                way.allow_frame();
                way.end();
            }
        }
    }
}

/// The answer goes when the question is there, the next question when the answer is.
fn drive_message(ways: &mut [Way; 2], next: &mut Instant, now: Instant) {
    let [client, upstream] = ways;
    if !client.is_quiet() || !upstream.is_quiet() {
        return;
    }
    let questions = client.got / client.course.frame();
    let answers = upstream.got / upstream.course.frame();
    if answers < questions {
        upstream.allow_frame();
    } else if *next <= now {
        client.allow_frame();
        *next = now + MESSAGE_PACE;
    }
}

/// Lets the receiver rest while much is sent.
fn lie(way: &mut Way, chance: &mut Chance, now: Instant) -> Stage {
    way.reader = Reader::Rests;
    way.credit = way.sent + BLOCKED_BYTES;
    Stage::Lying { until: now + LYING_MIN + Duration::from_millis(chance.below(LYING_MS)) }
}

/// The socket buffers of a blocked tunnel's peers, in bytes, so that little is enough to block it.
pub const BLOCKED_BUFFER: usize = 32 * 1024;

const TICK: Duration = Duration::from_millis(1);
/// A tunnel of messages asks so often at most.
const MESSAGE_PACE: Duration = Duration::from_millis(100);
/// So much of a bulk way is on its way, in bytes: both sockets' buffers and the proxy's chunk.
const BULK_WINDOW: u64 = 512 * 1024;
/// And so much is added each millisecond: 4 MB a second, so that twenty leave room for the rest.
const BULK_PER_TICK: u64 = 4 * 1024;
/// More than the buffers of all four sockets take, with [`BLOCKED_BUFFER`] on our side, in bytes.
const BLOCKED_BYTES: u64 = 2 * 1024 * 1024;
const LYING_MIN: Duration = Duration::from_millis(200);
const LYING_MS: u64 = 1600;
/// What the side that ends first sends at most, in bytes.
const HALF_MAX: u64 = 800_000;
/// How many pieces the other side sends at most, and how often.
const HALF_PIECES_MAX: u64 = 60;
const HALF_PACE: Duration = Duration::from_millis(3);
