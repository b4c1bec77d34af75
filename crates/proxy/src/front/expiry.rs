//! `Expires` and `Cache-Control`, as `expires` wants them.

use crate::clock::{self, Wall};
use crate::modules::expires::{Expires, Since, Term};
use crate::modules::headers::When;
use crate::request::Request;
use crate::response::Response;
use bytes::Bytes;

/// Sets both fields, in the place of those that the response has.
pub fn apply(request: &Request, response: &mut Response) {
    if !When::Usual.holds(response.status) {
        return;
    }
    let term = match &request.location.expires.expires {
        Expires::Fixed(term) => *term,
        // As in nginx, a value that is no term says nothing.
        Expires::Computed { since, value } => {
            Term::parse(&request.value(value), *since).unwrap_or(Term::Off)
        }
    };
    let modified = response.last_modified.as_deref().and_then(clock::parse_http_date);
    if let Some((expires, cache_control)) = fields(term, Wall::now().seconds, modified) {
        put(response, "Expires", expires);
        put(response, "Cache-Control", cache_control);
    }
}

/// The values of both fields at a moment; none when nothing is to be said.
fn fields(term: Term, now: i64, modified: Option<i64>) -> Option<(String, String)> {
    let (at, max_age) = match term {
        Term::Off => return None,
        Term::Epoch => {
            return Some(("Thu, 01 Jan 1970 00:00:01 GMT".into(), "no-cache".into()));
        }
        Term::Max => {
            return Some(("Thu, 31 Dec 2037 23:55:55 GMT".into(), "max-age=315360000".into()));
        }
        Term::Span { seconds: 0, .. } => {
            return Some((clock::http_date(now), "max-age=0".into()));
        }
        Term::Daily(second) => {
            let at = next_time(second, now);
            (at, at - now)
        }
        Term::Span { since: Since::Modification, seconds } if modified.is_some() => {
            let at = seconds.saturating_add(modified.unwrap_or(now));
            (at, at.saturating_sub(now))
        }
        Term::Span { seconds, .. } => (now.saturating_add(seconds), seconds),
    };
    let is_past = max_age < 0 || matches!(term, Term::Span { seconds: ..0, .. });
    let cache_control = if is_past { "no-cache".to_owned() } else { format!("max-age={max_age}") };
    Some((clock::http_date(at), cache_control))
}

/// The next moment that is this second of a local day.
fn next_time(second: i64, now: i64) -> i64 {
    let offset = clock::offset(now);
    let midnight = now - (now + offset).rem_euclid(DAY);
    match midnight + second {
        next if next > now => next,
        next => next + DAY,
    }
}

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// The first field of the name has the value now, and others are gone.
fn put(response: &mut Response, name: &'static str, value: String) {
    let value = Bytes::from(value);
    let mut is_there = false;
    response.fields.retain_mut(|(other, old)| {
        if !other.eq_ignore_ascii_case(name.as_bytes()) {
            return true;
        }
        *old = value.clone();
        !std::mem::replace(&mut is_there, true)
    });
    if !is_there {
        response.field(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 784_111_777;

    fn cache_control(term: Term, modified: Option<i64>) -> Option<String> {
        fields(term, NOW, modified).map(|(_, cache_control)| cache_control)
    }

    #[test]
    fn spans_begin_with_the_request_or_the_file() {
        let span = |since, seconds| Term::Span { since, seconds };
        let access = span(Since::Access, 3600);
        assert_eq!(
            fields(access, NOW, None),
            Some(("Sun, 06 Nov 1994 09:49:37 GMT".into(), "max-age=3600".into()))
        );
        let modified = span(Since::Modification, 60);
        assert_eq!(cache_control(modified, Some(NOW - 50)).as_deref(), Some("max-age=10"));
        assert_eq!(cache_control(modified, Some(NOW - 70)).as_deref(), Some("no-cache"));
        assert_eq!(cache_control(modified, None).as_deref(), Some("max-age=60"));
        assert_eq!(cache_control(span(Since::Access, -1), None).as_deref(), Some("no-cache"));
        assert_eq!(cache_control(Term::Off, None), None);
    }

    #[test]
    fn a_time_of_the_day_is_ahead() {
        for second in [0, 1, 43_200, 86_399] {
            let at = next_time(second, NOW);
            assert!(at > NOW && at <= NOW + DAY, "{second}");
            assert_eq!((at + clock::offset(NOW)).rem_euclid(DAY), second);
        }
    }

    #[test]
    fn fields_that_are_there_are_replaced() {
        let mut response = Response::default();
        for (name, value) in [("cache-control", "a"), ("X", "y"), ("Cache-Control", "b")] {
            response.field(name, value);
        }
        put(&mut response, "Cache-Control", "no-cache".into());
        let left: Vec<_> =
            response.fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(left, [(&b"cache-control"[..], &b"no-cache"[..]), (b"X", b"y")]);
    }
}
