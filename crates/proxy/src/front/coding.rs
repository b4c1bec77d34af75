//! Which responses are compressed or unpacked on their way to which client, as nginx's `gzip` and
//! `gunzip` filters decide it. The coding itself is `coder`'s; `head` asks here.

use crate::clock::{self, Wall};
use crate::h1::{Version, same_name};
use crate::modules::gzip::{LeastVersion, Proxied};
use crate::request::Request;
use crate::response::{Content, Response};
use bytes::Bytes;

/// What happens to a body on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    /// It is compressed; the window is of `1 << window_bits` bytes.
    Gzip {
        level: u32,
        window_bits: u8,
    },
    /// It is unpacked.
    Gunzip,
}

/// Decides, and changes the head to fit. `added` are fields of the configuration, which stand behind
/// the response's own.
pub fn choose(
    request: &Request,
    response: &mut Response,
    added: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Coding {
    let settings = &request.location.settings;
    let is_bare = matches!(response.status, 204 | 304) || response.status < 200;
    if !settings.gzip.gzip.0 && !settings.gunzip.gunzip.0 || is_bare {
        return Coding::Identity;
    }
    if settings.gunzip.gunzip.0 && is_gzip(response) {
        response.varies = true;
        if !accepts(request, response) {
            response.fields.retain(|(name, _)| !same_name(name, "content-encoding"));
            forget_bytes(response, added);
            return Coding::Gunzip;
        }
    }
    if !is_compressible(request, response) {
        return Coding::Identity;
    }
    response.varies = true;
    if !accepts(request, response) {
        return Coding::Identity;
    }
    let window_bits = window_bits(response.content_length);
    forget_bytes(response, added);
    added.push((b"Content-Encoding".to_vec(), b"gzip".to_vec()));
    Coding::Gzip { level: settings.gzip.gzip_comp_level.0, window_bits }
}

/// What compression would make of a response of 200 that this server makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    Never,
    /// It is compressed for other clients.
    ForOthers,
    /// It is compressed, so no range of it can be sent.
    Compressed,
}

/// Foresees [`choose`], before anything is known of the response but its type and its length.
pub fn foresee(request: &Request, media_type: Option<&[u8]>, length: u64) -> Prospect {
    if !request.location.gzip.gzip.0 {
        return Prospect::Never;
    }
    let response = Response {
        status: 200,
        content_type: media_type.map(<[u8]>::to_vec),
        content_length: Some(length),
        ..Response::default()
    };
    match is_compressible(request, &response) {
        false => Prospect::Never,
        true if accepts(request, &response) => Prospect::Compressed,
        true => Prospect::ForOthers,
    }
}

fn field<'r>(response: &'r Response, wanted: &str) -> Option<&'r Bytes> {
    response.fields.iter().find(|(name, _)| same_name(name, wanted)).map(|(_, value)| value)
}

fn is_gzip(response: &Response) -> bool {
    field(response, "content-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"gzip"))
}

fn is_compressible(request: &Request, response: &Response) -> bool {
    let gzip = &request.location.gzip;
    gzip.gzip.0
        && matches!(response.status, 200 | 403 | 404)
        && field(response, "content-encoding").is_none_or(|value| value.is_empty())
        && response.content_length.is_none_or(|length| length >= gzip.gzip_min_length.0)
        && gzip.gzip_types.contain(media_type(response))
}

/// The type without the charset, which nginx keeps apart when an upstream names it.
fn media_type(response: &Response) -> &[u8] {
    let whole = response.content_type.as_deref().unwrap_or_default();
    if !matches!(response.content, Content::Upstream(_)) {
        return whole;
    }
    let mut semicolons = whole.iter().enumerate().filter(|(_, byte)| **byte == b';');
    let before_charset = semicolons.find(|(at, _)| {
        let parameter = whole[at + 1..].trim_ascii_start();
        parameter.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"charset="))
    });
    before_charset.map_or(whole, |(at, _)| &whole[..at])
}

