//! What an upstream's answer becomes for the client: fields hidden, redirects rewritten, the body
//! ready to be sent on.

use super::body::Body;
use super::exchange::Answer;
use super::pass::with_lower;
use super::{Pass, Redirects, Rule, cookies, outgoing};
use crate::front::size;
use crate::h1::{Asked, ResponseFault, ResponseFraming, ResponseHead, response_framing, same_name};
use crate::request::Request;
use crate::response::{Content, LeftOut, Response};
use crate::worker::Thread;
use std::rc::Rc;

/// Fields of an answer that concern the connection to the upstream only.
const HOP_BY_HOP: [&str; 3] = ["connection", "transfer-encoding", "content-length"];

/// Where the body of an answer ends.
pub fn framing(request: &Request, head: &ResponseHead) -> Result<ResponseFraming, ResponseFault> {
    let is_head = outgoing::method(request).eq_ignore_ascii_case(b"HEAD");
    let asked = if is_head { Asked::Head } else { Asked::Other };
    response_framing(head, asked)
}

/// The response for an answer that is no switch of protocols.
pub fn response(
    request: &Request,
    pass: &Pass,
    answer: Answer,
    framing: ResponseFraming,
    thread: &Rc<Thread>,
) -> Response {
    let mut response = head_of(request, pass, &answer.head);
    response.content_length = framing.content_length;
    let rate = size(request, &request.location.proxy.proxy_limit_rate);
    let ignored = request.location.proxy.proxy_ignore_headers;
    let buffering = request.location.proxy.proxy_buffering.0
        && answer
            .head
            .fields()
            .first("x-accel-buffering")
            .filter(|_| !ignored.has("X-Accel-Buffering"))
            .is_none_or(|value| !value.eq_ignore_ascii_case(b"no"));
    let body = Body::new(answer, framing, (buffering, rate), Rc::clone(thread));
    response.content = Content::Upstream(Box::new(body));
    response
}

/// The head of an answer as the client gets it.
pub fn head_of(request: &Request, pass: &Pass, head: &ResponseHead) -> Response {
    let mut response = Response { status: head.status(), ..Response::default() };
    // What passes unchanged stays where it was read.
    let text = head.fields().text();
    let part = |part: &[u8]| text.slice_ref(part);
    response.reason = Some(part(head.reason()));
    response.left_out =
        LeftOut { server: !is_hidden(pass, b"server"), date: !is_hidden(pass, b"date") };
    response.fields.reserve(head.fields().count());
    for (name, value) in head.fields().iter() {
        if is_hidden(pass, name) {
            continue;
        }
        if same_name(name, "content-type") {
            response.content_type = Some(value.to_vec());
        } else if same_name(name, "location") {
            match rewritten(request, pass, value) {
                // Only one that begins with a slash is completed with scheme and host.
                Some(location) if location.first() == Some(&b'/') => {
                    response.location = Some(location);
                }
                Some(location) => response.field(part(name), location),
                // A relative one that nothing rewrote passes as it is.
                None => response.field(part(name), part(value)),
            }
        } else if same_name(name, "set-cookie") {
            match cookies::rewritten(request, &request.location.proxy_cookie, value) {
                Some(cookie) => response.field(part(name), cookie),
                None => response.field(part(name), part(value)),
            }
        } else if same_name(name, "refresh") {
            let value = refresh(request, pass, value);
            response.field(part(name), value);
        } else {
            response.field(part(name), part(value));
        }
    }
    response
}

fn is_hidden(pass: &Pass, name: &[u8]) -> bool {
    HOP_BY_HOP.iter().any(|known| same_name(name, known))
        || with_lower(name, |lower| pass.hidden.contains(lower))
}

/// `proxy_redirect`: the first rule that fits.
fn rewritten(request: &Request, pass: &Pass, value: &[u8]) -> Option<Vec<u8>> {
    let Redirects::Rules(rules) = &pass.redirects else {
        return None;
    };
    rules.iter().find_map(|rule| match rule {
        Rule::Prefix { redirect, replacement } => {
            let prefix = request.value(redirect);
            let rest = value.strip_prefix(prefix.as_slice())?;
            let mut out = request.value(replacement);
            out.extend_from_slice(rest);
            Some(out)
        }
        Rule::Pattern { regex, replacement } => {
            let captures = regex.captures(value).ok()??;
            request.take_captures(regex, captures);
            // nginx replaces the whole value when a pattern matches.
            Some(request.value(replacement))
        }
    })
}

/// The URL behind `url=` in a `Refresh` field is rewritten as a `Location` is.
fn refresh(request: &Request, pass: &Pass, value: &[u8]) -> Vec<u8> {
    let lower = value.to_ascii_lowercase();
    let Some(at) = lower.windows(4).position(|part| part == b"url=") else {
        return value.to_vec();
    };
    let (before, url) = value.split_at(at + 4);
    match rewritten(request, pass, url) {
        Some(url) => [before, &url].concat(),
        None => value.to_vec(),
    }
}
