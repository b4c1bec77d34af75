//! Paths and arguments of a URI: normalising, escaping, unescaping, byte for byte as nginx does.
//!
//! It knows no request and no location. The head asks it for the normalised path, `proxy_pass` and
//! redirects for escaping, variables for single arguments.

use crate::modules::core;
use std::borrow::Cow;

/// `merge_slashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slashes {
    /// Neighbouring slashes become one.
    Merged,
    /// Each stays.
    Kept,
}

impl Slashes {
    /// The rule of a server.
    pub fn of(core: &core::Settings) -> Self {
        if core.merge_slashes.0 { Self::Merged } else { Self::Kept }
    }
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
    /// A raw `#`. nginx cuts the path there; see `HeadFault::FragmentInTarget`.
    Fragment,
}

/// The path `raw` (it begins with `/` and has no arguments) as nginx's `$uri`: `%xx` decoded, `.` and `..`
/// resolved, slashes merged if told so. Borrowed when nothing had to change.
///
/// An escaped slash or dot acts as a plain one; an escaped `%`, `#` or `?` stands for itself.
pub fn normalise(raw: &[u8], slashes: Slashes) -> Result<Cow<'_, [u8]>, BadUri> {
    if !is_special(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut path = Vec::with_capacity(raw.len());
    let mut place = Place::Segment;
    let mut rest = raw.iter().copied();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'#' => return Err(BadUri::Fragment),
            // What comes out of it is a slash or a dot like any other, but no `%`, `#` or `?`.
            b'%' => unescape_next(&mut rest)?,
            byte => byte,
        };
        place = match (place, byte) {
            (Place::Segment, b'/') => Place::Slash,
            (Place::Slash, b'/') if slashes == Slashes::Merged => continue,
            (Place::Slash, b'/') => Place::Slash,
            (Place::Slash, b'.') => Place::Dot,
            (Place::Dot, b'.') => Place::DotDot,
            (Place::Dot, b'/') => {
                path.pop();
                place = Place::Slash;
                continue;
            }
            (Place::DotDot, b'/') => {
                climb(&mut path)?;
                place = Place::Slash;
                continue;
            }
            _ => Place::Segment,
        };
        path.push(byte);
    }
    match place {
        Place::Dot => drop(path.pop()),
        Place::DotDot => climb(&mut path)?,
        Place::Segment | Place::Slash => {}
    }
    Ok(Cow::Owned(path))
}

/// Path and arguments of `uri`, divided at its first `?`.
pub fn split_args(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', uri) {
        Some(at) => (uri.get(..at).unwrap_or_default(), uri.get(at + 1..)),
        None => (uri, None),
    }
}

/// The value of the first argument of that name, as sent: `$arg_NAME`. The name is compared without
/// case, and one without `=` is none, as nginx has it.
pub fn argument<'a>(args: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    args.split(|&byte| byte == b'&').find_map(|pair| {
        let (found, rest) = pair.split_at_checked(name.len())?;
        rest.strip_prefix(b"=").filter(|_| found.eq_ignore_ascii_case(name))
    })
}

/// What a text is escaped for; each is one of nginx's tables (since 1.21.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// A path: all that RFC 3986 forbids, and `%` and `?`.
    Uri,
    /// One argument: as a path, and `&`, `+` and `;`.
    Args,
    /// Anything but letters, digits and `- . _ ~`.
    Component,
    /// A URI inside HTML.
    Html,
    /// The URI of `<meta refresh>`.
    Refresh,
}

/// `text` with all bytes that may not stand in `place` as `%XX`. Borrowed when there are none.
pub fn escape(place: Escape, text: &[u8]) -> Cow<'_, [u8]> {
    escape_where(text, |byte| must_escape(place, byte))
}

/// `text` with blanks and controls as `%XX`, and nothing else changed: makes any computed target fit to be
/// written into a request line (invariant T12).
pub fn escape_unsafe(text: &[u8]) -> Cow<'_, [u8]> {
    escape_where(text, |byte| byte <= b' ' || byte == 0x7f)
}

/// How far unescaping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unescape {
    /// Everything.
    All,
    /// Up to the first `?`, plain or escaped; what follows it stays as it is.
    Uri,
    /// As `Uri`, and only what need not be escaped in a `Location`.
    Redirect,
}

