//! Sends a request on a connection and reads the head of the answer, both at once: an upstream may
//! answer before it has taken the whole request.

use super::{ShownUrl, Upstream};
use crate::error_log;
use crate::front::Client;
use crate::front::body::{self, BodyFault, Cut, Cutter};
use crate::front::serve::has_body;
use crate::h1::{CHUNK_END, LAST_CHUNK, Progress, ResponseHead, ResponseParser, chunk_head};
use crate::modules::error_log::Severity;
use crate::modules::proxy::NextUpstream;
use crate::request::{Body, Request};
use crate::upstream::outgoing::{self, Framing};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// Interim answers (1xx) before the final one, at most (SM-19).
const INTERIM_MAX: usize = 32;

/// How much of a body is in hand at once.
const PIECE: usize = 64 * 1024;

/// A connection and the URL that logs show for it.
pub struct Conversation<'u> {
    pub upstream: Box<Upstream>,
    pub url: ShownUrl<'u>,
}

/// An answer's head, heard.
pub struct Heard {
    pub upstream: Box<Upstream>,
    pub head: ResponseHead,
    pub request_was_sent: bool,
}

/// What was being done with an upstream, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deed {
    #[default]
    Connecting,
    ShakingHands,
    Reading,
}

impl Deed {
    pub fn words(self) -> &'static str {
        match self {
            Self::Connecting => "connecting to upstream",
            Self::ShakingHands => "SSL handshaking to upstream",
            Self::Reading => "reading response header from upstream",
        }
    }
}

/// Why an upstream gave no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The status for the client when no other server is tried.
    pub status: u16,
    /// The reason in `proxy_next_upstream`; 0 is the status itself.
    pub bit: u32,
    pub deed: Deed,
    pub request_sent: bool,
    /// The body was passed on as it came, so it is gone.
    pub body_streamed: bool,
    pub was_reused: bool,
}

/// How a conversation ended without an answer.
pub enum Ended {
    Gone,
    BadBody(BodyFault),
    Failed(Failure),
}

/// What is still to be sent.
struct Sender {
    out: BytesMut,
    source: Source,
}

enum Source {
    /// Everything is in `out`.
    Done,
    Memory(Bytes),
    File {
        at: u64,
        length: u64,
    },
    /// The client's body, as it comes.
    Client {
        cutter: Cutter,
        framing: Framing,
    },
}

impl Sender {
    fn new(request: &Request, head: &BytesMut) -> Self {
        let mut out = BytesMut::with_capacity(head.len() + 256);
        out.extend_from_slice(head);
        let source = match &request.body {
            Body::Memory(bytes) if bytes.len() <= PIECE => {
                out.extend_from_slice(bytes);
                Source::Done
            }
            Body::Memory(bytes) => Source::Memory(bytes.clone()),
            Body::File { length, .. } => Source::File { at: 0, length: *length },
            Body::Unread if has_body(request) => Source::Client {
                cutter: Cutter::new(request.framing),
                framing: outgoing::framing(request),
            },
            Body::Unread | Body::Broken => Source::Done,
        };
        Self { out, source }
    }

    fn is_done(&self) -> bool {
        self.out.is_empty() && matches!(self.source, Source::Done)
    }

    fn streams(&self) -> bool {
        matches!(self.source, Source::Client { .. })
    }

    /// Brings the next piece of the body into `out`. `false` when the client must send first.
    fn refill(&mut self, client: &mut Client, request: &mut Request) -> Result<bool, BodyFault> {
        match &mut self.source {
            Source::Done => Ok(true),
            Source::Memory(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                self.out.extend_from_slice(&piece);
                if bytes.is_empty() {
                    self.source = Source::Done;
                }
                Ok(true)
            }
            Source::File { at, length } => {
                let Body::File { file, .. } = &request.body else {
                    self.source = Source::Done;
                    return Ok(true);
                };
                let count = (*length - *at).min(PIECE as u64) as usize;
                let mut piece = vec![0; count];
                file.read_exact_at(&mut piece, *at).map_err(|_| BodyFault::Disk)?;
                self.out.extend_from_slice(&piece);
                *at += count as u64;
                if at == length {
                    self.source = Source::Done;
                }
                Ok(true)
            }
            Source::Client { cutter, framing } => {
                let chunked = *framing == Framing::Chunked;
                match body::cut(client, request, cutter)? {
                    Cut::More => return Ok(false),
                    Cut::End => {
                        if chunked {
                            self.out.extend_from_slice(LAST_CHUNK);
                        }
                        self.source = Source::Done;
                    }
                    Cut::Data(data) => {
                        let max = request.location.core.client_max_body_size.0;
                        body::check_size(request, max, data.len() as u64)?;
                        if chunked {
                            self.out.extend_from_slice(chunk_head(data.len()).as_ref());
                        }
                        self.out.extend_from_slice(&data);
                        if chunked {
                            self.out.extend_from_slice(CHUNK_END);
                        } else if cutter.is_done() {
                            self.source = Source::Done;
                        }
                    }
                }
                Ok(true)
            }
        }
    }
}