/// Length and ranges are those of other bytes now, and an `ETag` is a weak one.
fn forget_bytes(response: &mut Response, added: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    response.content_length = None;
    response.fields.retain(|(name, _)| !same_name(name, "accept-ranges"));
    for (name, value) in &mut response.fields {
        if same_name(name, "etag") && value.starts_with(b"\"") {
            *value = [b"W/", &value[..]].concat().into();
        }
    }
    for (name, value) in added.iter_mut() {
        if same_name(name, "etag") && value.starts_with(b"\"") {
            value.splice(..0, *b"W/");
        }
    }
    let is_tag = |name: &[u8], value: &[u8]| {
        !same_name(name, "etag") || value.starts_with(b"\"") || value.starts_with(b"W/")
    };
    response.fields.retain(|(name, value)| is_tag(name, value));
    added.retain(|(name, value)| is_tag(name, value));
}

/// The smallest window that a body of this length can use, as nginx chooses it.
fn window_bits(length: Option<u64>) -> u8 {
    let mut bits = 15;
    if let Some(length) = length {
        while bits > 9 && length + 262 < 1 << (bits - 1) {
            bits -= 1;
        }
    }
    bits
}

/// Whether the client takes compressed bytes, and may have them (nginx's `ngx_http_gzip_ok`).
pub fn accepts(request: &Request, response: &Response) -> bool {
    let fields = request.head.fields();
    let gzip = &request.location.gzip;
    let accepted = fields.first("accept-encoding").is_some_and(is_accepted);
    let agent = fields.first("user-agent").unwrap_or_default();
    let least = match gzip.gzip_http_version {
        LeastVersion::Http10 => Version::HTTP_10,
        LeastVersion::Http11 => Version::HTTP_11,
    };
    if !accepted || gzip.gzip_disable.msie6 && is_msie6(agent) || request.version() < least {
        return false;
    }
    if fields.first("via").is_some() && !allows_proxy(request, response) {
        return false;
    }
    // As in nginx, a pattern that cannot be matched to its end counts as one that fits.
    let is_disabled = |pattern: &crate::regex::Regex| pattern.is_match(agent).unwrap_or(true);
    fields.first("user-agent").is_none() || !gzip.gzip_disable.patterns.iter().any(is_disabled)
}

/// `gzip_proxied`.
fn allows_proxy(request: &Request, response: &Response) -> bool {
    let proxied = request.location.gzip.gzip_proxied;
    if proxied.has(Proxied::OFF) {
        return false;
    }
    let authorized = request.head.fields().first("authorization").is_some();
    if proxied.has(Proxied::ANY) || authorized && proxied.has(Proxied::AUTH) {
        return true;
    }
    if let Some(expires) = field(response, "expires") {
        let date = match field(response, "date") {
            Some(date) => clock::parse_http_date(date),
            None => Some(Wall::now().seconds),
        };
        let times = clock::parse_http_date(expires).zip(date);
        return proxied.has(Proxied::EXPIRED) && times.is_some_and(|(until, now)| until < now);
    }
    let mut said = response.fields.iter().filter(|(name, _)| same_name(name, "cache-control"));
    if field(response, "cache-control").is_some() {
        let words: [(u16, &[u8]); 3] = [
            (Proxied::NO_CACHE, b"no-cache"),
            (Proxied::NO_STORE, b"no-store"),
            (Proxied::PRIVATE, b"private"),
        ];
        return said.any(|(_, value)| {
            words.iter().any(|(bit, word)| proxied.has(*bit) && has_word(value, word))
        });
    }
    let is_dated = field(response, "last-modified").is_some();
    let is_tagged = field(response, "etag").is_some();
    !(proxied.has(Proxied::NO_LAST_MODIFIED) && is_dated
        || proxied.has(Proxied::NO_ETAG) && is_tagged)
}

