//! The body of a request: read whole, read piece by piece, or thrown away.

use super::serve::{Client, has_body};
use crate::channel::{ChannelFault, Read};
use crate::error_log;
use crate::h1::{BodyFraming, Chunk, ChunkedDecoder};
use crate::modules::error_log::Severity;
use crate::request::{Body, Request};
use crate::temp_file;
use bytes::{Bytes, BytesMut};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How much is read from a client at once.
const READ_SIZE: usize = 16 * 1024;

/// Why a body could not be read; the status is what nginx answers or logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// It is longer than `client_max_body_size`.
    TooLarge,
    /// Its chunks are malformed.
    Malformed,
    TimedOut,
    /// The client closed or broke the connection.
    ClientGone,
    /// It could not be written to its file.
    Disk,
}

impl BodyFault {
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Malformed | Self::ClientGone => 400,
            Self::TimedOut => 408,
            Self::Disk => 500,
        }
    }
}

/// Cuts a body out of what a client sends.
pub enum Cutter {
    Length { left: u64 },
    Chunked(Box<ChunkedDecoder>),
    Done,
}

/// What the bytes so far give.
pub enum Cut {
    Data(Bytes),
    /// More must be read.
    More,
    End,
}

impl Cutter {
    pub fn new(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None | BodyFraming::Length(0) => Self::Done,
            BodyFraming::Length(left) => Self::Length { left },
            BodyFraming::Chunked => Self::Chunked(Box::new(ChunkedDecoder::new())),
        }
    }

    /// Takes the next piece out of `buffer`.
    pub fn cut(&mut self, buffer: &mut BytesMut) -> Result<Cut, BodyFault> {
        match self {
            Self::Done => Ok(Cut::End),
            Self::Length { left } => {
                if buffer.is_empty() {
                    return Ok(Cut::More);
                }
                let count = (*left).min(buffer.len() as u64);
                *left -= count;
                let data = buffer.split_to(count as usize).freeze();
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Cut::Data(data))
            }
            Self::Chunked(decoder) => {
                let chunk = decoder.decode(buffer).map_err(|_| BodyFault::Malformed)?;
                match chunk {
                    Chunk::More { consumed } => {
                        let _ = buffer.split_to(consumed);
                        Ok(Cut::More)
                    }
                    Chunk::Data { start, end, consumed } => {
                        let mut piece = buffer.split_to(consumed);
                        let _ = piece.split_to(start);
                        piece.truncate(end - start);
                        Ok(Cut::Data(piece.freeze()))
                    }
                    Chunk::End { consumed } => {
                        let _ = buffer.split_to(consumed);
                        *self = Self::Done;
                        Ok(Cut::End)
                    }
                }
            }
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Tells a client that waits for it to go on (RFC 9110, 10.1.1).
pub async fn invite(client: &mut Client, request: &mut Request) -> Result<(), BodyFault> {
    if !std::mem::take(&mut request.expects_continue) {
        return Ok(());
    }
    let limit = Duration::from_millis(request.location.core.send_timeout.0);
    let text = b"HTTP/1.1 100 Continue\r\n\r\n";
    client.channel.write_all(text, limit).await.map_err(|_| BodyFault::ClientGone)
}

/// Reads the next piece of a body; `None` is its end.
pub async fn next(
    client: &mut Client,
    request: &mut Request,
    cutter: &mut Cutter,
) -> Result<Option<Bytes>, BodyFault> {
    let limit = Duration::from_millis(request.location.core.client_body_timeout.0);
    let max = request.location.core.client_max_body_size.0;
    loop {
        match cut(client, request, cutter)? {
            Cut::End => return Ok(None),
            Cut::Data(data) => {
                check_size(request, max, data.len() as u64)?;
                return Ok(Some(data));
            }
            Cut::More => {}
        }
        match client.channel.read(&mut client.buffer, READ_SIZE, limit).await {
            Ok(Read::Bytes(_)) => {}
            Ok(Read::Closed) => {
                error_log::request(request, Severity::Info, "client prematurely closed connection");
                return Err(BodyFault::ClientGone);
            }
            Err(ChannelFault::Io(_)) => return Err(BodyFault::ClientGone),
            Err(ChannelFault::TimedOut) => return Err(BodyFault::TimedOut),
        }
    }
}

/// Takes the next piece out of what the client has sent, and counts it for `$request_length`.
pub fn cut(
    client: &mut Client,
    request: &mut Request,
    cutter: &mut Cutter,
) -> Result<Cut, BodyFault> {
    let before = client.buffer.len();
    let piece = cutter.cut(&mut client.buffer);
    request.body_bytes_read += (before - client.buffer.len()) as u64;
    if piece.as_ref().is_err_and(|fault| *fault == BodyFault::Malformed) {
        // nginx counts a body only when it has understood it.
        request.body_bytes_read = 0;
        error_log::request(request, Severity::Error, INVALID_CHUNKS);
    }
    piece
}

/// Counts a piece of the decoded body against `client_max_body_size`.
pub fn check_size(request: &mut Request, max: u64, piece: u64) -> Result<(), BodyFault> {
    let before = request.body_length;
    request.body_length += piece;
    if max == 0 || request.body_length <= max {
        return Ok(());
    }
    let message = format!("client intended to send too large chunked body: {before}+{piece} bytes");
    error_log::request(request, Severity::Error, &message);
    Err(BodyFault::TooLarge)
}

/// Reads the whole body: into memory up to `client_body_buffer_size`, then into a file.
pub async fn read_all(client: &mut Client, request: &mut Request) -> Result<(), BodyFault> {
    // nginx invites a client that asks for it also when it has announced no body.
    invite(client, request).await?;
    if !has_body(request) {
        return Ok(());
    }
    let mut cutter = Cutter::new(request.framing);
    let memory_max = request.location.core.client_body_buffer_size.0 as usize;
    let mut memory = BytesMut::new();
    let mut file: Option<(std::fs::File, u64)> = None;
    while let Some(data) = next(client, request, &mut cutter).await? {
        if file.is_none() && memory.len() + data.len() > memory_max {
            file = Some((temporary(request)?, 0));
        }
        match &mut file {
            None => memory.extend_from_slice(&data),
            Some((file, length)) => {
                // What was in memory goes first.
                for piece in [std::mem::take(&mut memory).freeze(), data] {
                    file.write_all_at(&piece, *length).map_err(|error| disk(request, &error))?;
                    *length += piece.len() as u64;
                }
            }
        }
    }
    request.body = match file {
        Some((file, length)) => Body::File { file, length },
        None => Body::Memory(memory.freeze()),
    };
    Ok(())
}

fn temporary(request: &Request) -> Result<std::fs::File, BodyFault> {
    let file = temp_file::create(&request.location.temp_body);
    let file = file.map_err(|error| disk(request, &error))?;
    error_log::request(
        request,
        Severity::Warn,
        "a client request body is buffered to a temporary file",
    );
    Ok(file)
}

fn disk(request: &Request, error: &std::io::Error) -> BodyFault {
    error_log::request(
        request,
        Severity::Crit,
        &format!("pwrite() of a request body failed ({})", crate::errno_text(error)),
    );
    BodyFault::Disk
}

/// What became of the rest of a body that nobody wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discarded {
    /// It is gone; the next request can be read.
    Whole,
    /// It did not end in time or was malformed: the connection cannot go on.
    Cut,
}

