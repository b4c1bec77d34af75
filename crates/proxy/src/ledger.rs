//! What is left of a request while its tunnel lives: its place at the upstream's peer and its
//! access-log lines, written but for what only the end knows.
//!
//! It travels through the tunnel's record as bytes, so that the next worker can close the account
//! of a tunnel that it has adopted. The bytes may come from a worker that was taken over: whoever
//! reads them checks every length.

use crate::access_log::{self, Segment};
use crate::clock::{self, Form, Wall};
use crate::config::Config;
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::upstream::{Group, Lease, Outcome};
use crate::variables::{Late, seconds};
use perdura_tunnel::{Close, Report, Side};
use std::sync::Arc;
use std::time::Duration;

/// The account of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The upstream group and the address of its peer.
    pub group: String,
    pub peer: String,
    pub client: String,
    pub server: String,
    pub connection: u64,
    pub request_line: Vec<u8>,
    /// The size of the 101 sent to the client, which counts in `$bytes_sent` only.
    head_bytes: u64,
    upstream_sent: u64,
    upstream_received: u64,
    /// Milliseconds from the request's beginning, and from the last attempt's, to the switch.
    request_ms: u64,
    attempt_ms: u64,
    connection_ms: u64,
    lines: Vec<(String, Vec<Segment>)>,
    /// The places of `limit_conn`: zone and key.
    places: Vec<(String, Vec<u8>)>,
}

/// The format of [`Ledger::encode`].
const VERSION: u8 = 2;

/// What an account takes besides its texts, while it has neither lines nor places.
const BESIDE_TEXTS: usize = 96;

/// The format of a program that knew no limits, whose tunnels may have been taken over.
const VERSION_WITHOUT_PLACES: u8 = 1;

/// A tunnel's key for the counter of its peer.
pub fn peer_key(group: &str, address: &str) -> u64 {
    [group, "/", address].into_iter().fold(KEY_START, key_on)
}

/// FNV-1a: the key only has to be the same in every process.
fn name_key(text: &str) -> u64 {
    key_on(KEY_START, text)
}

