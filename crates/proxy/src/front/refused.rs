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

/// A head that stopped in the middle: nginx logs 400 and answers nothing.
pub fn broken(
    config: &Arc<Config>,
    endpoint: &Endpoint,
    client: &Client,
    ordinal: u64,
    scrap: Scrap,
) {
    if let Some(mut request) = stand_in(config, &endpoint.default, client, ordinal, scrap) {
        error_log::request(
            &request,
            Severity::Info,
            "client prematurely closed connection while reading client request headers",
        );
        request.sent.status = 400;
        access_log::write(&request);
    }
}

/// A head that took too long: nginx logs 408 and answers nothing.
pub fn timed_out(
    config: &Arc<Config>,
    endpoint: &Endpoint,
    client: &Client,
    ordinal: u64,
    scrap: Scrap,
) {
    if let Some(mut request) = stand_in(config, &endpoint.default, client, ordinal, scrap) {
        error_log::request(
            &request,
            Severity::Info,
            "client timed out (110: Connection timed out) while reading client request headers",
        );
        request.sent.status = 408;
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