/// `text` with `%XX` decoded as nginx decodes it: it never fails, and drops what makes no sense.
pub fn unescape(extent: Unescape, text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        let mut decoded = byte;
        if byte == b'%' {
            let Some(&high) = text.get(at) else { break };
            at += 1;
            let Some(first) = hex(high) else {
                out.push(high);
                continue;
            };
            let Some(&low) = text.get(at) else { break };
            at += 1;
            let Some(second) = hex(low) else { continue };
            decoded = first << 4 | second;
            let is_plain = decoded > b'%' && decoded < 0x7f;
            if extent == Unescape::Redirect && !is_plain {
                out.extend_from_slice(&[b'%', high, low]);
                continue;
            }
        }
        out.push(decoded);
        if decoded == b'?' && extent != Unescape::All {
            out.extend_from_slice(text.get(at..).unwrap_or_default());
            break;
        }
    }
    Cow::Owned(out)
}

/// Where the last byte of a path that is being built stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Segment,
    Slash,
    /// Behind `/.`.
    Dot,
    /// Behind `/..`.
    DotDot,
}

fn is_special(raw: &[u8]) -> bool {
    let mut previous = 0;
    raw.iter().any(|&byte| {
        let found = match byte {
            b'%' | b'#' => true,
            b'/' | b'.' => previous == b'/',
            _ => false,
        };
        previous = byte;
        found
    })
}

/// The path ends in `/..`: takes that and the segment before it away.
fn climb(path: &mut Vec<u8>) -> Result<(), BadUri> {
    let parent = path.len().checked_sub(3).ok_or(BadUri::AboveRoot)?;
    path.truncate(parent);
    let slash = memchr::memrchr(b'/', path).ok_or(BadUri::AboveRoot)?;
    path.truncate(slash + 1);
    Ok(())
}

