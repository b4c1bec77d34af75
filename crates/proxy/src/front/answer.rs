//! From a request to its answer: phases, error pages, internal redirects, the upstream's exchange.

use super::accel;
use super::body::{self, BodyFault, Discarded, Unwanted};
use super::connect;
use super::secure;
use super::send::{self, Finish};
use super::serve::{After, Client, Course};
use super::special;
use super::subrequest::{self, Lost};
use crate::access_log;
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::modules::error_page::{Override, Rule};
use crate::password::{self, Judgement};
use crate::phase::{self, Behind, From, Pause, REDIRECTS_MAX, Step};
use crate::request::{Body, ErrorPage, Request};
use crate::response::{Content, Response};
use crate::upstream::{Passed, exchange, tunnel};
use crate::uri;
use crate::worker::Thread;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Runs a request to its end.
pub fn run(
    client: Box<Client>,
    mut request: Box<Request>,
    thread: &Rc<Thread>,
) -> impl Future<Output = Course> {
    let step = first_step(&mut request);
    go_on(client, request, step, thread)
}

/// Answers with an error's page.
pub fn refuse(
    client: Box<Client>,
    request: Box<Request>,
    status: u16,
    thread: &Rc<Thread>,
) -> impl Future<Output = Course> {
    go_on(client, request, Step::Refuse(status), thread)
}

fn first_step(request: &mut Request) -> Step {
    if let Some(status) = secure::refusal(request) {
        return Step::Refuse(status);
    }
    if request.is_connect() {
        // Whatever follows is not of this protocol (RFC 9931, 4).
        request.keepalive = false;
        if let Some(status) = connect::refused(request) {
            return Step::Refuse(status);
        }
    }
    if request.head.method() == b"TRACE" {
        error_log::request(request, Severity::Info, "client sent TRACE method");
        request.keepalive = false;
        return Step::Refuse(405);
    }
    phase::run(request, From::Start)
}

async fn go_on(
    mut client: Box<Client>,
    mut request: Box<Request>,
    mut step: Step,
    thread: &Rc<Thread>,
) -> Course {
    loop {
        step = match step {
            Step::Next | Step::FindLocation => Step::Refuse(404),
            Step::Respond(response) => match own_page(&mut request, &response) {
                Some(step) => step,
                None => {
                    let mut rest = Unwanted::of(&request);
                    let arrived = rest.drop_arrived(&mut client, &mut request);
                    match arrived {
                        Err(fault) if is_content(&response) => Step::Refuse(fault.status()),
                        _ => return finish(client, request, Box::new(response), rest).await,
                    }
                }
            },
            Step::Refuse(status) => refusal(&mut request, status),
            Step::Redirect { path, args } => redirect(&mut request, path, args),
            Step::RedirectNamed(name) => named(&mut request, &name),
            Step::Hang(status) => return hang(client, request, status),
            Step::Wait(pause) => match *pause {
                Pause::Subrequest { path } => {
                    match Box::pin(subrequest::ask(client, &mut request, path, thread)).await {
                        Ok((back, answered)) => {
                            client = back;
                            request.answered = Some(Box::new(answered));
                            phase::run(&mut request, From::Again)
                        }
                        Err(Lost::Hung(client, status)) => return hang(client, request, status),
                        Err(Lost::Tunnel) => return Course::Tunnel,
                    }
                }
                pause => match Box::pin(wait(&client, &mut request, pause)).await {
                    Some(step) => step,
                    None => return hang(client, request, 499),
                },
            },
            Step::Pass(pass) => {
                let passed = exchange(client, request, &pass, thread).await;
                match behind_passing(passed) {
                    Ok(next) => {
                        (client, request, step) = next;
                        continue;
                    }
                    Err(course) => return course,
                }
            }
            Step::Tunnel(pass) => {
                let passed = Box::pin(tunnel(client, request, &pass, thread)).await;
                match behind_passing(passed) {
                    Ok(next) => {
                        (client, request, step) = next;
                        continue;
                    }
                    Err(course) => return course,
                }
            }
        };
    }
}

/// What follows when an upstream was asked.
fn behind_passing(passed: Passed) -> Result<(Box<Client>, Box<Request>, Step), Course> {
    match passed {
        Passed::Tunnel => Err(Course::Tunnel),
        Passed::Gone(client, mut request) => {
            request.sent.status = 499;
            access_log::write(&request);
            Err(Course::Http(client, After::Close))
        }
        Passed::Response(client, mut request, response) => {
            let step = intercepted(&mut request, response);
            Ok((client, request, step))
        }
        Passed::Refused(client, request, status) => Ok((client, request, Step::Refuse(status))),
        Passed::BadBody(client, mut request, fault) => match bad_body(&mut request, fault) {
            Some(step) => Ok((client, request, step)),
            None => Err(Course::Http(client, After::Close)),
        },
    }
}

