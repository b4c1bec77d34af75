//! Sends a response: its head, and its body from memory, a file or an upstream.

use super::coder::{Coder, CodingFault, Taken};
use super::coding::Coding;
use super::head::{self, Framing};
use super::pace::Pace;
use super::serve::Client;
use super::trailers;
use crate::channel::{Channel, ChannelFault};
use crate::error_log;
use crate::h1::{CHUNK_END, chunk_head};
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::response::{Content, Piece, Response};
use bytes::{Buf, BytesMut};
use rustix::fd::AsFd;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use tokio::io::Interest;

/// How the sending of a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Whole,
    /// The client or the body's source broke off.
    Broken,
    /// The client took nothing for `send_timeout`.
    TimedOut,
}

/// Why a response was not sent to its end.
#[derive(Debug)]
pub enum Unsent {
    Channel(ChannelFault),
    /// The body is not what its head says.
    Miscoded(CodingFault),
}

impl From<ChannelFault> for Unsent {
    fn from(fault: ChannelFault) -> Self {
        Self::Channel(fault)
    }
}

impl From<std::io::Error> for Unsent {
    fn from(error: std::io::Error) -> Self {
        Self::Channel(error.into())
    }
}

impl From<CodingFault> for Unsent {
    fn from(fault: CodingFault) -> Self {
        Self::Miscoded(fault)
    }
}

/// A piece of a file up to this size is copied behind what is to be sent, which saves a system
/// call; a larger one is sent by the kernel.
const COPY_MAX: u64 = 16 * 1024;

/// How much of a file that is coded is read at once.
const PIECE: u64 = 64 * 1024;

/// What one `sendfile` moves at most, so that one client does not hold the thread.
const SEND_FILE_MAX: u64 = 1 << 20;

/// Bytes on their way to a client.
pub struct Sending {
    pub out: BytesMut,
    pub framing: Framing,
    /// How much of `out`, from its beginning, is the head.
    head_left: usize,
    pace: Option<Pace>,
    coder: Coder,
    /// Room for what the coder makes.
    coded: Vec<u8>,
}

impl Sending {
    /// Adds a stretch of the body, coded and framed, and says how much of it was taken.
    pub fn body(&mut self, data: &[u8]) -> Result<Taken, CodingFault> {
        if let Coder::Identity = self.coder {
            self.frame(data);
            return Ok(Taken::All);
        }
        self.code(|coder, out| coder.step(data, out))
    }

    /// Says that nothing more of the body comes for a while.
    pub fn pause(&mut self) -> Result<(), CodingFault> {
        match self.coder {
            Coder::Identity => Ok(()),
            _ => self.code(Coder::pause),
        }
    }

    fn code<T>(
        &mut self,
        step: impl FnOnce(&mut Coder, &mut Vec<u8>) -> Result<T, CodingFault>,
    ) -> Result<T, CodingFault> {
        let mut coded = std::mem::take(&mut self.coded);
        coded.clear();
        let done = step(&mut self.coder, &mut coded);
        self.frame(&coded);
        self.coded = coded;
        done
    }

    /// Whether bytes go out as they are.
    fn is_identity(&self) -> bool {
        matches!(self.coder, Coder::Identity)
    }

    fn frame(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        match self.framing {
            Framing::None => {}
            Framing::Length | Framing::Close => self.out.extend_from_slice(data),
            Framing::Chunked => {
                self.out.extend_from_slice(chunk_head(data.len()).as_ref());
                self.out.extend_from_slice(data);
                self.out.extend_from_slice(CHUNK_END);
            }
        }
    }

    /// Ends what is coded of the body. Its frame's end follows with [`Sending::end`].
    pub fn end_coding(&mut self, request: &mut Request) -> Result<(), CodingFault> {
        if self.is_identity() || self.framing == Framing::None {
            return Ok(());
        }
        let ended = self.code(Coder::end);
        request.sent.compressed = self.coder.totals();
        self.coder = Coder::Identity;
        ended
    }

    /// Ends the frame of the body.
    pub fn end(&mut self, request: &Request) {
        if self.framing == Framing::Chunked {
            trailers::write(request, &mut self.out);
        }
    }

    /// Writes what the client takes now; `WouldBlock` when it takes nothing, or may not have more
    /// yet.
    pub fn try_flush(&mut self, channel: &Channel, request: &mut Request) -> std::io::Result<()> {
        while !self.out.is_empty() {
            let room = self.allowance(request)?.min(self.out.len());
            let count = channel.try_write(&self.out[..room])?;
            self.out.advance(count);
            self.count(count, request);
        }
        Ok(())
    }

    /// How many bytes may go now (`limit_rate`).
    fn allowance(&mut self, request: &Request) -> std::io::Result<usize> {
        let Some(pace) = &mut self.pace else {
            return Ok(usize::MAX);
        };
        pace.allowance(request.sent.head_bytes + request.sent.body_bytes)
            .ok_or_else(|| std::io::ErrorKind::WouldBlock.into())
    }

    /// Whether more is held back for the sake of the rate, and not for the client's.
    pub fn is_held(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.held_until.is_some())
    }

    /// Resolves when more may be tried.
    pub async fn writable(&self, channel: &Channel) -> std::io::Result<()> {
        match self.pace.as_ref().and_then(|pace| pace.held_until) {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => drop(channel.ready(Interest::WRITABLE).await?),
        }
        Ok(())
    }

    /// Counts bytes that are gone: first those of the head, then the body's.
    pub fn count(&mut self, count: usize, request: &mut Request) {
        let of_head = count.min(self.head_left);
        self.head_left -= of_head;
        request.sent.head_bytes += of_head as u64;
        request.sent.body_bytes += (count - of_head) as u64;
    }

    async fn flush(
        &mut self,
        client: &Client,
        request: &mut Request,
        limit: Duration,
    ) -> Result<(), Unsent> {
        loop {
            match self.try_flush(&client.channel, request) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            writable(client, self, limit).await?;
        }
    }
}

