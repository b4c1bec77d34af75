//! What a tunnel must bring next, byte by byte.
//!
//! A pure machine: the answer to message `m` is one unmasked frame that is known beforehand, header
//! included, so nothing is parsed and nothing is collected. Called by `client`.
//!
//! ```text
//! Messages --0x88 at a frame boundary, if a Close was sent--> Closing --4 bytes--> Closed
//! ```

use super::fault::Fault;
use crate::frame::{BINARY, CLOSE, Header};
use crate::pattern::Pattern;

/// The Close frame that the echo sends back: status 1000 (RFC 6455, 7.4.1).
const CLOSE_FRAME: [u8; 4] = [CLOSE, 2, 3, 232];

/// Where in the stream of answers we are.
#[derive(Debug)]
pub enum Incoming {
    /// `at` bytes of the frame of `message` have come.
    Messages { message: u64, at: usize },
    /// `at` bytes of the Close frame have come.
    Closing { at: usize },
    /// The Close frame has come: only the end may follow.
    Closed,
}

/// Whether the client has sent its Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It has not: a Close frame would be a wrong byte.
    NotSaid,
    /// It has.
    Said,
}

/// The header that all answers of one load share.
pub struct Expected {
    header: Vec<u8>,
    /// The block from which the payloads are cut.
    pub pattern: Pattern,
}

impl Expected {
    /// For messages of `size` bytes.
    pub fn new(size: usize) -> Self {
        let mut header = Vec::new();
        Header { first: BINARY, length: size as u64, mask: None }.encode(&mut header);
        Expected { header, pattern: Pattern::new(size) }
    }
}

impl Incoming {
    /// Before the first answer.
    pub fn new() -> Self {
        Incoming::Messages { message: 0, at: 0 }
    }

    /// How many messages have come whole; after the Close frame, none are counted any more.
    pub fn messages(&self) -> u64 {
        match self {
            Incoming::Messages { message, .. } => *message,
            Incoming::Closing { .. } | Incoming::Closed => 0,
        }
    }

    /// Compares `bytes`; how many messages they completed.
    pub fn take(
        &mut self,
        tunnel: u32,
        mut bytes: &[u8],
        farewell: Farewell,
        expected: &Expected,
    ) -> Result<u32, Fault> {
        let mut completed = 0;
        while let Some(&first) = bytes.first() {
            match self {
                Incoming::Messages { at: 0, .. }
                    if first == CLOSE && farewell == Farewell::Said =>
                {
                    *self = Incoming::Closing { at: 0 };
                }
                Incoming::Messages { message, at } => {
                    let (header, place) =
                        (&expected.header[..], Place { tunnel, message: *message, at: *at });
                    if *at < header.len() {
                        compare(&mut bytes, header, at, place)?;
                        continue;
                    }
                    let payload = expected.pattern.payload(tunnel, *message);
                    let mut inside = *at - header.len();
                    compare(&mut bytes, payload, &mut inside, place)?;
                    *at = header.len() + inside;
                    if inside == payload.len() {
                        (*message, *at) = (*message + 1, 0);
                        completed += 1;
                    }
                }
                Incoming::Closing { at } => {
                    let place = Place { tunnel, message: 0, at: *at };
                    compare(&mut bytes, &CLOSE_FRAME, at, place)?;
                    if *at == CLOSE_FRAME.len() {
                        *self = Incoming::Closed;
                    }
                }
                Incoming::Closed => return Err(Fault::TooMany { tunnel }),
            }
        }
        Ok(completed)
    }
}

/// Where a comparison begins, for the complaint.
struct Place {
    tunnel: u32,
    message: u64,
    at: usize,
}

/// Compares the beginning of `bytes` with `whole` from `at` on, and moves both forward.
fn compare(bytes: &mut &[u8], whole: &[u8], at: &mut usize, place: Place) -> Result<(), Fault> {
    let wanted = whole.get(*at..).unwrap_or(&[]);
    let count = wanted.len().min(bytes.len());
    let (now, later) = bytes.split_at(count);
    if now != &wanted[..count] {
        let wrong = now.iter().zip(wanted).position(|(found, expected)| found != expected);
        let wrong = wrong.unwrap_or(0);
        return Err(Fault::WrongByte {
            tunnel: place.tunnel,
            message: place.message,
            at: place.at + wrong,
            expected: wanted[wrong],
            found: now[wrong],
        });
    }
    *bytes = later;
    *at += count;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(tunnel: u32, count: u64, expected: &Expected) -> Vec<u8> {
        (0..count)
            .flat_map(|message| {
                [&expected.header[..], expected.pattern.payload(tunnel, message)].concat()
            })
            .collect()
    }

    #[test]
    fn right_answers_pass_wherever_they_are_cut() {
        let expected = Expected::new(200);
        let mut wire = answers(3, 4, &expected);
        wire.extend(CLOSE_FRAME);
        for size in 1..wire.len() {
            let mut incoming = Incoming::new();
            let mut completed = 0;
            for part in wire.chunks(size) {
                completed += incoming.take(3, part, Farewell::Said, &expected).unwrap();
            }
            assert_eq!(completed, 4, "in parts of {size}");
            assert!(matches!(incoming, Incoming::Closed));
            let more = incoming.take(3, &[0], Farewell::Said, &expected);
            assert_eq!(more, Err(Fault::TooMany { tunnel: 3 }));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_at_its_place() {
        let expected = Expected::new(64);
        let wire = answers(1, 2, &expected);
        for byte in 0..wire.len() {
            for bit in 0..8 {
                let mut wrong = wire.clone();
                wrong[byte] ^= 1 << bit;
                let fault = Incoming::new().take(1, &wrong, Farewell::NotSaid, &expected);
                let (message, at) = ((byte / 66) as u64, byte % 66);
                assert_eq!(
                    fault,
                    Err(Fault::WrongByte {
                        tunnel: 1,
                        message,
                        at,
                        expected: wire[byte],
                        found: wrong[byte],
                    })
                );
            }
        }
    }

    #[test]
    fn a_close_that_nobody_asked_for_is_a_wrong_byte() {
        let expected = Expected::new(64);
        let fault = Incoming::new().take(1, &CLOSE_FRAME, Farewell::NotSaid, &expected);
        assert!(matches!(fault, Err(Fault::WrongByte { at: 0, found: CLOSE, .. })));
    }
}
