//! What a location answers by itself: files, redirects to folders, and what `return` says.
//!
//! Nothing here passes a request on, sends a byte or makes an error page; the phases call it and act
//! on the [`Step`]. In reading order:
//!
//! | file | is |
//! |---|---|
//! | `try_files` | the first of several files that is there |
//! | `index` | the search for a file that stands for a folder |
//! | `listing` | folders without such a file |
//! | `file` | opening, without waiting |
//! | `fault` | what can go wrong with both: statuses and words, in one table |
//! | `beside` | the compressed file that lies beside another one |
//! | `asked` | the fields of a request that change how a body is sent |
//! | `condition` | `If-Match` and its like |
//! | `range`, `multipart` | `Range`, and bodies in several parts |
//! | `answer` | the response that carries a file |
//! | `status` | the page of `stub_status` |
//! | `returned` | `return` |

mod answer;
mod asked;
mod beside;
mod condition;
mod fault;
mod file;
mod index;
mod listing;
mod multipart;
mod range;
mod returned;
#[cfg(test)]
mod scratch;
mod status;
mod try_files;

pub use returned::return_step;
pub use status::status_page;
pub use try_files::try_files;

use crate::file_path;
use crate::front::{self, Prospect};
use crate::phase::Step;
use crate::request::{ErrorPage, Request};
use crate::response::Response;
use crate::uri;
use answer::Answer;
use asked::Asked;
use beside::Packed;
use fault::FileFault;

/// Answers with the file that the path names below the location's root: nginx's index handler, its
/// static handler, and what its content phase says when both decline.
pub fn files(request: &mut Request) -> Step {
    let is_folder = request.path.ends_with(b"/");
    let is_served = matches!(&request.method[..], b"GET" | b"HEAD" | b"POST");
    if is_folder && is_served {
        let Ok(folder) = file_path::mapped(request) else {
            return Step::Refuse(500);
        };
        let names = request.location.index.index.0.iter().flat_map(|files| &files.0);
        let names = names.map(|template| request.value(template));
        match index::find(&folder, &request.path, names) {
            Ok(Some(path)) => return Step::Redirect { path, args: request.args.clone() },
            Ok(None) => {}
            Err(fault) => return refuse(request, &fault),
        }
    }
    if !is_served {
        return Step::Refuse(405);
    }
    let Ok(path) = file_path::mapped(request) else {
        return Step::Refuse(500);
    };
    if !is_folder {
        return one_file(request, path);
    }
    let is_listed = request.location.autoindex.autoindex.0 && &request.method[..] != b"POST";
    if !is_listed {
        return refuse(request, &FileFault::ListingForbidden { path });
    }
    match listing::of(request, path) {
        Ok(response) => Step::Respond(response),
        Err(fault) => refuse(request, &fault),
    }
}

/// 301 to the path with a slash behind it, the arguments kept. The location begins with a slash.
pub fn slash_redirect(request: &mut Request) -> Response {
    // nginx makes this answer as it makes an error's, without inviting the body.
    request.expects_continue = false;
    let location = with_slash(&request.path, &request.args);
    Response { status: 301, location: Some(location), ..Response::default() }
}

fn one_file(request: &mut Request, path: Vec<u8>) -> Step {
    let form = match beside::find(request, &path) {
        Packed::File(file) => return with_file(request, file, Form::Gzip),
        Packed::Fault(fault) => return refuse(request, &fault),
        Packed::ForOthers => Form::Varying,
        Packed::None => Form::Plain,
    };
    let file = match file::open(path) {
        Ok(file::Found::File(file)) => file,
        Ok(file::Found::Folder) => return Step::Respond(slash_redirect(request)),
        Err(fault) => return refuse(request, &fault),
    };
    // Only now, as in nginx: a POST to what is not there is 404, to a folder 301.
    if &request.method[..] == b"POST" {
        return Step::Refuse(405);
    }
    with_file(request, file, form)
}

/// How a file stands to compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// A compressed one lies beside it, for other clients.
    Varying,
    Gzip,
}

fn with_file(request: &Request, file: file::OpenFile, form: Form) -> Step {
    let media_type = media_type(request);
    let mut asked = Asked::of(request.head.fields(), &request.location.core);
    let prospect = match form {
        Form::Gzip => Prospect::Never,
        _ => front::foresee(request, media_type.as_deref(), file.size),
    };
    if form == Form::Gzip || prospect == Prospect::Compressed {
        asked.range = None;
    }
    match answer::with_file(file, media_type, status_of(request, 200), &asked) {
        Answer::Respond(mut response) => {
            let is_of_range = matches!(response.status, 206 | 416);
            response.varies = form != Form::Plain || is_of_range && prospect == Prospect::ForOthers;
            if form == Form::Gzip && response.status != 304 {
                // nginx offers no ranges of it.
                response.fields.retain(|(name, _)| name != "Accept-Ranges");
                response.field("Content-Encoding", "gzip");
            }
            Step::Respond(response)
        }
        Answer::Failed => Step::Refuse(412),
    }
}

fn with_slash(path: &[u8], args: &[u8]) -> Vec<u8> {
    let mut location = uri::escape(uri::Escape::Uri, path).into_owned();
    location.push(b'/');
    if !args.is_empty() {
        location.push(b'?');
        location.extend_from_slice(args);
    }
    location
}

/// The type of what the path names: by its ending, else `default_type`, unless that is empty.
fn media_type(request: &Request) -> Option<Vec<u8>> {
    if let Some(kept) = request.kept.as_ref().and_then(|kept| kept.content_type.clone()) {
        return Some(kept);
    }
    let default = request.location.core.default_type.0.as_slice();
    let media_type = request.location.types.of(&request.path).unwrap_or(default);
    (!media_type.is_empty()).then(|| media_type.to_vec())
}

/// The status that a response of `status` goes out with: an error page may keep the error's.
fn status_of(request: &Request, status: u16) -> u16 {
    match request.error_page {
        ErrorPage::Making { status: Some(kept) } => kept,
        ErrorPage::Making { status: None } | ErrorPage::None => status,
    }
}

fn refuse(request: &Request, fault: &FileFault) -> Step {
    let is_logged = !fault.is_missing() || request.location.core.log_not_found.0;
    if is_logged && let Some(message) = fault.message() {
        crate::error_log::request(request, fault.severity(), &message);
    }
    Step::Refuse(fault.status())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The locations are those that nginx 1.22.1 gave.
    #[test]
    fn a_folder_without_a_slash_is_escaped_again() {
        let location = |path: &str, args: &str| {
            String::from_utf8(with_slash(path.as_bytes(), args.as_bytes())).unwrap_or_default()
        };
        assert_eq!(location("/dir", ""), "/dir/");
        assert_eq!(location("/dir", "a=b%20c"), "/dir/?a=b%20c");
        assert_eq!(location("/d ir%x?y", "q"), "/d%20ir%25x%3Fy/?q");
        assert_eq!(location("/\r\n", ""), "/%0D%0A/");
    }
}
