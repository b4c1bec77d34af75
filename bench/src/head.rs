//! Just enough of an HTTP/1.1 head to find its end and its fields.
//!
//! Not a parser to trust: both its peers are this program and a proxy under test. Called by
//! `handshake`, `echo` and `load::page`.

/// The longest head that is waited for, in bytes.
pub const HEAD_SIZE_MAX: usize = 16 * 1024;

/// A head whose empty line has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The request line or the status line.
    pub first: &'a str,
    fields: &'a str,
    /// How many bytes the head takes, its empty line included.
    pub size: usize,
}

impl<'a> Head<'a> {
    /// The head at the beginning of `bytes`; `None`: its empty line has not arrived.
    pub fn find(bytes: &'a [u8]) -> Result<Option<Head<'a>>, HeadFault> {
        let Some(end) = bytes.windows(4).take(HEAD_SIZE_MAX).position(|four| four == b"\r\n\r\n")
        else {
            return if bytes.len() < HEAD_SIZE_MAX { Ok(None) } else { Err(HeadFault::TooLong) };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| HeadFault::NotText)?;
        let (first, fields) = text.split_once("\r\n").unwrap_or((text, ""));
        Ok(Some(Head { first, fields, size: end + 4 }))
    }

    /// The value of the first field called `name`, whatever the case of its letters.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the list in the field `name` has the member `member`.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.field(name)
            .is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(member)))
    }

    /// The status of a status line; 0 if it is none.
    pub fn status(&self) -> u16 {
        let code = self.first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The target of a GET request line.
    pub fn target(&self) -> Option<&'a str> {
        let rest = self.first.strip_prefix("GET ")?;
        rest.strip_suffix(" HTTP/1.1").or_else(|| rest.strip_suffix(" HTTP/1.0"))
    }
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// No empty line within [`HEAD_SIZE_MAX`].
    TooLong,
    /// Bytes that are not UTF-8.
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_and_read() {
        let wire =
            b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-LENGTH:  5 \r\nConnection: x, Close\r\n\r\nhi";
        for cut in 0..wire.len() - 2 {
            assert!(matches!(Head::find(&wire[..cut]), Ok(None)));
        }
        let head = Head::find(wire).unwrap().unwrap();
        assert_eq!((head.status(), head.size), (200, wire.len() - 2));
        assert_eq!(head.field("Content-Length"), Some("5"));
        assert!(head.lists("connection", "close") && !head.lists("connection", "keep-alive"));
        assert_eq!(head.target(), None);
        let bare = Head::find(b"GET /x HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!((bare.target(), bare.field("A"), bare.status()), (Some("/x"), None, 0));
    }

    #[test]
    fn an_endless_head_is_refused() {
        let endless = vec![b'a'; HEAD_SIZE_MAX];
        assert!(matches!(Head::find(&endless[1..]), Ok(None)));
        assert_eq!(Head::find(&endless).err(), Some(HeadFault::TooLong));
        assert_eq!(Head::find(b"\xFF\r\n\r\n").err(), Some(HeadFault::NotText));
    }
}
