//! What a request's head means for its connection: whose it is, how long the body is, what follows.
//!
//! It reads no body and chooses no server. The front calls [`request_framing`] once per head, before
//! anything else looks at it; the switches of a tunnel ask [`connection_tokens`] and [`upgrade_tokens`].

use super::fault::{Duplicate, HeadFault};
use super::fields::{Fields, same_name};
use super::head::RequestHead;
use super::host::{HostName, validate_host};
use super::version::Version;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// Exactly this many bytes (which may be none).
    Length(u64),
    /// The chunked coding.
    Chunked,
}

/// All that a head says about its connection, once it has been found consistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFraming<'a> {
    /// The body.
    pub body: BodyFraming,
    /// Whether the client lets the connection live on. The front may decide against it.
    pub persistence: Persistence,
    /// Whether the client waits for a 100 before it sends the body.
    pub expectation: Expectation,
    /// Whom the request is for: the absolute target's host if there is one (RFC 9112, 3.2.2), else
    /// `Host`; nothing in HTTP/1.0 without either.
    pub host: Option<HostName<'a>>,
}

/// What becomes of the connection behind this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Another exchange may follow.
    KeepAlive,
    /// It is closed.
    Close,
}

/// Whether `Expect: 100-continue` was sent and may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing to say before the body.
    None,
    /// The client waits for `100 Continue`.
    Continue,
}

/// Checks a head as a whole, in nginx's order: each line as it comes, then what they mean together.
pub fn request_framing(head: &RequestHead) -> Result<RequestFraming<'_>, HeadFault> {
    let target_host = match head.target_authority() {
        Some(authority) => {
            Some(validate_host(authority).map_err(|_| HeadFault::InvalidTargetHost)?)
        }
        None => None,
    };
    if head.version() < Version::HTTP_10 {
        return Ok(RequestFraming {
            body: BodyFraming::None,
            persistence: Persistence::Close,
            expectation: Expectation::None,
            host: target_host,
        });
    }
    let seen = Known::read(head.fields())?;
    if seen.host.is_none() && head.version() > Version::HTTP_10 {
        return Err(HeadFault::MissingHost);
    }
    let body = body_framing(&seen, head.version())?;
    let persistence = match (head.has_masked_framing(), seen.persistence) {
        (true, _) => Persistence::Close,
        (false, Some(persistence)) => persistence,
        (false, None) if head.version() > Version::HTTP_10 => Persistence::KeepAlive,
        (false, None) => Persistence::Close,
    };
    let expectation = match seen.expect {
        // nginx answers HTTP/1.1 only, and only if this is all that is expected (RFC 9110, 10.1.1).
        Some(value)
            if head.version() > Version::HTTP_10 && value.eq_ignore_ascii_case(b"100-continue") =>
        {
            Expectation::Continue
        }
        _ => Expectation::None,
    };
    Ok(RequestFraming { body, persistence, expectation, host: target_host.or(seen.host) })
}

/// The options named by all `Connection` lines, each as sent: fields that concern this hop only.
pub fn connection_tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> + Clone {
    fields.elements("connection")
}

/// The protocols named by all `Upgrade` lines, each as sent.
pub fn upgrade_tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> + Clone {
    fields.elements("upgrade")
}

/// A `Content-Length`: digits only, and no more than nginx can count (2^63 - 1).
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let length = value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })?;
    (length <= BODY_SIZE_MAX).then_some(length)
}

fn body_framing(seen: &Known<'_>, version: Version) -> Result<BodyFraming, HeadFault> {
    let length = match seen.content_length {
        Some(value) => Some(content_length(value).ok_or(HeadFault::InvalidContentLength)?),
        None => None,
    };
    let Some(coding) = seen.transfer_encoding else {
        return Ok(length.map_or(BodyFraming::None, BodyFraming::Length));
    };
    if version < Version::HTTP_11 {
        return Err(HeadFault::TransferEncodingInHttp10);
    }
    if !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(HeadFault::UnknownTransferEncoding { value: coding.into() });
    }
    if length.is_some() {
        return Err(HeadFault::LengthAndTransferEncoding);
    }
    Ok(BodyFraming::Chunked)
}

/// The lines that count here, collected in one pass.
#[derive(Default)]
struct Known<'a> {
    host: Option<HostName<'a>>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    persistence: Option<Persistence>,
}

impl<'a> Known<'a> {
    fn read(fields: &'a Fields) -> Result<Known<'a>, HeadFault> {
        let mut seen = Known::default();
        for (index, (name, value)) in fields.iter().enumerate() {
            let Some(known) = which(name) else { continue };
            if known != Name::Connection
                && let Some(previous) =
                    fields.iter().take(index).find(|(earlier, _)| which(earlier) == Some(known))
            {
                let lines = Duplicate::new((name, value), previous);
                return Err(match known {
                    Name::Host => HeadFault::DuplicateHost(lines),
                    _ => HeadFault::DuplicateField(lines),
                });
            }
            match known {
                Name::Host => {
                    let host = validate_host(value).map_err(|_| HeadFault::InvalidHost)?;
                    seen.host = Some(host);
                }
                Name::ContentLength => seen.content_length = Some(value),
                Name::TransferEncoding => seen.transfer_encoding = Some(value),
                Name::Expect => seen.expect = Some(value),
                Name::Connection => seen.persistence = persistence(value).or(seen.persistence),
                Name::Once(_) => {}
            }
        }
        Ok(seen)
    }
}

/// nginx looks for the words anywhere in the value, and the last line that has one counts.
fn persistence(value: &[u8]) -> Option<Persistence> {
    let holds =
        |word: &[u8]| value.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    if holds(b"close") {
        return Some(Persistence::Close);
    }
    holds(b"keep-alive").then_some(Persistence::KeepAlive)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Expect,
    /// Another field that nginx refuses to see twice; the number tells them apart.
    Once(u8),
}

/// Which known field `name` is; its length decides for most.
fn which(name: &[u8]) -> Option<Name> {
    let candidates: &[(&str, Name)] = match name.len() {
        4 => &[("host", Name::Host)],
        6 => &[("expect", Name::Expect)],
        8 => &[("if-match", Name::Once(0)), ("if-range", Name::Once(1))],
        10 => &[("connection", Name::Connection)],
        13 => &[
            ("authorization", Name::Once(2)),
            ("if-none-match", Name::Once(3)),
            ("content-range", Name::Once(4)),
        ],
        14 => &[("content-length", Name::ContentLength)],
        17 => {
            &[("transfer-encoding", Name::TransferEncoding), ("if-modified-since", Name::Once(5))]
        }
        19 => &[("if-unmodified-since", Name::Once(6))],
        _ => return None,
    };
    candidates.iter().find(|(lower, _)| same_name(name, lower)).map(|&(_, known)| known)
}

/// The largest body that nginx can count: 2^63 - 1 bytes.
pub const BODY_SIZE_MAX: u64 = i64::MAX as u64;
