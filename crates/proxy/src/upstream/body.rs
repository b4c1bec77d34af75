//! The body of an upstream's answer on its way to the client.
//!
//! With `proxy_buffering on` it is read ahead: into memory up to `proxy_buffers`, then into a file
//! up to `proxy_max_temp_file_size`, so that a slow client does not hold the upstream. Without, at
//! most one `proxy_buffer_size` is in hand (T8).

use super::exchange::Answer;
use super::pool::Kin;
use super::{Lease, Outcome, ShownUrl, Upstream};
use crate::channel::ChannelFault;
use crate::error_log;
use crate::front::{Client, CodingFault, Finish, Pace, Sending, Taken, outcome};
use crate::h1::{Chunk, ChunkedDecoder, Persistence, ResponseBody, ResponseFraming};
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::temp_file;
use crate::worker::Thread;
use bytes::{Buf, Bytes};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// How much is read from an upstream at once, at most.
const READ_SIZE: usize = 64 * 1024;

/// How much of a file of buffered bytes is brought back at once.
const REFILL_SIZE: usize = 64 * 1024;

/// Longer than anybody waits.
const FOREVER: Duration = Duration::from_secs(86_400);

/// Where the body's end is.
enum Cutter {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    Done,
}

/// Why the body broke off, in the words of the log.
enum Cut {
    Closed,
    Io(io::Error),
    TimedOut,
    Chunks,
    Coding(CodingFault),
    Disk(io::Error),
}

impl From<CodingFault> for Cut {
    fn from(fault: CodingFault) -> Self {
        Self::Coding(fault)
    }
}

/// A body that is still with the upstream.
pub struct Body {
    upstream: Box<Upstream>,
    lease: Option<Lease>,
    kin: Kin,
    thread: Rc<Thread>,
    began: Instant,
    uri: Vec<u8>,
    cutter: Cutter,
    may_keep: bool,
    is_buffered: bool,
    received: u64,
    /// Bytes that wait for the client to take what those before them were unpacked to.
    held: Option<Bytes>,
    spool: Option<Spool>,
    /// `proxy_limit_rate`.
    pace: Option<Pace>,
}

/// Bytes that wait in a file for the client, framed already.
struct Spool {
    file: File,
    read: u64,
    written: u64,
}

impl Body {
    pub fn new(
        answer: Answer,
        framing: ResponseFraming,
        (is_buffered, rate): (bool, u64),
        thread: Rc<Thread>,
    ) -> Self {
        let Answer { upstream, lease, kin, began, uri, request_was_sent, .. } = answer;
        let cutter = match framing.body {
            ResponseBody::None | ResponseBody::Length(0) => Cutter::Done,
            ResponseBody::Length(length) => Cutter::Length(length),
            ResponseBody::Chunked => Cutter::Chunked(Box::new(ChunkedDecoder::new())),
            ResponseBody::UntilClose => Cutter::UntilClose,
        };
        Self {
            upstream,
            lease: Some(lease),
            kin,
            thread,
            began,
            uri,
            cutter,
            may_keep: request_was_sent && framing.persistence == Persistence::KeepAlive,
            is_buffered,
            received: 0,
            held: None,
            spool: None,
            pace: Pace::at(if is_buffered { rate } else { 0 }),
        }
    }

    /// Ends the exchange when the client is not to get the body.
    pub fn finish_unread(self: Box<Self>, request: &mut Request) {
        self.settle(request);
    }

    /// Closes the account of the exchange: times, the peer, and the connection, which is kept if
    /// the answer ended where it should.
    fn settle(mut self: Box<Self>, request: &mut Request) {
        let attempt = request.attempt();
        attempt.response_time = Some(self.began.elapsed());
        attempt.response_length = self.received;
        let ended = matches!(self.cutter, Cutter::Done);
        let Some(lease) = self.lease.take() else {
            return;
        };
        let group = std::sync::Arc::clone(lease.group());
        lease.give_back(Outcome::Fine, crate::now_ms());
        if !ended || !self.may_keep {
            return;
        }
        if !self.upstream.buffer.is_empty() {
            let message = "upstream sent more data than specified in \"Content-Length\" header while \
                           reading upstream";
            if !request.is_head() {
                self.log(request, Severity::Warn, message);
            }
            return;
        }
        self.thread.pool().put(self.kin, self.upstream, &group.keepalive, Instant::now());
    }

