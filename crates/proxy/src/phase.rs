//! The phases of a request, in nginx's order, as a list.
//!
//! | nginx's phase | here |
//! |---|---|
//! | SERVER_REWRITE | [`server_rewrite`] |
//! | FIND_CONFIG | [`find_location`] |
//! | REWRITE | [`rewrite`] |
//! | CONTENT | [`content`] |
//! | LOG | `access_log` |

use crate::config::{Found, Match};
use crate::content;
use crate::modules::return_status::Return;
use crate::request::Request;
use crate::response::Response;
use std::sync::Arc;

/// What a handler decided.
pub enum Step {
    /// The next handler decides.
    Next,
    Respond(Response),
    /// An error with this status; error pages apply.
    Refuse(u16),
    /// The request goes on as if it had asked for this.
    Redirect {
        path: Vec<u8>,
        args: Vec<u8>,
    },
    /// The request is passed to an upstream.
    Pass(Arc<crate::upstream::Pass>),
    /// The connection closes without an answer; the status (444) is logged.
    Hang(u16),
}

/// Internal redirects of one request, at most, as in nginx.
pub const REDIRECTS_MAX: u32 = 10;

/// A handler of a phase.
type Handler = fn(&mut Request) -> Step;

/// The phases that a request runs through from its beginning.
const PHASES: &[Handler] = &[server_rewrite, find_location, rewrite, content];

/// The phases that a request runs through behind an internal redirect to a named location, whose
/// location is set already.
const PHASES_NAMED: &[Handler] = &[rewrite, content];

/// Where a run through the phases begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Start,
    NamedLocation,
}

/// Runs the phases until a handler decides.
pub fn run(request: &mut Request, from: From) -> Step {
    let phases = match from {
        From::Start => PHASES,
        From::NamedLocation => PHASES_NAMED,
    };
    for phase in phases {
        match phase(request) {
            Step::Next => {}
            step => return step,
        }
    }
    Step::Refuse(404)
}

fn server_rewrite(request: &mut Request) -> Step {
    request.location = Arc::clone(&request.server.base);
    let base = Arc::clone(&request.location);
    program(request, &base.program)
}

fn find_location(request: &mut Request) -> Step {
    let server = Arc::clone(&request.server);
    let found = match server.locations.find(&request.path) {
        Ok(found) => found,
        Err(why) => {
            crate::error_log::request(request, crate::modules::error_log::Severity::Alert, &why);
            return Step::Refuse(500);
        }
    };
    match found {
        None => {}
        Some(Found::NeedsSlash(location)) => {
            request.location = location;
            return Step::Respond(content::slash_redirect(request));
        }
        Some(Found::Location { location, captures }) => {
            if let Some((regex, captures)) = captures {
                request.take_captures(&regex, captures);
            }
            request.location = location;
        }
    }
    request.update_keepalive();
    if request.location.core.internal.0 && !request.is_internal {
        return Step::Refuse(404);
    }
    body_limit(request)
}

/// `client_max_body_size`, checked as soon as the location is known.
fn body_limit(request: &Request) -> Step {
    let limit = request.location.core.client_max_body_size.0;
    match request.framing {
        crate::h1::BodyFraming::Length(length)
            if limit > 0 && length > limit && !request.is_internal =>
        {
            crate::error_log::request(
                request,
                crate::modules::error_log::Severity::Error,
                &format!("client intended to send too large body: {length} bytes"),
            );
            Step::Refuse(413)
        }
        _ => Step::Next,
    }
}

fn rewrite(request: &mut Request) -> Step {
    let location = Arc::clone(&request.location);
    // The body of a server has run already.
    if matches!(location.kind, Match::Base) {
        return Step::Next;
    }
    program(request, &location.program)
}

fn program(request: &mut Request, program: &[Return]) -> Step {
    match program.first() {
        None => Step::Next,
        Some(action) => {
            // A text may name `$status`, which is the one it will have.
            request.sent.status = action.status;
            content::return_step(request, action)
        }
    }
}

fn content(request: &mut Request) -> Step {
    if let Some(pass) = &request.location.pass {
        return Step::Pass(Arc::clone(pass));
    }
    content::files(request)
}
