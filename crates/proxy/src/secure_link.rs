//! `$secure_link`: whether a link is one that was given out, and has not ended.
//!
//! Variables ask here; what a location does with the answer is its configuration's to say.

use crate::clock::Wall;
use crate::digest;
use crate::request::Request;
use perdura_conf::Seconds;

/// The value of `$secure_link`.
pub fn value(request: &Request) -> Option<Vec<u8>> {
    let settings = &request.location.secure_link;
    if let Some(secret) = &settings.secure_link_secret {
        return named(request.head.unparsed_uri(), &secret.0).map(<[u8]>::to_vec);
    }
    let (link, text) = settings.secure_link.as_ref().zip(settings.secure_link_md5.as_ref())?;
    let link = request.value(link);
    let (sum, end) = parts(&link)?;
    if sum.len() > SUM_MAX || !is_same(&digest::from_base64url(sum)?, &request.value(text)) {
        return None;
    }
    let has_ended = end.is_some_and(|(_, end)| end < Wall::now().seconds);
    Some(if has_ended { b"0".to_vec() } else { b"1".to_vec() })
}

/// The value of `$secure_link_expires`.
pub fn expires(request: &Request) -> Option<Vec<u8>> {
    let settings = &request.location.secure_link;
    if settings.secure_link_secret.is_some() || settings.secure_link_md5.is_none() {
        return None;
    }
    let link = request.value(settings.secure_link.as_ref()?);
    parts(&link)?.1.map(|(text, _)| text.to_vec())
}

/// An MD5 in base64, at most, with its padding.
const SUM_MAX: usize = 24;

/// Where a link ends: the text, and the second.
type End<'l> = (&'l [u8], i64);

/// The sum of a link and its end; none when the end is no time.
fn parts(link: &[u8]) -> Option<(&[u8], Option<End<'_>>)> {
    let Some(comma) = link.iter().position(|&byte| byte == b',') else {
        return Some((link, None));
    };
    let text = &link[comma + 1..];
    let is_number = text.iter().all(u8::is_ascii_digit);
    let end = Seconds::parse(text).and_then(|end| i64::try_from(end).ok());
    let end = end.filter(|&end| is_number && end > 0)?;
    Some((&link[..comma], Some((text, end))))
}

/// Whether a sum is that of a text; the time that this takes says nothing about where they differ.
fn is_same(sum: &[u8], text: &[u8]) -> bool {
    let own = digest::md5(text);
    sum.len() == own.len() && sum.iter().zip(own).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The rest of `/prefix/MD5/rest`, when the sum is that of the rest and the secret.
fn named<'u>(target: &'u [u8], secret: &[u8]) -> Option<&'u [u8]> {
    let mut parts = target.get(1..)?.splitn(3, |&byte| byte == b'/');
    let (_, sum, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if sum.len() != 32 || rest.is_empty() {
        return None;
    }
    let sum: Option<Vec<u8>> = sum
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(text, 16).ok().filter(|_| is_hex)
        })
        .collect();
    is_same(&sum?, &[rest, secret].concat()).then_some(rest)
}
