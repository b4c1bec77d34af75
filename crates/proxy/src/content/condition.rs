//! Conditional requests: whether a response of 200 is sent, is known already, or must not be sent.
//!
//! It sees field values and validators, no request and no file. Files and the texts of `return` ask
//! it, as in nginx, whose filter takes every response of 200 that is its own.

use crate::clock;
use crate::modules::core::Since;

/// The fields of a request that make it conditional, as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    pub if_match: Option<&'a [u8]>,
    pub if_none_match: Option<&'a [u8]>,
    pub if_modified_since: Option<&'a [u8]>,
    pub if_unmodified_since: Option<&'a [u8]>,
    /// `if_modified_since` of the location; `None` is its default.
    pub since: Option<Since>,
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
    let since = conditions.since.unwrap_or(Since::Exact);
    let is_other_date = |date| is_other(date, since, validators);
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

/// `If-Modified-Since`. By default any other date than the file's is a change, because a restored file
/// may be older than the copy.
fn is_other(date: &[u8], since: Since, validators: &Validators) -> bool {
    let (Some(modified), date) = (validators.modified, clock::parse_http_date(date)) else {
        return true;
    };
    match since {
        Since::Off => true,
        Since::Exact => date != Some(modified),
        Since::Before => date.is_none_or(|date| date < modified),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Thu, 02 Jan 2020 03:04:05 GMT";
    const EARLIER: &str = "Thu, 02 Jan 2020 03:04:04 GMT";
    const LATER: &str = "Thu, 02 Jan 2020 03:04:06 GMT";
    const TAG: &str = "\"5e0d5da5-a\"";

    fn file() -> Validators {
        Validators::of_file(1_577_934_245, 10)
    }

    /// Judges as nginx's status: 200, 304 or 412.
    fn judged(fields: &[(&str, &str)], validators: &Validators) -> u16 {
        let value = |name: &str| {
            fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
        };
        let conditions = Conditions {
            if_match: value("If-Match"),
            if_none_match: value("If-None-Match"),
            if_modified_since: value("If-Modified-Since"),
            if_unmodified_since: value("If-Unmodified-Since"),
            since: None,
        };
        match judge(&conditions, validators) {
            Outcome::Send => 200,
            Outcome::NotModified => 304,
            Outcome::Failed => 412,
        }
    }

    #[test]
    fn validators_of_a_file() {
        assert_eq!(file().etag.as_deref(), Some(TAG));
        assert_eq!(file().modified, Some(1_577_934_245));
        let odd = Validators::of_file(-1, 0);
        assert_eq!(odd.etag.as_deref(), Some("\"ffffffffffffffff-0\""));
        assert_eq!(odd.modified, None);
    }

    /// All tables below are answers of nginx 1.22.1.
    #[test]
    fn dates() {
        for (value, since, unmodified) in [
            (DATE, 304, 200),
            (EARLIER, 200, 412),
            (LATER, 200, 200),
            ("x", 200, 412),
            ("", 200, 412),
            (TAG, 200, 412),
        ] {
            assert_eq!(judged(&[("If-Modified-Since", value)], &file()), since, "{value}");
            assert_eq!(judged(&[("If-Unmodified-Since", value)], &file()), unmodified, "{value}");
        }
    }

    #[test]
    fn tags() {
        let rows = [
            ("T", 200, 304),
            ("W/T", 412, 304),
            ("*", 200, 304),
            ("\"x\"", 412, 200),
            ("\"x\", T", 200, 304),
            ("\"x\",T ,\"y\"", 200, 304),
            ("\"x\", W/T", 412, 304),
            ("Tz", 412, 200),
            ("T z", 412, 200),
            ("Tz, T", 200, 304),
            ("\"x,T", 200, 304),
            ("*, \"x\"", 412, 200),
            ("\"x\", *", 412, 200),
            (", T", 200, 304),
            ("x T", 412, 200),
            ("", 412, 200),
            ("W/", 412, 200),
            ("W/W/T", 412, 200),
            ("\"5e0d5da5-a", 412, 200),
            ("\"long long long long\", \"x\"", 412, 200),
        ];
        for (list, if_match, if_none_match) in rows {
            let list = list.replace('T', TAG);
            assert_eq!(judged(&[("If-Match", &list)], &file()), if_match, "If-Match: {list}");
            let status = judged(&[("If-None-Match", &list)], &file());
            assert_eq!(status, if_none_match, "If-None-Match: {list}");
        }
    }

    #[test]
    fn a_weak_tag_of_ones_own_is_compared_without_its_mark() {
        let weak = Validators { etag: Some(format!("W/{TAG}")), modified: None };
        assert_eq!(judged(&[("If-None-Match", TAG)], &weak), 304);
        assert_eq!(judged(&[("If-Match", TAG)], &weak), 412);
    }

    #[test]
    fn conditions_together() {
        let both =
            |tag, date| judged(&[("If-None-Match", tag), ("If-Modified-Since", date)], &file());
        assert_eq!(both(TAG, DATE), 304);
        assert_eq!(both(TAG, EARLIER), 200);
        assert_eq!(both("\"x\"", DATE), 200);
        assert_eq!(judged(&[("If-Match", "\"x\""), ("If-None-Match", TAG)], &file()), 412);
        let unmodified = [("If-Unmodified-Since", EARLIER), ("If-None-Match", TAG)];
        assert_eq!(judged(&unmodified, &file()), 412);
        assert_eq!(judged(&[], &file()), 200);
    }

    #[test]
    fn a_text_without_validators() {
        let none = Validators::default();
        assert_eq!(judged(&[("If-None-Match", "*")], &none), 304);
        assert_eq!(judged(&[("If-None-Match", TAG)], &none), 200);
        assert_eq!(judged(&[("If-Match", "*")], &none), 200);
        assert_eq!(judged(&[("If-Match", TAG)], &none), 412);
        assert_eq!(judged(&[("If-Modified-Since", DATE)], &none), 200);
        assert_eq!(judged(&[("If-Unmodified-Since", LATER)], &none), 412);
        assert_eq!(judged(&[("If-None-Match", "*"), ("If-Modified-Since", "x")], &none), 200);
    }

    #[test]
    fn if_range_is_the_validator_itself() {
        for value in [DATE, TAG] {
            assert!(range_counts(value.as_bytes(), &file()), "{value}");
            assert!(!range_counts(value.as_bytes(), &Validators::default()), "{value}");
        }
        let weak = format!("W/{TAG}");
        let list = format!("\"x\", {TAG}");
        for value in [EARLIER, LATER, "x", "", "*", "\"", "\"x\"", &weak, &list] {
            assert!(!range_counts(value.as_bytes(), &file()), "{value}");
        }
    }
}
