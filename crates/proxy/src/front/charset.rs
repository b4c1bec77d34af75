//! The charset of a response's type, as `charset` wants it.

use crate::request::Request;
use crate::response::Response;

/// Adds the charset to a type that names none.
pub fn apply(request: &Request, response: &mut Response) {
    let settings = &request.location.charset;
    // Of redirects nginx says nothing: old browsers took it for that of the next page.
    if settings.charset.constant() == Some(b"off") || matches!(response.status, 301 | 302) {
        return;
    }
    let Some(media_type) = response.content_type.as_mut() else {
        return;
    };
    // A type with parameters is none of the list, as in nginx.
    if !settings.charset_types.contain(media_type) {
        return;
    }
    // A type for all has to be looked at for parameters still.
    if media_type.is_empty() || has_charset(media_type) {
        return;
    }
    let charset = request.value(&settings.charset);
    if charset.is_empty() {
        return;
    }
    media_type.extend_from_slice(b"; charset=");
    media_type.extend_from_slice(&charset);
}

fn has_charset(media_type: &[u8]) -> bool {
    let mut parameters = media_type.split(|&byte| byte == b';').skip(1);
    parameters.any(|parameter| {
        let parameter = parameter.trim_ascii_start();
        parameter.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"charset="))
    })
}
