//! Spans of time.

use crate::{Arity, Fault, Reader, Value, Word};

/// A span of time in milliseconds. Its largest unit is the week: nginx takes no years and months
/// where milliseconds are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

/// A span of time in whole seconds, for directives in which nginx takes years and months, but no
/// milliseconds (`fail_timeout`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Time {
    /// Parses nginx's times in milliseconds: `60`, `60s`, `500ms`, `1h30m`, `1h 30m`.
    pub fn parse(text: &[u8]) -> Option<u64> {
        parse(text, Scale::Milliseconds)
    }
}

impl Seconds {
    /// Parses nginx's times in seconds: `60`, `60s`, `1y`, `1h30m`.
    pub fn parse(text: &[u8]) -> Option<u64> {
        parse(text, Scale::Seconds)
    }
}

impl Value for Time {
    const SYNTAX: &'static str = "time";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Time::parse(&args[0].bytes).map(Time).ok_or_else(|| {
            let fault = reader.directive_invalid(&args[0]);
            fault.hint("units are w, d, h, m, s and ms, from large to small")
        })
    }
}

impl Value for Seconds {
    const SYNTAX: &'static str = "time";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Seconds::parse(&args[0].bytes).map(Seconds).ok_or_else(|| {
            let fault = reader.directive_invalid(&args[0]);
            fault.hint("units are y, M, w, d, h, m and s, from large to small")
        })
    }
}

/// What the result counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scale {
    Seconds,
    Milliseconds,
}

/// The units in the order in which they may follow each other. A bare number stands last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// None yet, where years may come.
    Start,
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Bare,
}

impl Unit {
    /// The unit that `text` begins with and its length.
    fn read(text: &[u8]) -> Option<(Unit, usize)> {
        Some(match text {
            [b'y', ..] => (Unit::Year, 1),
            [b'M', ..] => (Unit::Month, 1),
            [b'w', ..] => (Unit::Week, 1),
            [b'd', ..] => (Unit::Day, 1),
            [b'h', ..] => (Unit::Hour, 1),
            [b'm', b's', ..] => (Unit::Millisecond, 2),
            [b'm', ..] => (Unit::Minute, 1),
            [b's', ..] => (Unit::Second, 1),
            [b' ', ..] => (Unit::Bare, 1),
            _ => return None,
        })
    }

    /// Whether it may stand behind `last`. A bare number may not follow seconds, though it stands
    /// behind milliseconds in rank (`ngx_parse_time`).
    fn may_follow(self, last: Unit) -> bool {
        if self == Unit::Bare { last < Unit::Second } else { last < self }
    }

    fn seconds(self) -> u64 {
        match self {
            Unit::Year => 365 * 86_400,
            Unit::Month => 30 * 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Day => 86_400,
            Unit::Hour => 3600,
            Unit::Minute => 60,
            Unit::Start | Unit::Second | Unit::Millisecond | Unit::Bare => 1,
        }
    }

    /// How many of what `scale` counts one unit is; none when the two do not go together.
    fn worth(self, scale: Scale) -> Option<u64> {
        match (self, scale) {
            (Unit::Millisecond, Scale::Milliseconds) => Some(1),
            (Unit::Millisecond, Scale::Seconds) => None,
            (unit, Scale::Seconds) => Some(unit.seconds()),
            (unit, Scale::Milliseconds) => Some(unit.seconds() * 1000),
        }
    }
}

/// Obeys `ngx_parse_time` to the letter, oddities included: a unit without a number counts zero as
/// long as a number stands somewhere, and `5 6` is eleven seconds.
fn parse(text: &[u8], scale: Scale) -> Option<u64> {
    let mut last = match scale {
        Scale::Seconds => Unit::Start,
        Scale::Milliseconds => Unit::Month,
    };
    let (mut total, mut number, mut any) = (0u64, 0u64, false);
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        if byte.is_ascii_digit() {
            number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
            any = true;
            rest = tail;
            continue;
        }
        let (unit, length) = Unit::read(rest)?;
        if !unit.may_follow(last) {
            return None;
        }
        last = unit;
        total = total.checked_add(number.checked_mul(unit.worth(scale)?)?)?;
        number = 0;
        rest = &rest[length..];
        while let [b' ', tail @ ..] = rest {
            rest = tail;
        }
    }
    let total = total.checked_add(number.checked_mul(Unit::Bare.worth(scale)?)?)?;
    Some(total).filter(|&total| any && total <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each outcome was compared with nginx 1.22.1.
    #[test]
    fn times_are_those_that_nginx_takes() {
        let cases: &[(&str, u64)] = &[
            ("5", 5000),
            ("5s", 5000),
            ("5ms", 5),
            ("0", 0),
            ("1w", 604_800_000),
            ("1h 30m", 5_400_000),
            ("1h30", 3_630_000),
            ("h30", 30_000),
            ("5 ", 5000),
            (" 5", 5000),
            ("5 6", 11_000),
            ("1m s", 60_000),
            ("1s500ms", 1500),
            ("1s   500ms", 1500),
            ("9223372036854775", 9_223_372_036_854_775_000),
        ];
        for &(text, ms) in cases {
            assert_eq!(Time::parse(text.as_bytes()), Some(ms), "{text:?}");
        }
        for bad in [
            "",
            " ",
            "s",
            "1y",
            "1M",
            "5 6s",
            "1m 1h",
            "1.5",
            "5S",
            "5sm",
            "1d1d",
            "1s 5 ",
            "-1",
            "9223372036854776",
            "18446744073709551616",
            "1e3",
        ] {
            assert_eq!(Time::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn seconds_have_years_but_no_milliseconds() {
        assert_eq!(Seconds::parse(b"1y"), Some(31_536_000));
        assert_eq!(Seconds::parse(b"1y1M"), Some(34_128_000));
        assert_eq!(Seconds::parse(b"10"), Some(10));
        assert_eq!(Seconds::parse(b"1s1ms"), None);
        assert_eq!(Seconds::parse(b"1M1y"), None);
    }
}
