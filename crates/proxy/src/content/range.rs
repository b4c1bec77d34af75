//! `Range`: which bytes of a body are asked for (RFC 9110, 14.2), decided as nginx decides it.
//!
//! It sees the field's value and the body's length, nothing else. The file handler asks it.

use std::ops::Range;

/// Ranges that one request may ask for; with more it gets everything. nginx has no limit of its own
/// (`max_ranges` is unset by default); a head within the default buffers cannot hold as many.
pub const RANGES_MAX: usize = 16_384;

/// Offsets beyond this are refused, as by nginx, whose offsets are signed.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// What a `Range` field comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All bytes, with 200: the field is of another kind, or asks for no less than everything.
    Whole,
    /// 416. nginx gives it for malformed ranges too.
    Unsatisfiable,
    /// 206, in the order in which they were asked for; each is not empty and lies within the body, and
    /// together they are no longer than it.
    Parts(Vec<Range<u64>>),
}

/// Reads the value of a `Range` field for a body of `length` bytes.
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some((unit, mut rest)) = value.split_at_checked(6) else {
        return Selection::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") || rest.is_empty() {
        return Selection::Whole;
    }
    let mut parts = Vec::new();
    let mut size = 0u64;
    loop {
        let Some(part) = read_part(&mut rest, length) else {
            return Selection::Unsatisfiable;
        };
        if part.start < part.end {
            size = size.saturating_add(part.end - part.start);
            if size > OFFSET_MAX {
                return Selection::Unsatisfiable;
            }
            if parts.len() == RANGES_MAX {
                return Selection::Whole;
            }
            parts.push(part);
        } else if part.start == 0 {
            // Nothing can be cut from an empty body.
            return Selection::Whole;
        }
        match rest.split_first() {
            Some((b',', behind)) => rest = behind,
            _ => break,
        }
    }
    if parts.is_empty() {
        Selection::Unsatisfiable
    } else if size > length {
        // Overlapping ranges would make much of little.
        Selection::Whole
    } else {
        Selection::Parts(parts)
    }
}

/// One part up to its comma, cut to the body; empty when it lies behind it. `None` is malformed.
fn read_part(rest: &mut &[u8], length: u64) -> Option<Range<u64>> {
    skip_blanks(rest);
    if let Some(behind) = rest.strip_prefix(b"-") {
        *rest = behind;
        let suffix = read_number(rest)?;
        is_end_of_part(rest).then_some(length.saturating_sub(suffix)..length)
    } else {
        let start = read_number(rest)?;
        skip_blanks(rest);
        *rest = rest.strip_prefix(b"-")?;
        skip_blanks(rest);
        if is_end_of_part(rest) {
            return Some(start..length);
        }
        let last = read_number(rest)?;
        is_end_of_part(rest).then_some(start..last.saturating_add(1).min(length))
    }
}

fn skip_blanks(rest: &mut &[u8]) {
    while let Some(behind) = rest.strip_prefix(b" ") {
        *rest = behind;
    }
}

