//! A request that this server makes to itself while the client's waits (`auth_request`).
//!
//! It runs through the phases like any other, but for the access phase, may be redirected and passed
//! on, and ends with a status: nothing of it reaches the client, and it is in no access log. It never
//! upgrades. `answer` asks here.

use super::answer::{self, named, redirect, refusal};
use super::serve::Client;
use crate::phase::{self, From, Step};
use crate::request::Request;
use crate::response::Content;
use crate::upstream::{Passed, exchange};
use crate::worker::Thread;
use bytes::Bytes;
use std::rc::Rc;

/// What a subrequest came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// The answer's `WWW-Authenticate`.
    pub challenge: Option<Vec<u8>>,
}

/// Why a subrequest has no end, and its request neither.
pub enum Lost {
    /// The connection is to be closed without an answer; this status is logged.
    Hung(Box<Client>, u16),
    /// It has become a tunnel.
    Tunnel,
}

/// Asks for `path` on behalf of `parent`, and gives it the values of
/// `auth_request_set`.
pub async fn ask(
    client: Box<Client>,
    parent: &mut Request,
    path: Vec<u8>,
    thread: &Rc<Thread>,
) -> Result<(Box<Client>, Answered), Lost> {
    let request = parent.subrequest(path);
    let (client, mut request, answered) = run(client, request, thread).await?;
    let values: Vec<_> = parent
        .location
        .auth_request
        .auth_request_set
        .0
        .iter()
        .map(|set| (set.variable, Some(Bytes::from(request.value(&set.value)))))
        .collect();
    parent.take_back(&mut request);
    parent.memo.borrow_mut().extend(values);
    Ok((client, answered))
}

/// Runs a subrequest to its end.
async fn run(
    mut client: Box<Client>,
    mut request: Box<Request>,
    thread: &Rc<Thread>,
) -> Result<(Box<Client>, Box<Request>, Answered), Lost> {
    let mut step = phase::run(&mut request, From::Start);
    loop {
        step = match step {
            Step::Next | Step::FindLocation => Step::Refuse(404),
            Step::Respond(response) => match answer::own_page(&mut request, &response) {
                Some(step) => step,
                None => {
                    let field = |(name, _): &&(Bytes, Bytes)| {
                        name.eq_ignore_ascii_case(b"www-authenticate")
                    };
                    let challenge = response.fields.iter().find(field);
                    let mut challenge = challenge.map(|(_, value)| value.to_vec());
                    if challenge.is_none() {
                        // What is hidden from clients counts all the same, as in nginx.
                        let head = request.upstream_head.as_ref();
                        let hidden = head.and_then(|head| head.fields().first("www-authenticate"));
                        challenge = hidden.map(<[u8]>::to_vec);
                    }
                    if let Content::Upstream(body) = response.content {
                        body.finish_unread(&mut request);
                    }
                    let status = answer::kept_status(&request, response.status);
                    return Ok((client, request, Answered { status, challenge }));
                }
            },
            Step::Refuse(status) => refusal(&mut request, status),
            Step::Redirect { path, args } => redirect(&mut request, path, args),
            Step::RedirectNamed(name) => named(&mut request, &name),
            Step::Hang(status) => {
                return Err(Lost::Hung(client, status));
            }
            Step::Wait(pause) => match answer::wait(&client, &mut request, *pause).await {
                Some(step) => step,
                None => return Err(Lost::Hung(client, 499)),
            },
            Step::Pass(pass) => match exchange(client, request, &pass, thread).await {
                Passed::Tunnel => return Err(Lost::Tunnel),
                Passed::Gone(client, _) => return Err(Lost::Hung(client, 499)),
                Passed::Response(back, with, response) => {
                    (client, request) = (back, with);
                    answer::intercepted(&mut request, response)
                }
                Passed::Refused(back, with, status) => {
                    (client, request) = (back, with);
                    Step::Refuse(status)
                }
                Passed::BadBody(back, with, fault) => {
                    (client, request) = (back, with);
                    Step::Refuse(fault.status())
                }
            },
            Step::Tunnel(_) => Step::Refuse(405),
        };
    }
}
