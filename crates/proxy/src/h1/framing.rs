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

#[cfg(test)]
mod tests {
    use super::super::request::tests::read;
    use super::super::{RequestRules, Underscores};
    use super::*;

    #[track_caller]
    fn head(text: &str) -> RequestHead {
        match read(text.as_bytes(), &RequestRules::default(), usize::MAX) {
            Ok(Some((head, _))) => head,
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    /// The framing of a request with `lines` behind its `Host`.
    #[track_caller]
    fn body(lines: &str) -> Result<BodyFraming, HeadFault> {
        let head = head(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n"));
        request_framing(&head).map(|framing| framing.body)
    }

    #[test]
    fn lengths() {
        assert_eq!(body("A: b"), Ok(BodyFraming::None));
        assert_eq!(body("Content-Length: 0"), Ok(BodyFraming::Length(0)));
        assert_eq!(body("content-length:   0012  "), Ok(BodyFraming::Length(12)));
        let most = Ok(BodyFraming::Length(BODY_SIZE_MAX));
        assert_eq!(body("Content-Length: 9223372036854775807"), most);
        for value in [
            "",
            "+2",
            "-1",
            "0x2",
            "2, 2",
            "2,",
            "2 3",
            "2a",
            "9223372036854775808",
            "18446744073709551616",
            "18446744073709551618",
            "\u{661}",
        ] {
            let lines = format!("Content-Length: {value}");
            assert_eq!(body(&lines), Err(HeadFault::InvalidContentLength), "{value:?}");
        }
    }

    #[test]
    fn what_may_come_once_comes_once() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Expect",
            "If-Match",
            "If-None-Match",
            "If-Range",
            "If-Modified-Since",
            "If-Unmodified-Since",
            "Authorization",
            "Content-Range",
        ] {
            let lower = name.to_ascii_lowercase();
            let twice = body(&format!("{name}: 2\r\n{lower}: 2"));
            assert!(matches!(twice, Err(HeadFault::DuplicateField(_))), "{name} gave {twice:?}");
        }
        for name in ["Connection", "Upgrade", "Via", "Cookie", "Range", "TE", "X-A", "Content-Type"]
        {
            assert_eq!(body(&format!("{name}: 2\r\n{name}: 2")), Ok(BodyFraming::None), "{name}");
        }
        assert!(matches!(body("host: h"), Err(HeadFault::DuplicateHost(_))));
        assert!(matches!(
            body("Content-Length:\r\nContent-Length: 2"),
            Err(HeadFault::DuplicateField(_))
        ));
    }

    #[test]
    fn codings() {
        assert_eq!(body("Transfer-Encoding: chunked"), Ok(BodyFraming::Chunked));
        assert_eq!(body("transfer-encoding:\tCHUNKED \t"), Ok(BodyFraming::Chunked));
        for value in [
            "chunked, chunked",
            "gzip, chunked",
            "chunked, identity",
            "xchunked",
            "identity",
            "",
            "\u{b}chunked",
            "\"chunked\"",
            "chunked;a=b",
            "chunked,",
            "chunke",
        ] {
            let fault = body(&format!("Transfer-Encoding: {value}")).err();
            assert_eq!(
                fault.as_ref().map(HeadFault::status),
                Some(501),
                "{value:?} gave {fault:?}"
            );
        }
        for lines in [
            "Transfer-Encoding: chunked\r\nContent-Length: 2",
            "Content-Length: 2\r\nTransfer-Encoding: chunked",
            "Content-Length: 0\r\nA: b\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(body(lines), Err(HeadFault::LengthAndTransferEncoding), "{lines}");
        }
        let old = head("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(request_framing(&old), Err(HeadFault::TransferEncodingInHttp10));
    }

    #[test]
    fn whom_a_request_is_for() {
        let host = |text: &str| {
            let head = head(text);
            let host = request_framing(&head).map(|framing| framing.host);
            host.map(|host| host.map(|name| String::from_utf8_lossy(&name.host).into_owned()))
        };
        assert_eq!(host("GET / HTTP/1.1\r\nHost: A.b.:80\r\n\r\n"), Ok(Some("a.b".into())));
        assert_eq!(host("GET / HTTP/1.1\r\n\r\n"), Err(HeadFault::MissingHost));
        assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), Ok(None));
        assert_eq!(host("GET /\r\n"), Ok(None));
        assert_eq!(host("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Err(HeadFault::InvalidHost));
        assert_eq!(host("GET http://T/ HTTP/1.1\r\nHost: b\r\n\r\n"), Ok(Some("t".into())));
        assert_eq!(host("GET http://T/ HTTP/1.1\r\n\r\n"), Err(HeadFault::MissingHost));
        let bad = "GET http://t/ HTTP/1.1\r\nHost: a/b\r\n\r\n";
        assert_eq!(host(bad), Err(HeadFault::InvalidHost));
        let bad = "GET http://t:0/ HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(host(bad), Err(HeadFault::InvalidTargetHost));
    }

    #[test]
    fn whether_the_connection_stays() {
        use Persistence::{Close, KeepAlive};
        let stays = |version: &str, lines: &str| {
            let head = head(&format!("GET / {version}\r\nHost: h\r\n{lines}\r\n\r\n"));
            request_framing(&head).map(|framing| framing.persistence)
        };
        assert_eq!(stays("HTTP/1.1", "A: b"), Ok(KeepAlive));
        assert_eq!(stays("HTTP/1.0", "A: b"), Ok(Close));
        assert_eq!(stays("HTTP/1.0", "Connection: Keep-Alive"), Ok(KeepAlive));
        assert_eq!(stays("HTTP/1.1", "Connection: Upgrade, CLOSE"), Ok(Close));
        assert_eq!(stays("HTTP/1.1", "Connection: keep-alive, close"), Ok(Close));
        assert_eq!(stays("HTTP/1.1", "Connection: close\r\nConnection: keep-alive"), Ok(KeepAlive));
        assert_eq!(stays("HTTP/1.1", "Connection: close\r\nConnection: x"), Ok(Close));
        for name in
            ["Transfer_Encoding", "Transfer-Encoding\u{ff}", "@content-length", "Content_Length"]
        {
            assert_eq!(stays("HTTP/1.1", &format!("{name}: 1")), Ok(Close), "{name}");
        }
    }

    #[test]
    fn who_waits_for_a_100() {
        let waits = |version: &str, value: &str| {
            let head = head(&format!("PUT / {version}\r\nHost: h\r\nExpect: {value}\r\n\r\n"));
            request_framing(&head).map(|framing| framing.expectation)
        };
        assert_eq!(waits("HTTP/1.1", "100-Continue"), Ok(Expectation::Continue));
        assert_eq!(waits("HTTP/1.0", "100-continue"), Ok(Expectation::None));
        assert_eq!(waits("HTTP/1.1", "y 100-continue"), Ok(Expectation::None));
        assert_eq!(waits("HTTP/1.1", ""), Ok(Expectation::None));
    }

    #[test]
    fn tokens_run_across_lines() {
        let head = head(
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: foo, h2c\r\nConnection: upgrade\r\n\
             upgrade: WebSocket\r\nconnection: , HTTP2-Settings,\r\n\r\n",
        );
        let upgrade: Vec<&[u8]> = upgrade_tokens(head.fields()).collect();
        assert_eq!(upgrade, [b"foo".as_slice(), b"h2c", b"WebSocket"]);
        let connection: Vec<&[u8]> = connection_tokens(head.fields()).collect();
        assert_eq!(connection, [b"upgrade".as_slice(), b"HTTP2-Settings"]);
    }

    /// SM-03: every control and every byte above ASCII before and behind the name and the value.
    #[test]
    fn no_disguise_of_transfer_encoding_frames_a_body_or_keeps_the_connection() {
        let bytes = (1..=0x1fu8).chain(0x7f..=0xff).filter(|byte| !matches!(byte, b'\r' | b'\n'));
        for byte in bytes {
            for place in 0..4 {
                let mut parts: [&[u8]; 4] = [b"Transfer-Encoding", b": ", b"chunked", b"\r\n\r\n"];
                let disguise = [byte];
                let mut text = b"POST / HTTP/1.1\r\nHost: h\r\n".to_vec();
                for (index, part) in parts.iter_mut().enumerate() {
                    let is_before_name = place == 0 && index == 0;
                    if is_before_name || place == index {
                        text.extend_from_slice(&disguise);
                    }
                    text.extend_from_slice(part);
                }
                let rules =
                    RequestRules { underscores: Underscores::Invalid, ..RequestRules::default() };
                let Ok(found) = read(&text, &rules, usize::MAX) else { continue };
                let (head, _) = found.expect("the head is complete");
                match request_framing(&head) {
                    Err(fault) => assert!(matches!(fault.status(), 400 | 501), "{byte:#x} {place}"),
                    Ok(framing) if framing.body == BodyFraming::Chunked => {
                        // A tab around the value is no disguise.
                        assert!(byte == b'\t' && place >= 2, "{byte:#x} {place}");
                    }
                    Ok(framing) => {
                        assert_eq!(framing.body, BodyFraming::None, "{byte:#x} {place}");
                        assert_eq!(framing.persistence, Persistence::Close, "{byte:#x} {place}");
                    }
                }
            }
        }
    }
}