async fn writable(client: &Client, sending: &Sending, limit: Duration) -> Result<(), Unsent> {
    if sending.is_held() {
        return Ok(sending.writable(&client.channel).await?);
    }
    match tokio::time::timeout(limit, sending.writable(&client.channel)).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(ChannelFault::TimedOut.into()),
    }
}

/// Sends a whole response.
pub async fn response(
    client: &mut Client,
    request: &mut Request,
    mut response: Box<Response>,
) -> Finish {
    let mut out = BytesMut::with_capacity(1024);
    let (coding, framing) = head::write(request, &mut response, &mut out);
    let head_left = out.len();
    let pace = Pace::of(request);
    let coder = match framing {
        Framing::None => Coder::new(Coding::Identity),
        _ => Coder::new(coding),
    };
    let mut sending = Sending { out, framing, head_left, pace, coder, coded: Vec::new() };
    let limit = Duration::from_millis(request.location.core.send_timeout.0);
    let content = match framing {
        Framing::None => {
            // The answer to HEAD ends here; what the upstream sends is not wanted.
            if let Content::Upstream(body) = response.content {
                body.finish_unread(request);
            }
            Content::Empty
        }
        _ => response.content,
    };
    let sent = match content {
        Content::Empty => memory(client, request, &mut sending, &[], limit).await,
        Content::Memory(bytes) => memory(client, request, &mut sending, &bytes, limit).await,
        Content::File { file, pieces } => {
            Box::pin(file_pieces(client, request, &mut sending, &file, pieces, limit)).await
        }
        Content::Upstream(body) => return body.send(client, request, sending, limit).await,
    };
    outcome(request, sent)
}

/// What a result of writing means, with its log line.
pub fn outcome(request: &mut Request, sent: Result<(), Unsent>) -> Finish {
    match sent {
        Ok(()) => {
            request.sent.complete = true;
            Finish::Whole
        }
        Err(Unsent::Channel(ChannelFault::TimedOut)) => {
            let message = "client timed out (110: Connection timed out) while sending to client";
            error_log::request(request, Severity::Info, message);
            Finish::TimedOut
        }
        Err(Unsent::Miscoded(fault)) => {
            let message = format!("{} while sending response to client", fault.words());
            error_log::request(request, Severity::Error, &message);
            Finish::Broken
        }
        Err(Unsent::Channel(ChannelFault::Io(error))) => {
            let reason = crate::errno_text(&error);
            let message = format!("send() failed ({reason}) while sending to client");
            error_log::request(request, Severity::Info, &message);
            Finish::Broken
        }
    }
}

async fn file_pieces(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    file: &File,
    mut pieces: VecDeque<Piece>,
    limit: Duration,
) -> Result<(), Unsent> {
    while let Some(piece) = pieces.pop_front() {
        match piece {
            Piece::Text(text) => {
                coded(client, request, sending, &text, limit).await?;
            }
            Piece::Range { offset, length } if length <= COPY_MAX => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, offset)?;
                coded(client, request, sending, &bytes, limit).await?;
            }
            Piece::Range { offset, length } if !sending.is_identity() => {
                let first = length.min(PIECE);
                let mut bytes = vec![0; first as usize];
                file.read_exact_at(&mut bytes, offset)?;
                coded(client, request, sending, &bytes, limit).await?;
                // One client's long file does not hold the thread.
                sending.flush(client, request, limit).await?;
                tokio::task::yield_now().await;
                if first < length {
                    let (offset, length) = (offset + first, length - first);
                    pieces.push_front(Piece::Range { offset, length });
                }
            }
            Piece::Range { offset, length } => {
                sending.flush(client, request, limit).await?;
                send_file(client, request, sending, file, (offset, length), limit).await?;
            }
        }
    }
    finish(client, request, sending, limit).await
}

/// Ends the body and sends what is left.
async fn finish(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    limit: Duration,
) -> Result<(), Unsent> {
    sending.end_coding(request)?;
    sending.end(request);
    sending.flush(client, request, limit).await
}

async fn memory(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    bytes: &[u8],
    limit: Duration,
) -> Result<(), Unsent> {
    coded(client, request, sending, bytes, limit).await?;
    finish(client, request, sending, limit).await
}

/// Adds bytes of the body, and sends between the steps that they take.
async fn coded(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    mut bytes: &[u8],
    limit: Duration,
) -> Result<(), Unsent> {
    loop {
        match sending.body(bytes)? {
            Taken::All => return Ok(()),
            Taken::Part(count) => {
                bytes = &bytes[count..];
                sending.flush(client, request, limit).await?;
            }
        }
    }
}

async fn send_file(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    file: &File,
    (mut offset, mut left): (u64, u64),
    limit: Duration,
) -> Result<(), Unsent> {
    while left > 0 {
        let sent = match sending.allowance(request) {
            Ok(room) => {
                let length = left.min(SEND_FILE_MAX).min(room as u64) as usize;
                client.channel.try_send_file(file.as_fd(), &mut offset, length)
            }
            Err(held) => Err(held),
        };
        match sent {
            // The file has become shorter than its head said.
            Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => {
                left -= count as u64;
                sending.count(count, request);
                tokio::task::yield_now().await;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                writable(client, sending, limit).await?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
