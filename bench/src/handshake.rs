//! The opening handshake of RFC 6455, section 4, from both sides.
//!
//! Not the connection: it makes and judges heads. Called by `echo` and by `load::client`.

use crate::head::Head;
use crate::pattern::mix;
use crate::sha1::sha1;

/// The `Sec-WebSocket-Key` that client number `number` sends: 16 bytes in base64 (RFC 6455, 4.1).
pub fn key(number: u64) -> String {
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&mix(number).to_le_bytes());
    nonce[8..].copy_from_slice(&mix(!number).to_le_bytes());
    base64(&nonce)
}

/// The `Sec-WebSocket-Accept` that answers `key` (RFC 6455, 4.2.2).
pub fn accept(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// The client's request for `target`.
pub fn request(host: &str, target: &str, key: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The server's answer to `key`.
pub fn response(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    )
}

/// The key of a request that asks for a WebSocket (RFC 6455, 4.2.1); `None` if it does not.
pub fn asked<'a>(head: &Head<'a>) -> Option<&'a str> {
    let asks = head.lists("Upgrade", "websocket")
        && head.lists("Connection", "upgrade")
        && head.field("Sec-WebSocket-Version") == Some("13");
    head.field("Sec-WebSocket-Key").filter(|key| asks && key.len() == 24)
}

/// Whether `head` agrees to the request that carried `key` (RFC 6455, 4.1, the client's checks).
pub fn agreed(head: &Head, key: &str) -> bool {
    head.status() == 101
        && head.lists("Upgrade", "websocket")
        && head.lists("Connection", "upgrade")
        && head.field("Sec-WebSocket-Accept") == Some(&accept(key))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(*three.get(at).unwrap_or(&0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_rfc_4648_section_10() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, text) in pairs {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn the_accept_of_rfc_6455_section_1_3() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn both_sides_understand_each_other() {
        let key = key(7);
        let request = request("h", "/ws/echo/1", &key);
        let head = Head::find(request.as_bytes()).unwrap().unwrap();
        assert_eq!(asked(&head), Some(key.as_str()));
        let response = response(&key);
        let head = Head::find(response.as_bytes()).unwrap().unwrap();
        assert!(agreed(&head, &key));
        assert!(!agreed(&head, &super::key(8)));
    }

    #[test]
    fn a_request_without_connection_upgrade_asks_for_nothing() {
        let request =
            request("h", "/", &key(1)).replace("Connection: Upgrade", "Connection: close");
        assert_eq!(asked(&Head::find(request.as_bytes()).unwrap().unwrap()), None);
    }
}
