//! A complete head of a request: places in a text that it owns.
//!
//! It answers what was sent; what it means for the connection is [`super::framing`], what the path means
//! is `crate::uri`. Made by [`super::RequestParser::finish`] only.

use super::fields::Fields;
use super::line::RequestLine;
use super::version::Version;
use crate::uri::{self, BadUri};
use std::borrow::Cow;

/// The head of one request.
#[derive(Clone, Debug)]
pub struct RequestHead {
    line: RequestLine,
    fields: Fields,
    has_masked_framing: bool,
}

impl RequestHead {
    pub(crate) fn new(line: RequestLine, fields: Fields, has_masked_framing: bool) -> RequestHead {
        RequestHead { line, fields, has_masked_framing }
    }

    /// The method as sent (upper-case letters, `-`, `_`).
    pub fn method(&self) -> &[u8] {
        self.line.method.of(self.fields.text())
    }

    /// The target exactly as sent: a path, an absolute URI, or the authority of CONNECT.
    pub fn target(&self) -> &[u8] {
        self.line.target.of(self.fields.text())
    }

    /// The request line exactly as sent, without its end: `$request`.
    pub fn request_line(&self) -> &[u8] {
        self.line.line.of(self.fields.text())
    }

    /// The version; HTTP/0.9 has neither fields nor a head in its answer.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// The version as sent: `$server_protocol`; empty in HTTP/0.9.
    pub fn protocol(&self) -> &[u8] {
        self.line.protocol.of(self.fields.text())
    }

    /// The scheme of an absolute target.
    pub fn scheme(&self) -> Option<&[u8]> {
        self.line.scheme.map(|span| span.of(self.fields.text()))
    }

    /// Host and port of an absolute target or of CONNECT, not yet validated
    /// ([`super::request_framing`] does).
    pub fn target_authority(&self) -> Option<&[u8]> {
        self.line.authority.map(|span| span.of(self.fields.text()))
    }

    /// Path and arguments as sent, without scheme and host: nginx's `unparsed_uri`, `$request_uri`.
    /// `/` for CONNECT and for an absolute target that ends at its host.
    pub fn unparsed_uri(&self) -> &[u8] {
        self.line.uri.of(self.fields.text())
    }

    /// The path as sent, before normalising: empty only in `http://host?args`.
    pub fn raw_path(&self) -> &[u8] {
        let end = self.line.args.map_or(self.line.uri.end, |args| args.saturating_sub(1));
        self.fields.text().get(self.line.uri.start as usize..end as usize).unwrap_or_default()
    }

    /// The arguments as sent, without the `?`: `$args` as it begins; nothing if there is no `?`.
    pub fn args(&self) -> Option<&[u8]> {
        let start = self.line.args? as usize;
        self.fields.text().get(start..self.line.uri.end as usize)
    }

    /// The path normalised as nginx's `$uri` begins: decoded, dot segments resolved, slashes merged if
    /// told so. Borrowed when nothing had to change.
    pub fn path(&self, slashes: uri::Slashes) -> Result<Cow<'_, [u8]>, BadUri> {
        let raw = self.raw_path();
        if raw.is_empty() {
            return Ok(Cow::Borrowed(b"/"));
        }
        if !self.line.is_special {
            return Ok(Cow::Borrowed(raw));
        }
        uri::normalise(raw, slashes)
    }

    /// Whether the path holds a `%`: nginx's `quoted_uri`, which makes `proxy_pass` escape again.
    pub fn is_quoted(&self) -> bool {
        self.line.is_special && memchr::memchr(b'%', self.raw_path()).is_some()
    }

    /// Whether the path holds a `%` or a `+`: nginx's `quoted_uri` and `plus_in_uri`, which make
    /// `rewrite` escape what it takes from the path into arguments.
    pub fn is_quoted_for_args(&self) -> bool {
        memchr::memchr2(b'%', b'+', self.raw_path()).is_some()
    }

    /// The field lines that were kept.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How long the head was, its end included: where `$request_length` begins.
    pub fn length(&self) -> usize {
        self.fields.text().len()
    }

    /// How long the head is up to the end of the last line with this name, which is in lower case.
    pub fn length_through(&self, lower: &str) -> usize {
        let text = self.fields.text();
        let Some(value) = self.fields.all(lower).last() else {
            return text.len();
        };
        // The value lies in the text, so the distance of the two is its place.
        let start = (value.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let rest = text.get(start..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(text.len(), |end| start + end + 1)
    }

    /// Whether a field was dropped whose name resembles `Content-Length` or `Transfer-Encoding`.
    pub(crate) fn has_masked_framing(&self) -> bool {
        self.has_masked_framing
    }
}
