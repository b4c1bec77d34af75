//! A response while it is made: what a content handler returns and the front sends.

use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;

/// A response. Fields that nginx keeps apart stand apart, because they are sent in a fixed order
/// before all others.
#[derive(Default)]
pub struct Response {
    pub status: u16,
    /// The upstream's own words behind the status.
    pub reason: Option<Bytes>,
    pub content_type: Option<Vec<u8>>,
    /// The length of the body when it is known; `None` is chunked or until the connection closes.
    pub content_length: Option<u64>,
    pub last_modified: Option<Vec<u8>>,
    /// A `Location` that the front completes with scheme and host when it begins with a slash.
    pub location: Option<Vec<u8>>,
    /// Fields that the front must not add.
    pub left_out: LeftOut,
    /// Whether a client gets it compressed depends on what the client accepts.
    pub varies: bool,
    /// How many of the fields, from the beginning, are those of an answer before this one.
    pub kept: usize,
    /// All other fields, in order.
    pub fields: Vec<(Bytes, Bytes)>,
    pub content: Content,
}

/// Fields that an upstream was free to send, by `proxy_pass_header`, and did not: nginx adds none of
/// its own then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub server: bool,
    pub date: bool,
}

/// Where a response's body comes from.
#[derive(Default)]
pub enum Content {
    #[default]
    Empty,
    Memory(Bytes),
    /// Pieces of a file with text in between, in order.
    File {
        file: File,
        pieces: VecDeque<Piece>,
    },
    Upstream(Box<crate::upstream::Body>),
}

/// A piece of a body that comes from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Bytes),
    Range { offset: u64, length: u64 },
}

impl Response {
    /// A response with a text.
    pub fn text(status: u16, content_type: &[u8], text: impl Into<Bytes>) -> Self {
        let text = text.into();
        Self {
            status,
            content_type: Some(content_type.to_vec()),
            content_length: Some(text.len() as u64),
            content: if text.is_empty() { Content::Empty } else { Content::Memory(text) },
            ..Self::default()
        }
    }

    /// Adds a field behind the others.
    pub fn field(&mut self, name: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.fields.push((name.into(), value.into()));
    }
}