/// Waits as a handler wanted it; `None` when the client went away meanwhile.
pub(super) async fn wait(client: &Client, request: &mut Request, pause: Pause) -> Option<Step> {
    match pause {
        Pause::Delay { time, behind } => {
            tokio::select! {
                () = tokio::time::sleep(time) => {}
                () = client.channel.closed() => {
                    let message = "client prematurely closed connection";
                    error_log::request(request, Severity::Info, message);
                    return None;
                }
            }
            Some(match behind {
                Behind::Refuse(status) => Step::Refuse(status),
                Behind::GoOn => phase::run(request, From::Again),
            })
        }
        // Who waits for one has the connection in his hands.
        Pause::Subrequest { .. } => Some(Step::Refuse(500)),
        Pause::Password { file, credentials } => {
            let judge = move || password::judge(&file, &credentials);
            let judged = tokio::task::spawn_blocking(judge).await;
            request.judgement = Some(judged.unwrap_or_else(|error| {
                Judgement::NoHash(std::io::Error::other(error.to_string()))
            }));
            Some(phase::run(request, From::Again))
        }
    }
}

/// A body that cannot be read: some faults are answered, a client that has gone is only logged.
fn bad_body(request: &mut Request, fault: BodyFault) -> Option<Step> {
    request.keepalive = false;
    request.body = Body::Broken;
    match fault {
        BodyFault::TooLarge | BodyFault::Malformed | BodyFault::Disk => {
            Some(Step::Refuse(fault.status()))
        }
        BodyFault::TimedOut | BodyFault::ClientGone => {
            request.sent.status = fault.status();
            access_log::write(request);
            None
        }
    }
}

/// The status that a response goes out with: an error's page may keep the error's.
pub(super) fn kept_status(request: &Request, status: u16) -> u16 {
    match request.error_page {
        ErrorPage::Making { status: Some(kept) } => kept,
        ErrorPage::Making { status: None } | ErrorPage::None => status,
    }
}

fn hang(client: Box<Client>, mut request: Box<Request>, status: u16) -> Course {
    request.sent.status = status;
    access_log::write(&request);
    Course::Http(client, After::Close)
}

/// What an error leads to: its error page, or nginx's own.
pub(super) fn refusal(request: &mut Request, status: u16) -> Step {
    // A client that waits for leave to send its body gets the answer instead.
    request.expects_continue = false;
    // After these nginx does not trust what follows on the connection.
    if matches!(status, 400 | 413 | 414 | 494..=497 | 500 | 501) {
        request.keepalive = false;
    }
    let location = Arc::clone(&request.location);
    let recursive = location.error_page.recursive_error_pages.0;
    let may = recursive || request.error_page == ErrorPage::None;
    let rules = &location.error_page.error_page.0;
    let rule = rules.iter().find(|rule| rule.statuses.contains(&status));
    match rule {
        Some(rule) if may && request.redirects < REDIRECTS_MAX => to_page(request, rule, status),
        _ => {
            // An error on the way to an error's page is the one that counts.
            if request.error_page != ErrorPage::None {
                request.error_page = ErrorPage::Making { status: None };
            }
            Step::Respond(Response { status, ..Response::default() })
        }
    }
}

/// The error page of a response that this server has made without a body, such as a redirect.
pub(super) fn own_page(request: &mut Request, response: &Response) -> Option<Step> {
    let is_bare = matches!(response.content, Content::Empty) && response.content_length.is_none();
    if !is_bare || response.status < 300 || request.error_page != ErrorPage::None {
        return None;
    }
    let location = Arc::clone(&request.location);
    let rules = &location.error_page.error_page.0;
    let rule = rules.iter().find(|rule| rule.statuses.contains(&response.status))?;
    Some(to_page(request, rule, response.status))
}

fn to_page(request: &mut Request, rule: &Rule, status: u16) -> Step {
    let target = request.value(&rule.uri);
    let kept = match rule.change {
        Override::Keep => Some(special::shown_status(status)),
        Override::Page => None,
        Override::To(status) => Some(status),
    };
    if target.first() == Some(&b'/') {
        request.error_page = ErrorPage::Making { status: kept };
        to_get(request);
        let (path, args) = uri::split_args(&target);
        return redirect(request, path.to_vec(), args.unwrap_or_default().to_vec());
    }
    if target.first() == Some(&b'@') {
        request.error_page = ErrorPage::Making { status: kept };
        return named(request, &target);
    }
    let status = match rule.change {
        Override::To(status @ (301 | 302 | 303 | 307 | 308)) => status,
        _ => 302,
    };
    let mut response = Response { status, ..Response::default() };
    response.location = Some(target);
    Step::Respond(response)
}

