//! `return`: what nginx's rewrite module and its `ngx_http_send_response` make of one.
//!
//! The configuration has been checked when it was read; nothing is refused here that `-t` accepted.
//! The phases call it through `mod.rs`.

use super::answer::{bare_when_no_content, not_modified};
use super::asked::Asked;
use super::condition::{Outcome, Validators, judge};
use super::{media_type, status_of};
use crate::modules::return_status::Return;
use crate::phase::Step;
use crate::request::Request;
use crate::response::Response;
use perdura_conf::Template;

/// What a `return` does: error codes without a text are errors like any other, codes that stand for a
/// redirect take the text as a location, and everything else is a response with a text.
pub fn return_step(request: &Request, action: &Return) -> Step {
    match Kind::of(action) {
        Kind::Silence => Step::Hang(action.status),
        Kind::Refusal => Step::Refuse(action.status),
        Kind::Redirect => Step::Respond(Response {
            status: action.status,
            location: Some(text_of(request, action)),
            ..Response::default()
        }),
        Kind::Text => text_step(request, action),
    }
}

/// What kind of answer a `return` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The connection closes without an answer.
    Silence,
    Refusal,
    Redirect,
    Text,
}

impl Kind {
    fn of(action: &Return) -> Self {
        // An empty text is none; a variable that turns out to be empty is a text.
        let has_text =
            action.text.as_ref().and_then(Template::constant).is_none_or(|text| !text.is_empty())
                && action.text.is_some();
        match action.status {
            301 | 302 | 303 | 307 | 308 => Kind::Redirect,
            ..400 => Kind::Text,
            _ if has_text => Kind::Text,
            // nginx ends a request that timed out, or whose client went away, without an answer, and
            // does not ask who said so.
            408 | 444 | 499 => Kind::Silence,
            _ => Kind::Refusal,
        }
    }
}

fn text_of(request: &Request, action: &Return) -> Vec<u8> {
    action.text.as_ref().map(|text| request.value(text)).unwrap_or_default()
}

fn text_step(request: &Request, action: &Return) -> Step {
    let status = status_of(request, action.status);
    if status == 200 {
        // There is nothing to compare with, but `*` and dates find their answers (as in nginx).
        match judge(
            &Asked::of(request.head.fields(), &request.location.core).conditions,
            &Validators::default(),
        ) {
            Outcome::Send => {}
            Outcome::NotModified => return Step::Respond(not_modified()),
            Outcome::Failed => return Step::Refuse(412),
        }
    }
    let mut response = Response::text(status, b"", text_of(request, action));
    response.content_type = media_type(request);
    bare_when_no_content(&mut response);
    Step::Respond(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, text: Option<&str>) -> Kind {
        Kind::of(&Return { status, text: text.map(|text| Template::plain(text.as_bytes())) })
    }

    /// Each was tried with nginx 1.22.1.
    #[test]
    fn kinds_are_those_of_nginx() {
        for status in [301, 302, 303, 307, 308] {
            assert_eq!(kind(status, None), Kind::Redirect, "{status}");
            assert_eq!(kind(status, Some("/x")), Kind::Redirect, "{status}");
        }
        for status in [0, 150, 200, 201, 204, 300, 304, 305, 399] {
            assert_eq!(kind(status, None), Kind::Text, "{status}");
        }
        for status in [400, 404, 416, 418, 500, 999] {
            assert_eq!(kind(status, None), Kind::Refusal, "{status}");
            assert_eq!(kind(status, Some("")), Kind::Refusal, "{status}");
            assert_eq!(kind(status, Some("x")), Kind::Text, "{status}");
        }
        for status in [408, 444, 499] {
            assert_eq!(kind(status, None), Kind::Silence, "{status}");
            assert_eq!(kind(status, Some("x")), Kind::Text, "{status}");
        }
    }
}
