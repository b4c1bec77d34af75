//! What a client did wrong in a head: one variant per culprit, and the one table of their answers.
//!
//! It does not answer anything itself: the front maps a fault to a refusal with [`HeadFault::status`]
//! and to a line of the error log with [`HeadFault::reason`].

use std::borrow::Cow;

/// Why a request's head is refused. Two equal faults compare equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// A byte that no method may hold (nginx knows upper-case letters, `-` and `_`).
    InvalidMethod,
    /// The request line breaks its grammar behind the method.
    InvalidRequest,
    /// A raw `#` in the target. nginx drops the fragment; here it is refused, because what lies
    /// behind it is seen by some readers and not by others.
    FragmentInTarget,
    /// HTTP of a major version above 1.
    InvalidVersion,
    /// A request without a version whose method is not GET.
    InvalidMethodInHttp09,
    /// The request line does not fit one large buffer.
    TargetTooLong,
    /// The path cannot be normalised: a bad `%xx`, a NUL, or `..` above the root.
    InvalidUri,
    /// The host of an absolute target or of CONNECT is not one.
    InvalidTargetHost,
    /// A field line breaks its grammar; `byte` is the one that does.
    InvalidField {
        /// The line up to the culprit.
        line: Box<[u8]>,
        /// The culprit.
        byte: u8,
    },
    /// A field line does not fit one large buffer, or no buffer is left for it.
    FieldTooLong {
        /// The beginning of the line.
        line: Box<[u8]>,
    },
    /// No buffer is left and no field line has begun.
    HeadTooLarge,
    /// More field lines than `max_headers`.
    TooManyFields,
    /// A field came twice that may come once only.
    DuplicateField(Box<Duplicate>),
    /// `Host` came twice.
    DuplicateHost(Box<Duplicate>),
    /// The value of `Host` is not a host.
    InvalidHost,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// `Content-Length` is not a number that fits.
    InvalidContentLength,
    /// `Transfer-Encoding` in HTTP/1.0.
    TransferEncodingInHttp10,
    /// `Content-Length` and `Transfer-Encoding` in one head.
    LengthAndTransferEncoding,
    /// A transfer coding other than exactly `chunked`.
    UnknownTransferEncoding {
        /// What was asked for.
        value: Box<[u8]>,
    },
}

/// The two lines of which only one was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The name of the later line, as sent.
    pub name: Box<[u8]>,
    /// The value of the later line.
    pub value: Box<[u8]>,
    /// The name of the first line, as sent.
    pub previous_name: Box<[u8]>,
    /// The value of the first line.
    pub previous_value: Box<[u8]>,
}

impl Duplicate {
    /// A later line beside the line before it, each as name and value.
    pub fn new(later: (&[u8], &[u8]), previous: (&[u8], &[u8])) -> Box<Duplicate> {
        Box::new(Duplicate {
            name: later.0.into(),
            value: later.1.into(),
            previous_name: previous.0.into(),
            previous_value: previous.1.into(),
        })
    }

    pub(crate) fn describe(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for part in [
            b"\"".as_slice(),
            &self.name,
            b": ",
            &self.value,
            b"\", previous value: \"",
            &self.previous_name,
            b": ",
            &self.previous_value,
            b"\"",
        ] {
            text.extend_from_slice(part);
        }
        text
    }
}

impl HeadFault {
    /// The status that nginx gives. 494 is written to the log; the client sees 400.
    pub fn status(&self) -> u16 {
        match self {
            HeadFault::InvalidVersion => 505,
            HeadFault::TargetTooLong => 414,
            HeadFault::FieldTooLong { .. } | HeadFault::HeadTooLarge | HeadFault::TooManyFields => {
                494
            }
            HeadFault::UnknownTransferEncoding { .. } => 501,
            _ => 400,
        }
    }

