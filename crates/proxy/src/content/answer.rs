//! The response that carries an open file: whole, in parts, or not at all.
//!
//! It makes heads and says which bytes follow; nothing is read here. `mod.rs` calls it with a file
//! that has just been opened.

use super::asked::Asked;
use super::condition::{Outcome, Validators, judge, range_counts};
use super::file::OpenFile;
use super::multipart::{content_range, lay_out};
use super::range::{Selection, select};
use crate::clock;
use crate::response::{Content, Piece, Response};
use std::collections::VecDeque;
use std::ops::Range;

/// What a file comes to.
pub enum Answer {
    Respond(Response),
    /// A precondition failed (412); error pages apply.
    Failed,
}

/// Answers with `file` of type `media_type`. `status` is 200, or what an error page keeps; conditions
/// and ranges count for 200 only.
pub fn with_file(
    file: OpenFile,
    media_type: Option<Vec<u8>>,
    status: u16,
    asked: &Asked<'_>,
) -> Answer {
    let mut validators = Validators::of_file(file.modified, file.size);
    if asked.without_etag {
        validators.etag = None;
    }
    if status != 200 {
        return Answer::Respond(kept(file, media_type, status, validators));
    }
    match judge(&asked.conditions, &validators) {
        Outcome::Failed => Answer::Failed,
        Outcome::NotModified => Answer::Respond(head(304, None, &validators)),
        Outcome::Send => match selection(asked, file.size, &validators) {
            Selection::Whole => {
                let mut response = head(200, media_type, &validators);
                response.field("Accept-Ranges", "bytes");
                send(&mut response, file);
                Answer::Respond(response)
            }
            Selection::Unsatisfiable => Answer::Respond(unsatisfiable(file.size)),
            Selection::Parts(parts) => {
                Answer::Respond(partial(file, &parts, media_type, &validators))
            }
        },
    }
}

/// The answer of 304 to a condition that a text without validators meets.
pub fn not_modified() -> Response {
    head(304, None, &Validators::default())
}

/// Content of 204 is none, and its head says nothing of any (RFC 9110, 15.3.5).
pub fn bare_when_no_content(response: &mut Response) {
    if response.status == 204 {
        response.content_type = None;
        response.content_length = None;
        response.last_modified = None;
        response.content = Content::Empty;
    }
}

fn selection(asked: &Asked<'_>, size: u64, validators: &Validators) -> Selection {
    match (asked.range, asked.if_range) {
        (None, _) => Selection::Whole,
        (Some(_), Some(if_range)) if !range_counts(if_range, validators) => Selection::Whole,
        (Some(range), _) => select(range, size),
    }
}

/// A head with what 200, 206 and 304 have in common.
fn head(status: u16, content_type: Option<Vec<u8>>, validators: &Validators) -> Response {
    // nginx writes times before 1970 as its beginning.
    let date = |modified: i64| clock::http_date(modified.max(0)).into_bytes();
    let mut response = Response {
        status,
        content_type,
        last_modified: validators.modified.map(date),
        ..Response::default()
    };
    if let Some(etag) = &validators.etag {
        response.field("ETag", etag.clone());
    }
    response
}

/// A file as the page of an error: its date would be that of the page, so it is not told.
fn kept(
    file: OpenFile,
    media_type: Option<Vec<u8>>,
    status: u16,
    validators: Validators,
) -> Response {
    let mut response = head(status, media_type, &validators);
    if !matches!(status, 206 | 304) {
        response.last_modified = None;
    }
    send(&mut response, file);
    bare_when_no_content(&mut response);
    response
}

fn send(response: &mut Response, file: OpenFile) {
    response.content_length = Some(file.size);
    if file.size > 0 {
        let whole = Piece::Range { offset: 0, length: file.size };
        response.content = Content::File { file: file.file, pieces: VecDeque::from([whole]) };
    }
}

fn partial(
    file: OpenFile,
    parts: &[Range<u64>],
    media_type: Option<Vec<u8>>,
    validators: &Validators,
) -> Response {
    let OpenFile { file, size, .. } = file;
    if let [part] = parts {
        let length = part.end - part.start;
        let mut response = head(206, media_type, validators);
        response.field("Content-Range", content_range(part, size));
        response.content_length = Some(length);
        let pieces = VecDeque::from([Piece::Range { offset: part.start, length }]);
        response.content = Content::File { file, pieces };
        return response;
    }
    let multipart = lay_out(parts, size, media_type.as_deref());
    let mut response = head(206, Some(multipart.content_type), validators);
    response.content_length = Some(multipart.length);
    response.content = Content::File { file, pieces: multipart.pieces };
    response
}

/// The front adds the page of 416.
fn unsatisfiable(size: u64) -> Response {
    let mut response = Response { status: 416, ..Response::default() };
    response.field("Content-Range", format!("bytes */{size}"));
    response
}

#[cfg(test)]
mod tests {
    use super::super::condition::Conditions;
    use super::super::file::{Found, open};
    use super::super::scratch::Scratch;
    use super::*;
    use std::os::unix::fs::FileExt;

    const DATE: &str = "Thu, 02 Jan 2020 03:04:05 GMT";

    /// A file of 2020 with this content.
    fn file(content: &[u8]) -> OpenFile {
        let scratch = Scratch::new();
        scratch.file("f", content);
        let path = [scratch.root(), b"/f"].concat();
        match open(path) {
            Ok(Found::File(file)) => OpenFile { modified: 1_577_934_245, ..file },
            other => panic!("a file was expected: {other:?}"),
        }
    }

