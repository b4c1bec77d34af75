//! One `rewrite`: the path and the arguments that come of it, or the place that the client is sent
//! to.

use super::{Flow, Log, MatchFailed, matches};
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::modules::rewrite::{Rewrite, Then};
use crate::phase::Step;
use crate::request::Request;
use crate::response::Response;
use crate::uri::{self, Unescape};

/// Rewrites the request if the pattern matches its path.
pub(super) fn run(request: &mut Request, rewrite: &Rewrite, log: Log) -> Flow {
    match matches(request, &rewrite.regex, &request.path, log) {
        Ok(true) => {}
        Ok(false) => return Flow::GoOn,
        Err(MatchFailed) => return Flow::End(Step::Refuse(500)),
    }
    request.is_internal = true;
    request.is_unchanged = false;
    match rewrite.then {
        Then::Stay => {
            request.is_rewritten = false;
            request.fits_location = false;
        }
        Then::GoOn | Then::FindLocation | Then::Redirect(_) => request.is_rewritten = true,
    }
    if let Then::Redirect(status) = rewrite.then {
        let location = redirect(request, rewrite);
        log.write(request, || format!("rewritten redirect: \"{}\"", text(&location)));
        let response = Response { status, location: Some(location), ..Response::default() };
        return Flow::End(Step::Respond(response));
    }
    let (path, args) = replacement(request, rewrite);
    log.write(request, || {
        format!("rewritten data: \"{}\", args: \"{}\"", text(&path), text(&args))
    });
    if path.is_empty() {
        error_log::request(request, Severity::Error, "the rewritten URI has a zero length");
        return Flow::End(Step::Refuse(500));
    }
    request.path = path;
    request.args = args;
    match rewrite.then {
        Then::GoOn => Flow::GoOn,
        Then::FindLocation | Then::Stay | Then::Redirect(_) => Flow::End(Step::Next),
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The new path and arguments. Captures in the arguments are escaped again if the client had escaped
/// anything, since what they hold is decoded.
fn replacement(request: &Request, rewrite: &Rewrite) -> (Vec<u8>, Vec<u8>) {
    let path = request.value(&rewrite.path);
    let Some(template) = &rewrite.args else {
        let args = if rewrite.keeps_args { request.args.clone() } else { Vec::new() };
        return (path, args);
    };
    let mut args = Vec::new();
    request.evaluate_quoted(template, &mut args);
    if rewrite.keeps_args && !request.args.is_empty() {
        args.push(b'&');
        args.extend_from_slice(&request.args);
    }
    (path, args)
}

/// The value of `Location`.
fn redirect(request: &Request, rewrite: &Rewrite) -> Vec<u8> {
    let mut escaped = Vec::new();
    request.evaluate_quoted(&rewrite.path, &mut escaped);
    let mut location = uri::unescape(Unescape::Redirect, &escaped).into_owned();
    if rewrite.keeps_args && !request.args.is_empty() {
        location.push(if rewrite.args.is_some() { b'&' } else { b'?' });
        location.extend_from_slice(&request.args);
    }
    location
}