/// What the next wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The upstream takes no more now.
    Blocked,
    /// The client has not sent more of its body.
    Starved,
    Done,
    /// The upstream no longer reads; its answer may be there all the same.
    Refused,
}

/// Sends the request and hears the head of the answer.
pub async fn converse(
    client: &mut Client,
    request: &mut Request,
    conversation: Conversation<'_>,
    head: &BytesMut,
) -> Result<Heard, Ended> {
    let Conversation { mut upstream, url } = conversation;
    let mut sender = Sender::new(request, head);
    let streams = sender.streams();
    let mut parser = ResponseParser::new();
    let mut interims = 0;
    let mut sent_any = false;
    let mut refused = false;
    let size_max = request.location.proxy.proxy_buffer_size.0 as usize;
    loop {
        let sending = if refused {
            Sending::Refused
        } else {
            let (sending, moved) = send_some(client, request, &upstream, &mut sender)?;
            sent_any |= moved > 0;
            request.attempt().bytes_sent += moved as u64;
            refused = sending == Sending::Refused;
            sending
        };
        let failure = Failure {
            deed: Deed::Reading,
            request_sent: sent_any,
            body_streamed: streams,
            was_reused: upstream.is_reused,
            ..Failure::default()
        };
        if !upstream.buffer.is_empty() {
            match hear(&mut upstream, &mut parser, size_max) {
                Ok(None) => {}
                Ok(Some(head)) if is_interim(&head) => {
                    interims += 1;
                    if interims > INTERIM_MAX {
                        return Err(invalid(
                            request,
                            failure,
                            url,
                            "upstream sent too many interim responses",
                        ));
                    }
                    parser = ResponseParser::new();
                    continue;
                }
                Ok(Some(head)) => {
                    let request_was_sent = sender.is_done();
                    return Ok(Heard { upstream, head, request_was_sent });
                }
                Err(words) => return Err(invalid(request, failure, url, &words)),
            }
        }
        match read_some(request, &mut upstream, size_max) {
            Ok(Some(0)) => return Err(closed(request, failure, url)),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => return Err(broken(request, failure, url, &error)),
        }
        wait(client, request, &upstream, sending, failure, url).await?;
    }
}

fn is_interim(head: &ResponseHead) -> bool {
    head.status() < 200 && head.status() != 101
}

fn send_some(
    client: &mut Client,
    request: &mut Request,
    upstream: &Upstream,
    sender: &mut Sender,
) -> Result<(Sending, usize), Ended> {
    let mut moved = 0;
    loop {
        while !sender.out.is_empty() {
            match upstream.channel.try_write(&sender.out) {
                Ok(count) => {
                    sender.out.advance(count);
                    moved += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Sending::Blocked, moved));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok((Sending::Refused, moved)),
            }
        }
        if sender.is_done() {
            return Ok((Sending::Done, moved));
        }
        if !sender.refill(client, request).map_err(Ended::BadBody)? {
            return Ok((Sending::Starved, moved));
        }
    }
}