/// An error page is asked for by GET, but an answer to HEAD keeps being one.
pub(super) fn to_get(request: &mut Request) {
    if !request.is_head() {
        request.method = Bytes::from_static(b"GET");
    }
}

pub(super) fn redirect(request: &mut Request, path: Vec<u8>, args: Vec<u8>) -> Step {
    if !count_redirect(request) {
        return Step::Respond(Response { status: 500, ..Response::default() });
    }
    request.path = path;
    request.args = args;
    request.is_unchanged = false;
    request.is_internal = true;
    phase::run(request, From::Start)
}

pub(super) fn named(request: &mut Request, name: &[u8]) -> Step {
    if !count_redirect(request) {
        return Step::Respond(Response { status: 500, ..Response::default() });
    }
    let Some(location) = request.server.named.get(name).cloned() else {
        let name = String::from_utf8_lossy(name).into_owned();
        let message = format!("could not find named location \"{name}\"");
        error_log::request(request, Severity::Error, &message);
        return Step::Respond(Response { status: 500, ..Response::default() });
    };
    request.enter(location);
    request.is_internal = true;
    phase::run(request, From::NamedLocation)
}

fn count_redirect(request: &mut Request) -> bool {
    request.redirects += 1;
    if request.redirects <= REDIRECTS_MAX {
        return true;
    }
    let path = String::from_utf8_lossy(&request.path).into_owned();
    let message =
        format!("rewrite or internal redirection cycle while internally redirecting to \"{path}\"");
    error_log::request(request, Severity::Error, &message);
    false
}

/// `proxy_intercept_errors`: an upstream's error is answered with this server's page, if it has one.
pub(super) fn intercepted(request: &mut Request, response: Response) -> Step {
    let location = Arc::clone(&request.location);
    let has_page = location
        .error_page
        .error_page
        .0
        .iter()
        .any(|rule| rule.statuses.contains(&response.status));
    if location.proxy.proxy_intercept_errors.0 && response.status >= 300 && has_page {
        return Step::Refuse(response.status);
    }
    accel::followed(request, response)
}

/// Whether a response is more than the page of an error.
fn is_content(response: &Response) -> bool {
    response.status < 400 || !matches!(response.content, Content::Empty)
}

async fn finish(
    mut client: Box<Client>,
    mut request: Box<Request>,
    mut response: Box<Response>,
    rest: Unwanted,
) -> Course {
    keep_from_tunnelling(&mut request, &mut response);
    if let ErrorPage::Making { status: Some(status) } = request.error_page {
        // The page keeps the status of the error that it stands for.
        special::complete(&request, &mut response);
        response.status = status;
    }
    special::complete(&request, &mut response);
    accel::put_back(&mut request, &mut response);
    if request.expects_continue && Box::pin(body::invite(&mut client, &mut request)).await.is_err()
    {
        request.keepalive = false;
    }
    let finish = send::response(&mut client, &mut request, response).await;
    let after = match finish {
        Finish::Whole if request.keepalive => after_whole(&mut client, &request, rest).await,
        Finish::Whole if request.is_connect() => After::Linger,
        Finish::Whole if !rest.is_whole() || !client.buffer.is_empty() => After::Linger,
        Finish::Whole => After::Close,
        Finish::TimedOut if request.location.core.reset_timedout_connection.0 => After::Reset,
        Finish::Broken | Finish::TimedOut => After::Close,
    };
    access_log::write(&request);
    Course::Http(client, after)
}

/// A client takes any 2xx for a tunnel, and what follows for the other side's bytes (RFC 9110,
/// 9.3.6): none but the one of a tunnel is sent.
fn keep_from_tunnelling(request: &mut Request, response: &mut Response) {
    let shown = match request.error_page {
        ErrorPage::Making { status: Some(status) } => status,
        _ => response.status,
    };
    if request.is_connect() && (200..300).contains(&shown) {
        let message = format!("an answer of {shown} to CONNECT would be taken for a tunnel");
        error_log::request(request, Severity::Error, &message);
        request.error_page = ErrorPage::None;
        *response = Response { status: 405, ..Response::default() };
    }
}

async fn after_whole(client: &mut Client, request: &Request, rest: Unwanted) -> After {
    let discarded = match rest.is_whole() {
        true => Discarded::Whole,
        false => Box::pin(rest.discard(client, request)).await,
    };
    match discarded {
        Discarded::Whole => After::KeepAlive {
            idle: Duration::from_millis(request.location.core.keepalive_timeout.timeout_ms),
        },
        Discarded::Cut => After::Linger,
    }
}
