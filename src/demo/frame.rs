//! WebSocket frames (RFC 6455, 5.2), as an echo needs them: read masked, written plain.

use std::io::{self, Read, Write};

/// The longest payload of a frame, in bytes; a longer one ends the connection.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 20;

pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// One frame; a message may consist of several.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub last: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads a client's frame. `InvalidData` when it is none, or too long.
    pub fn read(from: &mut impl Read) -> io::Result<Frame> {
        let [first, second] = array(from)?;
        // The reserved bits belong to extensions, which were not agreed on.
        if first & 0x70 != 0 || second & 0x80 == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(array(from)?)),
            127 => u64::from_be_bytes(array(from)?),
            short => u64::from(short),
        };
        if length > PAYLOAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mask: [u8; 4] = array(from)?;
        let mut payload = Vec::new();
        from.take(length).read_to_end(&mut payload)?;
        if payload.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (byte, key) in payload.iter_mut().zip(mask.into_iter().cycle()) {
            *byte ^= key;
        }
        Ok(Frame { last: first & 0x80 != 0, opcode: first & 0x0f, payload })
    }

    /// Writes the frame in one piece, as a server does: unmasked.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = vec![u8::from(self.last) << 7 | self.opcode];
        match self.payload.len() {
            length @ 0..126 => bytes.push(length as u8),
            length @ 126..=0xffff => {
                bytes.push(126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(&self.payload);
        to.write_all(&bytes)
    }
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_rfc() {
        // RFC 6455, 5.7: a masked and an unmasked "Hello".
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let frame = Frame::read(&mut masked.as_slice()).unwrap();
        assert_eq!(frame, Frame { last: true, opcode: 1, payload: b"Hello".to_vec() });
        let mut written = Vec::new();
        frame.write(&mut written).unwrap();
        assert_eq!(written, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn lengths_at_their_borders() {
        for length in [0, 125, 126, 65_535, 65_536, PAYLOAD_BYTES_MAX as usize] {
            let frame = Frame { last: false, opcode: 2, payload: vec![7; length] };
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            // What a client would have sent: the mask bit and a mask that changes nothing.
            let head = bytes.len() - length;
            bytes[1] |= 0x80;
            bytes.splice(head..head, [0; 4]);
            assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), frame, "{length}");
        }
    }

    #[test]
    fn what_is_no_frame() {
        let kind = |bytes: &[u8]| Frame::read(&mut { bytes }).unwrap_err().kind();
        assert_eq!(kind(&[0x81, 0x05]), io::ErrorKind::InvalidData, "not masked");
        assert_eq!(kind(&[0xc1, 0x80]), io::ErrorKind::InvalidData, "a reserved bit");
        let mut huge = vec![0x82, 0xff];
        huge.extend((PAYLOAD_BYTES_MAX + 1).to_be_bytes());
        assert_eq!(kind(&huge), io::ErrorKind::InvalidData, "too long");
        assert_eq!(kind(&[0x81, 0x85, 1, 2, 3, 4, 5]), io::ErrorKind::UnexpectedEof);
    }
}
