//! Fields behind the body (`add_trailer`; RFC 9112, 7.1.2).

use crate::error_log;
use crate::h1::{HeadWriter, Version};
use crate::modules::error_log::Severity;
use crate::request::Request;
use bytes::BytesMut;

/// Whether a response of `status` has trailers, so that its body must go out in chunks.
pub fn are_expected(request: &Request, status: u16) -> bool {
    let fields = &request.location.headers.add_trailer.0;
    request.version() >= Version::HTTP_11 && fields.iter().any(|field| field.when.holds(status))
}

/// Ends a body in chunks: the last chunk, the trailers as their values are by now, an empty line.
pub fn write(request: &Request, out: &mut BytesMut) {
    out.extend_from_slice(b"0\r\n");
    let mut lines = HeadWriter::new(out);
    for field in &request.location.headers.add_trailer.0 {
        if !field.when.holds(request.sent.status) {
            continue;
        }
        let value = request.value(&field.value);
        if value.is_empty() {
            continue;
        }
        if let Err(fault) = lines.field(&field.name, &value) {
            let message = format!("a trailer cannot be sent: {fault:?}");
            error_log::request(request, Severity::Error, &message);
        }
    }
    lines.end();
}
