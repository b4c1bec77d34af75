//! The head of a request, as far as the demo's upstream needs it, and the answer that opens a
//! WebSocket (RFC 6455, 4.2.2).

use super::sha1::sha1;

/// The longest head that is read, in bytes.
pub const HEAD_BYTES_MAX: u64 = 16 << 10;

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    Page,
    /// A WebSocket, with the key of its handshake.
    Socket {
        key: String,
    },
    Nothing,
}

/// Reads a head that ends in an empty line.
pub fn wanted(head: &str) -> Wanted {
    let mut lines = head.split("\r\n");
    let Some(path) = lines.next().and_then(|line| line.strip_prefix("GET ")) else {
        return Wanted::Nothing;
    };
    let path = path.split([' ', '?']).next().unwrap_or_default();
    let mut key = None;
    let mut upgrade = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("upgrade") {
            upgrade = value.eq_ignore_ascii_case("websocket");
        }
        if name.eq_ignore_ascii_case("sec-websocket-key") {
            key = Some(value.to_owned());
        }
    }
    match (path, key) {
        ("/chat/", Some(key)) if upgrade => Wanted::Socket { key },
        ("/", _) => Wanted::Page,
        _ => Wanted::Nothing,
    }
}

/// The head that switches to the WebSocket protocol.
pub fn switch(key: &str) -> String {
    let accept = base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let number = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let index = number >> (18 - 6 * digit) & 63;
            let known = digit <= group.len();
            text.push(if known { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_rfc() {
        // RFC 6455, 1.3.
        let head = switch("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(
            head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{head}"
        );
    }

    #[test]
    fn base64_of_the_rfc() {
        // RFC 4648, 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn heads() {
        let socket = |key: &str| Wanted::Socket { key: key.into() };
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Wanted::Page),
            ("GET /?a=b HTTP/1.0\r\n\r\n", Wanted::Page),
            ("GET /none HTTP/1.1\r\n\r\n", Wanted::Nothing),
            ("POST / HTTP/1.1\r\n\r\n", Wanted::Nothing),
            ("GET /chat/ HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Wanted::Nothing),
            ("GET /chat/ HTTP/1.1\r\nSec-WebSocket-Key: k\r\n\r\n", Wanted::Nothing),
            (
                "GET /chat/?x HTTP/1.1\r\nupgrade: WebSocket\r\nSEC-WEBSOCKET-KEY:  k \r\n\r\n",
                socket("k"),
            ),
            ("", Wanted::Nothing),
        ] {
            assert_eq!(wanted(head), expected, "{head:?}");
        }
    }
}
