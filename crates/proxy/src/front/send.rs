//! Sends a response: its head, and its body from memory, a file or an upstream.

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

/// A piece of a file up to this size is copied behind what is to be sent, which saves a system
/// call; a larger one is sent by the kernel.
const COPY_MAX: u64 = 16 * 1024;

/// What one `sendfile` moves at most, so that one client does not hold the thread.
const SEND_FILE_MAX: u64 = 1 << 20;

/// Bytes on their way to a client.
pub struct Sending {
    pub out: BytesMut,
    pub framing: Framing,
    /// How much of `out`, from its beginning, is the head.
    head_left: usize,
    pace: Option<Pace>,
}

impl Sending {
    /// Adds a stretch of the body, framed.
    pub fn body(&mut self, data: &[u8]) {
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

    /// Ends the body.
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
    ) -> Result<(), ChannelFault> {
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

async fn writable(client: &Client, sending: &Sending, limit: Duration) -> Result<(), ChannelFault> {
    if sending.is_held() {
        return Ok(sending.writable(&client.channel).await?);
    }
    match tokio::time::timeout(limit, sending.writable(&client.channel)).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(ChannelFault::TimedOut),
    }
}

/// Sends a whole response.
pub async fn response(
    client: &mut Client,
    request: &mut Request,
    mut response: Response,
) -> Finish {
    let mut out = BytesMut::with_capacity(1024);
    let framing = head::write(request, &mut response, &mut out);
    let head_left = out.len();
    let pace = Pace::of(request);
    let mut sending = Sending { out, framing, head_left, pace };
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
        Content::Empty => {
            sending.end(request);
            sending.flush(client, request, limit).await
        }
        Content::Memory(bytes) => {
            sending.body(&bytes);
            sending.end(request);
            sending.flush(client, request, limit).await
        }
        Content::File { file, pieces } => {
            file_pieces(client, request, &mut sending, &file, pieces, limit).await
        }
        Content::Upstream(body) => return body.send(client, request, sending, limit).await,
    };
    outcome(request, sent)
}

/// What a result of writing means, with its log line.
pub fn outcome(request: &mut Request, sent: Result<(), ChannelFault>) -> Finish {
    match sent {
        Ok(()) => {
            request.sent.complete = true;
            Finish::Whole
        }
        Err(ChannelFault::TimedOut) => {
            let message = "client timed out (110: Connection timed out) while sending to client";
            error_log::request(request, Severity::Info, message);
            Finish::TimedOut
        }
        Err(ChannelFault::Io(error)) => {
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
) -> Result<(), ChannelFault> {
    while let Some(piece) = pieces.pop_front() {
        match piece {
            Piece::Text(text) => sending.body(&text),
            Piece::Range { offset, length } if length <= COPY_MAX => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, offset)?;
                sending.body(&bytes);
            }
            Piece::Range { offset, length } => {
                sending.flush(client, request, limit).await?;
                send_file(client, request, sending, file, (offset, length), limit).await?;
            }
        }
    }
    sending.end(request);
    sending.flush(client, request, limit).await
}

async fn send_file(
    client: &Client,
    request: &mut Request,
    sending: &mut Sending,
    file: &File,
    (mut offset, mut left): (u64, u64),
    limit: Duration,
) -> Result<(), ChannelFault> {
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
