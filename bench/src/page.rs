//! The plain page: a target that carries a number, and the 64 bytes that answer it.
//!
//! Every request asks for another number, so that an answer that went astray is seen. Called by
//! `echo`, which answers, and by `load::page`, which compares.

/// How long the body of a page is, in bytes.
pub const BODY_SIZE: usize = 64;

/// The target of page `number`.
pub fn target(number: u64) -> String {
    format!("/plain/{number:016x}")
}

/// The body that belongs to `target`: its last 16 bytes four times; `None`: no such page.
pub fn body(target: &str) -> Option<[u8; BODY_SIZE]> {
    let number = target.strip_prefix("/plain/")?;
    let number: [u8; 16] = number.as_bytes().try_into().ok()?;
    let mut body = [0; BODY_SIZE];
    for part in body.as_chunks_mut::<16>().0 {
        *part = number;
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_own_body() {
        assert_eq!(body(&target(1)).unwrap()[..17], *b"00000000000000010");
        assert_ne!(body(&target(1)), body(&target(2)));
        assert_eq!(body("/plain/1"), None);
    }
}