/// Whether the part ends here, blanks aside, which are taken.
fn is_end_of_part(rest: &mut &[u8]) -> bool {
    skip_blanks(rest);
    matches!(rest.first(), None | Some(b','))
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, behind) = rest.split_at(digits);
    *rest = behind;
    let number = std::str::from_utf8(number).ok()?.parse().ok()?;
    (number <= OFFSET_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nginx 1.22.1 answers, as `200`, `416`, or the parts it sends.
    fn outcome(value: &str, length: u64) -> String {
        match select(value.as_bytes(), length) {
            Selection::Whole => "200".to_owned(),
            Selection::Unsatisfiable => "416".to_owned(),
            Selection::Parts(parts) => {
                let part = |part: &Range<u64>| format!("{}-{}", part.start, part.end - 1);
                parts.iter().map(part).collect::<Vec<_>>().join(",")
            }
        }
    }

    #[track_caller]
    fn table(length: u64, rows: &[(&str, &str)]) {
        for (value, expected) in rows {
            assert_eq!(outcome(&format!("bytes={value}"), length), *expected, "bytes={value}");
        }
    }

    #[test]
    fn one_part() {
        table(
            10,
            &[
                ("0-0", "0-0"),
                ("0-", "0-9"),
                ("5-", "5-9"),
                ("9-", "9-9"),
                ("-3", "7-9"),
                ("-10", "0-9"),
                ("-11", "0-9"),
                ("0-9", "0-9"),
                ("0-10", "0-9"),
                (" 0 - 0 ", "0-0"),
                ("0-9223372036854775807", "0-9"),
                ("-9223372036854775807", "0-9"),
                ("10-", "416"),
                ("20-", "416"),
                ("-0", "416"),
                ("5-2", "416"),
                ("9223372036854775807-", "416"),
            ],
        );
    }

    #[test]
    fn several_parts() {
        table(
            10,
            &[
                ("0-0,5-6", "0-0,5-6"),
                ("0-0, 5-6", "0-0,5-6"),
                ("5-6,0-0", "5-6,0-0"),
                ("0-4,5-9", "0-4,5-9"),
                ("0-0,0-0", "0-0,0-0"),
                ("-5,-5", "5-9,5-9"),
                ("0-0,20-", "0-0"),
                ("20-,0-0", "0-0"),
                ("5-2,0-0", "0-0"),
                ("20-,30-", "416"),
                // More than everything is asked for.
                ("0-5,5-9", "200"),
                ("0-9,0-0", "200"),
                ("-5,-6", "200"),
            ],
        );
    }

    #[test]
    fn malformed_parts() {
        for value in [
            "x",
            "-",
            "1",
            "5",
            "0-0,",
            "0-0,x",
            "0-0 5",
            "0-0;",
            "--1",
            "0--1",
            "0-0,,1-1",
            "0-0,20-\t",
            "0-99999999999999999999",
            "9223372036854775808-",
            "-9223372036854775808",
        ] {
            table(10, &[(value, "416")]);
        }
    }

    #[test]
    fn other_units_are_none() {
        assert_eq!(outcome("BYTES=0-0", 10), "0-0");
        for value in ["bits=0-0", "bytes 0-0", "bytes=", "bytes", ""] {
            assert_eq!(outcome(value, 10), "200", "{value}");
        }
    }

    #[test]
    fn an_empty_body_has_no_parts() {
        let rows = [("0-", "200"), ("0-0", "200"), ("-0", "200"), ("-1", "200")];
        table(0, &rows);
        table(0, &[("1-", "416"), ("1-2", "416")]);
    }

    #[test]
    fn sizes_do_not_overflow() {
        table(OFFSET_MAX, &[("0-,1-", "416"), ("0-", "0-9223372036854775806")]);
    }

    #[test]
    fn the_limit_on_parts_is_reached() {
        let length = 2 * RANGES_MAX as u64;
        let asked = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
        match select(asked(RANGES_MAX).as_bytes(), length) {
            Selection::Parts(parts) => assert_eq!(parts.len(), RANGES_MAX),
            other => panic!("{other:?}"),
        }
        assert_eq!(select(asked(RANGES_MAX + 1).as_bytes(), length), Selection::Whole);
    }

    /// Whatever is asked for, no part lies outside of the body, none is empty, and together they are
    /// no longer than it.
    #[test]
    fn parts_stay_within_the_body() {
        const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut state = SEED;
        let mut next = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 16) as usize % bound
        };
        let mut partial = 0;
        for round in 0..50_000 {
            let mut value = b"bytes=".to_vec();
            for _ in 0..next(14) {
                value.push(b"0123456789--,, "[next(15)]);
            }
            let length = next(200) as u64;
            let Selection::Parts(parts) = select(&value, length) else { continue };
            partial += 1;
            let text = String::from_utf8_lossy(&value);
            let size: u64 = parts.iter().map(|part| part.end - part.start).sum();
            let within = parts.iter().all(|part| part.start < part.end && part.end <= length);
            assert!(within && size <= length, "seed {SEED:#x}, round {round}: {text} of {length}");
        }
        assert!(partial > 1000, "only {partial} values were ranges");
    }
}
