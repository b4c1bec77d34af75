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
//! | `status_line`, `response` | an upstream's head |
//! | `write`, `status` | heads that are sent |

mod chunked;
mod class;
mod fault;
mod field_line;
mod fields;
mod framing;
mod head;
mod host;
mod line;
mod request;
mod response;
mod span;
mod status;
mod status_line;
mod version;
mod write;

pub use chunked::{
    CHUNK_END, CHUNK_EXTENSIONS_SIZE_MAX, Chunk, ChunkFault, ChunkHead, ChunkedDecoder, LAST_CHUNK,
    TRAILERS_SIZE_MAX, chunk_head,
};
pub use fault::{Duplicate, HeadFault};
pub use field_line::Underscores;
pub use fields::{Fields, same_name};
pub use framing::{
    BODY_SIZE_MAX, BodyFraming, Expectation, Persistence, RequestFraming, connection_tokens,
    content_length, request_framing, upgrade_tokens,
};
pub use head::RequestHead;
pub use host::{HostName, InvalidHost, validate_host};
pub use request::{InvalidFields, MAX_HEADERS_DEFAULT, Progress, RequestParser, RequestRules};
pub use response::{
    Asked, RESPONSE_FIELDS_MAX, ResponseBody, ResponseFault, ResponseFraming, ResponseHead,
    ResponseParser, response_framing,
};
pub use span::{HEAD_SIZE_MAX, Span};
pub use status::status_text;
pub use version::Version;
pub use write::{HeadWriter, UnsafeHead};