fn unescape_next(rest: &mut impl Iterator<Item = u8>) -> Result<u8, BadUri> {
    let mut digit = || rest.next().and_then(hex).ok_or(BadUri::BadEscape);
    let decoded = digit()? << 4 | digit()?;
    if decoded == 0 {
        return Err(BadUri::EscapedNul);
    }
    Ok(decoded)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn escape_where(text: &[u8], must: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    let count = text.iter().filter(|&&byte| must(byte)).count();
    if count == 0 {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 2 * count);
    for &byte in text {
        if must(byte) {
            let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

fn must_escape(place: Escape, byte: u8) -> bool {
    if byte <= b' ' || byte >= 0x7f {
        return true;
    }
    // No table lets these pass.
    let everywhere = matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|');
    match place {
        Escape::Uri => everywhere || matches!(byte, b'#' | b'%' | b'?' | b'}'),
        Escape::Args => {
            everywhere || matches!(byte, b'#' | b'%' | b'?' | b'}' | b'&' | b'+' | b';')
        }
        Escape::Html => everywhere || matches!(byte, b'#' | b'%' | b'}' | b'\''),
        // A slip of the pen in nginx's table: `~` instead of `}`.
        Escape::Refresh => everywhere || matches!(byte, b'\'' | b'~'),
        Escape::Component => {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.' | b'_' | b'~')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn path(raw: &str, merged: &str, kept: &str) {
        let normal = |slashes| normalise(raw.as_bytes(), slashes).map(Cow::into_owned);
        assert_eq!(normal(Slashes::Merged), Ok(merged.as_bytes().to_vec()), "{raw} merged");
        assert_eq!(normal(Slashes::Kept), Ok(kept.as_bytes().to_vec()), "{raw} kept");
    }

    #[test]
    fn paths_are_normalised_as_nginx_does() {
        path("/", "/", "/");
        path("/a/b", "/a/b", "/a/b");
        path("//", "/", "//");
        path("//a///b", "/a/b", "//a///b");
        path("/.", "/", "/");
        path("/./", "/", "/");
        path("/a/.", "/a/", "/a/");
        path("/a/./b", "/a/b", "/a/b");
        path("/a/..", "/", "/");
        path("/a/../b", "/b", "/b");
        path("/a/b/../../c", "/c", "/c");
        path("/a//../b", "/b", "/a/b");
        path("/.a", "/.a", "/.a");
        path("/..a/...", "/..a/...", "/..a/...");
        path("/a.b/c..", "/a.b/c..", "/a.b/c..");
        path("/%61", "/a", "/a");
        path("/a%2Fb", "/a/b", "/a/b");
        path("/a%2f%2e%2e%2fb", "/b", "/b");
        path("/a/%2e%2E/..a", "/..a", "/..a");
        path("/a%20b%0d%0a", "/a b\r\n", "/a b\r\n");
        path("/%25%32%35", "/%25", "/%25");
        path("/%3fa%23b", "/?a#b", "/?a#b");
        path("/a/.%3f", "/a/.?", "/a/.?");
        path("/a+b", "/a+b", "/a+b");
    }

    #[test]
    fn bad_paths_are_refused() {
        let bad = |raw: &str| normalise(raw.as_bytes(), Slashes::Merged).err();
        for raw in ["/..", "/../", "/a/../..", "/%2e%2e", "/./..", "//..", "/a/../../b"] {
            assert_eq!(bad(raw), Some(BadUri::AboveRoot), "{raw}");
        }
        for raw in ["/%", "/%1", "/%zz", "/%1g", "/a%%20"] {
            assert_eq!(bad(raw), Some(BadUri::BadEscape), "{raw}");
        }
        assert_eq!(bad("/a%00"), Some(BadUri::EscapedNul));
        assert_eq!(bad("/a#b"), Some(BadUri::Fragment));
    }

    #[test]
    fn nothing_is_copied_without_need() {
        assert!(matches!(normalise(b"/a/b.c", Slashes::Merged), Ok(Cow::Borrowed(_))));
        assert!(matches!(escape(Escape::Uri, b"/a/b.c"), Cow::Borrowed(_)));
        assert!(matches!(unescape(Unescape::All, b"/a/b.c"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_normal_path_stays_what_it_is() {
        // Seeded: the same paths in each run.
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        for round in 0..20_000 {
            let mut raw = vec![b'/'];
            for _ in 0..seed % 12 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                raw.push(b"/..a%2e5f"[(seed >> 20) as usize % 9]);
            }
            seed = seed.wrapping_add(round);
            let Ok(once) = normalise(&raw, Slashes::Merged) else { continue };
            assert_eq!(once.first(), Some(&b'/'), "{raw:?}");
            let is_dirty = |segment: &[u8]| matches!(segment, b"." | b"..");
            let text = String::from_utf8_lossy(&once);
            assert!(!once.split(|&b| b == b'/').any(is_dirty), "{text} from {raw:?}");
            assert!(!once.windows(2).any(|pair| pair == b"//"), "{text} from {raw:?}");
        }
    }

    #[test]
    fn escaping_follows_the_tables() {
        let all: Vec<u8> = (0x20..0x80).collect();
        let escaped = |place| {
            let kept = |byte: &&u8| escape(place, &[**byte]).len() == 3;
            all.iter().filter(kept).map(|&byte| char::from(byte)).collect::<String>()
        };
        assert_eq!(escaped(Escape::Uri), " \"#%<>?\\^`{|}\x7f");
        assert_eq!(escaped(Escape::Args), " \"#%&+;<>?\\^`{|}\x7f");
        assert_eq!(escaped(Escape::Html), " \"#%'<>\\^`{|}\x7f");
        assert_eq!(escaped(Escape::Refresh), " \"'<>\\^`{|~\x7f");
        assert_eq!(escaped(Escape::Component), " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}\x7f");
        assert_eq!(escape(Escape::Uri, b"/a b\xff\n").as_ref(), b"/a%20b%FF%0A");
        assert_eq!(escape_unsafe(b"/a b?%20#\r\n").as_ref(), b"/a%20b?%20#%0D%0A");
    }

    #[test]
    fn unescaping_never_fails_and_stops_where_it_must() {
        let all = |text: &[u8]| unescape(Unescape::All, text).into_owned();
        assert_eq!(all(b"a%20b%3Fc%2f?%41"), b"a b?c/?A");
        assert_eq!(all(b"%zz%4z%4"), b"zz");
        assert_eq!(all(b"a%"), b"a");
        let uri = |text: &[u8]| unescape(Unescape::Uri, text).into_owned();
        assert_eq!(uri(b"%41?%41"), b"A?%41");
        assert_eq!(uri(b"%3f%41"), b"?%41");
        let redirect = |text: &[u8]| unescape(Unescape::Redirect, text).into_owned();
        assert_eq!(redirect(b"%41%20%25%c3%26?%41"), b"A%20%25%c3&?%41");
    }

    #[test]
    fn arguments() {
        assert_eq!(split_args(b"/a?b?c"), (b"/a".as_slice(), Some(b"b?c".as_slice())));
        assert_eq!(split_args(b"/a?"), (b"/a".as_slice(), Some(b"".as_slice())));
        assert_eq!(split_args(b"/a"), (b"/a".as_slice(), None));
        assert_eq!(argument(b"ab=1&A=2&a=3", b"a"), Some(b"2".as_slice()));
        assert_eq!(argument(b"a&a=%20", b"a"), Some(b"%20".as_slice()));
        assert_eq!(argument(b"a&b", b"a"), None);
        assert_eq!(argument(b"a=", b"a"), Some(b"".as_slice()));
    }
}