fn read_some(
    request: &mut Request,
    upstream: &mut Upstream,
    size_max: usize,
) -> io::Result<Option<usize>> {
    // One byte more than may be, so that a head that is too big shows.
    let room = (size_max + 1).saturating_sub(upstream.buffer.len()).max(1);
    loop {
        match upstream.channel.try_read(&mut upstream.buffer, room) {
            Ok(count) => {
                request.attempt().bytes_received += count as u64;
                return Ok(Some(count));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn hear(
    upstream: &mut Upstream,
    parser: &mut ResponseParser,
    size_max: usize,
) -> Result<Option<ResponseHead>, String> {
    match parser.parse(&upstream.buffer, size_max) {
        Ok(Progress::Complete { length }) => {
            let text = match upstream.buffer.len() == length {
                true => std::mem::take(&mut upstream.buffer),
                false => upstream.buffer.split_to(length),
            };
            let text = text.freeze();
            Ok(Some(std::mem::replace(parser, ResponseParser::new()).finish(text)))
        }
        Ok(_) => Ok(None),
        Err(fault) => Err(String::from_utf8_lossy(&fault.reason()).into_owned()),
    }
}

async fn wait(
    client: &mut Client,
    request: &mut Request,
    upstream: &Upstream,
    sending: Sending,
    failure: Failure,
    url: ShownUrl<'_>,
) -> Result<(), Ended> {
    let proxy = &request.location.proxy;
    let read = Duration::from_millis(proxy.proxy_read_timeout.0);
    let send = Duration::from_millis(proxy.proxy_send_timeout.0);
    let body = Duration::from_millis(request.location.core.client_body_timeout.0);
    let (limit, interest) = match sending {
        Sending::Blocked => (send, Interest::READABLE | Interest::WRITABLE),
        Sending::Starved => (body, Interest::READABLE),
        Sending::Done | Sending::Refused => (read, Interest::READABLE),
    };
    let watches = !proxy.proxy_ignore_client_abort.0 && sending != Sending::Starved;
    let deadline = tokio::time::Instant::from_std(Instant::now() + limit);
    tokio::select! {
        biased;
        _ = upstream.channel.ready(interest) => Ok(()),
        more = hear_client(client, sending), if sending == Sending::Starved || watches => {
            if sending == Sending::Starved {
                return more.map_err(|_| Ended::BadBody(BodyFault::ClientGone));
            }
            let message = "client prematurely closed connection, so upstream connection is closed \
                           too while reading response header from upstream";
            error_log::upstream(request, Severity::Info, message, &url);
            Err(Ended::Gone)
        }
        () = tokio::time::sleep_until(deadline) => {
            if sending == Sending::Starved {
                return Err(Ended::BadBody(BodyFault::TimedOut));
            }
            let what = match sending {
                Sending::Blocked => "sending request to upstream",
                _ => "reading response header from upstream",
            };
            let message = format!("upstream timed out (110: Connection timed out) while {what}");
            error_log::upstream(request, Severity::Error, &message, &url);
            Err(Ended::Failed(Failure { status: 504, bit: NextUpstream::TIMEOUT, ..failure }))
        }
    }
}

/// Waits for more of the client's body, or for the client's end when no more is wanted.
async fn hear_client(client: &mut Client, sending: Sending) -> io::Result<()> {
    if sending == Sending::Starved {
        return read_client(client).await;
    }
    client.channel.closed().await;
    Ok(())
}

async fn read_client(client: &mut Client) -> io::Result<()> {
    loop {
        match client.channel.try_read(&mut client.buffer, PIECE / 4) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        client.channel.ready(Interest::READABLE).await?;
    }
}

fn invalid(request: &Request, failure: Failure, url: ShownUrl<'_>, words: &str) -> Ended {
    let message = match words.contains(" while ") {
        true => words.to_owned(),
        false => format!("{words} while reading response header from upstream"),
    };
    error_log::upstream(request, Severity::Error, &message, &url);
    Ended::Failed(Failure { status: 502, bit: NextUpstream::INVALID_HEADER, ..failure })
}

fn closed(request: &Request, failure: Failure, url: ShownUrl<'_>) -> Ended {
    let message =
        "upstream prematurely closed connection while reading response header from upstream";
    error_log::upstream(request, Severity::Error, message, &url);
    Ended::Failed(Failure { status: 502, bit: NextUpstream::ERROR, ..failure })
}

fn broken(request: &Request, failure: Failure, url: ShownUrl<'_>, error: &io::Error) -> Ended {
    let reason = crate::errno_text(error);
    let message = format!("recv() failed ({reason}) while reading response header from upstream");
    error_log::upstream(request, Severity::Error, &message, &url);
    Ended::Failed(Failure { status: 502, bit: NextUpstream::ERROR, ..failure })
}
