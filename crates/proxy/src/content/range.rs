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
