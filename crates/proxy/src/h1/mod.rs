//! HTTP/1 in both directions, without a socket: heads and bodies as bytes, in nginx's grammar.
//!
//! Nothing here reads, writes, waits or knows a configuration; limits come in as values. The front
//! reads requests with [`RequestParser`], the upstream side answers with [`ResponseParser`], both
//! decode bodies with [`ChunkedDecoder`] and write heads with [`HeadWriter`]. In reading order:
//!
//! | file | is |
//! |---|---|
//! | `span`, `class`, `version` | places, classes of bytes, versions |
//! | `line`, `field_line` | the two machines that see each byte once |
//! | `request`, `head`, `fields` | a request's head: reading it under limits, asking it |
//! | `fault` | what a client did wrong, with status and words |
//! | `host`, `framing` | what a head means: for whom, how long, and whether the connection stays |
//! | `chunked` | the chunked coding, both ways |
//! | `response` | an upstream's head |
//! | `write`, `status` | heads that are sent |

mod class;
mod fault;
mod field_line;
mod fields;
mod head;
mod line;
mod request;
mod span;
mod version;

pub use fault::{Duplicate, HeadFault};
pub use field_line::Underscores;
pub use fields::{Fields, same_name};
pub use head::RequestHead;
pub use request::{InvalidFields, MAX_HEADERS_DEFAULT, Progress, RequestParser, RequestRules};
pub use span::{HEAD_SIZE_MAX, Span};
pub use version::Version;
