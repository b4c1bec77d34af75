//! Cuts a file into words and punctuation, exactly as `ngx_conf_read_token` does.

use crate::{Place, SourceId, Word};

/// The words of a default in a directive's table.
pub(crate) fn words_of_default(text: &str) -> Vec<Word> {
    let place = Place { source: SourceId(u32::MAX), line: 0, start: 0, end: 0 };
    text.split_ascii_whitespace()
        .map(|word| Word { bytes: word.trim_matches(['"', '\'']).as_bytes().to_vec(), place })
        .collect()
}
