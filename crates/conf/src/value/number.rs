//! Numbers.

use crate::{Arity, Fault, Reader, Value, Word};

/// A decimal number without sign, up to 2^63 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl Number {
    /// Digits only, as `ngx_atoi` reads them; `None` on anything else, an empty text or overflow of
    /// nginx's signed number.
    pub fn parse(digits: &[u8]) -> Option<u64> {
        if digits.is_empty() {
            return None;
        }
        let number = digits.iter().try_fold(0u64, |number, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
            number.checked_mul(10)?.checked_add(u64::from(digit))
        })?;
        Some(number).filter(|&number| number <= i64::MAX as u64)
    }
}

impl Value for Number {
    const SYNTAX: &'static str = "number";
    const ARITY: Arity = Arity::exactly(1);

    fn read(args: &[Word], reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Number::parse(&args[0].bytes)
            .map(Number)
            .ok_or_else(|| reader.invalid_number(&args[0]).hint("write digits only"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_up_to_the_largest_signed_number() {
        assert_eq!(Number::parse(b"0012"), Some(12));
        assert_eq!(Number::parse(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in ["", "-1", "+1", " 1", "1k", "0x10", "9223372036854775808"] {
            assert_eq!(Number::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Number::parse(&[b'9'; 400]), None);
    }
}
