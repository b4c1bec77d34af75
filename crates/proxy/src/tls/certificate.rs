//! The fields of a certificate that logs, variables and judgements need.
//!
//! It checks nothing but the form.

use super::der::{self, Cursor, Element};

/// The fields of one certificate.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'c> {
    /// The digits of the serial number, as they stand there.
    pub serial: &'c [u8],
    /// The content of the issuer's name.
    pub issuer: &'c [u8],
    pub not_before: i64,
    pub not_after: i64,
    pub subject: &'c [u8],
    /// The key, as a whole `SubjectPublicKeyInfo`.
    pub key: &'c [u8],
    pub extensions: Extensions<'c>,
}

/// What a certificate says of itself beside names and times (RFC 5280, 4.2.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Extensions<'c> {
    /// 1 has no extensions.
    pub version: u32,
    /// Whether it is an authority, if it says so or not so.
    pub authority: Option<bool>,
    /// How many certificates may stand below those that it signs.
    pub path_length: Option<u32>,
    /// What the key may be used for, the first bit lowest.
    pub key_usage: Option<u16>,
    /// The content of the list of purposes.
    purposes: Option<&'c [u8]>,
}

/// When a revocation list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListTimes {
    pub this_update: i64,
    pub next_update: Option<i64>,
}

impl ListTimes {
    /// Of a list in DER (RFC 5280, 5.1).
    pub fn read(list: &[u8]) -> Option<Self> {
        let mut body = Cursor::new(list).enter(der::SEQUENCE)?.enter(der::SEQUENCE)?;
        body.take(der::INTEGER);
        body.take(der::SEQUENCE)?;
        body.take(der::SEQUENCE)?;
        let this_update = seconds(body.any()?)?;
        Some(Self { this_update, next_update: body.any().and_then(seconds) })
    }
}

impl<'c> Fields<'c> {
    pub fn read(certificate: &'c [u8]) -> Option<Self> {
        let mut body = Cursor::new(certificate).enter(der::SEQUENCE)?.enter(der::SEQUENCE)?;
        let version = body.enter(der::CONTEXT_0).and_then(|mut inner| inner.small_number());
        let serial = body.take(der::INTEGER)?;
        body.take(der::SEQUENCE)?;
        let issuer = body.take(der::SEQUENCE)?;
        let mut validity = body.enter(der::SEQUENCE)?;
        let not_before = seconds(validity.any()?)?;
        let not_after = seconds(validity.any()?)?;
        let subject = body.take(der::SEQUENCE)?;
        let key = body.any().filter(|element| element.tag == der::SEQUENCE)?.whole;
        let mut extensions =
            Extensions { version: version.unwrap_or(0) + 1, ..Extensions::default() };
        while let Some(element) = body.any() {
            if element.tag == der::CONTEXT_3 {
                extensions.read(Cursor::new(element.content).enter(der::SEQUENCE)?)?;
            }
        }
        Some(Self { serial, issuer, not_before, not_after, subject, key, extensions })
    }
}

impl<'c> Extensions<'c> {
    fn read(&mut self, mut list: Cursor<'c>) -> Option<()> {
        while !list.is_empty() {
            let mut one = list.enter(der::SEQUENCE)?;
            let name = one.take(der::OBJECT)?;
            one.take(der::BOOLEAN);
            let mut value = one.enter(der::OCTET_STRING)?;
            match name {
                BASIC_CONSTRAINTS => {
                    let mut inner = value.enter(der::SEQUENCE)?;
                    let is_authority = inner.take(der::BOOLEAN).is_some_and(|one| one != [0]);
                    self.authority = Some(is_authority);
                    self.path_length = inner.small_number();
                }
                KEY_USAGE => {
                    let (_, bits) = value.take(der::BIT_STRING)?.split_first()?;
                    let byte = |at: usize| bits.get(at).copied().unwrap_or(0).reverse_bits();
                    self.key_usage = Some(u16::from_le_bytes([byte(0), byte(1)]));
                }
                EXTENDED_KEY_USAGE => self.purposes = Some(value.take(der::SEQUENCE)?),
                _ => {}
            }
        }
        Some(())
    }

    /// The purposes that it names, if it names any.
    pub fn purposes(&self) -> Option<impl Iterator<Item = &'c [u8]>> {
        let mut cursor = Cursor::new(self.purposes?);
        Some(std::iter::from_fn(move || cursor.take(der::OBJECT)))
    }
}

/// 2.5.29.19, 2.5.29.15 and 2.5.29.37
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// A moment in seconds of Unix (RFC 5280, 4.1.2.5).
fn seconds(time: Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match time.tag {
        der::UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        der::GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let days = days_since_1970(year, month, day)?;
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    Some(
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
            - DAYS_TO_1970,
    )
}

/// Year, month and day of a day since 1970.
pub fn date_of(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year + 400 * era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// Days from the first of March of year 0.
const DAYS_TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_seconds() {
        let of = |tag, text: &[u8]| seconds(Element { tag, content: text, whole: text });
        assert_eq!(of(der::UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(of(der::UTC_TIME, b"240229120000Z"), Some(1_709_208_000));
        assert_eq!(of(der::GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(of(der::UTC_TIME, b"241301000000Z"), None);
        assert_eq!(of(der::UTC_TIME, b"2401010000Z"), None);
        assert_eq!(of(der::INTEGER, b"240101000000Z"), None);
    }
}
