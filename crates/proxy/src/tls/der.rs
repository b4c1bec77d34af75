//! DER, as far as certificates and encrypted keys need it: elements in definite form.
//!
//! A cursor over borrowed bytes; every length is checked, and nothing is copied. It knows no
//! certificates ([`super::certificate`]) and no keys ([`super::private_key`]).

/// Tags that are asked for.
pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT: u8 = 0x06;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const BMP_STRING: u8 = 0x1e;
pub const UNIVERSAL_STRING: u8 = 0x1c;
pub const UTF8_STRING: u8 = 0x0c;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;
/// `[0] EXPLICIT`, which the version of a certificate has.
pub const CONTEXT_0: u8 = 0xa0;
/// `[3] EXPLICIT`, in which its extensions are.
pub const CONTEXT_3: u8 = 0xa3;

/// One element: its tag and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'d> {
    pub tag: u8,
    pub content: &'d [u8],
    /// With tag and length.
    pub whole: &'d [u8],
}

/// Reads elements one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'d> {
    rest: &'d [u8],
}

impl<'d> Cursor<'d> {
    pub fn new(bytes: &'d [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element, whatever it is. `None` at the end and where the bytes are no DER.
    pub fn any(&mut self) -> Option<Element<'d>> {
        let (&tag, behind) = self.rest.split_first()?;
        // Tags of several bytes occur nowhere in what is read here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, behind) = behind.split_first()?;
        let (length, behind) = match first {
            0..=0x7f => (usize::from(first), behind),
            0x81..=0x84 => {
                let (digits, behind) = behind.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
                (length, behind)
            }
            _ => return None,
        };
        let (content, rest) = behind.split_at_checked(length)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        Some(Element { tag, content, whole })
    }

    /// The content of the next element if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.content)
    }

    /// A cursor over the content of the next element if it has this tag.
    pub fn enter(&mut self, tag: u8) -> Option<Cursor<'d>> {
        self.take(tag).map(Cursor::new)
    }

    /// The next element if it is a small number that is not negative.
    pub fn small_number(&mut self) -> Option<u32> {
        let digits = self.take(INTEGER)?;
        if digits.is_empty() || digits.len() > 5 || digits[0] & 0x80 != 0 {
            return None;
        }
        let number = digits.iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        u32::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_each_other() {
        let mut cursor = Cursor::new(&[0x30, 0x05, 0x02, 0x01, 0x07, 0x04, 0x00, 0x05, 0x00]);
        let mut inner = cursor.enter(SEQUENCE).unwrap();
        assert_eq!(inner.small_number(), Some(7));
        assert_eq!(inner.take(OCTET_STRING), Some(&[][..]));
        assert!(inner.is_empty());
        assert_eq!(cursor.any().map(|element| element.tag), Some(5));
        assert_eq!(cursor.any(), None);
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x01],
            &[0x30, 0x80],
            &[0x30, 0x81],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x3f, 0x01, 0x00],
        ] {
            assert_eq!(Cursor::new(bytes).any(), None, "{bytes:x?}");
        }
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[9; 256]].concat();
        assert_eq!(Cursor::new(&long).take(OCTET_STRING).map(<[u8]>::len), Some(256));
    }
}