    /// The words of nginx's error log (level info), with what was being read, without the context
    /// behind it (`, client: ...`). Bytes of the client appear as they came.
    pub fn reason(&self) -> Cow<'static, [u8]> {
        let mut text = self.culprit();
        text.to_mut().extend_from_slice(match self.is_of_request_line() {
            true => b" while reading client request line",
            false => b" while reading client request headers",
        });
        text
    }

    fn is_of_request_line(&self) -> bool {
        matches!(
            self,
            HeadFault::InvalidMethod
                | HeadFault::InvalidRequest
                | HeadFault::FragmentInTarget
                | HeadFault::InvalidVersion
                | HeadFault::InvalidMethodInHttp09
                | HeadFault::TargetTooLong
                | HeadFault::InvalidUri
                | HeadFault::InvalidTargetHost
        )
    }

    fn culprit(&self) -> Cow<'static, [u8]> {
        Cow::Borrowed(match self {
            HeadFault::InvalidMethod => b"client sent invalid method",
            HeadFault::InvalidRequest | HeadFault::FragmentInTarget | HeadFault::InvalidUri => {
                b"client sent invalid request"
            }
            HeadFault::InvalidVersion => b"client sent invalid version",
            HeadFault::InvalidMethodInHttp09 => b"client sent invalid method in HTTP/0.9 request",
            HeadFault::TargetTooLong => b"client sent too long URI",
            HeadFault::InvalidTargetHost => b"client sent invalid host in request line",
            HeadFault::HeadTooLarge => b"client sent too large request",
            HeadFault::TooManyFields => b"client sent too many header lines",
            HeadFault::InvalidHost => b"client sent invalid host header",
            HeadFault::MissingHost => b"client sent HTTP/1.1 request without \"Host\" header",
            HeadFault::InvalidContentLength => b"client sent invalid \"Content-Length\" header",
            HeadFault::TransferEncodingInHttp10 => {
                b"client sent HTTP/1.0 request with \"Transfer-Encoding\" header"
            }
            HeadFault::LengthAndTransferEncoding => {
                b"client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            HeadFault::InvalidField { .. }
            | HeadFault::FieldTooLong { .. }
            | HeadFault::DuplicateField(_)
            | HeadFault::DuplicateHost(_)
            | HeadFault::UnknownTransferEncoding { .. } => return Cow::Owned(self.quotation()),
        })
    }

    /// The culprits that quote the client.
    fn quotation(&self) -> Vec<u8> {
        match self {
            HeadFault::InvalidField { line, byte } => {
                let tail = format!("\\x{byte:02x}...\"");
                [b"client sent invalid header line: \"", line.as_ref(), tail.as_bytes()].concat()
            }
            HeadFault::FieldTooLong { line } => {
                [b"client sent too long header line: \"", line.as_ref(), b"...\""].concat()
            }
            HeadFault::DuplicateField(lines) => {
                [b"client sent duplicate header line: ".as_slice(), &lines.describe()].concat()
            }
            HeadFault::DuplicateHost(lines) => {
                [b"client sent duplicate host header: ".as_slice(), &lines.describe()].concat()
            }
            HeadFault::UnknownTransferEncoding { value } => {
                [b"client sent unknown \"Transfer-Encoding\": \"", value.as_ref(), b"\""].concat()
            }
            _ => Vec::new(),
        }
    }
}

impl std::fmt::Display for HeadFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.reason()))
    }
}

impl std::error::Error for HeadFault {}

/// As much of a line as nginx quotes in its log: its longest message (2048) less 300.
pub(crate) const QUOTED_SIZE_MAX: usize = 1748;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_statuses_are_nginx_s() {
        let fault = HeadFault::InvalidField { line: b"X".as_slice().into(), byte: 0 };
        assert_eq!(fault.status(), 400);
        assert_eq!(
            fault.to_string(),
            r#"client sent invalid header line: "X\x00..." while reading client request headers"#
        );
        assert_eq!(
            HeadFault::InvalidMethod.to_string(),
            "client sent invalid method while reading client request line"
        );
        let twice = HeadFault::DuplicateHost(Duplicate::new((b"Host", b"b"), (b"host", b"a")));
        assert_eq!(
            twice.to_string(),
            "client sent duplicate host header: \"Host: b\", previous value: \"host: a\" \
             while reading client request headers"
        );
        assert_eq!(HeadFault::TooManyFields.status(), 494);
        assert_eq!(HeadFault::TargetTooLong.status(), 414);
        assert_eq!(HeadFault::InvalidVersion.status(), 505);
    }
}
