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
    let validators = Validators::of_file(file.modified, file.size);
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