/// A body that nobody wants, thrown away so that the connection can be used again.
pub enum Unwanted {
    Readable(Cutter),
    /// Where it ends cannot be known any more.
    Broken,
}

impl Unwanted {
    /// What is still to be read of a request's body.
    pub fn of(request: &Request) -> Self {
        match request.body {
            Body::Broken => Self::Broken,
            Body::Unread => Self::Readable(Cutter::new(request.framing)),
            Body::Memory(_) | Body::File { .. } => Self::Readable(Cutter::Done),
        }
    }

    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Readable(Cutter::Done))
    }

    /// Throws away what has arrived. nginx does so before it answers, and a body that is malformed
    /// so far is found then.
    pub fn drop_arrived(
        &mut self,
        client: &mut Client,
        request: &mut Request,
    ) -> Result<(), BodyFault> {
        let Self::Readable(cutter) = self else {
            return Ok(());
        };
        loop {
            match cutter.cut(&mut client.buffer) {
                Ok(Cut::Data(_)) => {}
                Ok(Cut::More | Cut::End) => return Ok(()),
                Err(fault) => {
                    error_log::request(request, Severity::Error, INVALID_CHUNKS);
                    *self = Self::Broken;
                    request.body = Body::Broken;
                    request.keepalive = false;
                    return Err(fault);
                }
            }
        }
    }

    /// Reads and throws away the rest.
    pub async fn discard(self, client: &mut Client, request: &Request) -> Discarded {
        let Self::Readable(mut cutter) = self else {
            return Discarded::Cut;
        };
        let core = &request.location.core;
        let pause = Duration::from_millis(core.lingering_timeout.0);
        let deadline = Instant::now() + Duration::from_millis(core.lingering_time.0);
        while !cutter.is_done() {
            match cutter.cut(&mut client.buffer) {
                Ok(Cut::End | Cut::Data(_)) => continue,
                Ok(Cut::More) => {}
                Err(_) => return Discarded::Cut,
            }
            let left = deadline.saturating_duration_since(Instant::now()).min(pause);
            match client.channel.read(&mut client.buffer, READ_SIZE, left).await {
                Ok(Read::Bytes(_)) => {}
                _ => return Discarded::Cut,
            }
        }
        Discarded::Whole
    }
}

