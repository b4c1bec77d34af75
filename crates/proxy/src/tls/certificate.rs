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
}

impl<'c> Fields<'c> {
    pub fn read(certificate: &'c [u8]) -> Option<Self> {
        let mut body = Cursor::new(certificate).enter(der::SEQUENCE)?.enter(der::SEQUENCE)?;
        body.take(der::CONTEXT_0);
        let serial = body.take(der::INTEGER)?;
        body.take(der::SEQUENCE)?;
        let issuer = body.take(der::SEQUENCE)?;
        let mut validity = body.enter(der::SEQUENCE)?;
        let not_before = seconds(validity.any()?)?;
        let not_after = seconds(validity.any()?)?;
        let subject = body.take(der::SEQUENCE)?;
        let key = body.any().filter(|element| element.tag == der::SEQUENCE)?.whole;
        Some(Self { serial, issuer, not_before, not_after, subject, key })
    }
}

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
