//! The phases of a request, in nginx's order, as a list.
//!
//! | nginx's phase | here |
//! |---|---|
//! | POST_READ | `real_address` |
//! | SERVER_REWRITE | [`server_rewrite`] |
//! | FIND_CONFIG | [`find_location`] |
//! | REWRITE | [`rewrite`] |
//! | POST_REWRITE | [`post_rewrite`] |
//! | PREACCESS | `real_address`, `limits` |
//! | ACCESS | `access`: by address, by password, by another request |
//! | POST_ACCESS | `access::conclude` |
//! | PRECONTENT | [`content::try_files`] |
//! | CONTENT | [`content`] |
//! | LOG | `access_log` |

use crate::access;
use crate::config::{Found, Match};
use crate::content;
use crate::error_log;
use crate::limits;
use crate::modules::error_log::Severity;
use crate::password::Credentials;
use crate::real_address;
use crate::request::Request;
use crate::response::Response;
use crate::script;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
    /// The request goes on in the named location.
    RedirectNamed(Vec<u8>),
    /// The request was rewritten: its location is looked for anew.
    FindLocation,
    /// The request is passed to an upstream.
    Pass(Arc<crate::upstream::Pass>),
    /// CONNECT is answered with a tunnel.
    Tunnel(Arc<crate::upstream::Tunnel>),
    /// The connection closes without an answer; the status (444) is logged.
    Hang(u16),
    /// The request waits. Boxed, because it is seldom.
    Wait(Box<Pause>),
}

/// What a request waits for. Whoever waits goes on with [`run`].
pub enum Pause {
    Delay {
        time: Duration,
        behind: Behind,
    },
    /// The answer to a request for this path decides.
    Subrequest {
        path: Vec<u8>,
    },
    /// The password is looked at on another thread, and the handler asked again with the judgement.
    Password {
        file: PathBuf,
        credentials: Credentials,
    },
}

/// What comes behind a delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The request is refused with this status.
    Refuse(u16),
    /// The request goes on.
    GoOn,
}

/// Internal redirects of one request, at most, as in nginx.
pub const REDIRECTS_MAX: u32 = 10;

/// A handler of a phase.
type Handler = fn(&mut Request) -> Step;

/// The phases that a request runs through from its beginning.
const PHASES: &[Handler] = &[
    real_address::settle,
    server_rewrite,
    find_location,
    rewrite,
    post_rewrite,
    real_address::settle,
    limits::requests::limit,
    limits::connections::limit,
    access::by_address,
    access::by_password,
    access::by_request,
    access::conclude,
    content::try_files,
    content,
];

/// Where a rewritten request goes on: behind the server's own program.
const FIND_LOCATION: usize = 2;

/// Where a request goes on whose location is set already, behind a redirect to a named location.
const NAMED_LOCATION: usize = 3;

/// Where a run through the phases begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Start,
    /// Behind an internal redirect to a named location.
    NamedLocation,
    /// With the handler that had to wait.
    Again,
}

/// Runs the phases until a handler decides.
pub fn run(request: &mut Request, from: From) -> Step {
    let mut next = match from {
        From::Start => {
            request.fits_location = true;
            0
        }
        From::NamedLocation => {
            request.is_rewritten = false;
            NAMED_LOCATION
        }
        From::Again => request.phase,
    };
    while let Some(phase) = PHASES.get(next) {
        request.phase = next;
        next = match phase(request) {
            Step::Next => next + 1,
            Step::FindLocation => FIND_LOCATION,
            step => return step,
        };
    }
    Step::Refuse(404)
}

fn server_rewrite(request: &mut Request) -> Step {
    request.location = Arc::clone(&request.server.base);
    let base = Arc::clone(&request.location);
    script::run(request, &base.program)
}

fn find_location(request: &mut Request) -> Step {
    request.is_rewritten = false;
    request.location = Arc::clone(&request.server.base);
    let server = Arc::clone(&request.server);
    let found = match server.locations.find(&request.path) {
        Ok(found) => found,
        Err(why) => {
            error_log::request(request, Severity::Alert, &why);
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
    if request.location.core.internal.0 && !request.is_internal {
        return Step::Refuse(404);
    }
    let step = body_limit(request);
    let location = Arc::clone(&request.location);
    request.enter(location);
    step
}

/// `client_max_body_size`, checked as soon as the location is known.
fn body_limit(request: &Request) -> Step {
    let limit = request.location.core.client_max_body_size.0;
    match request.framing {
        crate::h1::BodyFraming::Length(length)
            if limit > 0 && length > limit && !request.is_internal =>
        {
            error_log::request(
                request,
                Severity::Error,
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
    script::run(request, &location.program)
}

/// A request that was rewritten in its location may belong to another one now.
fn post_rewrite(request: &mut Request) -> Step {
    if !request.is_rewritten {
        return Step::Next;
    }
    request.redirects += 1;
    if request.redirects <= REDIRECTS_MAX {
        return Step::FindLocation;
    }
    let path = String::from_utf8_lossy(&request.path);
    let message = format!("rewrite or internal redirection cycle while processing \"{path}\"");
    error_log::request(request, Severity::Error, &message);
    Step::Refuse(500)
}

fn content(request: &mut Request) -> Step {
    let connects = &request.method[..] == b"CONNECT";
    match &request.location.tunnel {
        Some(tunnel) if connects => return Step::Tunnel(Arc::clone(tunnel)),
        // Nothing else is done by a place of tunnels, and no place else makes one.
        None if !connects => {}
        _ => return Step::Refuse(405),
    }
    if request.location.reports_status {
        return content::status_page(request);
    }
    if let Some(pass) = &request.location.pass {
        return Step::Pass(Arc::clone(pass));
    }
    content::files(request)
}
