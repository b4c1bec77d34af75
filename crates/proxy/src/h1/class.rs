//! Which byte may stand where: one table, looked up once per byte by every machine of this folder.
//!
//! It holds classes only; what a byte of the wrong class means is said by the machine that meets it.

/// Letters and `-` and `_` of a method (upper case only, as nginx).
pub const METHOD: u8 = 1;
/// Bytes of a path that need no look: neither `/ . % ? #` nor space nor control.
pub const PATH: u8 = 2;
/// Bytes of the arguments that need no look: neither `#` nor space nor control.
pub const ARGS: u8 = 4;
/// Letters, digits and `-`: what nginx accepts in a field name without asking any directive.
pub const NAME: u8 = 8;
/// Letters, digits, `.` and `-`: what nginx accepts in the host of an absolute target.
pub const HOST: u8 = 16;
/// Unreserved and sub-delims of RFC 3986, 2.2 and 2.3.
pub const REGNAME: u8 = 32;
/// `tchar` of RFC 9110, 5.6.2.
pub const TOKEN: u8 = 64;
/// What may be written into a field value (invariant T12): HT, 0x20-0x7e, 0x80-0xff.
pub const VALUE: u8 = 128;

/// Whether `byte` belongs to one of `classes`.
#[inline(always)]
pub fn is(byte: u8, classes: u8) -> bool {
    CLASS[byte as usize] & classes != 0
}

/// The position of the first byte from `at` on that is of none of `classes`, or the length of `text`.
#[inline(always)]
pub fn skip(text: &[u8], at: usize, classes: u8) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| !is(byte, classes)).unwrap_or(rest.len())
}

static CLASS: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        table[index] = classes_of(index as u8);
        index += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u8 {
    let mut classes = 0;
    let control = byte < 0x20 || byte == 0x7f;
    if byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_') {
        classes |= METHOD;
    }
    if !control && !matches!(byte, b' ' | b'/' | b'.' | b'%' | b'?' | b'#') {
        classes |= PATH;
    }
    if !control && !matches!(byte, b' ' | b'#') {
        classes |= ARGS;
    }
    if byte.is_ascii_alphanumeric() {
        classes |= NAME | HOST | REGNAME | TOKEN;
    }
    if byte == b'-' {
        classes |= NAME;
    }
    if matches!(byte, b'.' | b'-') {
        classes |= HOST;
    }
    if matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
        || matches!(byte, b'*' | b'+' | b',' | b';' | b'=')
    {
        classes |= REGNAME;
    }
    if matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
    {
        classes |= TOKEN;
    }
    if !control || byte == b'\t' {
        classes |= VALUE;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_classes() {
        let count = |class| (0..=255u8).filter(|&byte| is(byte, class)).count();
        assert_eq!(count(METHOD), 28);
        assert_eq!(count(PATH), 256 - 33 - 6);
        assert_eq!(count(ARGS), 256 - 33 - 2);
        assert_eq!(count(NAME), 63);
        assert_eq!(count(HOST), 64);
        assert_eq!(count(REGNAME), 62 + 15);
        assert_eq!(count(TOKEN), 62 + 15);
        assert_eq!(count(VALUE), 256 - 33 + 1);
    }

    #[test]
    fn skip_stops_at_the_first_stranger_or_at_the_end() {
        assert_eq!(skip(b"abc def", 0, NAME), 3);
        assert_eq!(skip(b"abc def", 4, NAME), 7);
        assert_eq!(skip(b"abc", 9, NAME), 9);
    }
}
