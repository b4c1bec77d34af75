//! `X-Accel-Redirect`: an upstream's answer that says which path of this server answers instead.

use super::answer;
use crate::error_log;
use crate::modules::error_log::Severity;
use crate::phase::Step;
use crate::request::Request;
use crate::response::{Content, Response};
use crate::uri;
use bytes::Bytes;

/// What of the upstream's answer stays for the one that follows.
#[derive(Debug, Default)]
pub struct Kept {
    pub content_type: Option<Vec<u8>>,
    fields: Vec<(Bytes, Bytes)>,
}

/// Fields that stay, beside `Content-Type`.
const KEPT: [&[u8]; 5] =
    [b"set-cookie", b"content-disposition", b"cache-control", b"expires", b"accept-ranges"];

/// Sends the answer on, or goes where it says.
pub fn followed(request: &mut Request, response: Response) -> Step {
    let ignored = request.location.proxy.proxy_ignore_headers.has("X-Accel-Redirect");
    let head = request.upstream_head.as_ref().filter(|_| !ignored);
    let target = head.and_then(|head| head.fields().first("x-accel-redirect"));
    let Some(target) = target.map(<[u8]>::to_vec) else {
        return Step::Respond(response);
    };
    keep(request, response);
    if target.first() == Some(&b'@') {
        return answer::named(request, &target);
    }
    let Some((path, args)) = internal(&target) else {
        let message = format!("unsafe URI \"{}\" was detected", String::from_utf8_lossy(&target));
        error_log::request(request, Severity::Error, &message);
        return Step::Refuse(404);
    };
    answer::to_get(request);
    answer::redirect(request, path, args)
}

fn keep(request: &mut Request, response: Response) {
    let Response { content_type, fields, content, .. } = response;
    if let Content::Upstream(body) = content {
        body.finish_unread(request);
    }
    let kept = request.kept.get_or_insert_default();
    kept.content_type = content_type.or(kept.content_type.take());
    let stays = |name: &[u8]| KEPT.iter().any(|known| name.eq_ignore_ascii_case(known));
    kept.fields.extend(fields.into_iter().filter(|(name, _)| stays(name)));
}

/// Puts what was kept into the answer that follows.
pub fn put_back(request: &mut Request, response: &mut Response) {
    let Some(kept) = request.kept.take() else {
        return;
    };
    if matches!(response.content, Content::Upstream(_)) && response.content_type.is_none() {
        response.content_type = kept.content_type;
    }
    response.kept = kept.fields.len();
    let own = std::mem::replace(&mut response.fields, kept.fields);
    response.fields.extend(own);
}

/// Path and arguments of a URI that an upstream names; none when it leads out of this server's
/// (nginx's `ngx_http_parse_unsafe_uri`).
fn internal(target: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (path, args) = uri::split_args(target);
    if path.is_empty() || climbs(path) {
        return None;
    }
    let path = uri::unescape(uri::Unescape::All, path).into_owned();
    (!climbs(&path)).then(|| (path, args.unwrap_or_default().to_vec()))
}

/// Whether a path has a part `..`, or a NUL.
fn climbs(path: &[u8]) -> bool {
    path.contains(&0) || path.split(|&byte| byte == b'/').any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_inside() {
        let of = |target: &str| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            internal(target.as_bytes()).map(|(path, args)| (text(path), text(args)))
        };
        let found = |path: &str, args: &str| Some((path.to_owned(), args.to_owned()));
        assert_eq!(of("/a/b"), found("/a/b", ""));
        assert_eq!(of("/a%20b?c=%20d"), found("/a b", "c=%20d"));
        assert_eq!(of("/a..b/..c"), found("/a..b/..c", ""));
        for bad in ["", "?a", "..", "../a", "/a/../b", "/a/..", "/a/%2e%2e/b", "/%00"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
