//! The pages that nginx makes for redirects and errors that have none of their own.

use crate::h1::{Version, status_text};
use crate::modules::core::Tokens;
use crate::request::Request;
use crate::response::{Content, Response};
use bytes::Bytes;

/// The name and version that pages and the `Server` field show.
pub fn signature(tokens: Tokens) -> &'static str {
    match tokens {
        Tokens::On | Tokens::Build => concat!("perdura/", env!("CARGO_PKG_VERSION")),
        Tokens::Off => "perdura",
    }
}

/// Gives a response without a body the page of its status, if nginx has one.
pub fn complete(request: &Request, response: &mut Response) {
    let bare = matches!(response.content, Content::Empty) && response.content_length.is_none();
    if !bare || response.status < 300 || response.status == 304 {
        return;
    }
    let page = page(response.status, request);
    response.status = shown_status(response.status);
    response.content_length = Some(page.len() as u64);
    if page.is_empty() {
        return;
    }
    response.content_type = Some(b"text/html".to_vec());
    response.content = Content::Memory(Bytes::from(page));
}

/// nginx has codes of its own that the client sees as 400.
pub fn shown_status(status: u16) -> u16 {
    match status {
        494..=497 => 400,
        status => status,
    }
}

fn page(status: u16, request: &Request) -> String {
    let (title, heading, note) = match status {
        494 => (
            "400 Request Header Or Cookie Too Large".to_owned(),
            "400 Bad Request".to_owned(),
            "Request Header Or Cookie Too Large",
        ),
        495 => (
            "400 The SSL certificate error".to_owned(),
            "400 Bad Request".to_owned(),
            "The SSL certificate error",
        ),
        496 => (
            "400 No required SSL certificate was sent".to_owned(),
            "400 Bad Request".to_owned(),
            "No required SSL certificate was sent",
        ),
        497 => (
            "400 The plain HTTP request was sent to HTTPS port".to_owned(),
            "400 Bad Request".to_owned(),
            "The plain HTTP request was sent to HTTPS port",
        ),
        401 => {
            ("401 Authorization Required".to_owned(), "401 Authorization Required".to_owned(), "")
        }
        302 => ("302 Found".to_owned(), "302 Found".to_owned(), ""),
        301 | 303 | 307 | 308 | 400..=406 | 408..=416 | 421 | 429 | 500..=505 | 507 => {
            let text = format!("{status} {}", status_text(status).unwrap_or_default());
            (text.clone(), text, "")
        }
        // Codes that nginx does not know have an empty body.
        _ => return String::new(),
    };
    let mut page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
    );
    if !note.is_empty() {
        page.push_str(&format!("<center>{note}</center>\r\n"));
    }
    let name = signature(request.location.core.server_tokens);
    page.push_str(&format!("<hr><center>{name}</center>\r\n</body>\r\n</html>\r\n"));
    if is_padded(status, request) {
        for _ in 0..PADDING_LINES {
            page.push_str("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n");
        }
    }
    page
}

const PADDING_LINES: usize = 6;

/// Some browsers show a page of their own instead of a short one.
fn is_padded(status: u16, request: &Request) -> bool {
    let agent = request.head.fields().first("user-agent").unwrap_or_default();
    let has = |word: &[u8]| agent.windows(word.len()).any(|part| part == word);
    status >= 400
        && request.location.core.msie_padding.0
        && request.version() >= Version::HTTP_10
        && (has(b"MSIE ") && !has(b"Opera") || has(b"Chrome/"))
}