    /// Sends the body behind what `sending` holds already.
    pub async fn send(
        mut self: Box<Self>,
        client: &mut Client,
        request: &mut Request,
        mut sending: Sending,
        limit: Duration,
    ) -> Finish {
        let finish = self.pump(client, request, &mut sending, limit).await;
        self.settle(request);
        finish
    }

    async fn pump(
        &mut self,
        client: &mut Client,
        request: &mut Request,
        sending: &mut Sending,
        limit: Duration,
    ) -> Finish {
        let mut ended = false;
        let mut cut = None;
        loop {
            if !ended && cut.is_none() {
                match self.decode(request, sending) {
                    Ok(()) => {}
                    Err(fault @ (Cut::Chunks | Cut::Coding(_))) if request.sent.head_bytes == 0 => {
                        // Nothing has been sent yet, and as in nginx nothing will be.
                        return self.finished(request, Some(fault));
                    }
                    Err(fault) => cut = Some(fault),
                }
                if matches!(self.cutter, Cutter::Done) && self.held.is_none() && cut.is_none() {
                    ended = true;
                    match self.end(request, sending) {
                        Ok(()) => {}
                        Err(fault) => cut = Some(fault),
                    }
                }
            }
            let blocked = match self.flush(client, request, sending) {
                Ok(blocked) => blocked,
                Err(error) => return outcome(request, Err(ChannelFault::Io(error).into())),
            };
            let empty = sending.out.is_empty() && self.spool.is_none();
            if empty && (ended || cut.is_some()) {
                return self.finished(request, cut);
            }
            if self.held.is_some() && cut.is_none() && !blocked {
                continue;
            }
            let wants = !ended && cut.is_none() && self.held.is_none();
            let wants = wants && self.has_room(request, sending) && self.may_read(request);
            if wants {
                match self.take_in(request, sending) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(fault) => {
                        cut = Some(fault);
                        continue;
                    }
                }
            }
            match self.wait(client, request, wants, blocked.then_some(sending), limit).await {
                Ok(()) => {}
                Err(Waited::Upstream(fault)) => cut = Some(fault),
                Err(Waited::Client(fault)) => return outcome(request, Err(fault.into())),
            }
        }
    }

    fn log(&self, request: &Request, severity: Severity, message: &str) {
        let peer = self.upstream.address.to_string();
        let scheme = self.upstream.scheme();
        let url = ShownUrl { scheme, uri: &self.uri, peer: &peer };
        error_log::upstream(request, severity, message, &url);
    }

    fn finished(&self, request: &mut Request, cut: Option<Cut>) -> Finish {
        let message = match cut {
            None => return outcome(request, Ok(())),
            Some(Cut::Closed) => {
                "upstream prematurely closed connection while reading upstream".into()
            }
            Some(Cut::TimedOut) => {
                "upstream timed out (110: Connection timed out) while reading upstream".into()
            }
            Some(Cut::Chunks) => {
                "upstream sent invalid chunked response while reading upstream".into()
            }
            Some(Cut::Io(error)) => {
                format!("recv() failed ({}) while reading upstream", crate::errno_text(&error))
            }
            Some(Cut::Coding(fault)) => format!("{} while sending to client", fault.words()),
            Some(Cut::Disk(error)) => {
                format!("pwrite() of a response failed ({})", crate::errno_text(&error))
            }
        };
        self.log(request, Severity::Error, &message);
        Finish::Broken
    }

    /// Moves what was read into the client's coding and framing, as far as it may be held.
    fn decode(&mut self, request: &Request, sending: &mut Sending) -> Result<(), Cut> {
        loop {
            if let Some(held) = self.held.take() {
                self.pass_on(request, sending, held)?;
                if self.held.is_some() && !self.has_room(request, sending) {
                    return Ok(());
                }
                continue;
            }
            let Some(data) = self.next_stretch()? else {
                return Ok(());
            };
            self.received += data.len() as u64;
            self.pass_on(request, sending, data)?;
        }
    }

    /// Cuts the next stretch of the body off what was read; `None` when more must be read.
    fn next_stretch(&mut self) -> Result<Option<Bytes>, Cut> {
        let buffer = &mut self.upstream.buffer;
        loop {
            if buffer.is_empty() {
                return Ok(None);
            }
            match &mut self.cutter {
                Cutter::Done => return Ok(None),
                Cutter::UntilClose => return Ok(Some(buffer.split().freeze())),
                Cutter::Length(left) => {
                    let count = (*left).min(buffer.len() as u64) as usize;
                    *left -= count as u64;
                    if *left == 0 {
                        self.cutter = Cutter::Done;
                    }
                    return Ok(Some(buffer.split_to(count).freeze()));
                }
                Cutter::Chunked(decoder) => match decoder.decode(buffer) {
                    Err(_) => return Err(Cut::Chunks),
                    Ok(Chunk::More { consumed }) => {
                        buffer.advance(consumed);
                        return Ok(None);
                    }
                    Ok(Chunk::End { consumed }) => {
                        buffer.advance(consumed);
                        self.cutter = Cutter::Done;
                    }
                    Ok(Chunk::Data { start, end, consumed }) => {
                        let data = buffer.split_to(consumed).freeze();
                        return Ok(Some(data.slice(start..end)));
                    }
                },
            }
        }
    }

    /// Codes and frames a stretch; what is not taken at once is held.
    fn pass_on(
        &mut self,
        request: &Request,
        sending: &mut Sending,
        mut data: Bytes,
    ) -> Result<(), Cut> {
        let before = sending.out.len();
        if let Taken::Part(count) = sending.body(&data)? {
            data.advance(count);
            self.held = Some(data);
        }
        self.spill(request, sending, before)
    }

    /// Reads, or brings out what the coder holds; `true` when there is something new.
    fn take_in(&mut self, request: &mut Request, sending: &mut Sending) -> Result<bool, Cut> {
        match self.read(request) {
            Ok(true) => Ok(true),
            Ok(false) => self.pause(request, sending),
            Err(Cut::Closed)
                if matches!(self.cutter, Cutter::UntilClose)
                    && !self.upstream.channel.was_cut() =>
            {
                self.cutter = Cutter::Done;
                Ok(true)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Brings out what the coder holds, because the upstream is silent; `true` when there was some.
    fn pause(&mut self, request: &Request, sending: &mut Sending) -> Result<bool, Cut> {
        let before = sending.out.len();
        sending.pause()?;
        let has_more = sending.out.len() > before;
        self.spill(request, sending, before)?;
        Ok(has_more)
    }

    /// Moves bytes that exceed the memory into the file. What is in the file goes first, so once
    /// there is one, all that follows goes there too.
    fn spill(&mut self, request: &Request, sending: &mut Sending, added: usize) -> Result<(), Cut> {
        if !self.is_buffered || sending.out.len() <= added {
            return Ok(());
        }
        let proxy = &request.location.proxy;
        let memory = proxy.proxy_buffers.count * proxy.proxy_buffers.size;
        if self.spool.is_none() && sending.out.len() <= memory
            || proxy.proxy_max_temp_file_size.0 == 0
        {
            return Ok(());
        }
        if self.spool.is_none() {
            let file = temp_file::create(&proxy.proxy_temp_path.0).map_err(Cut::Disk)?;
            let message =
                "an upstream response is buffered to a temporary file while reading upstream";
            self.log(request, Severity::Warn, message);
            self.spool = Some(Spool { file, read: 0, written: 0 });
        }
        // All that was added since `added` follows what the file holds.
        let bytes = sending.out.split_off(added);
        if let Some(spool) = &mut self.spool {
            spool.file.write_all_at(&bytes, spool.written).map_err(Cut::Disk)?;
            spool.written += bytes.len() as u64;
        }
        Ok(())
    }

    /// Ends the body, behind the bytes that wait in the file.
    fn end(&mut self, request: &mut Request, sending: &mut Sending) -> Result<(), Cut> {
        let before = sending.out.len();
        sending.end_coding(request)?;
        self.spill(request, sending, before)?;
        if self.spool.is_none() {
            sending.end(request);
        }
        Ok(())
    }

    /// Writes what the client takes; `true` when it takes no more now.
    fn flush(
        &mut self,
        client: &Client,
        request: &mut Request,
        sending: &mut Sending,
    ) -> io::Result<bool> {
        loop {
            match sending.try_flush(&client.channel, request) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if !self.refill(request, sending)? {
                return Ok(false);
            }
        }
    }

    /// Brings bytes back from the file; `false` when there are none.
    fn refill(&mut self, request: &Request, sending: &mut Sending) -> io::Result<bool> {
        let Some(spool) = &mut self.spool else {
            return Ok(false);
        };
        let count = (spool.written - spool.read).min(REFILL_SIZE as u64) as usize;
        let mut bytes = vec![0; count];
        spool.file.read_exact_at(&mut bytes, spool.read)?;
        spool.read += count as u64;
        sending.out.extend_from_slice(&bytes);
        if spool.read == spool.written {
            self.spool = None;
            if matches!(self.cutter, Cutter::Done) {
                sending.end(request);
            }
        }
        Ok(true)
    }

    /// Whether more may be read now (`proxy_limit_rate`).
    fn may_read(&mut self, request: &mut Request) -> bool {
        let received = request.attempt().bytes_received;
        self.pace.as_mut().is_none_or(|pace| pace.allowance(received).is_some())
    }

    /// Resolves when more may be read again.
    async fn rested(&self) {
        if let Some(until) = self.pace.as_ref().and_then(|pace| pace.held_until) {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn has_room(&self, request: &Request, sending: &Sending) -> bool {
        let proxy = &request.location.proxy;
        if !self.is_buffered {
            return sending.out.is_empty();
        }
        match &self.spool {
            Some(spool) => spool.written < proxy.proxy_max_temp_file_size.0,
            None if proxy.proxy_max_temp_file_size.0 == 0 => {
                sending.out.len() < proxy.proxy_buffers.count * proxy.proxy_buffers.size
            }
            None => true,
        }
    }

    /// Reads from the upstream; `false` when it has sent nothing.
    fn read(&mut self, request: &mut Request) -> Result<bool, Cut> {
        let proxy = &request.location.proxy;
        let size = match self.is_buffered {
            true => (proxy.proxy_buffers.count * proxy.proxy_buffers.size).min(READ_SIZE),
            false => (proxy.proxy_buffer_size.0 as usize).min(READ_SIZE),
        };
        match self.upstream.channel.try_read(&mut self.upstream.buffer, size) {
            Ok(0) => Err(Cut::Closed),
            Ok(count) => {
                request.attempt().bytes_received += count as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(Cut::Io(error)),
        }
    }

    async fn wait(
        &self,
        client: &Client,
        request: &Request,
        wants: bool,
        blocked: Option<&mut Sending>,
        send: Duration,
    ) -> Result<(), Waited> {
        let proxy = &request.location.proxy;
        let read = Duration::from_millis(proxy.proxy_read_timeout.0);
        let limit = match &blocked {
            // The client would take more, and gets it when its rate allows.
            Some(sending) if sending.is_held() => FOREVER,
            Some(_) => send,
            None => read,
        };
        let watches = blocked.is_none() && !proxy.proxy_ignore_client_abort.0;
        let is_blocked = blocked.is_some();
        let is_held = self.pace.as_ref().is_some_and(|pace| pace.held_until.is_some());
        let more = async {
            match blocked {
                Some(sending) => sending.writable(&client.channel).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.upstream.channel.ready(Interest::READABLE), if wants => Ok(()),
            ready = more => {
                ready.map_err(|error| Waited::Client(ChannelFault::Io(error)))
            }
            () = self.rested(), if is_held => Ok(()),
            () = client.channel.closed(), if watches => {
                let error = io::Error::from(io::ErrorKind::ConnectionReset);
                Err(Waited::Client(ChannelFault::Io(error)))
            }
            () = tokio::time::sleep(limit) => match is_blocked {
                true => Err(Waited::Client(ChannelFault::TimedOut)),
                false => Err(Waited::Upstream(Cut::TimedOut)),
            },
        }
    }
}

/// Whose silence or failure ended a wait.
enum Waited {
    Upstream(Cut),
    Client(ChannelFault),
}
