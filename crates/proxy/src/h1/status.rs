//! The words behind a status, in one table: nginx's, which are not always the RFC's.
//!
//! It answers nothing itself; [`super::HeadWriter`] and the pages of errors ask it.

/// nginx's words for `status`; nothing where nginx writes none (it then leaves the place empty).
pub fn status_text(status: u16) -> Option<&'static str> {
    Some(match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::status_text;

    #[test]
    fn nginx_has_words_of_its_own_and_sometimes_none() {
        assert_eq!(status_text(302), Some("Moved Temporarily"));
        assert_eq!(status_text(408), Some("Request Time-out"));
        assert_eq!(status_text(418), None);
        assert_eq!(status_text(203), None);
        assert_eq!((200..600).filter(|&status| status_text(status).is_some()).count(), 36);
    }
}