/// Whether a list has `word`, without a value.
fn has_word(list: &[u8], word: &[u8]) -> bool {
    let mut parts = list.split(|byte| matches!(byte, b',' | b';'));
    parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

/// Whether an `Accept-Encoding` accepts gzip (nginx's `ngx_http_gzip_accept_encoding`): `*` does
/// not, and a weight must be well-formed and not 0.
fn is_accepted(value: &[u8]) -> bool {
    let mut start = 0;
    let found = loop {
        let rest = &value[start..];
        let Some(at) = rest.windows(4).position(|part| part.eq_ignore_ascii_case(b"gzip")) else {
            return false;
        };
        let at = start + at;
        // nginx looks at what stands before in the rest only, which begins behind the last one.
        if at == start || matches!(value[at - 1], b',' | b' ') {
            break at;
        }
        start = at + 4;
    };
    match after_blanks(&value[found + 4..]).split_first() {
        None | Some((b',', _)) => true,
        Some((b';', parameter)) => is_weighed(parameter),
        Some(_) => false,
    }
}

fn after_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| byte == b' ').count();
    &text[blanks..]
}

fn is_weighed(parameter: &[u8]) -> bool {
    match after_blanks(parameter) {
        [] => true,
        [b'q' | b'Q', b'=', weight @ ..] if !weight.is_empty() => weight_of(weight) > 0,
        _ => false,
    }
}

/// A weight in hundredths and beyond, as nginx adds its digits up; 0 when it is malformed.
fn weight_of(text: &[u8]) -> u32 {
    let mut digits = text.iter();
    let mut weight = match digits.next() {
        Some(b'0') => 0,
        Some(b'1') => 100,
        _ => return 0,
    };
    match digits.next() {
        None | Some(b',' | b' ') => return weight,
        Some(b'.') => {}
        Some(_) => return 0,
    }
    let mut count = 0;
    for digit in digits {
        match digit {
            b',' | b' ' => break,
            b'0'..=b'9' => {
                weight += u32::from(digit - b'0');
                count += 1;
                if count > 3 {
                    return 0;
                }
            }
            _ => return 0,
        }
    }
    if weight > 100 { 0 } else { weight }
}

/// MSIE 4 to 6, but for 6 with its second service pack.
fn is_msie6(agent: &[u8]) -> bool {
    let Some(at) = agent.windows(5).position(|part| part == b"MSIE ") else {
        return false;
    };
    let rest = &agent[at + 5..];
    match rest {
        [b'4' | b'5', b'.', _, ..] => true,
        [b'6', b'.', _, behind @ ..] => !behind.windows(3).any(|part| part == b"SV1"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those that nginx 1.22.1 took or refused.
    #[test]
    fn accepted_encodings() {
        for value in [
            "gzip",
            "gzip, deflate",
            "deflate, gzip",
            "GZIP",
            "gzip;q=1",
            "gzip;q=0.5",
            "gzip; q=0.001, *",
            "x-gzip, gzip",
            "deflate;q=0,gzip",
            "gzip ;q=1.000",
            "gzip;",
            "gzipgzip",
        ] {
            let expected = value != "gzipgzip";
            assert_eq!(is_accepted(value.as_bytes()), expected, "{value}");
        }
        for value in [
            "",
            "gzi",
            "*",
            "x-gzip",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=2",
            "gzip;q=1.1",
            "gzip;q=0.0001",
            "gzip;q=",
            "gzip;r=1",
            "gzip/",
            "gzipx",
            "identity",
        ] {
            assert!(!is_accepted(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_window_is_no_larger_than_the_body() {
        assert_eq!(window_bits(None), 15);
        assert_eq!(window_bits(Some(20)), 9);
        assert_eq!(window_bits(Some(1000)), 11);
        assert_eq!(window_bits(Some(1 << 20)), 15);
        assert_eq!(window_bits(Some(u64::MAX >> 1)), 15);
    }

    #[test]
    fn old_browsers() {
        assert!(is_msie6(b"Mozilla/4.0 (compatible; MSIE 5.0; x)"));
        assert!(is_msie6(b"Mozilla/4.0 (compatible; MSIE 6.0; x)"));
        assert!(!is_msie6(b"Mozilla/4.0 (compatible; MSIE 6.0; SV1)"));
        assert!(!is_msie6(b"Mozilla/4.0 (compatible; MSIE 7.0; x)"));
        assert!(!is_msie6(b"MSIE 6."));
    }
}
