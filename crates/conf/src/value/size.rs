//! Sizes in bytes.

use super::Number;
use crate::{Arity, Fault, Reader, Value, Word};

/// A size of memory in bytes: digits, alone or with `k` or `m` (`ngx_parse_size`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// A size of a file or a body in bytes: as [`Size`], or with `g` (`ngx_parse_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(pub u64);

impl Size {
    /// Parses `8`, `8k`, `8m` in either case; `None` on anything else or overflow. There is no `g`
    /// here: nginx refuses it too.
    pub fn parse(text: &[u8]) -> Option<u64> {
        scaled(text, &[(b'k', 10), (b'm', 20)])
    }
}

impl Offset {
    /// Parses `8`, `8k`, `8m`, `8g` in either case; `None` on anything else or overflow.
    pub fn parse(text: &[u8]) -> Option<u64> {
        scaled(text, &[(b'k', 10), (b'm', 20), (b'g', 30)])
    }
}

impl Value for Size {
    const SYNTAX: &'static str = "size";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Size::parse(&args[0].bytes).map(Size).ok_or_else(|| {
            let fault = reader.directive_invalid(&args[0]);
            fault.hint("write a number of bytes, or one with \"k\" or \"m\"")
        })
    }
}

impl Value for Offset {
    const SYNTAX: &'static str = "size";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Offset::parse(&args[0].bytes).map(Offset).ok_or_else(|| {
            let fault = reader.directive_invalid(&args[0]);
            fault.hint("write a number of bytes, or one with \"k\", \"m\" or \"g\"")
        })
    }
}

/// A number whose last letter may be one of `units`; each is a power of two.
fn scaled(text: &[u8], units: &[(u8, u32)]) -> Option<u64> {
    let (last, head) = text.split_last()?;
    let unit = units.iter().find(|(letter, _)| *letter == last.to_ascii_lowercase());
    let (digits, scale) = unit.map_or((text, 1), |(_, power)| (head, 1u64 << power));
    Number::parse(digits)?.checked_mul(scale).filter(|&size| size <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each outcome was compared with nginx 1.22.1.
    #[test]
    fn sizes_are_those_that_nginx_takes() {
        assert_eq!(Size::parse(b"1"), Some(1));
        assert_eq!(Size::parse(b"1k"), Some(1024));
        assert_eq!(Size::parse(b"8M"), Some(8 << 20));
        assert_eq!(Size::parse(b"9007199254740991k"), Some(9_007_199_254_740_991 * 1024));
        for bad in ["", "k", "1kk", "1g", "1G", "-1", "+1", " 1", "1 ", "9007199254740992k"] {
            assert_eq!(Size::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn offsets_have_gigabytes_too() {
        assert_eq!(Offset::parse(b"1g"), Some(1 << 30));
        assert_eq!(Offset::parse(b"8589934591G"), Some(8_589_934_591 << 30));
        assert_eq!(Offset::parse(b"8589934592g"), None);
        assert_eq!(Offset::parse(b"0"), Some(0));
    }
}
