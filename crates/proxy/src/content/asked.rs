//! What a request's fields ask of a body: conditions and a range. Its own file, so that answers can
//! be tested without a request.

use super::condition::Conditions;
use crate::h1::Fields;
use crate::modules::core::Settings;

/// The fields of a request that change how a body is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    pub conditions: Conditions<'a>,
    pub range: Option<&'a [u8]>,
    pub if_range: Option<&'a [u8]>,
    /// Files are sent without an `ETag`.
    pub without_etag: bool,
}

impl<'a> Asked<'a> {
    /// What a request asks where these settings hold.
    pub fn of(fields: &'a Fields, core: &Settings) -> Self {
        let mut asked = Self::by(fields);
        asked.conditions.since = Some(core.if_modified_since);
        asked.without_etag = !core.etag.0;
        asked
    }

    /// Takes the first line of each name, as nginx does.
    fn by(fields: &'a Fields) -> Self {
        Self {
            conditions: Conditions {
                if_match: fields.first("if-match"),
                if_none_match: fields.first("if-none-match"),
                if_modified_since: fields.first("if-modified-since"),
                if_unmodified_since: fields.first("if-unmodified-since"),
                since: None,
            },
            range: fields.first("range"),
            if_range: fields.first("if-range"),
            without_etag: false,
        }
    }
}
