//! Wall-clock time in the forms that logs and header fields want.
//!
//! Timers use `Instant`; nothing here measures a span.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds and milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    pub seconds: i64,
    pub millis: u16,
}

impl Wall {
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    pub fn of(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(since) => {
                Self { seconds: since.as_secs() as i64, millis: since.subsec_millis() as u16 }
            }
            Err(before) => Self { seconds: -(before.duration().as_secs() as i64), millis: 0 },
        }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A calendar time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
}

impl Civil {
    /// Days since 1970 to a date, by the algorithm of the proleptic Gregorian calendar in 400-year
    /// eras.
    fn of(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let rest = seconds.rem_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 2 } else { shifted_month - 10 };
        Self {
            year: year_of_era + era * 400 + i64::from(month < 2),
            month: month as usize,
            day: of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: rest / 3600,
            minute: rest % 3600 / 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7) as usize,
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
pub fn http_date(seconds: i64) -> String {
    let t = Civil::of(seconds);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[t.weekday], t.day, MONTHS[t.month], t.year, t.hour, t.minute, t.second
    )
}

/// `06-Nov-1994 08:49`, as listings of folders show times.
pub fn listing_date(seconds: i64) -> String {
    let t = Civil::of(seconds);
    let month = MONTHS[t.month];
    format!("{:02}-{month}-{} {:02}:{:02}", t.day, t.year, t.hour, t.minute)
}

/// `Nov  6 08:49:37`, local (RFC 3164, 4.1.2).
pub fn syslog_date(seconds: i64) -> String {
    let t = Civil::of(seconds + offset(seconds));
    format!("{} {:>2} {:02}:{:02}:{:02}", MONTHS[t.month], t.day, t.hour, t.minute, t.second)
}

/// `1994-11-06T08:49:37Z` (RFC 3339).
pub fn utc_date(seconds: i64) -> String {
    let t = Civil::of(seconds);
    let month = t.month + 1;
    format!("{:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z", t.year, t.day, t.hour, t.minute, t.second)
}

/// Reads the three forms of dates that RFC 9110, 5.6.7 allows.
pub fn parse_http_date(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let words: Vec<_> = text.split([' ', '-', ',']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, time) = match words.as_slice() {
        [_, day, month, year, time, "GMT"] => (*day, *month, *year, *time),
        [_, month, day, time, year] => (*day, *month, *year, *time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let mut year: i64 = year.parse().ok()?;
    if year < 70 {
        year += 2000;
    } else if year < 100 {
        year += 1900;
    }
    let mut parts = time.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let day: i64 = day.parse().ok()?;
    let valid = (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..61).contains(&second)
        && (1970..10_000).contains(&year);
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    valid.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// How far local time is ahead of UTC at a moment, in seconds.
pub fn offset(seconds: i64) -> i64 {
    let time: libc::time_t = seconds;
    // SAFETY: both pointers are to live values of the right types; `localtime_r` writes only to the
    // second and keeps neither. All bit patterns of `tm` are valid.
    unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const time, &raw mut local).is_null() {
            return 0;
        }
        local.tm_gmtoff
    }
}

/// The texts of one second; made once in it.
#[derive(Clone, Default)]
struct Texts {
    second: i64,
    log: String,
    iso8601: String,
    error: String,
    http: String,
}

thread_local! {
    static TEXTS: RefCell<Texts> = RefCell::new(Texts { second: i64::MIN, ..Texts::default() });
}

impl Texts {
    fn of(second: i64) -> Self {
        let offset = offset(second);
        let t = Civil::of(second + offset);
        let sign = if offset < 0 { '-' } else { '+' };
        let (zone_h, zone_m) = (offset.abs() / 3600, offset.abs() % 3600 / 60);
        let mut texts = Texts { second, http: http_date(second), ..Texts::default() };
        // Writing to a String cannot fail.
        let _ = write!(
            texts.log,
            "{:02}/{}/{:04}:{:02}:{:02}:{:02} {sign}{zone_h:02}{zone_m:02}",
            t.day, MONTHS[t.month], t.year, t.hour, t.minute, t.second
        );
        let _ = write!(
            texts.iso8601,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{sign}{zone_h:02}:{zone_m:02}",
            t.year,
            t.month + 1,
            t.day,
            t.hour,
            t.minute,
            t.second
        );
        let _ = write!(
            texts.error,
            "{:04}/{:02}/{:02} {:02}:{:02}:{:02}",
            t.year,
            t.month + 1,
            t.day,
            t.hour,
            t.minute,
            t.second
        );
        texts
    }
}

/// The forms in which a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `22/Nov/2026:14:00:00 +0000`, for `$time_local`.
    Log,
    /// `2026-11-22T14:00:00+00:00`, for `$time_iso8601`.
    Iso8601,
    /// `2026/11/22 14:00:00`, for error logs.
    Error,
    /// The `Date` field.
    Http,
}

/// Appends a moment to `out`.
pub fn write(wall: Wall, form: Form, out: &mut Vec<u8>) {
    TEXTS.with_borrow_mut(|texts| {
        if texts.second != wall.seconds {
            *texts = Texts::of(wall.seconds);
        }
        let text = match form {
            Form::Log => &texts.log,
            Form::Iso8601 => &texts.iso8601,
            Form::Error => &texts.error,
            Form::Http => &texts.http,
        };
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in ["", "Sun, 06 Nov 1994", "x", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse_http_date(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_two_eras_survives_a_round_trip() {
        for day in 0..146_097 * 2 / 10 {
            let seconds = day * 86_400 * 10 % (86_400 * 365 * 100) + 3_661;
            assert_eq!(parse_http_date(http_date(seconds).as_bytes()), Some(seconds));
        }
    }
}