const INVALID_CHUNKS: &str = "client sent invalid chunked body";

/// How long an ending connection is read from at most, and between two reads: nginx's
/// `lingering_time` and `lingering_timeout`.
const LINGER: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(5));

/// Closes the sending side and reads until the client closes too, so that bytes under way do not
/// make the kernel answer with a reset that destroys the response.
pub async fn linger(mut client: Box<Client>) {
    client.channel.shutdown_write();
    let deadline = Instant::now() + LINGER.0;
    loop {
        client.buffer.clear();
        let left = deadline.saturating_duration_since(Instant::now()).min(LINGER.1);
        match client.channel.read(&mut client.buffer, READ_SIZE, left).await {
            Ok(Read::Bytes(_)) if !left.is_zero() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(
        framing: BodyFraming,
        input: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), BodyFault> {
        let mut cutter = Cutter::new(framing);
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = input.chunks(step);
        loop {
            match cutter.cut(&mut buffer)? {
                Cut::Data(data) => body.extend_from_slice(&data),
                Cut::End => {
                    let mut rest = buffer.to_vec();
                    pieces.for_each(|piece| rest.extend_from_slice(piece));
                    return Ok((body, rest));
                }
                Cut::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Err(BodyFault::ClientGone),
                },
            }
        }
    }

    #[test]
    fn bodies_are_cut_alike_at_every_split() {
        let chunked = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\nGET";
        for step in 1..chunked.len() {
            let cut = whole(BodyFraming::Chunked, chunked, step).unwrap();
            assert_eq!(cut, (b"abcdefg".to_vec(), b"GET".to_vec()), "step {step}");
            let cut = whole(BodyFraming::Length(3), b"abcGET", step).unwrap();
            assert_eq!(cut, (b"abc".to_vec(), b"GET".to_vec()), "step {step}");
        }
        assert_eq!(whole(BodyFraming::Chunked, b"z\r\n", 1), Err(BodyFault::Malformed));
    }
}
