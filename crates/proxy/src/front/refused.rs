//! Heads that are no request: the answer, the log lines and the end of the connection.

use super::serve::{After, Client, Scrap};
use super::{answer, body};
use crate::access_log;
use crate::config::{Config, Endpoint, Server};
use crate::error_log;
use crate::h1::{HeadFault, Progress, RequestHead, RequestParser, RequestRules};
use crate::modules::error_log::Severity;
use crate::request::{Refused, Request};
use crate::uri::Slashes;
use crate::worker::Thread;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;

/// Answers a head that breaks the rules, and closes.
pub async fn fault(
    config: &Arc<Config>,
    server: &Arc<Server>,
    client: Box<Client>,
    ordinal: u64,
    (fault, scrap): (HeadFault, Scrap),
    thread: &Rc<Thread>,
) {
    let head = stand_in_head(&fault, &scrap);
    let Some(request) = stand_in(head, config, server, &client, ordinal, scrap) else {
        return;
    };
    let reason = fault.reason();
    error_log::request(&request, Severity::Info, &String::from_utf8_lossy(&reason));
    match answer::refuse(client, request, fault.status(), thread).await {
        super::serve::Course::Http(client, After::Linger) => body::linger(client).await,
        super::serve::Course::Http(client, After::Reset) => client.channel.set_reset_on_close(),
        super::serve::Course::Http(client, _) => client.channel.say_goodbye(),
        super::serve::Course::Tunnel => {}
    }
}

/// Why a head that had begun did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Broken,
    TimedOut,
}

impl Stop {
    /// The status in the access log, and the words of the error log.
    fn logged(self) -> (u16, &'static str) {
        match self {
            Self::Broken => (400, "client prematurely closed connection"),
            Self::TimedOut => (408, "client timed out (110: Connection timed out)"),
        }
    }
}

/// A head that stopped in the middle: nginx logs it and answers nothing.
pub fn unanswered(
    config: &Arc<Config>,
    endpoint: &Endpoint,
    client: &Client,
    ordinal: u64,
    (stop, scrap): (Stop, Scrap),
) {
    let server = &endpoint.default;
    if let Some(mut request) = stand_in(OF_GET, config, server, client, ordinal, scrap) {
        let (status, words) = stop.logged();
        let message = format!("{words} while reading client request headers");
        error_log::request(&request, Severity::Info, &message);
        request.sent.status = status;
        access_log::write(&request);
    }
}

/// Heads that stand for lines that are no request line: nginx answers HEAD without a body and
/// HTTP/0.9 without a head also when it refuses what it read.
const OF_GET: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const OF_HEAD: &[u8] = b"HEAD / HTTP/1.0\r\n\r\n";
const WITHOUT_VERSION: &[u8] = b"GET /\r\n";

fn stand_in_head(fault: &HeadFault, scrap: &Scrap) -> &'static [u8] {
    match fault {
        HeadFault::InvalidMethodInHttp09 => WITHOUT_VERSION,
        _ if scrap.line.starts_with(b"HEAD ") => OF_HEAD,
        _ => OF_GET,
    }
}

pub fn head_of(text: Bytes) -> Option<RequestHead> {
    // The line was accepted by the rules of its server, which may be wider than these.
    let rules = RequestRules { header_buffer: text.len(), ..RequestRules::default() };
    let mut parser = RequestParser::new(&rules);
    match parser.parse(&text, &rules) {
        Ok(Progress::Complete { length }) => Some(parser.finish(text.slice(..length))),
        _ => None,
    }
}

/// A request that stands for one that could not be read, so that pages and logs have what they
/// need: made of its request line alone when that was understood, of `otherwise` when it was not.
fn stand_in(
    otherwise: &'static [u8],
    config: &Arc<Config>,
    server: &Arc<Server>,
    client: &Client,
    ordinal: u64,
    scrap: Scrap,
) -> Option<Box<Request>> {
    let own = match scrap.is_understood() {
        true => head_of([&scrap.line[..], b"\r\n\r\n"].concat().into()),
        false => None,
    };
    let is_own = own.is_some();
    let head = own.or_else(|| head_of(Bytes::from_static(otherwise)))?;
    let connection = Rc::clone(&client.facts);
    let mut request =
        Request::new(Arc::clone(config), connection, ordinal, head, Arc::clone(server));
    let path = request.head.path(Slashes::of(&server.core)).map(|path| path.into_owned());
    let mut has_target = false;
    match path {
        _ if !is_own => request.method = Bytes::new(),
        Ok(path) => {
            request.path = path;
            request.args = request.head.args().unwrap_or_default().to_vec();
            has_target = true;
        }
        Err(_) => {}
    }
    request.refused = Some(Refused { line: scrap.line, length: scrap.length, has_target });
    Some(request)
}
