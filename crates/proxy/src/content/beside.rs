//! The compressed file that lies beside another one (`gzip_static`).
//!
//! The file handler asks here before it opens the file itself, as nginx's handlers stand.

use super::fault::FileFault;
use super::file::{self, Found, OpenFile};
use crate::front;
use crate::modules::gzip_static::Beside;
use crate::request::Request;
use crate::response::Response;

/// What lies beside a file.
pub enum Packed {
    None,
    /// Something, and this client does not get it.
    ForOthers,
    File(OpenFile),
    Fault(FileFault),
}

/// Looks for `path` with `.gz` behind it.
pub fn find(request: &Request, path: &[u8]) -> Packed {
    let wanted = request.location.gzip_static.gzip_static;
    if wanted == Beside::Off || !matches!(&request.method[..], b"GET" | b"HEAD") {
        return Packed::None;
    }
    let accepts = wanted == Beside::Always || front::accepts_gzip(request, &Response::default());
    if !accepts && !request.location.gzip.gzip_vary.0 {
        return Packed::None;
    }
    match file::open([path, b".gz"].concat()) {
        Ok(Found::Folder) => Packed::ForOthers,
        Ok(Found::File(_)) | Err(FileFault::NotRegular { .. }) if !accepts => Packed::ForOthers,
        Ok(Found::File(file)) => Packed::File(file),
        Err(fault @ FileFault::NotRegular { .. }) => Packed::Fault(fault),
        Err(fault) => {
            // The file itself may be there all the same.
            if !fault.is_missing()
                && let Some(message) = fault.message()
            {
                crate::error_log::request(request, fault.severity(), &message);
            }
            Packed::None
        }
    }
}
