//! Heads that are no request: the answer, the log lines and the end of the connection.

use super::serve::{After, Client, Scrap};
use super::{answer, body};
use crate::access_log;
use crate::config::{Config, Endpoint, Server};
use crate::error_log;
use crate::h1::{HeadFault, Progress, RequestParser, RequestRules};
use crate::modules::error_log::Severity;
use crate::request::Request;
use crate::worker::Thread;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;

/// Answers a head that breaks the rules, and closes.
pub async fn fault(
    config: &Arc<Config>,
    server: &Arc<Server>,
    client: Client,
    ordinal: u64,
    (fault, scrap): (HeadFault, Scrap),
    thread: &Rc<Thread>,
) {
    let Some(request) = stand_in(config, server, &client, ordinal, scrap) else {
        return;
    };
    let reason = fault.reason();
    error_log::request(&request, Severity::Info, &String::from_utf8_lossy(&reason));
    match answer::refuse(client, request, fault.status(), thread).await {
        super::serve::Course::Http(client, After::Linger) => body::linger(client).await,
        super::serve::Course::Http(client, After::Reset) => client.channel.set_reset_on_close(),
        _ => {}
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
    if let Some(mut request) = stand_in(config, &endpoint.default, client, ordinal, scrap) {
        let (status, words) = stop.logged();
        let message = format!("{words} while reading client request headers");
        error_log::request(&request, Severity::Info, &message);
        request.sent.status = status;
        access_log::write(&request);
    }
}

/// A request that stands for one that could not be read, so that pages and logs have what they need.
fn stand_in(
    config: &Arc<Config>,
    server: &Arc<Server>,
    client: &Client,
    ordinal: u64,
    scrap: Scrap,
) -> Option<Box<Request>> {
    const HEAD: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    let rules = RequestRules::default();
    let mut parser = RequestParser::new(&rules);
    let Ok(Progress::Complete { .. }) = parser.parse(HEAD, &rules) else {
        return None;
    };
    let head = parser.finish(Bytes::from_static(HEAD));
    let connection = Rc::clone(&client.facts);
    let mut request =
        Request::new(Arc::clone(config), connection, ordinal, head, Arc::clone(server));
    request.method = Bytes::new();
    request.refused_line = Some(scrap.line);
    request.refused_length = Some(scrap.length);
    Some(request)
}
