//! The `charset` parameter of `Content-Type`.
//!
//! Nothing is converted: what is sent must be in the charset that is told.

use crate::mime_types::MimeTypes;
use perdura_conf::{Template, directives};

directives! {
    /// Adds the charset to `Content-Type` of responses that name none, when their type is one of
    /// `charset_types`. It may hold variables; `off` adds none.
    charset: Template = "off", in HTTP | SERVER | LOCATION | LOCATION_IF;

    /// The types that `charset` concerns, besides `text/html`; `*` is all.
    charset_types: MimeTypes =
        "text/html text/xml text/plain text/vnd.wap.wml application/javascript application/rss+xml",
        in HTTP | SERVER | LOCATION;
}