    fn answer(content: &[u8], status: u16, asked: &Asked<'_>) -> Response {
        match with_file(file(content), Some(b"text/plain".to_vec()), status, asked) {
            Answer::Respond(response) => response,
            Answer::Failed => panic!("no precondition should fail"),
        }
    }

    /// Head and body as text, in the order in which nginx sends the fields.
    fn shown(response: &Response) -> String {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let mut out = response.status.to_string();
        let mut line = |name: &str, value: String| out.push_str(&format!(" | {name}: {value}"));
        if let Some(value) = &response.content_type {
            line("Content-Type", text(value));
        }
        if let Some(value) = response.content_length {
            line("Content-Length", value.to_string());
        }
        if let Some(value) = &response.last_modified {
            line("Last-Modified", text(value));
        }
        for (name, value) in &response.fields {
            line(&text(name), text(value));
        }
        out.push_str(" :: ");
        out.push_str(&text(&body(response)));
        out
    }

    fn body(response: &Response) -> Vec<u8> {
        let mut out = Vec::new();
        if let Content::File { file, pieces } = &response.content {
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Range { offset, length } => {
                        let mut part = vec![0; *length as usize];
                        file.read_exact_at(&mut part, *offset).expect("the part is in the file");
                        out.extend_from_slice(&part);
                    }
                }
            }
        }
        out
    }

    fn range(value: &str) -> Asked<'_> {
        Asked { range: Some(value.as_bytes()), ..Asked::default() }
    }

    /// The expected lines of this module are what nginx 1.22.1 sent for the same file, without
    /// `Server`, `Date` and `Connection`.
    #[test]
    fn whole() {
        assert_eq!(
            shown(&answer(b"0123456789", 200, &Asked::default())),
            "200 | Content-Type: text/plain | Content-Length: 10 | Last-Modified: Thu, 02 Jan 2020 \
             03:04:05 GMT | ETag: \"5e0d5da5-a\" | Accept-Ranges: bytes :: 0123456789"
        );
        assert_eq!(
            shown(&answer(b"", 200, &range("bytes=0-0"))),
            "200 | Content-Type: text/plain | Content-Length: 0 | Last-Modified: Thu, 02 Jan 2020 \
             03:04:05 GMT | ETag: \"5e0d5da5-0\" | Accept-Ranges: bytes :: "
        );
    }

    #[test]
    fn one_part() {
        assert_eq!(
            shown(&answer(b"0123456789", 200, &range("bytes=-3"))),
            "206 | Content-Type: text/plain | Content-Length: 3 | Last-Modified: Thu, 02 Jan 2020 \
             03:04:05 GMT | ETag: \"5e0d5da5-a\" | Content-Range: bytes 7-9/10 :: 789"
        );
    }

    #[test]
    fn several_parts() {
        let response = answer(b"0123456789", 200, &range("bytes=0-0,5-6"));
        assert_eq!((response.status, response.content_length), (206, Some(197)));
        assert_eq!(body(&response).len(), 197);
        let media_type = String::from_utf8(response.content_type.clone().unwrap_or_default());
        let media_type = media_type.expect("a type is a text");
        assert!(media_type.starts_with("multipart/byteranges; boundary=0000"), "{media_type}");
        assert_eq!(response.fields.len(), 1, "nothing but the ETag");
    }

    #[test]
    fn no_part() {
        let response = answer(b"0123456789", 200, &range("bytes=10-"));
        assert_eq!(shown(&response), "416 | Content-Range: bytes */10 :: ");
    }

    #[test]
    fn known_already() {
        let conditions =
            Conditions { if_modified_since: Some(DATE.as_bytes()), ..Conditions::default() };
        let asked = Asked { conditions, ..range("bytes=0-0") };
        assert_eq!(
            shown(&answer(b"0123456789", 200, &asked)),
            "304 | Last-Modified: Thu, 02 Jan 2020 03:04:05 GMT | ETag: \"5e0d5da5-a\" :: "
        );
    }

    #[test]
    fn a_failed_precondition_has_no_answer_here() {
        let conditions = Conditions { if_match: Some(b"\"x\""), ..Conditions::default() };
        let asked = Asked { conditions, ..Asked::default() };
        let answer = with_file(file(b"x"), None, 200, &asked);
        assert!(matches!(answer, Answer::Failed));
    }

    #[test]
    fn if_range_without_its_validator_gives_everything() {
        let asked = |if_range| Asked { if_range: Some(if_range), ..range("bytes=0-0") };
        assert_eq!(answer(b"0123456789", 200, &asked(b"\"5e0d5da5-a\"")).status, 206);
        assert_eq!(answer(b"0123456789", 200, &asked(b"\"x\"")).status, 200);
    }

    #[test]
    fn the_page_of_an_error_is_neither_conditional_nor_cut() {
        let conditions = Conditions { if_none_match: Some(b"*"), ..Conditions::default() };
        let asked = Asked { conditions, ..range("bytes=0-0") };
        assert_eq!(
            shown(&answer(b"0123456789", 404, &asked)),
            "404 | Content-Type: text/plain | Content-Length: 10 | ETag: \"5e0d5da5-a\" \
             :: 0123456789"
        );
        assert_eq!(shown(&answer(b"x", 204, &Asked::default())), "204 | ETag: \"5e0d5da5-1\" :: ");
    }
}
