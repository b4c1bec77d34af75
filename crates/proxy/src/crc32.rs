//! CRC-32 (ISO-HDLC), the hash of nginx's balancing methods.

/// A checksum while it grows.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |crc, &byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8);
    }

    pub fn finish(self) -> u32 {
        !self.0
    }
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xedb8_8320 ^ crc >> 1 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value() {
        let mut crc = Crc32::default();
        crc.update(b"12345");
        crc.update(b"6789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
        assert_eq!(Crc32::default().finish(), 0);
    }
}