fn key_on(key: u64, text: &str) -> u64 {
    text.bytes().fold(key, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const KEY_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The group whose count the tunnel is in; empty when it was made for this request alone, which no
/// group of the configuration of the same name must answer for.
fn account_of(request: &Request, lease: &Lease) -> String {
    let group = lease.group();
    let mut configured = request.config.groups.values();
    match group.explicit || configured.any(|known| std::sync::Arc::ptr_eq(known, group)) {
        true => group.name.clone(),
        false => String::new(),
    }
}

impl Ledger {
    /// Opens the account of a request that becomes a tunnel.
    pub fn open(request: &Request, lease: &Lease, head_bytes: u64) -> Self {
        let attempt = request.attempts.last().cloned().unwrap_or_default();
        let location = &request.location;
        let lines =
            location.access_logs.iter().filter(|log| access_log::is_wanted(request, log)).map(
                |log| {
                    (access_log::name_for_ledger(request, log), access_log::segments(request, log))
                },
            );
        Self {
            group: account_of(request, lease),
            peer: lease.group().shown(lease.index()).to_string(),
            client: request.peer().address(),
            server: String::from_utf8_lossy(&request.server.name).into_owned(),
            connection: request.connection.number,
            request_line: request.request_line().to_vec(),
            head_bytes,
            upstream_sent: attempt.bytes_sent,
            upstream_received: attempt.bytes_received,
            request_ms: request.started.elapsed().as_millis() as u64,
            attempt_ms: attempt.header_time.unwrap_or_default().as_millis() as u64,
            connection_ms: request.connection.accepted.elapsed().as_millis() as u64,
            lines: lines.collect(),
            places: request
                .places
                .iter()
                .map(|place| place.names())
                .map(|(zone, key)| (zone.to_owned(), key.to_vec()))
                .collect(),
        }
    }

    /// Closes the account: gives the peer back and writes the lines.
    pub fn close(&self, report: &Report, config: &Config) {
        self.release(config);
        self.complain(report, config);
        for (path, segments) in &self.lines {
            let mut line = Vec::with_capacity(256);
            for segment in segments {
                match segment {
                    Segment::Text(text) => line.extend_from_slice(text),
                    Segment::Late(late) => self.late(*late, report, &mut line),
                }
            }
            line.push(b'\n');
            if let Some(path) = path.strip_prefix('$') {
                // Whoever cannot open it now has no request to complain of; the line is lost.
                let _ = crate::log_file::append_by_name(std::path::Path::new(path), &line);
                continue;
            }
            // A file that a reload has taken out of the configuration gets no more lines.
            if let Some(file) =
                config.logs.iter().find(|file| file.path.as_os_str() == path.as_str())
            {
                file.line(&line);
            }
        }
    }

    /// Counts the tunnel at its peer and in its limits, after it was taken over.
    pub fn count_again(&self, config: &Config) {
        if let Some((group, index)) = self.peer_in(config) {
            group.take(index);
        }
        for (zone, key) in &self.places {
            if let Some(zone) = config.zones.connections.get(zone) {
                zone.count_again(key);
            }
        }
    }

    /// Gives back what the tunnel holds: its place at the peer and those of its limits. A zone that
    /// a reload has taken out of the configuration counts nothing any more.
    pub fn release(&self, config: &Config) {
        if let Some((group, index)) = self.peer_in(config) {
            group.release(index, Outcome::Fine, crate::now_ms());
        }
        for (zone, key) in &self.places {
            if let Some(zone) = config.zones.connections.get(zone) {
                zone.give_back(key);
            }
        }
    }

    fn peer_in<'c>(&self, config: &'c Config) -> Option<(&'c Arc<Group>, usize)> {
        let group = config.groups.values().find(|group| group.name == self.group)?;
        Some((group, group.find(&self.peer)?))
    }

    /// The opaque key of the first limit, for the tunnel's record.
    pub fn limit_key(&self) -> u64 {
        self.places.first().map_or(0, |(zone, key)| {
            key.iter().fold(name_key(zone), |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
        })
    }

    /// Says in the error log what ended a tunnel when neither peer did.
    fn complain(&self, report: &Report, config: &Config) {
        let words = match report.close {
            Close::IdleTimeout | Close::UpstreamSendTimeout => "upstream timed out",
            Close::ClientSendTimeout => "client timed out",
            Close::FinTimeout => "half-closed tunnel timed out",
            _ => return,
        };
        let age = report.ended_ms.saturating_sub(report.started_ms);
        let text = format!(
            "*{} {words} (110: Connection timed out) while proxying upgraded connection, reason: {}, \
             age: {}.{:03}, bytes: {}/{}, client: {}, server: {}, request: \"{}\", upstream: \"{}\"",
            self.connection,
            report.close.word(),
            age / 1000,
            age % 1000,
            report.written[Side::Client as usize],
            report.written[Side::Upstream as usize],
            self.client,
            self.server,
            String::from_utf8_lossy(&self.request_line),
            self.peer,
        );
        crate::error_log::process(&config.process.error_logs, Severity::Notice, &text);
    }

    fn late(&self, late: Late, report: &Report, line: &mut Vec<u8>) {
        let to_client = report.written[Side::Client as usize];
        let life = report.ended_ms.saturating_sub(report.started_ms);
        let mut text = |value: String| line.extend_from_slice(value.as_bytes());
        match late {
            Late::BytesSent => text(to_client.to_string()),
            Late::BodyBytesSent => text(to_client.saturating_sub(self.head_bytes).to_string()),
            Late::UpstreamBytesSent => {
                text((self.upstream_sent + report.written[Side::Upstream as usize]).to_string());
            }
            Late::UpstreamBytesReceived => {
                text((self.upstream_received + report.read[Side::Upstream as usize]).to_string());
            }
            Late::CloseReason => text(report.close.word().to_owned()),
            Late::RequestTime => {
                seconds(Duration::from_millis(self.request_ms + life), line);
            }
            Late::UpstreamResponseTime => {
                seconds(Duration::from_millis(self.attempt_ms + life), line);
            }
            Late::ConnectionTime => {
                seconds(Duration::from_millis(self.connection_ms + life), line);
            }
            Late::TimeLocal => clock::write(Wall::now(), Form::Log, line),
            Late::TimeIso8601 => clock::write(Wall::now(), Form::Iso8601, line),
            Late::Msec => {
                let now = Wall::now();
                text(format!("{}.{:03}", now.seconds, now.millis));
            }
        }
    }

    /// The account as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let texts = self.group.len() + self.peer.len() + self.client.len() + self.server.len();
        let mut out = Vec::with_capacity(texts + self.request_line.len() + BESIDE_TEXTS);
        out.push(VERSION);
        for text in [&self.group, &self.peer, &self.client, &self.server] {
            put(&mut out, text.as_bytes());
        }
        put(&mut out, &self.request_line);
        for number in self.numbers() {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(self.lines.len().min(usize::from(u8::MAX)) as u8);
        for (path, segments) in self.lines.iter().take(usize::from(u8::MAX)) {
            put(&mut out, path.as_bytes());
            out.extend_from_slice(
                &(segments.len().min(usize::from(u16::MAX)) as u16).to_le_bytes(),
            );
            for segment in segments.iter().take(usize::from(u16::MAX)) {
                match segment {
                    Segment::Text(text) => {
                        out.push(0);
                        put(&mut out, text);
                    }
                    Segment::Late(late) => out.push(*late as u8),
                }
            }
        }
        out.push(self.places.len().min(usize::from(u8::MAX)) as u8);
        for (zone, key) in self.places.iter().take(usize::from(u8::MAX)) {
            put(&mut out, zone.as_bytes());
            put(&mut out, key);
        }
        out
    }

    fn numbers(&self) -> [u64; 7] {
        [
            self.connection,
            self.head_bytes,
            self.upstream_sent,
            self.upstream_received,
            self.request_ms,
            self.attempt_ms,
            self.connection_ms,
        ]
    }

    /// Reads an account; `None` when the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Bytes(bytes);
        let version = reader.byte()?;
        if !matches!(version, VERSION | VERSION_WITHOUT_PLACES) {
            return None;
        }
        let mut text = || String::from_utf8(reader.piece()?.to_vec()).ok();
        let (group, peer, client, server) = (text()?, text()?, text()?, text()?);
        let request_line = reader.piece()?.to_vec();
        let mut numbers = [0; 7];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        let mut lines = Vec::new();
        for _ in 0..reader.byte()? {
            let path = String::from_utf8(reader.piece()?.to_vec()).ok()?;
            let mut segments = Vec::new();
            for _ in 0..reader.short()? {
                segments.push(match reader.byte()? {
                    0 => Segment::Text(reader.piece()?.to_vec()),
                    late => Segment::Late(Late::of_byte(late)?),
                });
            }
            lines.push((path, segments));
        }
        let mut places = Vec::new();
        let count = if version == VERSION { reader.byte()? } else { 0 };
        for _ in 0..count {
            let zone = String::from_utf8(reader.piece()?.to_vec()).ok()?;
            places.push((zone, reader.piece()?.to_vec()));
        }
        let [
            connection,
            head_bytes,
            upstream_sent,
            upstream_received,
            request_ms,
            attempt_ms,
            connection_ms,
        ] = numbers;
        reader.0.is_empty().then_some(Self {
            group,
            peer,
            client,
            server,
            connection,
            request_line,
            head_bytes,
            upstream_sent,
            upstream_received,
            request_ms,
            attempt_ms,
            connection_ms,
            lines,
            places,
        })
    }
}

/// A length of 32 bits and the bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// What is left to read.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn piece(&mut self) -> Option<&'b [u8]> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        self.take(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Ledger {
        Ledger {
            group: "backend".into(),
            peer: "127.0.0.1:9".into(),
            client: "::1".into(),
            server: "a".into(),
            connection: 7,
            request_line: b"GET /\xff HTTP/1.1".to_vec(),
            head_bytes: 129,
            upstream_sent: 1,
            upstream_received: 2,
            request_ms: 3,
            attempt_ms: 4,
            connection_ms: 5,
            lines: vec![(
                "/log".into(),
                vec![Segment::Text(b"x ".to_vec()), Segment::Late(Late::CloseReason)],
            )],
            places: vec![("zone".into(), b"\x7f\0\0\x01".to_vec())],
        }
    }

    #[test]
    fn an_account_survives_its_journey() {
        assert_eq!(Ledger::decode(&sample().encode()), Some(sample()));
    }

    #[test]
    fn an_account_of_a_program_without_limits_is_read() {
        let without = Ledger { places: Vec::new(), ..sample() };
        let mut bytes = without.encode();
        bytes.pop();
        bytes[0] = VERSION_WITHOUT_PLACES;
        assert_eq!(Ledger::decode(&bytes), Some(without));
    }

    #[test]
    fn cut_and_changed_accounts_are_refused_or_other_but_never_fatal() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert_eq!(Ledger::decode(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                let _ = Ledger::decode(&changed);
            }
        }
        assert_eq!(Ledger::decode(&[bytes, vec![0]].concat()), None);
    }
}
