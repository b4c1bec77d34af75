//! Plain requests over kept connections, closed loop: every answer must be that of its request.
//!
//! Not a client for any other server: a body without `Content-Length` is refused.
//!
//! ```text
//! Connecting --writable--> Waiting --answer--> Waiting ...
//!                             `--answer with Connection: close--> (connects again)
//! ```

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Times;
use super::client::{ask, dial, greet};
use super::fault::Fault;
use super::fleet::PATIENCE;
use super::gate::Gate;
use super::histogram::Histogram;
use super::report::Report;
use crate::head::Head;
use crate::page::{self, BODY_SIZE};
use crate::poll::{Poll, Ready};

const SCRATCH_SIZE: usize = 16 * 1024;

/// Opens the connections, warms up and measures.
pub fn run(
    proxy: SocketAddr,
    connections: u32,
    times: Times,
    gate: &mut dyn Gate,
) -> Result<Report, Fault> {
    let mut crowd = Crowd::new(proxy)?;
    for index in 0..connections as usize {
        let visitor = crowd.dial(index)?;
        crowd.visitors.push(visitor);
    }
    crowd.window(Begin::WhenConnected, times.warm)?;
    gate.ready()?;
    let report = crowd.window(Begin::Now, times.window)?;
    gate.done(&report)?;
    Ok(report)
}

/// All connections of one load.
struct Crowd {
    proxy: SocketAddr,
    poll: Poll,
    visitors: Vec<Visitor>,
    scratch: Vec<u8>,
    /// The number of the next page.
    next: u64,
}

/// When the first requests of a window leave.
#[derive(PartialEq, Eq)]
enum Begin {
    WhenConnected,
    Now,
}

struct Visitor {
    socket: OwnedFd,
    state: State,
    number: u64,
    answer: Vec<u8>,
    asked_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Waiting,
    Idle,
}

/// What a whole answer says about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Closing,
}

impl Crowd {
    fn new(proxy: SocketAddr) -> Result<Self, Fault> {
        let poll = Poll::new().map_err(Fault::system("make an epoll instance"))?;
        Ok(Crowd { proxy, poll, visitors: Vec::new(), scratch: vec![0; SCRATCH_SIZE], next: 0 })
    }

    fn dial(&mut self, index: usize) -> Result<Visitor, Fault> {
        let socket = dial(self.proxy)?;
        self.poll.add(&socket, index).map_err(Fault::system("register a socket"))?;
        let (state, asked_at) = (State::Connecting, Instant::now());
        Ok(Visitor { socket, state, number: 0, answer: Vec::new(), asked_at })
    }

    fn window(&mut self, begin: Begin, length: Duration) -> Result<Report, Fault> {
        let begun = Instant::now();
        let (mut requests, mut open) = (0, self.visitors.len());
        let mut latencies = Histogram::new();
        if begin == Begin::Now {
            (0..open).try_for_each(|index| self.ask(index))?;
        }
        while open > 0 {
            let count = self.poll.wait(Some(PATIENCE)).map_err(Fault::system("epoll_wait"))?;
            if count == 0 {
                return Err(Fault::Stalled { patience: PATIENCE });
            }
            for at in 0..count {
                let ready = self.poll.event(at);
                let Some(fate) = self.handle(ready)? else { continue };
                let index = ready.token;
                latencies.note(self.visitors[index].asked_at.elapsed().as_nanos() as u64);
                requests += 1;
                match fate {
                    // Its next request counts from the connect on; that is what it costs.
                    Fate::Closing => self.visitors[index] = self.dial(index)?,
                    Fate::Kept if begun.elapsed() < length => self.ask(index)?,
                    Fate::Kept => open -= 1,
                }
            }
        }
        Ok(Report::new(requests, BODY_SIZE, begun.elapsed(), &latencies))
    }

    fn ask(&mut self, index: usize) -> Result<(), Fault> {
        let visitor = &mut self.visitors[index];
        visitor.number = self.next;
        self.next += 1;
        let before = std::mem::replace(&mut visitor.state, State::Waiting);
        visitor.answer.clear();
        visitor.asked_at = Instant::now();
        let target = page::target(visitor.number);
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.proxy);
        match before {
            State::Connecting => greet(&visitor.socket, &request),
            State::Waiting | State::Idle => ask(&visitor.socket, &request),
        }
    }

    /// Reads what is there; the connection's fate, if its answer is whole and right.
    fn handle(&mut self, ready: Ready) -> Result<Option<Fate>, Fault> {
        let index = ready.token;
        if self.visitors[index].state == State::Connecting {
            return if ready.writable { self.ask(index).map(|()| None) } else { Ok(None) };
        }
        let visitor = &mut self.visitors[index];
        loop {
            let count = match rustix::io::read(&visitor.socket, &mut self.scratch[..]) {
                Ok(0) => {
                    return Err(Fault::Ended { tunnel: index as u32, message: visitor.number });
                }
                Ok(count) => count,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Fault::System { deed: "read", errno }),
            };
            if visitor.state != State::Waiting {
                return Err(Fault::TooMany { tunnel: index as u32 });
            }
            visitor.answer.extend_from_slice(&self.scratch[..count]);
            if let Some(fate) = judge(&visitor.answer, visitor.number)? {
                visitor.state = State::Idle;
                return Ok(Some(fate));
            }
        }
    }
}

/// Whether `answer` is the whole answer for page `number`.
fn judge(answer: &[u8], number: u64) -> Result<Option<Fate>, Fault> {
    let Some(head) = Head::find(answer).map_err(|_| Fault::NotHttp)? else { return Ok(None) };
    if head.status() != 200 || head.field("Content-Length") != Some("64") {
        return Err(Fault::Refused { answer: head.first.to_owned() });
    }
    let body = &answer[head.size..];
    let expected = page::body(&page::target(number)).ok_or(Fault::WrongPage { number })?;
    if !expected.starts_with(body) {
        return Err(Fault::WrongPage { number });
    }
    if body.len() < BODY_SIZE {
        return Ok(None);
    }
    Ok(Some(if head.lists("Connection", "close") { Fate::Closing } else { Fate::Kept }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64, connection: &str) -> Vec<u8> {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: {connection}\r\n\r\n");
        [head.as_bytes(), &page::body(&page::target(number)).unwrap()].concat()
    }

    #[test]
    fn an_answer_is_whole_or_awaited_or_wrong() {
        let right = answer(5, "keep-alive");
        for cut in 0..right.len() {
            assert_eq!(judge(&right[..cut], 5), Ok(None));
        }
        assert_eq!(judge(&right, 5), Ok(Some(Fate::Kept)));
        assert_eq!(judge(&answer(5, "close"), 5), Ok(Some(Fate::Closing)));
        assert_eq!(judge(&right, 6), Err(Fault::WrongPage { number: 6 }));
        let doubled = [&right[..], b"0"].concat();
        assert_eq!(judge(&doubled, 5), Err(Fault::WrongPage { number: 5 }));
    }

    #[test]
    fn an_error_page_is_refused() {
        let answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 64\r\n\r\n";
        assert_eq!(
            judge(answer, 1),
            Err(Fault::Refused { answer: "HTTP/1.1 502 Bad Gateway".to_owned() })
        );
    }
}
