//! Conditional requests: whether a response of 200 is sent, is known already, or must not be sent.
//!
//! It sees field values and validators, no request and no file. Files and the texts of `return` ask
//! it, as in nginx, whose filter takes every response of 200 that is its own.

use crate::clock;

/// The fields of a request that make it conditional, as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    pub if_match: Option<&'a [u8]>,
    pub if_none_match: Option<&'a [u8]>,
    pub if_modified_since: Option<&'a [u8]>,
    pub if_unmodified_since: Option<&'a [u8]>,
}

/// What tells one state of a resource from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The value of `ETag`, quotes included.
    pub etag: Option<String>,
    /// Seconds since 1970.
    pub modified: Option<i64>,
}

impl Validators {
    /// The validators of a file: nginx's `ETag` is its time and its size, in hexadecimal digits.
    pub fn of_file(modified: i64, size: u64) -> Self {
        // nginx keeps "no time" as -1, so a file of that second has none; its `ETag` has one.
        let etag = Some(format!("\"{modified:x}-{size:x}\""));
        Self { etag, modified: Some(modified).filter(|&modified| modified != -1) }
    }
}

/// What becomes of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is sent.
    Send,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Decides in nginx's order (RFC 9110, 13.2.2, except that `If-Modified-Since` still counts beside
/// `If-None-Match`: both must find nothing new).
pub fn judge(conditions: &Conditions<'_>, validators: &Validators) -> Outcome {
    if conditions.if_unmodified_since.is_some_and(|date| is_newer(date, validators)) {
        return Outcome::Failed;
    }
    let etag = validators.etag.as_deref().map(str::as_bytes);
    if conditions.if_match.is_some_and(|list| !matches(list, etag, Comparison::Strong)) {
        return Outcome::Failed;
    }
    if conditions.if_modified_since.is_none() && conditions.if_none_match.is_none() {
        return Outcome::Send;
    }
    let is_other_date = |date| is_other(date, validators);
    let is_other_tag = |list| !matches(list, etag, Comparison::Weak);
    if conditions.if_modified_since.is_some_and(is_other_date)
        || conditions.if_none_match.is_some_and(is_other_tag)
    {
        return Outcome::Send;
    }
    Outcome::NotModified
}

/// Whether `If-Range` lets the range count: its value is exactly the validator (RFC 9110, 13.1.5).
pub fn range_counts(if_range: &[u8], validators: &Validators) -> bool {
    if if_range.len() >= 2 && if_range.ends_with(b"\"") {
        return validators.etag.as_deref().is_some_and(|etag| etag.as_bytes() == if_range);
    }
    validators.modified.is_some_and(|modified| clock::parse_http_date(if_range) == Some(modified))
}

/// `If-Unmodified-Since`: what has no date counts as modified, and so does what has an invalid one.
fn is_newer(date: &[u8], validators: &Validators) -> bool {
    match (clock::parse_http_date(date), validators.modified) {
        (Some(date), Some(modified)) => modified > date,
        _ => true,
    }
}

/// `If-Modified-Since` with nginx's default, `if_modified_since exact`: any other date than the
/// file's is a change, because a restored file may be older than the copy.
fn is_other(date: &[u8], validators: &Validators) -> bool {
    validators.modified.is_none() || clock::parse_http_date(date) != validators.modified
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    /// `W/` before a tag is left out of account (RFC 9110, 8.8.3.2).
    Weak,
}

/// Whether the tag is in the list, or the list is `*`. nginx does not read the list as the grammar
/// has it, but skips to commas: a comma inside a tag divides it.
fn matches(list: &[u8], etag: Option<&[u8]>, comparison: Comparison) -> bool {
    if list == b"*" {
        return true;
    }
    let Some(etag) = etag else {
        return false;
    };
    let opaque = |tag: &'_ [u8]| -> usize {
        if comparison == Comparison::Weak && tag.len() > 2 && tag.starts_with(b"W/") {
            2
        } else {
            0
        }
    };
    let etag = &etag[opaque(etag)..];
    let mut rest = list;
    while !rest.is_empty() {
        rest = &rest[opaque(rest)..];
        if rest.len() < etag.len() {
            return false;
        }
        if let Some(behind) = rest.strip_prefix(etag) {
            rest = skip(behind, b" \t");
            if matches!(rest.first(), None | Some(b',')) {
                return true;
            }
        }
        let comma = memchr::memchr(b',', rest).unwrap_or(rest.len());
        rest = skip(&rest[comma..], b" \t,");
    }
    false
}

/// `text` without the bytes of `skipped` at its beginning.
fn skip<'t>(text: &'t [u8], skipped: &[u8]) -> &'t [u8] {
    let start = text.iter().position(|byte| !skipped.contains(byte)).unwrap_or(text.len());
    &text[start..]
}
