//! The echo itself: masked frames in, the same frames unmasked out, as the bytes arrive.
//!
//! A pure machine: no socket, nothing is collected but a header that is cut in two. Called by
//! `connection`.
//!
//! ```text
//! Header --header whole--> Payload --last byte--> Header
//!                             `--last byte of a Close--> (Flow::End)
//! ```

use crate::frame::{CLOSE, FrameFault, HEADER_SIZE_MAX, Header, PING, PONG, mask};

/// What goes on after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Open,
    /// A Close frame was answered: the server closes now (RFC 6455, 7.1.1).
    End,
}

/// Why the client cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientFault {
    /// Its header is none.
    Frame(FrameFault),
    /// Its frame has no mask (RFC 6455, 5.1).
    NotMasked,
}

/// Where in the client's stream of frames we are.
#[derive(Debug)]
pub enum Frames {
    /// Before a frame, or within its header.
    Header { partial: Vec<u8> },
    /// Within a payload.
    Payload { first: u8, key: [u8; 4], done: u64, length: u64 },
}

impl Frames {
    /// Before the first frame.
    pub fn new() -> Self {
        Frames::Header { partial: Vec::new() }
    }

    /// Takes `input`, which it spoils, and appends the answer to `out`.
    pub fn handle(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Flow, ClientFault> {
        let mut rest = input;
        loop {
            match self {
                Frames::Header { partial } => {
                    let Some((header, used)) = read_header(partial, rest)? else {
                        return Ok(Flow::Open);
                    };
                    rest = &mut rest[used..];
                    *self = begin(header, out)?;
                }
                Frames::Payload { first, key, done, length } => {
                    let count = (*length - *done).min(rest.len() as u64) as usize;
                    let (payload, behind) = rest.split_at_mut(count);
                    mask(payload, *key, *done);
                    out.extend_from_slice(payload);
                    *done += count as u64;
                    rest = behind;
                    if *done < *length {
                        return Ok(Flow::Open);
                    }
                    if *first == CLOSE {
                        return Ok(Flow::End);
                    }
                    *self = Frames::new();
                }
            }
        }
    }
}

/// The header that begins in `partial` and goes on in `rest`, and how many bytes of `rest` it took.
/// Without a whole header all of `rest` moves to `partial`, at most [`HEADER_SIZE_MAX`] - 1 bytes.
fn read_header(partial: &mut Vec<u8>, rest: &[u8]) -> Result<Option<(Header, usize)>, ClientFault> {
    if partial.is_empty()
        && let Some(found) = Header::decode(rest).map_err(ClientFault::Frame)?
    {
        return Ok(Some(found));
    }
    let before = partial.len();
    partial.extend(rest.iter().take(HEADER_SIZE_MAX - before));
    let found = Header::decode(partial).map_err(ClientFault::Frame)?;
    Ok(found.map(|(header, size)| (header, size - before)))
}

fn begin(header: Header, out: &mut Vec<u8>) -> Result<Frames, ClientFault> {
    let key = header.mask.ok_or(ClientFault::NotMasked)?;
    let answer = if header.first == PING { PONG } else { header.first };
    Header { first: answer, length: header.length, mask: None }.encode(out);
    Ok(Frames::Payload { first: header.first, key, done: 0, length: header.length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::BINARY;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [5, 6, 7, 8];
        let mut wire = Vec::new();
        Header { first, length: payload.len() as u64, mask: Some(key) }.encode(&mut wire);
        let start = wire.len();
        wire.extend_from_slice(payload);
        mask(&mut wire[start..], key, 0);
        wire
    }

    #[test]
    fn frames_come_back_unmasked_wherever_they_are_cut() {
        let mut wire = client_frame(BINARY, &[1; 300]);
        wire.extend(client_frame(PING, b"are you there"));
        wire.extend(client_frame(BINARY, b""));
        wire.extend(client_frame(CLOSE, &[3, 232]));
        for size in 1..wire.len() {
            let (mut frames, mut out) = (Frames::new(), Vec::new());
            let mut flow = Flow::Open;
            for part in wire.clone().chunks_mut(size) {
                assert_eq!(flow, Flow::Open);
                flow = frames.handle(part, &mut out).unwrap();
            }
            assert_eq!(flow, Flow::End);
            let mut expected = vec![BINARY, 126, 1, 44];
            expected.extend([1; 300]);
            expected.extend([PONG, 13]);
            expected.extend(b"are you there");
            expected.extend([BINARY, 0, CLOSE, 2, 3, 232]);
            assert_eq!(out, expected, "in parts of {size}");
        }
    }

    #[test]
    fn a_client_without_a_mask_is_refused() {
        let mut out = Vec::new();
        let result = Frames::new().handle(&mut [BINARY, 0], &mut out);
        assert_eq!(result, Err(ClientFault::NotMasked));
    }
}
