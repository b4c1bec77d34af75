//! Regular expressions as nginx has them: PCRE, with captures that a request can own.
//!
//! Used by locations, server names, `map` and `proxy_redirect`.

use bytes::Bytes;
use perdura_conf::{Fault, Names, VariableId, Word};
use std::sync::Arc;

/// How much work one match may cost; a pattern that needs more fails with an error line instead of
/// holding a worker (RS-12).
const MATCH_LIMIT: u32 = 1_000_000;

/// Captures kept of one match: `$0` to `$9` and as many named ones.
const CAPTURES_MAX: usize = 32;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Regex {
    inner: Arc<pcre2::bytes::Regex>,
    /// The pattern as it was written.
    pub pattern: Arc<str>,
    /// Named groups: the group's number and the variable that it sets.
    named: Arc<[(usize, VariableId)]>,
}

/// Whether a pattern regards case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// What a pattern matched, owned, so that nothing can outlive or overwrite its subject.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    subject: Bytes,
    spans: Vec<Option<(u32, u32)>>,
}

impl Captures {
    /// The text of group `number`, empty when it took no part.
    pub fn group(&self, number: usize) -> Option<&[u8]> {
        let (start, end) = (*self.spans.get(number)?)?;
        self.subject.get(start as usize..end as usize)
    }
}

impl Regex {
    /// Compiles `pattern`, which stands in `word`; named groups become variables of `names`.
    pub fn compile(
        pattern: &[u8],
        word: &Word,
        case: Case,
        names: &mut Names,
    ) -> Result<Self, Fault> {
        let text = std::str::from_utf8(pattern)
            .map_err(|_| Fault::new(word.place, "a regular expression must be valid UTF-8"))?;
        let inner = pcre2::bytes::RegexBuilder::new()
            .caseless(case == Case::Insensitive)
            .jit_if_available(true)
            .build(&format!("(*LIMIT_MATCH={MATCH_LIMIT}){text}"))
            .map_err(|error| compile_fault(text, word, &error))?;
        let named = inner
            .capture_names()
            .iter()
            .enumerate()
            .filter_map(|(group, name)| name.as_ref().map(|name| (group, names.define(name))))
            .collect();
        Ok(Self { inner: Arc::new(inner), pattern: text.into(), named })
    }

    /// Matches `subject`. An error is the engine's limit; callers treat it as no match and log it.
    pub fn captures(&self, subject: &[u8]) -> Result<Option<Captures>, String> {
        let mut locations = self.inner.capture_locations();
        let found = self
            .inner
            .captures_read(&mut locations, subject)
            .map_err(|error| format!("pcre2_match() failed: {error} on \"{}\"", self.pattern))?;
        if found.is_none() {
            return Ok(None);
        }
        let spans = (0..locations.len().min(CAPTURES_MAX))
            .map(|group| locations.get(group).map(|(start, end)| (start as u32, end as u32)))
            .collect();
        Ok(Some(Captures { subject: Bytes::copy_from_slice(subject), spans }))
    }

    pub fn is_match(&self, subject: &[u8]) -> Result<bool, String> {
        self.inner
            .is_match(subject)
            .map_err(|error| format!("pcre2_match() failed: {error} on \"{}\"", self.pattern))
    }

    /// The named groups: number and variable.
    pub fn named(&self) -> &[(usize, VariableId)] {
        &self.named
    }

    /// How many groups the pattern has, the whole match included.
    pub fn groups(&self) -> usize {
        self.inner.captures_len()
    }
}

/// nginx's wording: the reason, the pattern, and the rest of the pattern at the fault.
fn compile_fault(pattern: &str, word: &Word, error: &pcre2::Error) -> Fault {
    let text = error.to_string();
    let reason = text.rsplit_once(": ").map_or(text.as_str(), |(_, reason)| reason).to_owned();
    // The limit that stands before the pattern is not part of it.
    let verb = format!("(*LIMIT_MATCH={MATCH_LIMIT})").len();
    let offset = error.offset().unwrap_or(0).saturating_sub(verb);
    let message = match pattern.get(offset..) {
        Some(rest) if !rest.is_empty() => {
            format!("pcre2_compile() failed: {reason} in \"{pattern}\" at \"{rest}\"")
        }
        _ => format!("pcre2_compile() failed: {reason} in \"{pattern}\""),
    };
    Fault::new(word.place, message)
}
